"""The cost of a grid, without weights, corpus or training: `vocalmtp ablate --dry-run`.

Parameters are counted on models without storage; tokens are the most that the batches hold. Memory
and hours are estimates: 6 operations per parameter and position (Kaplan et al., 2001.08361), and 34
bytes of activations per position, width and layer in 16 bits, without the attention matrices
(Korthikanti et al., 2205.05198), at the speed of the grid's `estimate`.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from vocalmtp.ablation.cells import Cell
from vocalmtp.ablation.grid import Grid
from vocalmtp.ablation.train import is_trained
from vocalmtp.config import split_spec
from vocalmtp.evaluation.metrics import MetricSet
from vocalmtp.evaluation.report import markdown_table
from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.tokenizers.cards import find_card, list_cards
from vocalmtp.tokenizers.registry import how_to_get, weights_folder
from vocalmtp.training.plan import BYTES_PER_PARAMETER

GIB = 2**30
ACTIVATION_BYTES = 34  # per position, width and layer in 16 bits
LOGIT_BYTES = 12  # the logit, its log-probability and its gradient in float32


@dataclass(frozen=True)
class Sizes:
    """The sizes of a model that determine its cost."""

    parameters: int
    in_layers: int  # parameters of the layers, which every position passes through
    width: int
    layers: int
    logits: int  # per step


@dataclass(frozen=True)
class Cost:
    """The cost of a cell at most."""

    cell: Cell
    parameters: int
    updates: int
    tokens: float  # codec tokens of the training
    hours_of_audio: float  # of the training
    steps_per_second: float  # backbone positions per second of speech
    memory: float  # GiB of one process in training
    hours: float  # of training by all processes
    state: str  # "evaluated", "trained", "started" or ""


class Planner:
    """Estimates the costs of a grid's cells; models of one shape are counted once."""

    def __init__(self, grid: Grid):
        self.grid = grid
        self._sizes: dict[str, Sizes] = {}

    def sizes(self, config: SpeechLMConfig) -> Sizes:
        """The sizes of the model that `config` describes."""
        key = json.dumps(config.to_dict(), sort_keys=True, default=str)
        if key not in self._sizes:
            with torch.device("meta"):
                model = SpeechLM(config)
            backbone, base = model.backbone.config, model.backbone.base_model
            embedded = sum(p.numel() for p in model.backbone.get_input_embeddings().parameters())
            self._sizes[key] = Sizes(
                parameters=sum(p.numel() for p in model.parameters()),
                in_layers=sum(p.numel() for p in base.parameters()) - embedded,
                width=backbone.hidden_size,
                layers=backbone.num_hidden_layers,
                logits=sum(slot.vocab_size for slot in model.layout.slots),
            )
        return self._sizes[key]

    def cost(self, cell: Cell) -> Cost:
        """The cost of a cell."""
        grid, optim, spec = self.grid, cell.recipe.optim, self.grid.specs[cell.tokenizer]
        config = grid.config(cell)
        sizes, layout = self.sizes(config), config.layout
        frames = optim.batch_frames * optim.max_steps
        seconds = frames / spec.frame_rate
        speech = layout.num_steps(frames)
        text = 0.0 if config.text == "track" else seconds * grid.estimate.text_per_second
        operations = 6 * sizes.in_layers * (speech + text) + 6 * sizes.width * sizes.logits * speech
        rate = grid.estimate.flops_per_second * grid.estimate.processes
        share = 1 / optim.max_steps / grid.estimate.processes  # of one batch in one process
        width = 1 if optim.precision == "bf16" else 2
        activations = ACTIVATION_BYTES * width * sizes.width * sizes.layers
        memory = float(BYTES_PER_PARAMETER * sizes.parameters)
        memory += share * (activations * (speech + text) + LOGIT_BYTES * sizes.logits * speech)
        return Cost(
            cell=cell,
            parameters=sizes.parameters,
            updates=optim.max_steps,
            tokens=frames * len(spec.streams),
            hours_of_audio=seconds / 3600,
            steps_per_second=spec.frame_rate * layout.steps_per_frame,
            memory=memory / GIB,
            hours=operations / rate / 3600 if cell.trains else 0.0,
            state=self.state(cell),
        )

    def state(self, cell: Cell) -> str:
        """How far a cell has got."""
        if MetricSet.load(cell.folder / self.grid.eval_folder) is not None:
            return "evaluated"
        if is_trained(cell):
            return "trained"
        return "started" if Path(cell.recipe.output).is_dir() else ""


def show_plan(grid: Grid, cells: list[Cell]) -> str:
    """The plan of `cells` as Markdown."""
    planner = Planner(grid)
    costs = [planner.cost(cell) for cell in cells]
    head = "cell|parameters|updates|tokens|audio|steps/s|memory|hours|state".split("|")
    rows = []
    for cost in costs:
        rows.append(
            [
                cost.cell.name,
                f"{cost.parameters / 1e6:.1f} M",
                f"{cost.updates:,}",
                f"{cost.tokens / 1e6:,.1f} M",
                f"{cost.hours_of_audio:,.1f} h",
                f"{cost.steps_per_second:g}",
                f"{cost.memory:.1f} GiB",
                f"{cost.hours:,.2f}",
                cost.state,
            ]
        )
    left = [cost for cost in costs if cost.cell.trains and cost.state in ("", "started")]
    estimate = grid.estimate
    lines = [
        markdown_table(head, rows),
        "",
        f"{len(costs)} cells, of which {len(left)} are to be trained in about "
        f"{sum(cost.hours for cost in left):,.1f} hours by {estimate.processes} process(es) at "
        f"{estimate.flops_per_second:.1e} operations/s each (the grid's estimate), without "
        "tokenizers, synthesis and evaluation.",
    ]
    for name, choice in grid.tokenizers.items():
        spec = grid.specs[name]
        lines.append(
            f"Tokenizer {name}: {choice.use or 'trained by the grid'}; {len(spec.streams)} streams, "
            f"{spec.frame_rate:g} frames/s, {spec.bits_per_second:,.0f} bit/s"
            f"{'' if choice.use is None else missing_weights(choice.use)}."
        )
    if grid.synthesizes_corpus:
        state = "will be synthesized"
    else:
        state = "found" if grid.corpus.exists() else "not found"
    lines.append(f"Corpus {grid.corpus}: {state}.")
    return "\n".join(lines)


def missing_weights(use: str) -> str:
    """A remark on a tokenizer whose weights are not found; empty if they are."""
    name, folder = split_spec(use)
    if folder is not None:
        return "" if Path(folder).is_dir() else f"; '{folder}' is not found"
    if name in list_cards():
        card = find_card(name)
        return "" if weights_folder(card) else f"; its weights are missing: {how_to_get(card)}"
    return ""

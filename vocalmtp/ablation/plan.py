"""What a grid will cost, reckoned without weights, corpus or training: `vocalmtp ablate --dry-run`.

Parameters are counted on models without storage. Tokens are what the batches hold at most. Memory
and hours are estimates: operations by 6 a parameter and position (Kaplan et al., 2001.08361), kept
activations by 34 bytes a position, width and layer in 16 bits, without the attention's own
(Korthikanti et al., 2205.05198), over the speed that the grid's `estimate` names.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from vocalmtp.ablation.cell import is_trained
from vocalmtp.ablation.expand import Cell
from vocalmtp.ablation.figures import MetricSet
from vocalmtp.ablation.grid import Grid
from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.tokenizers.cards import find_card, list_cards
from vocalmtp.tokenizers.registry import how_to_get, weights_folder
from vocalmtp.training.plan import BYTES_PER_PARAMETER

GIB = 2**30
ACTIVATION_BYTES = 34  # a position, width and layer in 16 bits
LOGIT_BYTES = 12  # a logit: itself, its logarithm of probability and its gradient in float32


@dataclass(frozen=True)
class Sizes:
    """Counts of a model that its cost follows from."""

    parameters: int
    in_layers: int  # parameters that every position passes through
    width: int
    layers: int
    logits: int  # of a step's heads


@dataclass(frozen=True)
class Cost:
    """What a cell will take at most."""

    cell: Cell
    parameters: int
    updates: int
    tokens: float  # codec tokens seen
    hours_of_audio: float  # seen
    steps_per_second: float  # positions of speech for a second of it
    memory: float  # GiB of one process in training
    hours: float  # of training by all processes
    state: str  # done, begun or ""


class Planner:
    """Reckons the cells of one grid; models of one shape are counted once."""

    def __init__(self, grid: Grid):
        self.grid = grid
        self._sizes: dict[str, Sizes] = {}

    def sizes(self, config: SpeechLMConfig) -> Sizes:
        """Counts of the model that `config` describes."""
        key = json.dumps(config.to_dict(), sort_keys=True, default=str)
        if key not in self._sizes:
            with torch.device("meta"):
                model = SpeechLM(config)
            backbone, base = model.backbone.config, model.backbone.base_model
            embedded = model.backbone.get_input_embeddings().weight.numel()
            self._sizes[key] = Sizes(
                parameters=sum(p.numel() for p in model.parameters()),
                in_layers=sum(p.numel() for p in base.parameters()) - embedded,
                width=backbone.hidden_size,
                layers=backbone.num_hidden_layers,
                logits=sum(slot.vocab_size for slot in model.layout.slots),
            )
        return self._sizes[key]

    def cost(self, cell: Cell) -> Cost:
        """What `cell` will take."""
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
        activations = (
            ACTIVATION_BYTES * (1 if optim.precision == "bf16" else 2) * sizes.width * sizes.layers
        )
        memory = BYTES_PER_PARAMETER * sizes.parameters
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
        """How far a cell is."""
        if MetricSet.load(cell.folder / self.grid.judged) is not None:
            return "done"
        if is_trained(cell):
            return "trained"
        return "begun" if Path(cell.recipe.output).is_dir() else ""


def show_plan(grid: Grid, cells: list[Cell]) -> str:
    """The plan of `cells` as Markdown."""
    planner = Planner(grid)
    costs = [planner.cost(cell) for cell in cells]
    head = "cell|parameters|updates|tokens|audio|steps/s|memory|hours|"
    rows = [head.split("|")]
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
    left = [cost for cost in costs if cost.cell.trains and cost.state in ("", "begun")]
    estimate = grid.estimate
    lines = [
        table(rows),
        "",
        f"{len(costs)} cells; {len(left)} still to be trained, in about "
        f"{sum(cost.hours for cost in left):,.1f} hours of training by {estimate.processes} "
        f"process(es) that sustain {estimate.flops_per_second:.1e} operations a second each "
        "(the grid's estimate; tokenizers, speaking and judging come on top).",
    ]
    for name, choice in grid.tokenizers.items():
        spec = grid.specs[name]
        lines.append(
            f"Tokenizer {name}: {choice.use or 'trained here'}; {len(spec.streams)} streams, "
            f"{spec.frame_rate:g} frames/s, {spec.bits_per_second:,.0f} bit/s"
            f"{'' if choice.use is None else whereabouts(choice.use)}."
        )
    here = grid.corpus.exists()
    lines.append(f"Corpus {grid.corpus}: {'is here' if here else 'is not here yet'}.")
    return "\n".join(lines)


def whereabouts(use: str) -> str:
    """Whether the weights of a tokenizer that is used are here."""
    name, equals, folder = use.partition("=")
    if equals:
        return "" if Path(folder).is_dir() else f"; '{folder}' is not here"
    if name in list_cards():
        card = find_card(name)
        return "" if weights_folder(card) else f"; its weights are not here: {how_to_get(card)}"
    return ""


def table(rows: list[list[str]]) -> str:
    """A Markdown table; the first of `rows` is its head."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)

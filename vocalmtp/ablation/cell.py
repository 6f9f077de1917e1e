"""One cell of a grid: trained, exported, heard and measured; every part is done once."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from vocalmtp.ablation.alignment import text_speech_similarity
from vocalmtp.ablation.drafting import choose_tree, decoding_of, drafted, write_own_speech
from vocalmtp.ablation.expand import Cell
from vocalmtp.ablation.figures import MetricSet
from vocalmtp.ablation.grid import Grid
from vocalmtp.ablation.judges import Evaluators
from vocalmtp.ablation.state import begin, drop
from vocalmtp.ablation.swapped import swapped_speech
from vocalmtp.ablation.tokenizers import source
from vocalmtp.data.manifest import read_manifest
from vocalmtp.data.shards import CodeShards
from vocalmtp.evaluation.statistics import Estimate, once
from vocalmtp.evaluation.systems import speak
from vocalmtp.models.checkpoint import load_text_tokenizer
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.training.batches import FrameBatches
from vocalmtp.training.export import export_model
from vocalmtp.training.run_files import read_log
from vocalmtp.training.tasks import PromptDataset
from vocalmtp.training.train import train
from vocalmtp.tts import TTS, load
from vocalmtp.voices import SHORTEST

SYSTEM = "tts"
CODEC_SLOT = re.compile(r"eval_(flat|(?!.*draft\.).+\.\d+)")  # in a log; layout.py, without joint
TRAINED = "trained"  # a file of a cell, once its training has come to its end
ALIGNED = 64  # utterances whose hidden states are compared


def cell_settings(cell: Cell) -> dict[str, Any]:
    """What a cell depends on, beside its tokenizer."""
    settings = {"recipe": cell.recipe.model_dump(mode="json"), "decoding": asdict(cell.decoding)}
    rarer = {"distilled": cell.distilled, "tree": cell.tree, "sampling": cell.sampling}
    return settings | {name: value for name, value in rarer.items() if value}


def is_trained(cell: Cell) -> bool:
    """Whether the training of the cell's model has come to its end."""
    return (Path(cell.recipe.output).parent / TRAINED).is_file()


def is_done(grid: Grid, cell: Cell) -> bool:
    """Whether nothing is left to do for the cell but to time it."""
    made = MetricSet.load(cell.folder / grid.judged)
    return made is not None and made.whole


def train_cell(grid: Grid, cell: Cell) -> None:
    """Train the cell, going on from its last checkpoint; its checkpoints go when it is done."""
    if not cell.trains:
        return
    if not is_trained(cell):
        if cell.distilled:
            write_own_speech(grid, cell)
        train(cell.recipe)
        (cell.folder / TRAINED).touch()
    drop(Path(cell.recipe.output) / "checkpoints")


def export_cell(grid: Grid, cell: Cell, judges: Evaluators) -> TTS:
    """The cell as a model that speaks, in the folder `model`."""
    folder, partial = cell.folder / "model", cell.folder / "model.part"
    if not folder.is_dir():
        drop(partial)
        names = export_voices(grid, judges) if grid.specs[cell.tokenizer].speaker_dim else []
        export_model(
            cell.recipe.output,
            source(grid, cell.tokenizer),
            partial,
            manifest=grid.corpus,
            origins=dict.fromkeys(names, f"of the corpus {grid.corpus.name}"),
            card={"sampling": grid.sampling(cell)},
        )
        partial.replace(folder)
    tts = load(folder, decoding=cell.decoding)
    if cell.tree:
        choose_tree(grid, cell, tts)
        tts = tts.using(decoding_of(cell))
    return tts


def export_voices(grid: Grid, judges: Evaluators) -> list[str]:
    """The voices of the test that were trained on; the first one of the training if none was."""
    rows = read_manifest(grid.corpus, "train", grid.voices)
    rows = [row for row in rows if row.seconds > 2 * SHORTEST]
    trained = {row.voice for row in rows}
    wanted = sorted({item.voice for item in judges.items} & trained)
    return wanted or sorted(trained)[:1]


def run_cell(grid: Grid, cell: Cell, judges: Evaluators) -> None:
    """All that a grid does with one cell but timing it, going on where it was cut off."""
    folder = cell.folder / grid.judged
    begin(cell.folder, cell_settings(cell))
    train_cell(grid, cell)
    tts, sampling = export_cell(grid, cell, judges), grid.sampling(cell)
    spoken = speak(SYSTEM, judges.items, tts, folder, judges.references, **sampling)
    made = judges.measure(SYSTEM, spoken, folder)
    made.judge("voices", lambda: swapped_speech(tts, judges, folder, sampling))
    made.figures |= align(cell)
    made.figures |= facts(cell)
    made.figures |= drafted(tts, judges, sampling)
    made.save(folder)


def align(cell: Cell) -> dict[str, Estimate]:
    """How alike the hidden states of text and speech are, on held-out utterances."""
    recipe, folder = cell.recipe, Path(cell.recipe.output)
    model = cell.decoding.model(SpeechLM.load(folder).eval())
    text = load_text_tokenizer(folder) if (folder / "tokenizer_config.json").is_file() else None
    shards = CodeShards(recipe.data.shards, recipe.data.valid_split or recipe.data.split)
    rows = PromptDataset(shards, model.config, recipe.data.max_frames, text)
    own, other = text_speech_similarity(model, [rows[i] for i in range(min(ALIGNED, len(rows)))])
    return {"alignment": own, "alignment_other": other}


def facts(cell: Cell) -> dict[str, Estimate]:
    """What the training was: parameters, updates, tokens seen, seconds; steps for a second."""
    recipe = cell.recipe
    model = cell.decoding.model(SpeechLM.load(recipe.output))
    log = read_log(Path(recipe.output) / "log.jsonl")
    steps = max((row["step"] for row in log), default=0)
    shards = CodeShards(recipe.data.shards, recipe.data.split)
    frames = [count for count in shards.frames if count <= recipe.data.max_frames]
    batches = FrameBatches(frames, recipe.optim.batch_frames, steps, recipe.optim.seed)
    seen = sum(frames[index] for batch in batches for index in batch) if steps else 0
    positions = shards.spec.frame_rate * model.layout.steps_per_frame
    losses = list(curve_of(log).values())
    values = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "updates": steps,
        "tokens_seen": seen * len(shards.spec.streams),
        "training_seconds": training_seconds(log),
        "valid_loss": losses[-1] if losses else torch.nan,
        "steps_per_second": positions,
    }
    return {name: once(float(value)) for name, value in values.items()}


def curve_of(log: Sequence[dict[str, Any]]) -> dict[int, float]:
    """Validation cross-entropy of a codec token by updates, in nats, from the rows of a log.

    It is the plain mean over the codec's slots. That of a flat layout with a text track is over the
    track's tokens too, which share its one slot.
    """
    curve = {}
    for row in log:
        slots = [value for key, value in row.items() if CODEC_SLOT.fullmatch(key)]
        if slots:
            curve[row["step"]] = sum(slots) / len(slots)
    return curve


def training_seconds(log: Sequence[dict[str, Any]]) -> float:
    """Seconds of all parts of a training: the clock of the log starts anew with every part."""
    total = last = 0.0
    for row in log:
        if row["seconds"] < last:
            total += last
        last = row["seconds"]
    return total + last

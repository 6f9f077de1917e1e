"""How fast a cell speaks: the decode loop whatever it says, first audio, a whole process."""

import math
from pathlib import Path

import torch

from vocalmtp.ablation.drafting import decoding_of
from vocalmtp.ablation.expand import Cell
from vocalmtp.ablation.figures import MetricSet
from vocalmtp.ablation.grid import Grid
from vocalmtp.bench.speed import codec_seconds, cold_start, first_audio, loop_seconds
from vocalmtp.errors import InputError
from vocalmtp.evaluation.statistics import spread
from vocalmtp.tts import load

SECONDS = 2.4  # of audio that the loop is run for


def time_cell(grid: Grid, cell: Cell) -> MetricSet:
    """Time a cell's model; what was timed before is kept.

    The real-time factor is that of a loop that is told how far to go, and of the tokenizer: cells
    that cannot stop are timed like those that can. With drafts, a pass counts for as many steps as
    it gave in speaking. Nothing else should run meanwhile.
    """
    folder = speed_folder(grid, cell)
    made = MetricSet.load(folder)
    if made is not None:
        return made
    torch.set_num_threads(grid.threads)
    tts, repeats = load(cell.folder / "model", decoding=decoding_of(cell)), grid.eval.repeats
    frames = round(SECONDS * tts.tokenizer.spec.frame_rate)
    passes = math.ceil(tts.model.layout.num_steps(frames) / gain_of(grid, cell))
    loops = loop_seconds({"": tts}, 1, {"": passes}, repeats)[""]
    codec = codec_seconds(tts, frames, repeats)
    made = MetricSet()
    made.figures["rtf"] = spread([(codec + taken) / SECONDS for taken in loops])
    made.figures["first_audio"] = first_audio(tts, repeats)
    try:
        seconds, memory = cold_start(cell.folder / "model", 1)
        made.figures |= {"cold_start": seconds, "memory": memory}
    except InputError as error:  # it says nothing that can be written: the rest is measured
        print(f"{cell.name}: {error}", flush=True)
    made.save(folder)
    return made


def gain_of(grid: Grid, cell: Cell) -> float:
    """Steps that a forward pass of the cell gave in speaking: 1 without drafts."""
    heard = MetricSet.load(cell.folder / grid.judged) or MetricSet()
    return heard.figures["steps_per_forward"].value if decoding_of(cell).drafts else 1.0


def speed_folder(grid: Grid, cell: Cell) -> Path:
    """Where `time_cell` keeps what it found."""
    return cell.folder / f"speed-{grid.eval.repeats}"

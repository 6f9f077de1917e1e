"""How fast a cell speaks: the decode loop whatever it says, first audio, a whole process."""

from pathlib import Path

import torch

from vocalmtp.ablation.figures import Measured
from vocalmtp.ablation.grid import Cell, Grid
from vocalmtp.errors import InputError
from vocalmtp.eval.speed import codec_seconds, cold_start, first_audio, steps_per_second
from vocalmtp.eval.statistics import spread
from vocalmtp.synthesis import load

SECONDS = 2.4  # of audio that the loop is run for


def time_cell(grid: Grid, cell: Cell) -> Measured:
    """Time a cell's model; what was timed before is kept.

    The real-time factor is that of a loop that is told how far to go, and of the tokenizer: cells
    that cannot stop are timed like those that can. Nothing else should run meanwhile.
    """
    folder = speed_folder(grid, cell)
    made = Measured.load(folder)
    if made is not None:
        return made
    torch.set_num_threads(grid.threads)
    tts, repeats = load(cell.folder / "model"), grid.eval.repeats
    frames = round(SECONDS * tts.tokenizer.card.frame_rate)
    audio = steps_per_second({cell.name: tts}, 1, frames, repeats)[cell.name]["audio"]
    codec = codec_seconds(tts, frames, repeats) / SECONDS
    made = Measured()
    made.figures["rtf"] = spread(
        [codec + 1 / rate for rate in (audio.value, audio.low, audio.high)]
    )
    made.figures["first_audio"] = first_audio(tts, repeats)
    try:
        seconds, memory = cold_start(cell.folder / "model", 1)
        made.figures |= {"cold_start": seconds, "memory": memory}
    except InputError as error:  # it says nothing that can be written: the rest is measured
        print(f"{cell.name}: {error}", flush=True)
    made.save(folder)
    return made


def speed_folder(grid: Grid, cell: Cell) -> Path:
    """Where `time_cell` keeps what it found."""
    return cell.folder / f"speed-{grid.eval.repeats}"

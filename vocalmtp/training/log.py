"""What a run of the Trainer writes and prints, and when it ends."""

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from vocalmtp.io.read import read_lines
from vocalmtp.training.distributed import from_first


def write_row(file: Path, row: dict[str, Any]) -> None:
    """Append `row` to a log of JSON lines, and print it."""
    with file.open("a") as out:
        out.write(json.dumps(row) + "\n")
    shown = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
    print(" ".join(shown), flush=True)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The rows of a log; none if there is no log. A line that was cut off is no row."""
    rows = []
    for _, line in read_lines(path, f"log '{path}'") if path.is_file() else ():
        with suppress(ValueError):
            rows.append(json.loads(line))
    return rows


class RunLog(TrainerCallback):
    """Writes every log as a line of `file`, with an estimate of the time left; stops in time.

    Of several processes the first one writes, and its clock counts for all.
    """

    def __init__(self, file: Path, max_seconds: float | None):
        self.file, self.max_seconds = file, max_seconds
        self.start = time.monotonic()
        self.first_step = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.start, self.first_step = time.monotonic(), state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        seconds = time.monotonic() - self.start
        rate = (state.global_step - self.first_step) / max(seconds, 1e-9)
        left = (state.max_steps - state.global_step) / max(rate, 1e-9)
        if self.max_seconds is not None:
            left = max(0.0, min(left, self.max_seconds - seconds))
        row = {
            "step": state.global_step,
            "seconds": round(seconds, 1),
            "steps_per_s": round(rate, 3),
            "left_s": round(left),
        }
        write_row(self.file, row | {key: value for key, value in logs.items() if key != "epoch"})

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        if self.max_seconds is None:
            return control
        if from_first(time.monotonic() - self.start) > self.max_seconds:
            control.should_training_stop = control.should_save = True
        return control

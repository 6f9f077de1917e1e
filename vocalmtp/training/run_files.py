"""Files in the output folder of a training run: recipe.yaml, log.jsonl and checkpoints/."""

import json
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import yaml

from vocalmtp.config import StrictModel
from vocalmtp.errors import InputError
from vocalmtp.io.atomic import atomic_path
from vocalmtp.io.read import read_lines
from vocalmtp.io.run_folder import check_settings, write_settings
from vocalmtp.training.distributed import is_first, num_processes

RECIPE = "recipe.yaml"
LOG = "log.jsonl"
CHECKPOINTS = "checkpoints"
STATE = "trainer_state.json"  # the last file of a checkpoint to be written


# -- log -------------------------------------------------------------------------------------------


def write_row(file: Path, row: dict[str, Any]) -> None:
    """Append `row` to a log of JSON lines, and print it."""
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(row) + "\n")
    shown = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
    print(" ".join(shown), flush=True)


def read_log(file: Path) -> list[dict[str, Any]]:
    """Rows of a log; an empty list if there is no log. A truncated line is left out."""
    rows = []
    for _, line in read_lines(file, f"log '{file}'") if file.is_file() else ():
        with suppress(ValueError):
            rows.append(json.loads(line))
    return rows


def last_logged(folder: Path, key: str) -> float:
    """Last value of `key` in the log of a run. Raises InputError if it was never logged."""
    for row in reversed(read_log(folder / LOG)):
        if key in row:
            return float(row[key])
    raise InputError(f"log '{folder / LOG}': has no '{key}'; train to the end", code="missing")


@contextmanager
def progress_bar(title: str, shown: bool = True) -> Iterator[Callable[[float], None]]:
    """Show a progress bar on standard error, if that is a terminal.

    Yields:
        A function that sets the completed share of the work, 0 to 1.

    """
    from rich.console import Console
    from rich.progress import Progress

    screen = Console(stderr=True)
    disabled = not (shown and screen.is_terminal)
    with Progress(transient=True, console=screen, disable=disabled) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda share: bar.update(task, completed=share)


# -- checkpoints -----------------------------------------------------------------------------------


@contextmanager
def saving_on_termination() -> Iterator[Callable[[], bool]]:
    """Put SIGTERM off until the end of the block, so that a run can save a checkpoint first.

    Schedulers of clusters send it before they end a job. It has its usual effect at once where it
    cannot be put off: in a thread, and in one of several processes, which would not stop at the same
    step.

    Yields:
        A function that returns whether the signal has come.

    """
    if num_processes() > 1 or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    received: list[int] = []
    former = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        yield lambda: bool(received)
    finally:
        signal.signal(signal.SIGTERM, former)
    if received:
        signal.raise_signal(signal.SIGTERM)


def last_whole_checkpoint(folder: Path) -> Path | None:
    """Newest complete checkpoint in `folder`, or None; interrupted ones are ignored.

    Raises:
        InputError: a file of the newest complete checkpoint is damaged.

    """
    found = []
    for path in folder.glob("checkpoint-*"):
        step = re.fullmatch(r"checkpoint-(\d+)", path.name)
        if step and (path / STATE).is_file():
            found.append((int(step[1]), path))
    if not found:
        return None
    _, path = max(found)
    for file in sorted(path.iterdir()):
        if not _is_whole(file):
            raise InputError(
                f"checkpoint '{path}': {file.name} is damaged; delete that folder to resume from "
                "the checkpoint before it",
                code="damaged",
            )
    return path


def _is_whole(file: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt"):
                return True
        if file.suffix == ".json":
            return isinstance(json.loads(file.read_bytes()), dict)
        if file.suffix in (".bin", ".pkl", ".pt", ".pth"):  # torch.save writes zip archives
            return is_zipfile(file)
        return True
    except (SafetensorError, ValueError, OSError):
        return False


# -- recipe ----------------------------------------------------------------------------------------


def write_recipe(output: Path, recipe: StrictModel) -> None:
    """Write `recipe`, with every default, to recipe.yaml in `output`."""
    with atomic_path(output / RECIPE) as partial:
        text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
        partial.write_text(text, encoding="utf-8")


def check_run(output: Path, recipe: StrictModel, may_change: dict[str, Any]) -> None:
    """Check that `output` is free, or holds checkpoints of a run of `recipe`.

    Args:
        output: folder of the run.
        recipe: of this command.
        may_change: keys in which the two may differ, as pydantic's `exclude` takes them.

    Raises:
        InputError: another key differs, or there is a model without checkpoints (`other_run`).

    """
    folder = output / CHECKPOINTS
    settings = recipe.model_dump(mode="json", exclude=may_change)
    if last_whole_checkpoint(folder) is not None:
        check_settings(folder, settings, restart="delete it")
    elif (output / "model.safetensors").exists():
        raise InputError(
            f"output '{output}': holds a model without checkpoints; choose another folder",
            code="other_run",
        )
    if is_first():
        write_settings(folder, settings)

"""Progress of long loops, on stderr: a bar on terminals, lines elsewhere; and quiet libraries."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def progress(
    label: str, total: int, line_seconds: float | None = None
) -> Iterator[Callable[[str], None]]:
    """Show the progress of `total` steps inside the block.

    Args:
        label: what the loop does.
        total: number of steps.
        line_seconds: where stderr is not a terminal, print a line when so many seconds have passed
            since the last one; None to print nothing there.

    Yields:
        A function that completes a step; its argument, the name of the step, is shown.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    done, printed = 0, time.monotonic()
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task(label, total=total)

        def advance(step: str = "") -> None:
            nonlocal done, printed
            done += 1
            bar.update(task, advance=1, description=f"{label}: {step}" if step else label)
            now = time.monotonic()
            if hidden and line_seconds is not None and now - printed >= line_seconds:
                print(f"{label} [{done}/{total}] {step}", file=sys.stderr, flush=True)
                printed = now

        yield advance


def track(values: Iterable[T], total: int, label: str) -> Iterator[T]:
    """Yield `values` under a progress bar."""
    with progress(label, total) as advance:
        for value in values:
            yield value
            advance("")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the reports and progress bars of Transformers."""
    from transformers.utils import logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()

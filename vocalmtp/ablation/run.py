"""The run of a grid: tokenizers and cells, in turn or several at once, then their timing.

Completed parts are kept, interrupted ones continue. A tokenizer or cell that fails is reported in
one line (its traceback is in the output.log of its folder), and the others are completed.

Under torchrun all processes train together, tokenizer after tokenizer and cell after cell; the
first process then does the rest. They must share a file system.
"""

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path

import torch

from vocalmtp.ablation.cells import Cell
from vocalmtp.ablation.evaluate import (
    GridEvaluation,
    evaluate_cell,
    evaluate_natural,
    evaluate_tokenizer,
    is_evaluated,
    time_cell,
)
from vocalmtp.ablation.grid import Grid
from vocalmtp.ablation.parallel import Task, one_line, run_tasks
from vocalmtp.ablation.smoke import write_corpus
from vocalmtp.ablation.train import (
    begin_cell,
    cell_settings,
    codes_complete,
    corpus_rows,
    export_cell,
    export_voices,
    prepare_tokenizer,
    tokenizer_settings,
    train_cell,
    train_grid_tokenizer,
    write_codes,
)
from vocalmtp.errors import InputError
from vocalmtp.evaluation.systems import NATURAL
from vocalmtp.io.run_folder import check_settings, only_writer, write_settings
from vocalmtp.training.distributed import is_first, num_processes

LOG = "output.log"
POLL_SECONDS = 0.2  # between looks for codes that the first process writes
Failures = dict[str, str]  # tokenizer or cell -> its problem in one line


def run_grid(
    grid: Grid, cells: Sequence[Cell], *, jobs: int = 1, report: Callable[[str], None] = print
) -> Failures:
    """Run `cells` of a grid.

    Args:
        grid: the grid.
        cells: those of its cells that are run.
        jobs: tokenizers and cells at once.
        report: receives a line about every completed part.

    Returns:
        The tokenizers and cells that failed.

    Raises:
        InputError: the corpus is missing, a folder belongs to other settings, or another process
            is running the grid.
    """
    with only_writer(grid.output) if is_first() else nullcontext():
        tokenizers = list(dict.fromkeys(cell.tokenizer for cell in cells))
        check_units(grid, tokenizers, cells)
        if grid.synthesizes_corpus and is_first():
            write_corpus(grid)
        failures: Failures = {}
        if num_processes() > 1:
            if jobs > 1:
                raise InputError(
                    f"jobs '{jobs}': torchrun starts the processes; leave it out", code="conflict"
                )
            failures = train_together(grid, tokenizers, cells)
        if is_first():
            _complete(grid, tokenizers, cells, jobs, failures, report)
        return failures


def check_units(grid: Grid, tokenizers: Sequence[str], cells: Sequence[Cell]) -> None:
    """Raise InputError if a tokenizer or cell was started with other settings."""
    units = {grid.tokenizer_folder(name): tokenizer_settings(grid, name) for name in tokenizers}
    units |= {cell.folder: cell_settings(cell) for cell in cells}
    for folder, settings in units.items():
        check_settings(folder, settings, restart="delete it")


def train_together(grid: Grid, tokenizers: Sequence[str], cells: Sequence[Cell]) -> Failures:
    """Train everything in all processes of torchrun; a tokenizer that fails ends the run."""
    failures: Failures = {}
    for name in tokenizers:
        torch.set_num_threads(grid.threads)
        if is_first():
            write_settings(grid.tokenizer_folder(name), tokenizer_settings(grid, name))
        train_grid_tokenizer(grid, name)
        if is_first():
            write_codes(grid, name)
        while not codes_complete(grid, name):
            time.sleep(POLL_SECONDS)
    for cell in cells:
        torch.set_num_threads(grid.threads)
        if cell.distilled:  # `_complete` exports the model that generates its data
            continue
        if is_first():
            begin_cell(cell)
        with _recorded(cell.name, failures), logged_to(cell.folder / LOG):
            train_cell(grid, cell)
    return failures


def _complete(
    grid: Grid,
    tokenizers: Sequence[str],
    cells: Sequence[Cell],
    jobs: int,
    failures: Failures,
    report: Callable[[str], None],
) -> None:
    """Do everything that is left, in one process or in `jobs`; adds to `failures`."""
    corpus_rows(grid)  # fails before anything is trained
    suite = GridEvaluation(grid)
    with logged_to(suite.folder / LOG):
        evaluate_natural(suite)
    report(f"{NATURAL}: {len(suite.items)} sentences, evaluated")
    done = [cell.name for cell in cells if is_evaluated(grid, cell, suite)]
    for finished, name in enumerate(done, start=1):
        report(f"[{finished}/{len(cells)}] {name}: done")
    finished = len(done)
    tasks = _tasks(grid, tokenizers, cells, suite)
    for name, problem in run_tasks([t for t in tasks if t.name not in (*done, *failures)], jobs):
        if problem:
            failures[name] = problem
        kind = "tokenizer "
        if name not in tokenizers:
            finished += 1
            kind = f"[{finished}/{len(cells)}] "
        report(f"{kind}{name}: {problem or 'done'}")
    for cell in cells:
        if cell.name not in failures:
            with _recorded(cell.name, failures), logged_to(cell.folder / LOG):
                time_cell(grid, cell)


def _tasks(
    grid: Grid, tokenizers: Sequence[str], cells: Sequence[Cell], suite: GridEvaluation
) -> list[Task]:
    tasks = [Task(name, run_tokenizer, (grid, name, suite)) for name in tokenizers]
    for cell in cells:
        needs = (cell.tokenizer,) if cell.after is None else (cell.after, cell.tokenizer)
        tasks.append(Task(cell.name, run_cell, (grid, cell, suite), needs))
    return tasks


def run_tokenizer(grid: Grid, name: str, suite: GridEvaluation) -> None:
    """Train or find a tokenizer, write its codes, and evaluate its resynthesis."""
    torch.set_num_threads(grid.threads)
    with logged_to(grid.tokenizer_folder(name) / LOG):
        prepare_tokenizer(grid, name)
        evaluate_tokenizer(grid, name, suite)


def run_cell(grid: Grid, cell: Cell, suite: GridEvaluation) -> None:
    """Train, export and evaluate a cell."""
    torch.set_num_threads(grid.threads)
    with logged_to(cell.folder / LOG):
        begin_cell(cell)
        train_cell(grid, cell)
        tts = export_cell(grid, cell, export_voices(grid, suite.voices))
        evaluate_cell(grid, cell, tts, suite)


@contextmanager
def logged_to(path: Path) -> Iterator[None]:
    """Append the output inside the block, and the traceback of an error, to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
        try:
            yield
        except Exception:
            traceback.print_exc(file=file)
            raise


@contextmanager
def _recorded(name: str, failures: Failures) -> Iterator[None]:
    """Record an error inside the block as the failure of `name`."""
    try:
        yield
    except Exception as error:
        failures[name] = one_line(error)

"""All of a grid: tokenizers and cells, one after another or several at once, then their timing.

What is done is never done again, and what was cut off goes on. A tokenizer or cell that fails is
told in one line (its traceback is in its folder's output.log), and the rest is finished.

Under torchrun the processes train together, tokenizer by tokenizer and cell by cell; the first one
then does the rest alone. They must see the same disk.
"""

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from pathlib import Path

import torch

from vocalmtp.ablation.cell import cell_settings, is_done, run_cell, train_cell
from vocalmtp.ablation.expand import Cell
from vocalmtp.ablation.figures import MetricSet
from vocalmtp.ablation.grid import Grid
from vocalmtp.ablation.judges import NATURAL, Evaluators
from vocalmtp.ablation.parallel import Task, one_line, run_tasks
from vocalmtp.ablation.speed import time_cell
from vocalmtp.ablation.state import begin, check_begun
from vocalmtp.ablation.tokenizers import (
    chosen_rows,
    codes_whole,
    run_tokenizer,
    tokenizer_settings,
    train_here,
    write_codes,
)
from vocalmtp.errors import InputError
from vocalmtp.io.run_folder import only_writer
from vocalmtp.training.distributed import is_first, num_processes

LOG = "output.log"
Failures = dict[str, str]  # tokenizer, or cell -> why, in one line
Say = Callable[[str], None]


def run_grid(grid: Grid, cells: Sequence[Cell], *, jobs: int = 1, say: Say = print) -> Failures:
    """Run `cells` of `grid` and return what failed.

    Raises InputError if the corpus is not there, a folder was begun with other settings, or another
    process is at work on the grid.
    """
    with only_writer(grid.output) if is_first() else nullcontext():
        tokenizers = list(dict.fromkeys(cell.tokenizer for cell in cells))
        for name in tokenizers:
            settings = tokenizer_settings(grid, name)
            check_begun(grid.tokenizer_folder(name), f"tokenizer '{name}'", settings)
        for cell in cells:
            check_begun(cell.folder, f"cell '{cell.name}'", cell_settings(cell))
        failures: Failures = {}
        if num_processes() > 1:
            if jobs > 1:
                raise InputError(
                    f"jobs '{jobs}': torchrun has processes already; leave it out", code="conflict"
                )
            failures = train_together(grid, tokenizers, cells)
        if is_first():
            _finish(grid, tokenizers, cells, jobs, failures, say)
        return failures


def train_together(grid: Grid, tokenizers: Sequence[str], cells: Sequence[Cell]) -> Failures:
    """All trainings, by all processes of torchrun; a tokenizer that fails ends the run."""
    failures: Failures = {}
    for name in tokenizers:
        torch.set_num_threads(grid.threads)
        if is_first():
            begin(grid.tokenizer_folder(name), tokenizer_settings(grid, name))
        train_here(grid, name)
        if is_first():
            write_codes(grid, name)
        while not codes_whole(grid, name):
            time.sleep(0.2)
    for cell in cells:
        torch.set_num_threads(grid.threads)
        if cell.distilled:  # the model that says its data is exported by `_finish`
            continue
        if is_first():
            begin(cell.folder, cell_settings(cell))
        with _kept(cell.name, failures), told_in(cell.folder / LOG):
            train_cell(grid, cell)
    return failures


def _finish(
    grid: Grid,
    tokenizers: Sequence[str],
    cells: Sequence[Cell],
    jobs: int,
    failures: Failures,
    say: Say,
) -> None:
    """What one process does: everything, or what is left of it; adds to `failures`."""
    chosen_rows(grid)  # what the corpus lacks is told before anything is trained
    judges = Evaluators(grid)
    with told_in(judges.folder / LOG):
        judge_natural(judges)
    say(f"{NATURAL}: {len(judges.items)} sentences, judged")
    done = [cell.name for cell in cells if is_done(grid, cell)]
    for finished, name in enumerate(done, start=1):
        say(f"[{finished}/{len(cells)}] {name}: done")
    finished = len(done)
    tasks = _tasks(grid, tokenizers, cells, judges)
    for name, problem in run_tasks([t for t in tasks if t.name not in (*done, *failures)], jobs):
        if problem:
            failures[name] = problem
        kind = "tokenizer "
        if name not in tokenizers:
            finished += 1
            kind = f"[{finished}/{len(cells)}] "
        say(f"{kind}{name}: {problem or 'done'}")
    for cell in cells:
        if cell.name not in failures:
            with _kept(cell.name, failures), told_in(cell.folder / LOG):
                time_cell(grid, cell)


def _tasks(
    grid: Grid, tokenizers: Sequence[str], cells: Sequence[Cell], judges: Evaluators
) -> list[Task]:
    """Every tokenizer and every cell."""
    tasks = [Task(name, work_on_tokenizer, (grid, name, judges)) for name in tokenizers]
    for cell in cells:
        needs = (cell.tokenizer,) if cell.after is None else (cell.after, cell.tokenizer)
        tasks.append(Task(cell.name, work_on_cell, (grid, cell, judges), needs))
    return tasks


def work_on_tokenizer(grid: Grid, name: str, judges: Evaluators) -> None:
    """All of one tokenizer; what it prints goes to its folder."""
    torch.set_num_threads(grid.threads)
    with told_in(grid.tokenizer_folder(name) / LOG):
        run_tokenizer(grid, name, judges)


def work_on_cell(grid: Grid, cell: Cell, judges: Evaluators) -> None:
    """All of one cell but its timing; what it prints goes to its folder."""
    torch.set_num_threads(grid.threads)
    with told_in(cell.folder / LOG):
        run_cell(grid, cell, judges)


def judge_natural(judges: Evaluators) -> MetricSet:
    """Judge natural speech; what was judged before is kept."""
    made = MetricSet.load(judges.folder)
    if made is None or not made.whole:
        made = judges.measure(NATURAL, judges.natural, judges.folder)
        made.save(judges.folder)
    return made


@contextmanager
def told_in(path: Path) -> Iterator[None]:
    """What is printed inside the block, and the traceback of an error, go to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
        try:
            yield
        except Exception:
            traceback.print_exc(file=file)
            raise


@contextmanager
def _kept(name: str, failures: Failures) -> Iterator[None]:
    """Note what goes wrong inside the block, in one line, and go on."""
    try:
        yield
    except Exception as error:
        failures[name] = one_line(error)

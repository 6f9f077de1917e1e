"""`vocalmtp tts --input`: the options of a batch, its progress bar and its last line."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vocalmtp.errors import InputError

if TYPE_CHECKING:
    from vocalmtp.batch import Plan, Progress

PANEL = "Many texts at once"


def _option(*names: str, **settings: Any) -> Any:
    return typer.Option(*names, rich_help_panel=PANEL, **settings)


Input = Annotated[
    Path | None,
    _option(
        "--input",
        help="A list instead of TEXT: .txt (one a line), .jsonl or .csv (fields id, text, voice, "
        "seed, temperature).",
    ),
]
OutputDir = Annotated[
    Path | None,
    _option("--output-dir", help="The folder for ID.wav of every item, and manifest.jsonl."),
]
BatchSize = Annotated[
    str, _option("--batch-size", help="Texts spoken together by each worker: a number, or auto.")
]
Workers = Annotated[int, _option("--workers", min=1, max=1024, help="Processes, or actors of Ray.")]
Engine = Annotated[str, _option("--engine", help="local, or ray for a cluster.")]
RayAddress = Annotated[
    str | None,
    _option(
        "--ray-address",
        help="The cluster, such as 10.0.0.1:6379.",
        show_default="the one on this machine, or a new one",
    ),
]
Verify = Annotated[
    int | None,
    _option(
        "--verify",
        min=0,
        help="Listen to every item (pocketsphinx) and say it again up to so many times, keeping "
        "what is understood best; the manifest gets the word error rate.",
    ),
]
DryRun = Annotated[bool, _option("--dry-run", help="Only say what would be done.")]
Resume = Annotated[
    bool, _option("--resume/--overwrite", help="Keep what is done in the folder, or start anew.")
]


def check_without_list(**options: Any) -> None:
    """Raise InputError if an option that a single text has no use for is given with one."""
    for name, value in options.items():
        if value:
            raise InputError(
                f"option '--{name.replace('_', '-')}': needs a list; add --input", code="missing"
            )


def check_with_list(text: str | None, output_dir: Path | None, **options: Any) -> None:
    """Raise InputError if something is given, or missing, that does not go with a list."""
    if text is not None:
        raise InputError(
            f"text '{text[:40]}': is given beside --input; leave one of them out", code="conflict"
        )
    for name, value in options.items():
        if value:
            name = name.replace("_", "-")
            raise InputError(
                f"option '--{name}': is for a single text; leave it out with --input",
                code="conflict",
            )
    if output_dir is None:
        raise InputError(
            "option '--output-dir': is missing; name the folder for the audio", code="missing"
        )


def speak_list(
    *, batch_size: str, dry_run: bool, overwrite: bool, sampling: dict[str, Any], **settings: Any
) -> int:
    """Speak a list with the other `settings` of `batch.Job`; the exit status is 1 if any failed."""
    from vocalmtp.batch import Job, plan_batch, run_batch

    job = Job(batch_size=_rows(batch_size), sampling=sampling, **settings)
    if dry_run:
        return _tell_plan(plan_batch(job, overwrite=overwrite))
    begin = time.perf_counter()
    last: list[Progress] = []
    try:
        with _bar() as show:

            def progress(state: "Progress") -> None:
                last[:] = [state]
                show(state)

            state = run_batch(job, overwrite=overwrite, progress=progress)
    except (KeyboardInterrupt, SystemExit):  # the latter by SIGTERM
        for state in last:
            done = state.kept + state.made
            _tell(f"stopped: {done} of {state.total} are done; the same command goes on from there")
        raise
    spent = time.perf_counter() - begin
    kept = f", {state.kept} were there already" if state.kept else ""
    _tell(
        f"{job.output}: {state.made} made ({state.seconds:.1f} s of speech in {spent:.1f} s)"
        f"{kept}, {state.failed} failed"
        + (f"; the reasons are in {job.output / 'manifest.jsonl'}" if state.failed else "")
    )
    if state.unstated:
        _tell(
            f"note: {state.unstated} are in somebody's voice; use them with that person's consent "
            "only"
        )
    return 1 if state.failed else 0


def _rows(batch_size: str) -> int | None:
    if batch_size == "auto":
        return None
    try:
        return int(batch_size)
    except ValueError as error:
        raise InputError(
            f"batch_size '{batch_size}': must be a number, or auto", code="out_of_range"
        ) from error


def _tell_plan(plan: "Plan") -> int:
    for problem in plan.problems:
        _tell(problem)
    if plan.invalid > len(plan.problems):
        _tell(f"... and {plan.invalid - len(plan.problems)} more")
    _tell(
        f"{plan.completed + plan.to_make + plan.invalid} items: {plan.completed} done, {plan.to_make} to be "
        f"made (about {plan.seconds / 60:.1f} min of speech), {plan.invalid} bad"
    )
    return 1 if plan.invalid else 0


@contextmanager
def _bar() -> Iterator[Callable[["Progress"], None]]:
    """A function that shows how far it is, if somebody is there to look."""
    from rich import progress as bars
    from rich.console import Console

    console = Console(stderr=True)
    columns = (
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[speed]:.1f} s of speech/s, {task.fields[failed]} failed"),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = None
        begin = 0.0

        def show(state: "Progress") -> None:
            nonlocal task, begin
            if task is None:  # kept items are not to be counted into the speed
                task = bar.add_task(
                    "", total=state.total, completed=state.kept, speed=0.0, failed=0
                )
                begin = time.perf_counter()
            done = state.kept + state.made + state.failed
            speed = state.seconds / max(time.perf_counter() - begin, 1e-9)
            bar.update(
                task,
                completed=done,
                total=max(state.total, done),
                speed=speed,
                failed=state.failed,
            )

        yield show


def _tell(message: str) -> None:
    print(message, file=sys.stderr)

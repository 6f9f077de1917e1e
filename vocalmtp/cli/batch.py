"""`vocalmtp batch`: a list of texts to a folder of audio."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vocalmtp.cli.console import progress_bar, tell
from vocalmtp.cli.options import (
    DecodingOptions,
    ModelOptions,
    ReadingOptions,
    SamplingOptions,
    VoiceOptions,
    option,
)
from vocalmtp.errors import InputError

if TYPE_CHECKING:
    from vocalmtp.batch import Plan, Progress

WORKERS = "Workers"


@dataclass(frozen=True, kw_only=True)
class BatchOptions(ModelOptions, VoiceOptions, ReadingOptions, SamplingOptions, DecodingOptions):
    """Options of `vocalmtp batch`."""

    input: Annotated[
        Path,
        typer.Argument(
            metavar="LIST",
            help="The texts: .txt (one per line), .jsonl or .csv (fields id, text, voice, seed, "
            "temperature, speed, language, instructions; others are copied to the manifest); - is "
            "standard input.",
        ),
    ]
    output: Annotated[
        Path,
        option("--output", "-o", help="The folder of ID.wav for every item, and manifest.jsonl."),
    ]
    format: Annotated[str, option(help="wav, flac, ogg, mp3 or opus.")] = "wav"
    sample_rate: Annotated[
        int | None, option(min=1, help="Of the audio in Hz.", show_default="the model's")
    ] = None
    timestamps: Annotated[
        str | None,
        option(
            metavar="json|srt|vtt",
            help="Also write ID.json with word times, or subtitles, for every item.",
        ),
    ] = None
    batch_size: Annotated[
        str, option(panel=WORKERS, help="Sentences per batch of each worker: a number, or auto.")
    ] = "auto"
    workers: Annotated[
        int, option(panel=WORKERS, min=1, max=1024, help="Processes, or Ray actors.")
    ] = 1
    executor: Annotated[str, option(panel=WORKERS, help="local, or ray for a cluster.")] = "local"
    ray_address: Annotated[
        str | None,
        option(
            panel=WORKERS,
            help="The cluster, such as 10.0.0.1:6379.",
            show_default="the local one, or a new one",
        ),
    ] = None
    verify: Annotated[
        int | None,
        option(
            min=0,
            help="Recognize every item, and retry up to so many times where words are wrong; the "
            "manifest gets the word error rate.",
        ),
    ] = None
    judge: Annotated[
        list[str] | None,
        option(
            help="A judge of --verify, NAME or NAME=ARGUMENT, such as whisper=FOLDER or dnsmos; "
            "'vocalmtp eval judges' lists all.",
            show_default="pocketsphinx",
        ),
    ] = None
    dry_run: Annotated[bool, option("--dry-run", help="Only report what would be done.")] = False
    resume: Annotated[
        bool, option("--resume/--overwrite", help="Keep complete items, or start anew.")
    ] = True


def batch(options: BatchOptions) -> int:
    """Synthesize every item of LIST into a folder.

    Batches are refilled as sentences end. An invalid item fails alone, and the exit status is then
    1. The same command continues an interrupted run.

    Examples:

    vocalmtp batch lines.txt -o out --workers 4

    vocalmtp batch items.jsonl -o out --verify 2

    vocalmtp batch items.jsonl -o out --executor ray --workers 32 --ray-address HEAD:6379

    """
    from vocalmtp.batch import Job, plan_batch, run_batch

    job = Job(
        input=_stored_input(options) if str(options.input) == "-" else options.input,
        output=options.output,
        model=options.model,
        **options.runtime(),
        voice=options.speaker(),
        seed=options.seed,
        sampling=options.sampling(),
        decoding=options.decoding(),
        speed=options.speed,
        language=options.language,
        instructions=options.instructions,
        lexicon=options.lexicon,
        unknown_characters=options.unknown_characters,
        format=options.format,
        sample_rate=options.sample_rate,
        timestamps=options.timestamps,
        verify=options.verify,
        judges=tuple(options.judge or ()),
        batch_size=_rows(options.batch_size),
        workers=options.workers,
        executor=options.executor,
        ray_address=options.ray_address,
    )
    overwrite = not options.resume
    if options.dry_run:
        return _report_plan(plan_batch(job, overwrite=overwrite))
    start = time.perf_counter()
    last: list[Progress] = []
    try:
        with _batch_progress() as show:

            def progress(state: "Progress") -> None:
                last[:] = [state]
                show(state)

            state = run_batch(job, overwrite=overwrite, progress=progress)
    except (KeyboardInterrupt, SystemExit):  # SystemExit after SIGTERM
        for state in last:
            done = state.kept + state.made
            tell(f"stopped: {done} of {state.total} are complete; the same command continues")
        raise
    return _report(state, options.output, time.perf_counter() - start)


def _stored_input(options: BatchOptions) -> Path:
    """Store standard input as a list beside the results, so that the run can be resumed."""
    from vocalmtp.cli.standard_input import read_stdin
    from vocalmtp.data.text_lists import guess_kind
    from vocalmtp.io.atomic import atomic_path, os_errors

    if options.dry_run:
        raise InputError("input '-': is not kept by a dry run; give a file", code="conflict")
    content = read_stdin()
    path = options.output / f".input{guess_kind(content)}"
    with os_errors(options.output):
        options.output.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial:
        partial.write_text(content, encoding="utf-8")
    return path


def _report(state: "Progress", output: Path, spent: float) -> int:
    kept = f", {state.kept} kept" if state.kept else ""
    errors = f"; errors are in {output / 'manifest.jsonl'}" if state.failed else ""
    tell(
        f"{output}: {state.made} made ({state.seconds:.1f} s of speech in {spent:.1f} s)"
        f"{kept}, {state.failed} failed{errors}"
    )
    if state.unstated:
        tell(
            f"note: {state.unstated} items imitate a person whose consent is not stated; use them "
            "only with that consent"
        )
    return 1 if state.failed else 0


def _rows(batch_size: str) -> int | None:
    if batch_size == "auto":
        return None
    try:
        return int(batch_size)
    except ValueError as error:
        raise InputError(
            f"batch_size '{batch_size}': must be a number, or auto", code="invalid_value"
        ) from error


def _report_plan(plan: "Plan") -> int:
    for problem in plan.problems:
        tell(problem)
    if plan.invalid > len(plan.problems):
        tell(f"... and {plan.invalid - len(plan.problems)} more")
    tell(
        f"{plan.completed + plan.to_make + plan.invalid} items: {plan.completed} complete, "
        f"{plan.to_make} to make (about {plan.seconds / 60:.1f} min of speech), "
        f"{plan.invalid} invalid"
    )
    return 1 if plan.invalid else 0


@contextmanager
def _batch_progress() -> Iterator[Callable[["Progress"], None]]:
    """A function that shows counts and speed."""
    from rich.progress import MofNCompleteColumn, TextColumn

    column = TextColumn("{task.fields[speed]:.1f} s of speech/s, {task.fields[failed]} failed")
    with progress_bar(MofNCompleteColumn(), column) as bar:
        task = bar.add_task("", total=None, speed=0.0, failed=0)
        start = 0.0

        def show(state: "Progress") -> None:
            nonlocal start
            start = start or time.perf_counter()  # the time to load the model does not count
            done = state.kept + state.made + state.failed
            bar.update(
                task,
                completed=done,
                total=max(state.total, done),
                speed=state.seconds / max(time.perf_counter() - start, 1e-9),
                failed=state.failed,
            )

        yield show

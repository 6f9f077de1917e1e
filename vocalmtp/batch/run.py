"""Run a batch, or say what it would do."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

from vocalmtp.batch.folder import Row, check_folder, open_folder
from vocalmtp.batch.items import Item, read_items
from vocalmtp.batch.job import Job
from vocalmtp.batch.synthesizer import BatchSynthesizer, Result
from vocalmtp.batch.verify import check_fields
from vocalmtp.data.text_lists import survey
from vocalmtp.errors import InputError
from vocalmtp.voices import NO_CONSENT

WINDOW = 256  # items that are sorted by length, so that the batch stays full to its end
SECONDS_PER_LETTER = 0.07  # of speech, roughly
SHOWN = 5  # problems of a plan


@dataclass
class Progress:
    """How far a batch is: items in the list (see `survey`), and what has become of them."""

    total: int
    kept: int = 0  # done by an earlier run
    made: int = 0
    failed: int = 0
    seconds: float = 0.0  # of audio that was made
    unstated: int = 0  # made in somebody's voice without that person's consent being stated


@dataclass(frozen=True)
class Plan:
    """What `run_batch` would do: items that are done, to be made, and bad."""

    done: int
    to_make: int
    bad: int
    problems: tuple[str, ...]  # of the first bad ones
    seconds: float  # of the speech to be made, estimated from its letters


def run_batch(
    job: Job,
    *,
    overwrite: bool = False,
    progress: Callable[[Progress], None] = lambda state: None,
) -> Progress:
    """Speak every item of `job.input` into `job.output`; what is done there is kept.

    An item that fails has a row that says why, and is tried again by the next run. `progress` is
    called after every item. With several workers the calling script needs the usual
    `if __name__ == "__main__":`.

    Args:
        overwrite: start anew, whatever is done there.

    Raises:
        InputError: the list, a value or the model is wrong as a whole; or another process writes
            into the folder; or what is done there was made with another list, model or option.
    """
    found = survey(job.input)
    with open_folder(job.output, job.identity(), found.lines, overwrite) as folder:
        state = Progress(total=found.items, kept=folder.done)
        begun: dict[int, Item] = {}

        def record(item: Item, result: Result) -> None:
            folder.add(_row(job, item, result), result.audio)
            state.made += result.error is None
            state.failed += result.error is not None
            state.seconds += result.seconds
            state.unstated += result.consent == NO_CONSENT
            progress(state)

        def good() -> Iterator[Item]:
            for item in read_items(job.input):
                if item.error is not None:
                    record(item, Result(line=item.line, error=item.error))
                elif not folder.has(item.line):
                    begun[item.line] = item
                    yield item

        progress(state)
        with closing(_results(job, longest_first(good()))) as results:
            for result in results:
                record(begun.pop(result.line), result)
    return state


def plan_batch(job: Job, *, overwrite: bool = False) -> Plan:
    """What `run_batch` would do, without the model; writes nothing. Raises as `run_batch`.

    Texts that cannot be spoken are among the bad ones; voices are not looked for.
    """
    from vocalmtp.text import normalize

    found = survey(job.input)
    folder = check_folder(job.output, job.identity(), found.lines, overwrite)
    to_make, letters, bad = 0, 0, 0
    problems: list[str] = []
    for item in read_items(job.input):
        if folder.has(item.line):
            continue
        error = item.error
        if error is None:
            try:
                letters += len(normalize(item.text))
            except InputError as problem:
                error = f"{job.input} line {item.line}: {problem}"
        if error is None:
            to_make += 1
        else:
            bad += 1
            problems += [error] if len(problems) < SHOWN else []
    return Plan(folder.done, to_make, bad, tuple(problems), letters * SECONDS_PER_LETTER)


def longest_first(items: Iterable[Item]) -> Iterator[Item]:
    """Items in windows, each sorted by length of text: rows that begin together end together."""
    items = iter(items)
    while window := list(islice(items, WINDOW)):
        yield from sorted(window, key=lambda item: -len(item.text))


def _results(job: Job, items: Iterator[Item]) -> Iterator[Result]:
    if job.engine == "ray":
        from vocalmtp.batch.ray import speak_on_ray

        yield from speak_on_ray(job, items)
    elif job.workers > 1:
        from vocalmtp.batch.workers import Pool

        yield from Pool(job, items)
    else:
        yield from BatchSynthesizer(job)(items)


def _row(job: Job, item: Item, result: Result) -> Row:
    """The item's row of the manifest."""
    row: Row = {
        "id": item.id,
        "status": "ok" if result.error is None else "failed",
        "audio": f"{item.id}.{job.format}" if result.audio is not None else None,
        "seconds": round(result.seconds, 3),
        "voice": item.voice or job.voice_name or result.voice,
        "seed": job.seed if item.seed is None else item.seed,
        "error": result.error,
        "line": item.line,
        "text": item.text,
    }
    if result.consent:
        row["consent"] = result.consent
    if item.temperature is not None:
        row["temperature"] = item.temperature
    if result.truncated:
        row["truncated"] = True
    if result.check is not None:
        row |= check_fields(result.check)
    return row | {key: value for key, value in item.extra.items() if key not in row}

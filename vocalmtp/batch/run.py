"""Run a batch, or plan it without loading the model."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice

from vocalmtp.batch.folder import Row, check_folder, open_folder
from vocalmtp.batch.items import STYLE, Item, read_items
from vocalmtp.batch.job import Job
from vocalmtp.batch.synthesizer import BatchSynthesizer, Result
from vocalmtp.batch.verify import check_fields
from vocalmtp.data.text_lists import survey
from vocalmtp.decoding.options import check_instructions, check_language
from vocalmtp.errors import InputError
from vocalmtp.hub import model_folder
from vocalmtp.loading import facts_of
from vocalmtp.voices import NO_CONSENT

WINDOW = 256  # items sorted by length together, so that the batch stays full
SECONDS_PER_LETTER = 0.07  # of speech, on average
SHOWN = 5  # problems listed in a plan


@dataclass
class Progress:
    """Counts of a running batch."""

    total: int  # items in the list, see `survey`
    kept: int = 0  # complete before this run
    made: int = 0
    failed: int = 0
    seconds: float = 0.0  # duration of the audio of this run
    unstated: int = 0  # items in a voice made from a recording without stated consent


@dataclass(frozen=True)
class Plan:
    """What `run_batch` would do."""

    completed: int  # items that are complete
    to_make: int
    invalid: int
    problems: tuple[str, ...]  # of the first invalid items
    seconds: float  # estimated duration of the speech to make


def run_batch(
    job: Job,
    *,
    overwrite: bool = False,
    progress: Callable[[Progress], None] = lambda state: None,
) -> Progress:
    """Synthesize every item of `job.input` into `job.output`; complete items are kept.

    A failed item has a row with its error, and is tried again by the next run. With several workers
    the calling script needs the usual `if __name__ == "__main__":`.

    Args:
        job: the list, the folder, the model and its options.
        overwrite: remove complete items and start anew.
        progress: called after every item.

    Returns:
        The final counts.

    Raises:
        InputError: the list, a value or the model is invalid as a whole; another process writes to
            the folder; or its items were made with another list, model or option.

    """
    found = survey(job.input)
    with open_folder(job.output, job.identity(), found.lines, overwrite) as folder:
        state = Progress(total=found.items, kept=folder.completed)
        pending: dict[int, Item] = {}

        def record(item: Item, result: Result) -> None:
            folder.add(_row(job, item, result), result.audio, result.timestamps)
            state.made += result.error is None
            state.failed += result.error is not None
            state.seconds += result.seconds
            state.unstated += result.consent == NO_CONSENT
            progress(state)

        def valid_items() -> Iterator[Item]:
            for item in read_items(job.input):
                if item.error is not None:
                    record(item, Result(line=item.line, error=item.error, code=item.code))
                elif not folder.has(item.line):
                    pending[item.line] = item
                    yield item

        progress(state)
        with closing(_results(job, longest_first(valid_items()))) as results:
            for result in results:
                record(pending.pop(result.line), result)
    return state


def plan_batch(job: Job, *, overwrite: bool = False) -> Plan:
    """Plan a batch without loading the model or writing anything. Raises as `run_batch`.

    Texts that cannot be normalized count as invalid; voices are not checked.
    """
    found = survey(job.input)
    folder = check_folder(job.output, job.identity(), found.lines, overwrite)
    to_make, letters, invalid = 0, 0, 0
    problems: list[str] = []
    card = None if job.load else facts_of(model_folder(job.model))
    reader = replace(job.reader, plain=bool(card and card.get("languages")))
    for item in read_items(job.input):
        if folder.has(item.line):
            continue
        error = item.error
        if error is None:
            try:
                if card is not None:
                    check_language(item.language or job.language, card)
                    check_instructions(item.instructions or job.instructions, card)
                letters += sum(len(own.text) for own in reader.sentences(item.text))
            except InputError as problem:
                error = f"{job.input} line {item.line}: {problem}"
        if error is None:
            to_make += 1
        else:
            invalid += 1
            problems += [error] if len(problems) < SHOWN else []
    return Plan(folder.completed, to_make, invalid, tuple(problems), letters * SECONDS_PER_LETTER)


def longest_first(items: Iterable[Item]) -> Iterator[Item]:
    """Sort items by length of text within windows, so that rows of a batch end together."""
    items = iter(items)
    while window := list(islice(items, WINDOW)):
        yield from sorted(window, key=lambda item: -len(item.text))


def _results(job: Job, items: Iterator[Item]) -> Generator[Result, None, None]:
    if job.executor == "ray":
        from vocalmtp.batch.ray import synthesize_on_ray

        yield from synthesize_on_ray(job, items)
    elif job.workers > 1:
        from vocalmtp.batch.workers import Pool

        yield from Pool(job, items)
    else:
        yield from BatchSynthesizer(job)(items)


def _row(job: Job, item: Item, result: Result) -> Row:
    """The manifest row of an item."""
    row: Row = {
        "id": item.id,
        "status": "ok" if result.error is None else "failed",
        "audio": f"{item.id}.{job.format}" if result.audio is not None else None,
        "seconds": round(result.seconds, 3),
        "voice": item.voice or job.voice_name or result.voice,
        "seed": job.seed if item.seed is None else item.seed,
        "error": result.error,
        "code": result.code,
        "line": item.line,
        "text": item.text,
    }
    if result.consent:
        row["consent"] = result.consent
    if result.timestamps is not None:
        row["timestamps"] = f"{item.id}.{job.timestamps}"
    for name in ("temperature", "speed", *STYLE):
        if (value := getattr(item, name)) is not None:
            row[name] = value
    if result.truncated:
        row["truncated"] = True
    if result.check is not None:
        row |= check_fields(result.check)
    return row | {key: value for key, value in item.extra.items() if key not in row}

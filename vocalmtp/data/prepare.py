"""Recordings and transcripts to a corpus: validated, trimmed, normalized and aligned.

A corpus folder holds manifest.jsonl (see data/manifest.py), audio/, report.json, and work.jsonl
with every processed recording, so that an interrupted run continues.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pydantic import Field

from vocalmtp.audio.io import Audio, read_audio, trim_silence
from vocalmtp.config import StrictModel
from vocalmtp.data.corpus_formats import Source, find_sources
from vocalmtp.errors import InputError
from vocalmtp.io.atomic import atomic_path
from vocalmtp.io.run_folder import JsonlStore, only_writer
from vocalmtp.text import normalize

SAMPLE_RATE = 16_000
MARGIN = 0.1  # seconds of silence kept at both ends
CHUNK = 16  # recordings per task of a worker
LONGEST_READ = 600.0  # seconds; longer files are not read
REASONS = (
    "transcript missing",
    "transcript not normalizable",
    "unreadable",
    "silent",
    "too short",
    "too long",
    "alignment implausible",
    "unusable name",
)


class RecordingLimits(StrictModel):
    """Limits of usable recordings."""

    shortest: float = Field(default=0.4, ge=0)  # seconds, without the silence around it
    longest: float = Field(default=20.0, gt=0)
    slowest: float = Field(default=3.0, ge=0)  # characters a second
    fastest: float = Field(default=35.0, gt=0)
    nll: float = Field(default=2.0, gt=0)  # most, of the alignment (models/aligner.py)
    coverage: float = Field(default=0.5, ge=0, le=1)  # least share of aligned letters


class Rejected(Exception):
    """An unusable recording: one of REASONS, the details, and its length if known."""

    def __init__(self, reason: str, detail: str, seconds: float = 0.0):
        super().__init__(detail)
        self.reason, self.detail, self.seconds = reason, detail, seconds


@dataclass
class Report:
    """Counts of kept and dropped recordings; hours of dropped ones as far as readable."""

    folder: str
    layout: str
    items: int = 0
    kept: int = 0
    hours: float = 0.0
    valid: int = 0
    dropped: dict[str, dict[str, float]] = field(default_factory=dict)  # reason -> items, hours
    voices: dict[str, dict[str, float]] = field(default_factory=dict)  # name -> items, hours
    failures: list[dict[str, str]] = field(default_factory=list)  # id, reason, detail

    def lines(self, limit: int = 10) -> list[str]:
        """Lines of text, with the first `limit` failures."""
        names = ", ".join(f"{name} {v['hours']:.2f} h" for name, v in list(self.voices.items())[:8])
        more = f" and {len(self.voices) - 8} more" if len(self.voices) > 8 else ""
        lines = [
            f"{self.folder}: layout {self.layout}, {self.items} recordings",
            f"kept {self.kept} ({self.hours:.2f} h), {self.valid} of them for validation",
            f"voices: {names}{more}",
        ]
        for reason, count in self.dropped.items():
            lines.append(f"dropped {count['items']} ({count['hours']:.2f} h): {reason}")
        for failure in self.failures[:limit]:
            lines.append(f"  {failure['id']}: {failure['reason']}: {failure['detail']}")
        if len(self.failures) > limit:
            lines.append(f"  ... and {len(self.failures) - limit} more, see report.json")
        return lines


def prepare(
    folder: Path | str,
    output: Path | str,
    *,
    layout: str | None = None,
    voice: str | None = None,
    valid: float = 0.05,
    limits: RecordingLimits | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Make a corpus of recordings.

    Results of an earlier run are kept unless the recording, its transcript or the limits changed.

    Args:
        folder: the recordings.
        output: the corpus folder.
        layout: pairs, ljspeech or libritts; detected if None.
        voice: the name of all recordings' voice; None to take the folders' names.
        valid: share of the split "valid", chosen by a hash of the ids; the rest is "train".
        limits: of usable recordings.
        workers: processes.
        progress: called with the numbers of processed and of all recordings.

    Returns:
        The report, also written as report.json.

    Raises:
        InputError: no recording is usable, an option is invalid, or another process writes there.

    """
    limits, output = limits or RecordingLimits(), Path(output)
    layout, sources = find_sources(folder, layout)
    if voice is not None:
        sources = [Source(**{**asdict(source), "voice": voice}) for source in sources]
    with only_writer(output):
        work = JsonlStore(output / "work.jsonl")  # processed recordings
        marks = {source.id: fingerprint(source, limits) for source in sources}
        todo = [s for s in sources if (work.get(s.id) or {}).get("mark") != marks[s.id]]
        done = len(sources) - len(todo)
        progress(done, len(sources))
        for row in process_all(todo, output, limits, workers):
            work.append({**row, "mark": marks[row["id"]]})
            done += 1
            progress(done, len(sources))
        rows = [{**(work.get(source.id) or {}), "voice": source.voice} for source in sources]
        return write_corpus(output, rows, valid, Report(str(folder), layout))


def fingerprint(source: Source, limits: RecordingLimits) -> str:
    """A short hash of everything that the result depends on."""
    file: tuple[str | int, ...] = ()
    try:
        status = source.audio.stat()
        file = (str(source.audio.resolve()), status.st_size, status.st_mtime_ns)
    except OSError:
        pass  # reported as unreadable
    facts = (file, source.text, source.problem, limits.model_dump())
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


# -- one recording ---------------------------------------------------------------------------------


def process(source: Source, output: Path, limits: RecordingLimits) -> dict[str, Any]:
    """Validate, write and align one recording: its manifest row, or `reason` and `detail`."""
    try:
        return _usable(source, output, limits)
    except Rejected as error:
        return {
            "id": source.id,
            "reason": error.reason,
            "detail": error.detail,
            "seconds": round(error.seconds, 3),
        }


def _usable(source: Source, output: Path, limits: RecordingLimits) -> dict[str, Any]:
    text = _text(source)
    samples = _samples(source.audio, limits)
    seconds = len(samples) / SAMPLE_RATE
    rate = len(text) / seconds
    if not limits.slowest <= rate <= limits.fastest:
        detail = f"{rate:.1f} characters per second; check the transcript"
        raise Rejected("alignment implausible", detail, seconds)
    ends = _align(samples, text, limits)
    path = Path("audio") / f"{source.id}.wav"
    (output / path).parent.mkdir(parents=True, exist_ok=True)
    Audio(samples, SAMPLE_RATE).save(output / path)
    return {
        "id": source.id,
        "audio": path.as_posix(),
        "text": text,
        "seconds": round(seconds, 3),
        "chars": [round(float(end), 3) for end in ends],
    }


def _text(source: Source) -> str:
    if source.text is None:
        detail = source.problem or "there is no text"
        raise Rejected("transcript missing", detail)
    if source.problem:
        raise Rejected("unusable name", source.problem)
    try:
        return normalize(source.text)
    except InputError as error:
        raise Rejected("transcript not normalizable", str(error)) from error


def _samples(path: Path, limits: RecordingLimits) -> Any:
    """Samples [N] at SAMPLE_RATE without the silence around them."""
    import soundfile

    try:
        length = soundfile.info(path).duration
        if length > max(LONGEST_READ, limits.longest):
            raise Rejected("too long", f"{length:.0f} s; cut it into sentences", length)
        samples = read_audio(path, SAMPLE_RATE)
    except (InputError, soundfile.SoundFileError, OSError) as error:
        raise Rejected("unreadable", " ".join(str(error).split())) from error
    length = len(samples) / SAMPLE_RATE
    samples = trim_silence(samples, SAMPLE_RATE, margin=MARGIN)
    seconds = len(samples) / SAMPLE_RATE
    if not seconds:
        raise Rejected("silent", "no sound above the noise floor", length)
    if seconds < limits.shortest:
        raise Rejected("too short", f"{seconds:.2f} s, must be {limits.shortest:g}", length)
    if seconds > limits.longest:
        detail = f"{seconds:.1f} s, may be {limits.longest:g}; cut it, or raise --longest"
        raise Rejected("too long", detail, length)
    return samples


def _align(samples: Any, text: str, limits: RecordingLimits) -> Any:
    """Ends [U] in seconds of the characters of `text`."""
    from vocalmtp.models.aligner import load_aligner

    seconds = len(samples) / SAMPLE_RATE
    try:
        found = load_aligner().align(samples, text)
    except InputError as error:
        raise Rejected("alignment implausible", str(error), seconds) from error
    if found.nll > limits.nll or found.coverage < limits.coverage:
        detail = (
            f"nll {found.nll:.2f} (at most {limits.nll:g}), {found.coverage:.0%} of the letters "
            f"aligned (at least {limits.coverage:.0%}); is it the right transcript?"
        )
        raise Rejected("alignment implausible", detail, seconds)
    return found.ends


# -- all of them -----------------------------------------------------------------------------------


def process_all(
    sources: Sequence[Source], output: Path, limits: RecordingLimits, workers: int
) -> Iterator[dict[str, Any]]:
    """Rows of all sources in order of completion, made here or by `workers` processes."""
    if workers <= 1 or len(sources) <= CHUNK:
        for source in sources:
            yield process(source, output, limits)
        return
    chunks = [sources[start : start + CHUNK] for start in range(0, len(sources), CHUNK)]
    # spawn: a fork of a process in which torch runs threads may hang.
    with ProcessPoolExecutor(workers, get_context("spawn"), _one_thread) as pool:
        futures = [pool.submit(_process_chunk, chunk, output, limits) for chunk in chunks]
        try:
            for future in as_completed(futures):
                yield from future.result()
        except BrokenProcessPool as error:
            raise InputError(
                f"workers {workers}: one was killed, perhaps for lack of memory; "
                "the same command with fewer continues",
                code="unusable",
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _process_chunk(
    sources: Sequence[Source], output: Path, limits: RecordingLimits
) -> list[dict[str, Any]]:
    return [process(source, output, limits) for source in sources]


def write_corpus(output: Path, rows: list[dict[str, Any]], valid: float, report: Report) -> Report:
    """Write manifest.jsonl and report.json; `rows` are those of `process`, with voices."""
    kept = [row for row in rows if "reason" not in row]
    dropped: dict[str, Counter] = defaultdict(Counter)
    voices: dict[str, Counter] = defaultdict(Counter)
    for row in rows:
        hours = row["seconds"] / 3600
        group = dropped[row["reason"]] if "reason" in row else voices[row["voice"]]
        group.update({"items": 1, "hours": hours})
        if "reason" in row:
            report.failures.append({key: row[key] for key in ("id", "reason", "detail")})
    report.items, report.kept = len(rows), len(kept)
    report.hours = sum(row["seconds"] for row in kept) / 3600
    report.dropped = {reason: dict(dropped[reason]) for reason in REASONS if reason in dropped}
    report.voices = {name: dict(voices[name]) for name in sorted(voices)}
    held = held_out([row["id"] for row in kept], valid)
    report.valid = len(held)
    with atomic_path(output / "report.json") as partial:
        partial.write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
    if not kept:
        first = report.failures[0]
        raise InputError(
            f"folder '{report.folder}': none of {len(rows)} recordings can be used "
            f"({first['id']}: {first['reason']}: {first['detail']}); see {output / 'report.json'}",
            code="empty",
        )
    with atomic_path(output / "manifest.jsonl") as partial, partial.open("w") as file:
        for row in kept:
            split = "valid" if row["id"] in held else "train"
            shown = {key: value for key, value in row.items() if key != "mark"}
            file.write(json.dumps({**shown, "split": split}) + "\n")
    return report


def held_out(ids: Sequence[str], share: float) -> set[str]:
    """Select the ids whose hash is below `share`; of two or more, at least one and not all."""

    def place(id: str) -> float:
        return int(hashlib.sha256(id.encode()).hexdigest()[:12], 16) / 16**12

    ordered = sorted(ids, key=place)
    count = sum(place(id) < share for id in ids)
    if share > 0 and len(ids) > 1:
        count = min(max(count, 1), len(ids) - 1)
    return set(ordered[:count])

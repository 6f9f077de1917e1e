"""Corpus manifests, one JSON row per utterance, and recordings without a manifest."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from vocalmtp.errors import InputError, nearest
from vocalmtp.io.read import problem_of, read_lines

if TYPE_CHECKING:
    from pydantic import TypeAdapter
from collections.abc import Iterable

from vocalmtp.data.corpus_formats import SOUNDS


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One row of a manifest. Times are seconds from the start of the audio, in ascending order."""

    id: str
    audio: Path
    text: str
    voice: str = ""
    split: str = "train"
    seconds: float = 0.0
    phones: tuple[tuple[str, float], ...] = ()  # (phone, end time)
    chars: tuple[float, ...] = ()  # end time of every character of `text`

    __pydantic_config__ = {"allow_inf_nan": False}


def read_manifest(
    path: Path | str, split: str | None = None, voices: Collection[str] = ()
) -> list[Utterance]:
    """Read the rows of a manifest file, or of every complete shard of a corpus folder.

    Args:
        path: the file or folder.
        split: keep only rows of this split.
        voices: keep only rows of these voices.

    Raises:
        InputError: there are no rows, a line is not a row, or a voice has no rows.

    """
    path = Path(path)
    rows = list(_rows(path, split))
    if not rows:
        where = f" with split '{split}'" if split else ""
        raise InputError(
            f"manifest '{path}': no utterances{where}; make one with recipes/corpus", code="empty"
        )
    if not voices:
        return rows
    known = {row.voice for row in rows}
    for voice in voices:
        if voice not in known:
            raise InputError(
                f"voices '{voice}': has no utterances in '{path}'; {nearest(voice, known)}",
                code="empty",
            )
    return [row for row in rows if row.voice in voices]


def _rows(path: Path, split: str | None) -> Iterator[Utterance]:
    if path.is_dir() and (path / "manifest.jsonl").is_file():
        path = path / "manifest.jsonl"
    if path.is_dir():
        files, root = sorted((path / "shards").glob("*.jsonl")), path
    elif path.is_file():
        files, root = [path], path.parent
    else:
        raise InputError(
            f"manifest '{path}': not found; give a JSONL file or a corpus folder", code="not_found"
        )
    for file in files:
        for number, line in read_lines(file, f"manifest '{path}'"):
            row = _row(line, root, f"{file}:{number}")
            if split is None or row.split == split:
                yield row


def _row(line: bytes, root: Path, where: str) -> Utterance:
    from pydantic import ValidationError

    try:
        row = _rows_of().validate_json(line)
    except ValidationError as error:
        raise InputError(
            f"manifest row {where}: {problem_of(error)}; see the schema in recipes/corpus",
            code="damaged",
        ) from error
    return replace(row, audio=root / row.audio)


@cache
def _rows_of() -> "TypeAdapter[Utterance]":
    """The validator of a row, which ignores unknown fields."""
    from pydantic import TypeAdapter

    return TypeAdapter(Utterance)


def read_inputs(inputs: Iterable[Path | str], split: str | None = None) -> list[Utterance]:
    """Collect the rows of manifests, audio files, and all audio under folders.

    A recording without a manifest has no text, the split "train", and its path as id. Raises
    InputError if an input is empty, or two rows have the same id.
    """
    rows: list[Utterance] = []
    for path in map(Path, inputs):
        found = list(_recordings(path))
        rows += [row for row in found if split in (None, row.split)]
        if not found:
            rows += read_manifest(path, split)
    if not rows:
        raise InputError(
            f"split '{split}': no input has it; recordings without a manifest are of 'train'",
            code="not_found",
        )
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            raise InputError(
                f"input '{row.audio}': a second one has the id '{row.id}'; rename one",
                code="invalid_value",
            )
        seen.add(row.id)
    return rows


def _recordings(path: Path) -> Iterator[Utterance]:
    """Rows of an audio file or of a folder of audio; none if there is a manifest."""
    if path.suffix.lower() in SOUNDS:
        yield _recording(path, path.stem)
    elif path.is_dir() and not (path / "manifest.jsonl").exists() and not _is_corpus(path):
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in SOUNDS and not file.name.startswith("."):
                yield _recording(file, file.relative_to(path).with_suffix("").as_posix())


def _is_corpus(path: Path) -> bool:
    return any((path / "shards").glob("*.jsonl"))


def _recording(file: Path, name: str) -> Utterance:
    import soundfile

    try:
        seconds = soundfile.info(file).duration
    except (soundfile.SoundFileError, OSError):
        seconds = 0.0  # the error is reported when it is read
    return Utterance(id=name, audio=file, text="", seconds=seconds)

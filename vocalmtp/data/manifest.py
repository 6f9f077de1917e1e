"""The corpus manifest: one JSON row an utterance, read lazily or whole."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from vocalmtp.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One row. Times are seconds from the start of the audio; both time lists never decrease."""

    id: str
    audio: Path
    text: str
    voice: str = ""
    split: str = "train"
    seconds: float = 0.0
    phones: tuple[tuple[str, float], ...] = ()  # (phone, end time)
    chars: tuple[float, ...] = ()  # end time of every character of `text`


KNOWN = {field.name for field in fields(Utterance)}


def read_manifest(path: Path | str, split: str | None = None) -> list[Utterance]:
    """Rows of a manifest file, or of every finished shard of a corpus folder; `split` filters.

    Raises InputError if nothing is there or a line is not a row.
    """
    path = Path(path)
    rows = list(_rows(path, split))
    if not rows:
        where = f" with split '{split}'" if split else ""
        raise InputError(f"manifest '{path}': no utterances{where}; make one with recipes/corpus")
    return rows


def _rows(path: Path, split: str | None) -> Iterator[Utterance]:
    if path.is_dir() and (path / "manifest.jsonl").is_file():
        path = path / "manifest.jsonl"
    if path.is_dir():
        files, root = sorted((path / "shards").glob("*.jsonl")), path
    elif path.is_file():
        files, root = [path], path.parent
    else:
        raise InputError(f"manifest '{path}': not found; give a JSONL file or a corpus folder")
    for file in files:
        with file.open() as lines:
            for number, line in enumerate(lines, start=1):
                row = _row(line, root, f"{file}:{number}")
                if split is None or row.split == split:
                    yield row


def _row(line: str, root: Path, where: str) -> Utterance:
    try:
        data = json.loads(line)
        data["audio"] = root / data["audio"]
        data["phones"] = tuple((phone, end) for phone, end in data.get("phones", ()))
        data["chars"] = tuple(data.get("chars", ()))
        return Utterance(**{key: value for key, value in data.items() if key in KNOWN})
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"manifest row {where}: {error}; see the schema in recipes/corpus"
        ) from error

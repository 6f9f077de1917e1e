"""Inputs of tokenizing as manifest rows: manifests, corpus folders, audio files and folders."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from vocalmtp.data.corpus_formats import SOUNDS
from vocalmtp.data.manifest import Utterance, read_manifest
from vocalmtp.errors import InputError


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
        yield _row(path, path.stem)
    elif path.is_dir() and not (path / "manifest.jsonl").exists() and not _is_corpus(path):
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in SOUNDS and not file.name.startswith("."):
                yield _row(file, file.relative_to(path).with_suffix("").as_posix())


def _is_corpus(path: Path) -> bool:
    return any((path / "shards").glob("*.jsonl"))


def _row(file: Path, name: str) -> Utterance:
    import soundfile

    try:
        seconds = soundfile.info(file).duration
    except (soundfile.SoundFileError, OSError):
        seconds = 0.0  # the error is reported when it is read
    return Utterance(id=name, audio=file, text="", seconds=seconds)

"""Which sentences are evaluated: rows of a manifest, or a list of sentences, one a line."""

from collections.abc import Sequence
from pathlib import Path

from vocalmtp.data.manifest import Utterance, read_manifest
from vocalmtp.errors import InputError
from vocalmtp.text import normalize

NO_AUDIO = Path()  # in the place of a recording, where there is none
LIST = ".txt"


def pick_items(
    source: Path | str,
    split: str = "test",
    voices: Sequence[str] = (),
    limit: int | None = None,
    natural: Path | str | None = None,
) -> list[Utterance]:
    """The utterances to evaluate.

    Args:
        source: a corpus folder or manifest, of which the rows of `split` are taken; or a list.
        voices: only these; a list is spoken by each of them, or by the model's own voice.
        limit: only the first sentences, so many of each voice.
        natural: for a list, a manifest with recordings of its sentences.

    Raises:
        InputError: nothing is left, or a line of the list cannot be spoken.
    """
    if Path(source).suffix != LIST:
        rows = read_manifest(source, split)
    elif natural is None:
        rows = _unrecorded(read_list(source), voices)
    else:
        wanted = set(read_list(source))
        rows = [row for row in read_manifest(natural) if normalize(row.text) in wanted]
    chosen: list[Utterance] = []
    taken: dict[str, int] = {}
    for row in rows:
        if voices and row.voice not in voices:
            continue
        taken[row.voice] = taken.get(row.voice, 0) + 1
        if limit is None or taken[row.voice] <= limit:
            chosen.append(row)
    if not chosen:
        raise InputError(
            f"voices '{', '.join(voices)}': no sentence of '{source}' is by them",
            code="invalid_value",
        )
    return chosen


def read_list(path: Path | str) -> list[str]:
    """The normalised sentences of a text file, one a line. Raises InputError, naming the line."""
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"list '{path}': no such file; give a text file with a sentence a line",
            code="not_found",
        )
    sentences = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            sentences.append(normalize(line))
        except InputError as error:
            raise InputError(f"list {path}:{number}: {error}", code="invalid_value") from error
    if not sentences:
        raise InputError(f"list '{path}': is empty; write a sentence a line", code="empty")
    return sentences


def _unrecorded(sentences: Sequence[str], voices: Sequence[str]) -> list[Utterance]:
    return [
        Utterance(id=f"{voice or 'own'}-{number:04d}", audio=NO_AUDIO, text=text, voice=voice)
        for voice in voices or ("",)
        for number, text in enumerate(sentences, start=1)
    ]


def pick_references(
    manifest: Path | str, voices: Sequence[str], items: Sequence[Utterance], limit: int = 8
) -> list[Utterance]:
    """Up to `limit` recordings that stand for each of `voices`.

    Training ones first, then other ones whose sentences are not among `items`; those of `items`
    themselves only if there are no others. Voices without any recording are left out.
    """
    said = {item.text for item in items}
    rows = [row for row in read_manifest(manifest) if row.voice in voices]
    chosen: list[Utterance] = []
    for voice in sorted(set(voices)):
        own = [row for row in rows if row.voice == voice]
        fresh = [row for row in own if row.text not in said]
        chosen += sorted(fresh or own, key=lambda row: row.split != "train")[:limit]
    return chosen

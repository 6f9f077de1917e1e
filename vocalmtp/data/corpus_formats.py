"""Layouts of speech corpora: the recordings of a folder and their transcripts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vocalmtp.errors import InputError, nearest

SOUNDS = (".wav", ".flac", ".ogg", ".mp3", ".opus")
METADATA = "metadata.csv"
NORMALIZED = ".normalized.txt"


@dataclass(frozen=True)
class Source:
    """One recording; `text` is None without a transcript."""

    id: str  # unique in its folder, and a relative path
    audio: Path
    text: str | None
    voice: str
    problem: str = ""  # why it is unusable, if already known


def find_sources(folder: Path | str, layout: str | None = None) -> tuple[str, list[Source]]:
    """Find the recordings of a corpus folder.

    Args:
        folder: the corpus.
        layout: one of LAYOUTS; detected if None.

    Returns:
        The layout, and the recordings in order.

    Raises:
        InputError: the folder does not exist, or has no recording in that layout.

    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(
            f"folder '{folder}': not found; give a folder of recordings", code="not_found"
        )
    layout = layout or detect_layout(folder)
    if layout not in LAYOUTS:
        raise InputError(
            f"layout '{layout}': unknown; {nearest(layout, LAYOUTS)}", code="unknown_name"
        )
    sources = list(_checked(LAYOUTS[layout](folder)))
    if not sources:
        raise InputError(
            f"folder '{folder}': no recordings in the layout '{layout}'; "
            f"give another folder, or --layout {' or '.join(LAYOUTS)}",
            code="empty",
        )
    return layout, sources


def detect_layout(folder: Path) -> str:
    """Detect the layout of a folder, one of LAYOUTS, by its files."""
    if (folder / METADATA).is_file():
        return "ljspeech"
    if next(folder.glob(f"*/*/*{NORMALIZED}"), None):
        return "libritts"
    return "pairs"


def _pairs(folder: Path) -> Iterator[Source]:
    """x.wav beside x.txt, at any depth; the top folder is the voice."""
    for audio in _sounds(folder):
        place = audio.relative_to(folder).with_suffix("")
        voice = place.parts[0] if len(place.parts) > 1 else folder.resolve().name
        yield _with_transcript(place.as_posix(), audio, audio.with_suffix(".txt"), voice)


def _libritts(folder: Path) -> Iterator[Source]:
    """speaker/chapter/x.wav beside x.normalized.txt."""
    for audio in _sounds(folder):
        place = audio.relative_to(folder).with_suffix("")
        text = audio.with_name(audio.stem + NORMALIZED)
        yield _with_transcript(place.as_posix(), audio, text, place.parts[0])


def _ljspeech(folder: Path) -> Iterator[Source]:
    """metadata.csv with lines `id|text|normalized text`, and wavs/id.wav."""
    path, voice = folder / METADATA, folder.resolve().name
    if not path.is_file():
        return
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        where = f"{METADATA} line {number}"
        if not line.strip():
            continue
        try:
            fields = line.decode("utf-8-sig").split("|")
        except UnicodeDecodeError:
            yield Source(where, path, None, voice, f"{where} is not UTF-8; save it as UTF-8")
            continue
        name = fields[0].strip().removesuffix(".wav")
        if len(fields) < 2 or not name or Path(name).is_absolute() or ".." in Path(name).parts:
            problem = f"{where} is not 'id|text' with the name of a file in wavs/"
            yield Source(where, path, None, voice, problem)
            continue
        texts = [field.strip() for field in fields[1:3]]
        tried = [folder / "wavs" / f"{name}{suffix}" for suffix in SOUNDS]
        audio = next((path for path in tried if path.is_file()), tried[0])
        yield Source(name, audio, next((text for text in texts[::-1] if text), None), voice)


LAYOUTS: dict[str, Callable[[Path], Iterator[Source]]] = {
    "pairs": _pairs,
    "ljspeech": _ljspeech,
    "libritts": _libritts,
}


def _sounds(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SOUNDS and not path.name.startswith(".") and path.is_file()
    )


def _with_transcript(id: str, audio: Path, path: Path, voice: str) -> Source:
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except FileNotFoundError:
        return Source(id, audio, None, voice, f"{path.name} is missing")
    except UnicodeDecodeError:
        return Source(id, audio, None, voice, f"{path.name} is not UTF-8; save it as UTF-8")
    except OSError as error:
        return Source(id, audio, None, voice, f"{path.name}: {error.strerror}")
    return Source(id, audio, text or None, voice)


def _checked(sources: Iterator[Source]) -> Iterator[Source]:
    """Rename sources with a repeated id, which have a problem."""
    seen: dict[str, Path] = {}
    for source in sources:
        first = seen.setdefault(source.id, source.audio)
        if first is source.audio:
            yield source
        else:
            id = f"{source.id} ({len(seen)})"
            problem = f"has the same name as {first.name}; rename one"
            seen[id] = source.audio
            yield Source(id, source.audio, source.text, source.voice, problem)

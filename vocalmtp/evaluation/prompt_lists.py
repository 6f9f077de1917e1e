"""Lists of sentences to say in the voice of a prompt, in the layouts they are published in.

seed-tts-eval: `meta.lst`, lines of `id|text of the prompt|its audio|text to say` and maybe
`|recording of it`; paths from the list's folder. librispeech-pc: F5-TTS's list of LibriSpeech-PC,
six columns between tabs (prompt, its seconds and text; utterance, its seconds and text), audio at
ROOT/speaker/chapter/id.flac. librispeech: a folder of the corpus with its *.trans.txt, of which, as
VALL-E does, the utterances of 4 to 10 s are said. libritts: a folder of that corpus, likewise.
Prompts are whole recordings.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import soundfile

from vocalmtp.data.corpus_formats import find_sources
from vocalmtp.errors import InputError, nearest
from vocalmtp.io.read import read_lines

SHORTEST, LONGEST = 4.0, 10.0  # seconds of what VALL-E's evaluation says


@dataclass(frozen=True)
class Prompted:
    """A sentence to be said in the voice of a recording; `natural` is the same, really said."""

    id: str
    text: str
    prompt: Path
    natural: Path | None = None


@dataclass(frozen=True)
class PromptList:
    """What a list asks for, and what was wrong with other lines."""

    items: list[Prompted]
    broken: list[str]


def load_list(source: Path, layout: str, root: Path | None = None) -> PromptList:
    """The sentences of a list in `layout`, in order; `root` is where the audio is.

    A line that is broken, or whose audio is missing, is left out and told. Raises InputError if
    nothing is there, no line will do, or a layout with the audio in it is given a root.
    """
    if layout not in LAYOUTS:
        raise InputError(
            f"layout '{layout}': unknown; {nearest(layout, LAYOUTS)}", code="unknown_name"
        )
    items: list[Prompted] = []
    broken: list[str] = []
    seen: set[str] = set()
    if layout in FOLDERS and root is not None:
        raise InputError(
            f"root '{root}': the layout '{layout}' has its audio; leave root out",
            code="invalid_value",
        )
    lines = FOLDERS[layout](source) if layout in FOLDERS else LISTS[layout](source, root)
    for where, found in lines:
        if isinstance(found, str):
            broken.append(f"{where}: {found}")
        elif found.id in seen:
            broken.append(f"{where}: id '{found.id}' is there twice")
        elif not found.text.strip():
            broken.append(f"{where}: has no text")
        elif not found.prompt.is_file():
            broken.append(f"{where}: the prompt {found.prompt.name} is not there")
        else:
            seen.add(found.id)
            items.append(found)
    if not items:
        told = f" ({broken[0]}, and {len(broken) - 1} more)" if broken else ""
        raise InputError(
            f"list '{source}': no line in the layout '{layout}' will do{told}", code="invalid_value"
        )
    return PromptList(items, broken)


Lines = Iterator[tuple[str, Prompted | str]]  # where it is, and what it says or what is wrong


def _fields(source: Path, sign: str, counts: tuple[int, ...], what: str) -> Iterator[tuple]:
    """The place of every line, and its fields, or what is wrong with it."""
    if not source.is_file():
        raise InputError(f"list '{source}': no such file; give {what}", code="not_found")
    for number, line in read_lines(source, f"list '{source}'"):
        where = f"{source.name} line {number}"
        try:
            fields = [field.strip() for field in line.decode("utf-8-sig").split(sign)]
        except UnicodeDecodeError:
            yield where, "is not UTF-8; convert the list"
            continue
        if len(fields) not in counts:
            wanted = " or ".join(map(str, counts))
            yield where, f"has {len(fields)} fields, not {wanted}"
        else:
            yield where, fields


def _seed_tts(source: Path, root: Path | None) -> Lines:
    root = source.parent if root is None else root
    for where, fields in _fields(source, "|", (4, 5), "seed-tts-eval's meta.lst"):
        if isinstance(fields, str):
            yield where, fields
            continue
        name, _, prompt, text, *natural = fields
        recording = root / natural[0] if natural and natural[0] else None
        there = recording if recording is not None and recording.is_file() else None
        yield where, Prompted(name, text, root / prompt, there)


def _librispeech_pc(source: Path, root: Path | None) -> Lines:
    root = source.parent if root is None else root
    for where, fields in _fields(source, "\t", (6,), "the .lst file of LibriSpeech-PC"):
        if isinstance(fields, str):
            yield where, fields
            continue
        prompt, _, _, name, _, text = fields
        parts = [utterance.split("-") for utterance in (prompt, name)]
        if any(len(part) != 3 for part in parts):
            yield where, "its utterances are not speaker-chapter-number"
            continue
        # Of the prompt, and of what is to be said.
        files = [root / part[0] / part[1] / f"{'-'.join(part)}.flac" for part in parts]
        yield where, Prompted(name, text, files[0], files[1] if files[1].is_file() else None)


def _librispeech(source: Path) -> Lines:
    """Every utterance of 4 to 10 s, prompted by the next longer one of its speaker."""
    if not source.is_dir():
        raise InputError(
            f"list '{source}': no such folder; give LibriSpeech's test-clean", code="not_found"
        )
    transcripts = sorted(source.glob("*/*/*.trans.txt"))
    if not transcripts:
        raise InputError(
            f"list '{source}': no speaker/chapter/*.trans.txt is there", code="invalid_value"
        )
    by_speaker: dict[str, list[tuple[str, Path, str]]] = {}
    for file in transcripts:
        for _, line in read_lines(file, f"list '{file}'"):
            name, _, text = line.decode("utf-8", "replace").strip().partition(" ")
            audio = file.parent / f"{name}.flac"
            if audio.is_file():
                by_speaker.setdefault(file.parts[-3], []).append((name, audio, text))
            else:
                yield f"{file.name} '{name}'", "its audio is not there"
    yield from _paired(by_speaker)


def _libritts(source: Path) -> Lines:
    """As LibriSpeech, of LibriTTS's layout."""
    by_speaker: dict[str, list[tuple[str, Path, str]]] = {}
    for found in find_sources(source, "libritts")[1]:
        if found.problem or not found.text:
            yield found.id, found.problem or "has no text"
        else:
            name = found.id.rpartition("/")[2]
            by_speaker.setdefault(found.voice, []).append((name, found.audio, found.text))
    yield from _paired(by_speaker)


def _paired(by_speaker: dict[str, list[tuple[str, Path, str]]]) -> Lines:
    """Utterances of the right length, each with another one of its speaker as its prompt."""
    for speaker, rows in by_speaker.items():
        lengths = [soundfile.info(audio).duration for _, audio, _ in rows]
        fit = [i for i, seconds in enumerate(lengths) if SHORTEST <= seconds <= LONGEST]
        if len(rows) < 2 and fit:
            yield speaker, "has one utterance, and none to prompt it with"
            continue
        for place, index in enumerate(fit):
            name, audio, text = rows[index]
            others = [i for i in (*fit[place + 1 :], *fit[:place], *range(len(rows))) if i != index]
            yield name, Prompted(name, text, rows[others[0]][1], audio)


LISTS = {"seed-tts-eval": _seed_tts, "librispeech-pc": _librispeech_pc}  # the audio is elsewhere
FOLDERS = {"librispeech": _librispeech, "libritts": _libritts}
LAYOUTS = (*LISTS, *FOLDERS)
# The convention (conventions.py) that a layout's figures are published in.
CONVENTION_OF = {
    "seed-tts-eval": "seed-tts-eval",
    "librispeech-pc": "librispeech-pc",
    "librispeech": "vall-e",
    "libritts": "vocalmtp",
}

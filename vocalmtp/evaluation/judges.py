"""Who listens: recognisers of words and of voices, by name; each says in a report what it is.

"pocketsphinx" and "resemblyzer" bring their weights; "pocketsphinx=FILE" expects what is said in a
file of texts, one a line. "whisper=FOLDER" and "wavlm=FOLDER" are models of Transformers in a local
folder: a Whisper, and a WavLM that verifies speakers (WavLMForXVector).
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np

from vocalmtp.errors import InputError, nearest
from vocalmtp.evaluation import intelligibility, similarity
from vocalmtp.evaluation.rows import progress
from vocalmtp.io.read import digest, reason
from vocalmtp.io.run_folder import JsonlStore, Row
from vocalmtp.optional import require
from vocalmtp.recognizers.base import SAMPLE_RATE, transcribe_files
from vocalmtp.recognizers.whisper import WhisperRecognizer


class Recogniser(Protocol):
    """Hears words. `name` is for files, `about` for people."""

    name: str
    about: str

    def hear(self, paths: Sequence[Path], processes: int) -> Iterator[tuple[int, str]]:
        """The index of every file and its text, in the order in which they are ready."""
        ...


class SpeakerJudge(Protocol):
    """Hears who speaks. `name` is for files, `about` for people."""

    name: str
    about: str

    def embed(self, path: Path) -> np.ndarray:
        """The unit vector [D] of who speaks in an audio file."""
        ...


class PocketSphinx:
    """The recogniser of intelligibility.py; with a language model of `texts`, a file, if given."""

    def __init__(self, texts: Path | None = None):
        require("pocketsphinx")
        self.name, self.about = "pocketsphinx", "pocketsphinx, US English"
        self.expects: list[str] = []
        if texts is not None:
            self.expects = _lines(texts)
            self.name += f"-{digest(texts)}"
            self.about += f" that expects what is said in {texts.name} (trigrams)"

    def hear(self, paths: Sequence[Path], processes: int) -> Iterator[tuple[int, str]]:
        if not self.expects:
            yield from intelligibility.recognise_all(paths, processes=processes)
            return
        with TemporaryDirectory() as name:
            folder = Path(name)
            intelligibility.write_language(self.expects, folder)
            yield from intelligibility.recognise_all(paths, processes=processes, language=folder)


def _lines(texts: Path) -> list[str]:
    """The lines of a file of texts that have words; raises InputError if there are none."""
    try:
        lines = texts.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"recogniser 'pocketsphinx={texts}': {reason(error)}", code="invalid_value"
        ) from error
    lines = [line for line in lines if intelligibility.scoring_text(line)]
    if not lines:
        raise InputError(
            f"recogniser 'pocketsphinx={texts}': no words; give a text that may be said a line",
            code="invalid_value",
        )
    return lines


class Whisper:
    """A Whisper (arXiv 2212.04356) of Transformers, greedy, in English."""

    def __init__(self, folder: Path):
        self.recognizer = WhisperRecognizer(folder)
        self.name, self.about = self.recognizer.name, self.recognizer.description

    def hear(self, paths: Sequence[Path], processes: int) -> Iterator[tuple[int, str]]:
        return progress(transcribe_files(self.recognizer, paths), len(paths), "recognise")


class Resemblyzer:
    """The embedding of similarity.py."""

    name = "resemblyzer"
    about = "Resemblyzer (GE2E, arXiv 1710.10467)"

    def __init__(self) -> None:
        require("resemblyzer")

    def embed(self, path: Path) -> np.ndarray:
        return similarity.embed(path)


class WavLM:
    """A WavLM with an x-vector head (arXiv 2110.13900) of Transformers."""

    def __init__(self, folder: Path):
        from transformers import AutoFeatureExtractor, WavLMForXVector

        self.features = _load(AutoFeatureExtractor, folder, "wavlm")
        self.name = f"wavlm-{digest(folder)}"
        self.about = f"WavLM speaker verification from the folder {folder.name}"
        self.model = _load(WavLMForXVector, folder, "wavlm").eval()

    def embed(self, path: Path) -> np.ndarray:
        import torch

        from vocalmtp.audio.io import read_audio

        samples = read_audio(path, SAMPLE_RATE)
        heard = self.features(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        with torch.inference_mode():
            vector = self.model(**heard).embeddings[0].float().numpy()
        return vector / max(float(np.linalg.norm(vector)), 1e-6)


def _load(kind: Any, folder: Path, judge: str) -> Any:
    """A part of Transformers from a local folder; raises InputError if it is not there."""
    if not folder.is_dir():
        raise InputError(
            f"judge '{judge}={folder}': no such folder; give the folder of its weights",
            code="not_found",
        )
    try:
        return kind.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"judge '{judge}={folder}': cannot be read ({reason(error)}); give a folder of "
            f"Transformers' {kind.__name__}",
            code="unusable",
        ) from error


RECOGNISERS: dict[str, Callable[..., Recogniser]] = {
    "pocketsphinx": PocketSphinx,
    "whisper": Whisper,
}
SPEAKER_JUDGES: dict[str, Callable[..., SpeakerJudge]] = {
    "resemblyzer": Resemblyzer,
    "wavlm": WavLM,
}


def find_recogniser(asked: str) -> Recogniser:
    """A recogniser by NAME or NAME=PATH; raises InputError if it is not there."""
    return _find(asked, RECOGNISERS, "recogniser")


def find_speaker_judge(asked: str) -> SpeakerJudge:
    """A judge of voices by NAME or NAME=FOLDER; raises InputError if it is not there."""
    return _find(asked, SPEAKER_JUDGES, "speaker judge")


def _find(asked: str, known: dict[str, Callable[..., Any]], what: str) -> Any:
    name, equals, path = asked.partition("=")
    if name not in known:
        raise InputError(f"{what} '{name}': unknown; {nearest(name, known)}", code="unknown_name")
    needs, takes = name in ("whisper", "wavlm"), name != "resemblyzer"
    if (needs or equals) and not (takes and path):
        hint = f"give {name}=FOLDER" if needs else f"give {name} alone"
        hint = f"give {name}=FILE, or {name} alone" if takes and not needs else hint
        raise InputError(f"{what} '{asked}': {hint}", code="invalid_value")
    return known[name](Path(path)) if path else known[name]()


def heard_words(
    rows: Path, files: dict[str, Path], recogniser: Recogniser, processes: int, of: str = ""
) -> dict[str, str]:
    """What was heard in `files` by id, now or found in the folder `rows`, in a file named `of`."""
    kept = JsonlStore(rows / f"heard-{recogniser.name}{of}.jsonl")
    todo = [name for name in files if kept.get(name) is None]
    for index, text in recogniser.hear([files[name] for name in todo], processes):
        kept.append({"id": todo[index], "heard": text})
    return {name: kept.get(name)["heard"] for name in files}


def kept_scores(path: Path, files: dict[str, Path], score: Callable[[Path], Row]) -> dict[str, Row]:
    """Scores of `files` by id, made now or found in the rows at `path`."""
    kept = JsonlStore(path)
    for name, file in progress(files.items(), len(files), path.stem):
        if kept.get(name) is None:
            kept.append({"id": name, **score(file)})
    return {name: kept.get(name) for name in files}


def vector_of(embed: Callable[[Path], np.ndarray]) -> Callable[[Path], Row]:
    """A score for `kept_scores`: the speaker vector that `embed` finds in a file."""
    return lambda path: {"vector": [round(float(x), 6) for x in embed(path)]}

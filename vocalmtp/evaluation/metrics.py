"""The metrics of spoken test sentences, by one set of judges for every system.

Scores of single utterances are kept as rows in the output folder, so that an interrupted evaluation
continues.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from vocalmtp.audio.io import read_audio
from vocalmtp.audio.mel import mel_filters
from vocalmtp.data.manifest import Utterance
from vocalmtp.errors import InputError
from vocalmtp.evaluation.judges import SAMPLE_RATE, Judges, SpeakerJudge
from vocalmtp.evaluation.report import Metric, finite
from vocalmtp.evaluation.scoring import (
    WordErrors,
    corpus_rate,
    mean_rate,
    relative_rate,
    word_errors,
)
from vocalmtp.evaluation.statistics import Estimate, bootstrap_mean
from vocalmtp.evaluation.systems import FAILURES, NATURAL, SpokenItem, next_names
from vocalmtp.io.atomic import atomic_path
from vocalmtp.io.progress import track
from vocalmtp.io.read import read_object
from vocalmtp.io.run_folder import JsonlStore, Row
from vocalmtp.optional import require
from vocalmtp.recognizers.base import Recognizer, transcribe_files

MELS, MEL_WINDOW = 80, 1024
MEL_FLOOR = 1e-4  # -80 dB of full scale, which is inaudible
FILE = "metrics.json"

Estimates = dict[str, Estimate]


@dataclass(frozen=True)
class Quantity:
    """How a metric is shown in reports; `scale` is applied before its unit."""

    title: str
    unit: str = ""
    digits: int = 2
    scale: float = 1.0


QUANTITIES = {
    "wer": Quantity("WER", "%", 1),
    "wer_sentences": Quantity("WER, mean of sentences", "%", 1),
    "wer_over_natural": Quantity("WER / natural"),
    "success": Quantity("success", "%", 1),
    "truncated": Quantity("... no end token", "%", 1),
    "empty": Quantity("... empty", "%", 1),
    "cut_off": Quantity("... cut off", "%", 1),
    "runaway": Quantity("... runaway", "%", 1),
    "similarity": Quantity("similarity to the target voice"),
    "similarity_other": Quantity("similarity to the nearest other voice"),
    "swapped_to_vector": Quantity("swapped: similarity to the vector's voice"),
    "swapped_to_codes": Quantity("swapped: similarity to the codes' voice"),
    "stoi": Quantity("STOI", digits=3),
    "pesq": Quantity("PESQ-WB", digits=3),
    "mel": Quantity("mel distance", "dB"),
}
SWAPPED = ("swapped_to_vector", "swapped_to_codes")


def as_metrics(
    system: str, estimates: Mapping[str, Estimate], judge: str | None = None
) -> list[Metric]:
    """The estimates of a system as metrics of a report.

    Args:
        system: its name.
        estimates: by keys of QUANTITIES, or by titles.
        judge: description of a further judge, which is added to the titles.
    """
    metrics = []
    for key, estimate in estimates.items():
        shown = QUANTITIES.get(key, Quantity(key))
        title = shown.title if judge is None else f"{shown.title} ({judge})"
        metrics.append(Metric(title, system, estimate, shown.unit, shown.digits))
    return metrics


class Evaluators:
    """The judges of all systems: the same sentences, the same references, rows of every score.

    Args:
        judges: recognizer, speaker judge and MOS judge.
        references: recordings that represent the voices.
        folder: where rows of the references are kept.
        processes: how many files are recognized at once.
    """

    def __init__(
        self,
        judges: Judges,
        references: Sequence[Utterance],
        folder: Path,
        processes: int = 1,
    ):
        self.judges, self.references = judges, list(references)
        self.folder, self.processes = folder, processes

    def word_scores(
        self,
        system: str,
        items: Sequence[SpokenItem],
        folder: Path,
        recognizer: Recognizer | None = None,
    ) -> list[WordErrors]:
        """Word errors of every utterance by the judges' recognizer or another; failures lose all."""
        files = {item.id: item.audio for item in items if not item.failure}
        recognizer = recognizer or self.judges.recognizer
        found = transcripts(recognizer, files, folder, system, self.processes)
        return [word_errors(item.text, found.get(item.id, "")) for item in items]

    def intelligibility(
        self,
        system: str,
        items: Sequence[SpokenItem],
        folder: Path,
        natural: Sequence[WordErrors] | None = None,
        recognizer: Recognizer | None = None,
    ) -> Estimates:
        """Word error rates, also relative to `natural` speech of the same sentences."""
        scores = self.word_scores(system, items, folder, recognizer)
        estimates = {"wer": corpus_rate(scores), "wer_sentences": mean_rate(scores)}
        if natural is not None and system != NATURAL:
            estimates["wer_over_natural"] = relative_rate(scores, natural)
        return estimates

    @cached_property
    def targets(self) -> dict[str, np.ndarray]:
        """The mean speaker embedding [D] of every voice's references, of unit length."""
        files = {f"{row.voice}/{row.id}": row.audio for row in self.references}
        vectors = embeddings(self.judges.speaker, files, self.folder, "references")
        by_voice: dict[str, list[np.ndarray]] = {}
        for row in self.references:
            by_voice.setdefault(row.voice, []).append(vectors[f"{row.voice}/{row.id}"])
        return {voice: centroid(own) for voice, own in by_voice.items()}

    def similarity(self, system: str, items: Sequence[SpokenItem], folder: Path) -> Estimates:
        """Cosine similarity to the target voice, and to the nearest other one."""
        vectors = self._vectors(system, items, folder)
        own, other = compare(vectors, [item.voice for item in items], self.targets)
        return {"similarity": own, "similarity_other": other}

    def swapped(self, system: str, items: Sequence[SpokenItem], folder: Path) -> Estimates:
        """Similarities of speech that was decoded with the next voice's speaker vector."""
        vectors, sources = self._vectors(system, items, folder), [item.voice for item in items]
        following = next_names(set(sources))
        to_vector, _ = compare(vectors, [following[name] for name in sources], self.targets)
        to_codes, _ = compare(vectors, sources, self.targets)
        return {"swapped_to_vector": to_vector, "swapped_to_codes": to_codes}

    def _vectors(
        self, system: str, items: Sequence[SpokenItem], folder: Path
    ) -> list[np.ndarray | None]:
        files = {item.id: item.audio for item in items if not item.silent}
        found = embeddings(self.judges.speaker, files, folder, system)
        return [found.get(item.id) for item in items]

    def opinion(self, system: str, items: Sequence[SpokenItem], folder: Path) -> Estimates:
        """Mean opinion scores by their names, the overall one first; silent speech is left out."""
        judge = self.judges.mos
        files = {item.id: item.audio for item in items if not item.silent}
        rows = kept_scores(
            folder / "rows" / f"mos-{judge.name}-{system}.jsonl",
            files,
            lambda path: dict(judge.score(read_audio(path, SAMPLE_RATE))),
        )
        names = dict.fromkeys(name for row in rows.values() for name in row if name != "id")
        return {
            f"{judge.title} {name.upper()}": bootstrap_mean([row[name] for row in rows.values()])
            for name in names
        }

    def fidelity(self, system: str, items: Sequence[SpokenItem], folder: Path) -> Estimates:
        """STOI, PESQ-WB and mel distance of resynthesis to its recordings."""
        pairs = {item.id: item for item in items if item.natural is not None and not item.silent}
        rows = JsonlStore(folder / "rows" / f"fidelity-{system}.jsonl")
        for item in track(pairs.values(), len(pairs), "fidelity"):
            if rows.get(item.id) is None and item.natural is not None:
                rows.append({"id": item.id, **fidelity(item.natural, item.audio)})
        found = [rows.rows[name] for name in pairs]
        return {
            name: bootstrap_mean([row[name] for row in found if row[name] is not None])
            for name in ("stoi", "pesq", "mel")
        }


def success(items: Sequence[SpokenItem]) -> Estimates:
    """Shares of utterances that came out complete, and that failed in each way."""
    estimates = {"success": bootstrap_mean([float(not item.failure) for item in items])}
    for kind in FAILURES:
        share = bootstrap_mean([float(item.failure == kind) for item in items])
        estimates[kind.replace(" ", "_")] = share
    return estimates


# -- rows of single utterances -----------------------------------------------------------------


def transcripts(
    recognizer: Recognizer, files: Mapping[str, Path], folder: Path, label: str, processes: int = 1
) -> dict[str, str]:
    """Transcripts of `files` by id, recognized now or read from the rows in `folder`."""
    rows = JsonlStore(folder / "rows" / f"transcripts-{recognizer.name}-{label}.jsonl")
    todo = [name for name in files if rows.get(name) is None]
    found = transcribe_files(recognizer, [files[name] for name in todo], processes)
    for index, text in track(found, len(todo), f"recognize {label}"):
        rows.append({"id": todo[index], "transcript": text})
    return {name: rows.rows[name]["transcript"] for name in files}


def embeddings(
    judge: SpeakerJudge, files: Mapping[str, Path], folder: Path, label: str
) -> dict[str, np.ndarray]:
    """Speaker embeddings [D] of `files` by id, computed now or read from the rows in `folder`."""

    def embed(path: Path) -> Row:
        vector = judge.embed(read_audio(path, SAMPLE_RATE))
        return {"vector": [round(float(x), 6) for x in vector]}

    rows = kept_scores(folder / "rows" / f"speaker-{judge.name}-{label}.jsonl", files, embed)
    return {name: np.array(row["vector"]) for name, row in rows.items()}


def kept_scores(
    path: Path, files: Mapping[str, Path], score: Callable[[Path], Row]
) -> dict[str, Row]:
    """Scores of `files` by id, computed now or read from the rows at `path`."""
    rows = JsonlStore(path)
    for name, file in track(files.items(), len(files), path.stem):
        if rows.get(name) is None:
            rows.append({"id": name, **score(file)})
    return {name: rows.rows[name] for name in files}


# -- speaker similarity ------------------------------------------------------------------------


def centroid(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Mean of unit vectors [D], of unit length."""
    mean: np.ndarray = np.mean(vectors, 0)
    return mean / max(float(np.linalg.norm(mean)), 1e-6)


def compare(
    vectors: Sequence[np.ndarray | None], voices: Sequence[str], targets: Mapping[str, np.ndarray]
) -> tuple[Estimate, Estimate]:
    """Mean cosine of `vectors` to the target of their voice, and to the nearest other target.

    Speech without a vector counts 0. Voices without a target are left out.
    """
    own, other = [], []
    for vector, voice in zip(vectors, voices, strict=True):
        if voice not in targets:
            continue
        cosines = {
            name: 0.0 if vector is None else float(np.sum(vector * target))
            for name, target in targets.items()
        }
        own.append(cosines.pop(voice))
        if cosines:
            other.append(max(cosines.values()))
    return bootstrap_mean(own), bootstrap_mean(other)


# -- fidelity to a reference -------------------------------------------------------------------


def fidelity(reference: Path, degraded: Path) -> dict[str, float]:
    """STOI (0 to 1), PESQ-WB (1 to 4.6) and mel distance (dB) of `degraded` to `reference`.

    Both are aligned in time; the longer one is cut to the length of the other. A score is NaN for
    silence. STOI: Taal et al., IEEE TASLP 19(7), 2011. PESQ-WB: ITU-T P.862.2.
    """
    true, made = read_audio(reference, SAMPLE_RATE), read_audio(degraded, SAMPLE_RATE)
    length = min(len(true), len(made))
    true, made = true[:length], made[:length]
    pesq = require("pesq")
    try:
        score = pesq.pesq(SAMPLE_RATE, true, made, "wb")
    except pesq.PesqError:  # one of the two is silent, or shorter than a quarter of a second
        score = float("nan")
    stoi = require("pystoi").stoi(true, made, SAMPLE_RATE)
    return {"stoi": float(stoi), "pesq": float(score), "mel": mel_distance(true, made)}


def mel_distance(true: np.ndarray, made: np.ndarray) -> float:
    """Mean absolute difference of the log-mel spectra of two signals [N] at SAMPLE_RATE, in dB.

    80 bands, windows of 64 ms every 16 ms, magnitudes from -80 dB of full scale.
    """
    hann, bank = torch.hann_window(MEL_WINDOW), mel_filters(SAMPLE_RATE, MEL_WINDOW, MELS)
    levels = []
    for samples in (true, made):
        wav = torch.from_numpy(np.ascontiguousarray(samples, np.float32))
        spectrum = torch.stft(
            wav, MEL_WINDOW, MEL_WINDOW // 4, window=hann, pad_mode="constant", return_complex=True
        )
        mel = spectrum.abs().T @ bank / (hann.sum() / 2)  # [F, M], 1 is full scale
        levels.append(20 * mel.clamp(min=MEL_FLOOR).log10())
    return float((levels[0] - levels[1]).abs().mean())


# -- metrics in a file -------------------------------------------------------------------------


@dataclass
class MetricSet:
    """Estimates by their keys, and how to install the judges that are missing."""

    estimates: Estimates = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def measure(self, judge: str, score: Callable[[], Estimates]) -> None:
        """Add the estimates of a judge (recognizer, speaker or mos), or how to install it."""
        try:
            self.estimates |= score()
            self.missing.pop(judge, None)
        except InputError as error:
            if error.code != "not_installed":
                raise
            self.missing[judge] = str(error)

    def is_complete(self, judges: Judges) -> bool:
        """Whether no judge that was missing has been installed since."""
        return not any(judges.is_installed(kind) for kind in self.missing)

    def save(self, folder: Path) -> None:
        """Write metrics.json, which marks the evaluation as completed."""
        folder.mkdir(parents=True, exist_ok=True)
        estimates = {name: finite(asdict(value)) for name, value in self.estimates.items()}
        text = json.dumps({"metrics": estimates, "missing": self.missing}, indent=2)
        with atomic_path(folder / FILE) as partial:
            partial.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "MetricSet | None":
        """Read metrics.json; None if there is none. Raises InputError if it is damaged."""
        if not (folder / FILE).is_file():
            return None
        data = read_object(folder / FILE, f"metrics '{folder}'")
        try:
            estimates = {name: _estimate(values) for name, values in data["metrics"].items()}
            return cls(estimates, dict(data["missing"]))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise InputError(
                f"metrics '{folder / FILE}': is damaged; delete it", code="damaged"
            ) from error


def _estimate(values: Mapping[str, float | None]) -> Estimate:
    known = {name: math.nan if value is None else value for name, value in values.items()}
    return Estimate(known["value"], known["low"], known["high"], int(known["count"]))

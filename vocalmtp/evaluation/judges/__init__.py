"""Judges of speech by name: recognizers, speaker embeddings and predicted opinion scores.

A new speaker or MOS judge is one file in this package, such as resemblyzer.py or dnsmos.py; a new
recognizer is one file in `vocalmtp.recognizers`. Every command that judges speech accepts it as
`--judge NAME` or `--judge NAME=ARGUMENT`.
"""

from collections.abc import Iterable
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np

from vocalmtp.config import Registry, split_spec
from vocalmtp.engines.device import resolve_device
from vocalmtp.errors import InputError, nearest
from vocalmtp.fetch.cards import first_fetched, local_folder
from vocalmtp.optional import require
from vocalmtp.recognizers.base import (
    DEFAULT_RECOGNIZER,
    RECOGNIZERS,
    SAMPLE_RATE,
    Recognizer,
    build_recognizer,
)

__all__ = ["MOS_JUDGES", "SAMPLE_RATE", "SPEAKER_JUDGES", "Judges", "MOSJudge", "SpeakerJudge"]

T = TypeVar("T")


class SpeakerJudge(Protocol):
    """A speaker embedding, built with the keyword argument `device`.

    `name` is part of file names, `description` of reports.
    """

    name: str
    description: str

    def embed(self, samples: np.ndarray) -> np.ndarray:
        """Embed the speaker of `samples` [N], float32 at SAMPLE_RATE, as a unit vector [D]."""
        ...


class MOSJudge(Protocol):
    """A predictor of mean opinion scores, built with the keyword argument `device`.

    `name` is part of file names, `description` of reports, `title` of the names of metrics.
    """

    name: str
    description: str
    title: str

    def score(self, samples: np.ndarray) -> dict[str, float]:
        """Opinion scores, 1 to 5, of `samples` [N], float32 at SAMPLE_RATE; the overall one first."""
        ...


SPEAKER_JUDGES: Registry[type[SpeakerJudge]] = Registry("speaker judge", __name__)
MOS_JUDGES: Registry[type[MOSJudge]] = Registry("MOS judge", __name__)
KINDS: dict[str, Registry[Any]] = {
    "recognizer": RECOGNIZERS,
    "speaker": SPEAKER_JUDGES,
    "mos": MOS_JUDGES,
}
DEFAULTS = {"recognizer": DEFAULT_RECOGNIZER, "speaker": "resemblyzer", "mos": "dnsmos"}


class Judges:
    """One judge of every kind: the chosen ones, and the default for the other kinds.

    The default recognizer is one that 'vocalmtp get' has fetched, such as whisper-tiny.en, else
    pocketsphinx. A judge is loaded when it is first used, so packages of judges that are not used may
    be missing.

    Args:
        specs: "NAME" or "NAME=ARGUMENT" of recognizers, speaker judges and MOS judges; of the last
            two at most one. Recognizers after the first give further columns.
        device: torch device that they run on, or auto.

    Raises:
        InputError: an unknown name, or two judges of a kind.
    """

    def __init__(self, specs: Iterable[str] | None = None, device: str = "cpu"):
        self.device = device
        self.chosen: dict[str, str] = {}
        self.further: list[str] = []  # recognizers
        for spec in specs or ():
            name, _ = split_spec(spec)
            kind = next((kind for kind, known in KINDS.items() if name in known), None)
            if kind is None and local_folder(spec, "judge"):  # of a recognizer's model
                kind = "recognizer"
            if kind is None:
                names = [name for known in KINDS.values() for name in known]
                raise InputError(
                    f"judge '{name}': no such judge; {nearest(name, names)}", code="unknown_name"
                )
            if kind == "recognizer" and kind in self.chosen and spec != self.chosen[kind]:
                self.further.append(spec)
                continue
            if kind in self.chosen:
                raise InputError(
                    f"judge '{spec}': '{self.chosen[kind]}' is of the same kind; leave one out",
                    code="conflict",
                )
            self.chosen[kind] = spec

    def __getstate__(self) -> dict[str, Any]:  # loaded judges stay in this process
        return {"device": self.device, "chosen": self.chosen, "further": self.further}

    def spec(self, kind: str) -> str:
        """The spec of the judge of a kind: recognizer, speaker or mos."""
        fetched = first_fetched("recognizer") if kind == "recognizer" else None
        return self.chosen.get(kind) or fetched or DEFAULTS[kind]

    @cached_property
    def recognizer(self) -> Recognizer:
        """The recognizer, loaded at the first access."""
        return build_recognizer(self.spec("recognizer"), str(resolve_device(self.device)))

    @cached_property
    def recognizers(self) -> list[Recognizer]:
        """The recognizer, and the further ones."""
        device = str(resolve_device(self.device))
        return [self.recognizer, *(build_recognizer(spec, device) for spec in self.further)]

    @cached_property
    def speaker(self) -> SpeakerJudge:
        """The speaker judge, loaded at the first access."""
        return self._create(SPEAKER_JUDGES, "speaker")

    @cached_property
    def mos(self) -> MOSJudge:
        """The MOS judge, loaded at the first access."""
        return self._create(MOS_JUDGES, "mos")

    def _create(self, registry: Registry[type[T]], kind: str) -> T:
        judge: T = registry.create(self.spec(kind), device=str(resolve_device(self.device)))
        return judge

    def scores(self, samples: np.ndarray, reference: np.ndarray | None = None) -> dict[str, float]:
        """Scores of one recording by the speaker and MOS judges that were chosen.

        Args:
            samples: float32 [N] at SAMPLE_RATE.
            reference: a recording [M] of the target voice; without it, there is no similarity.

        Returns:
            `similarity`, the cosine of speaker embeddings, and `mos`, the overall opinion score.
        """
        scores = {}
        if "speaker" in self.chosen and reference is not None:
            target = self.speaker.embed(reference)
            scores["similarity"] = round(float(self.speaker.embed(samples) @ target), 4)
        if "mos" in self.chosen:
            scores["mos"] = round(next(iter(self.mos.score(samples).values())), 4)
        return scores

    def is_installed(self, kind: str) -> bool:
        """Whether the judge of a kind, and what scores its output, can be loaded."""
        try:
            if kind == "recognizer":
                require("jiwer")
            getattr(self, kind)
        except InputError as error:
            if error.code != "not_installed":
                raise
            return False
        return True

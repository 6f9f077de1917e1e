"""How published work counts word errors; a figure means something only with the name of its rules.

Whoever recognises is chosen apart (judges.py); each convention says who did in published figures.
Speech that failed loses every word everywhere, where some published scripts pass over it.
"""

import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from vocalmtp.errors import InputError, nearest
from vocalmtp.evaluation.intelligibility import WordErrors, corpus_rate, mean_rate, scoring_text
from vocalmtp.evaluation.statistics import Estimate

# Signs of Chinese texts, and typographic ones, that seed-tts-eval's script removes beside ASCII's.
WIDE = (
    "\uff02\uff03\uff04\uff05\uff06\uff07\uff08\uff09\uff0a\uff0b\uff0c\uff0d\uff0f\uff1a\uff1b"
    "\uff1c\uff1d\uff1e\uff20\uff3b\uff3c\uff3d\uff3e\uff3f\uff40\uff5b\uff5c\uff5d\uff5e\uff5f"
    "\uff60\uff62\uff63\uff64\u3000\u3001\u3003\u3008\u3009\u300a\u300b\u300c\u300d\u300e\u300f"
    "\u3010\u3011\u3014\u3015\u3016\u3017\u3018\u3019\u301a\u301b\u301c\u301d\u301e\u301f\u3030"
    "\u303e\u303f\u2013\u2014\u2018\u2019\u201b\u201c\u201d\u201e\u201f\u2026\u2027\ufe4f\ufe51"
    "\ufe54\u00b7\uff01\uff1f\uff61\u3002"
)


@dataclass(frozen=True)
class Convention:
    """Rules of a word error rate. `normalise` prepares both texts; `heard_by` is for people."""

    name: str
    normalise: Callable[[str], str]
    over: Literal["sentences", "words"]  # the mean of the sentences' rates, or all words together
    heard_by: str
    source: str

    def rate(self, scores: Sequence[WordErrors]) -> Estimate:
        """The word error rate of all, with a 95 % interval over the sentences."""
        return mean_rate(scores) if self.over == "sentences" else corpus_rate(scores)

    def describe(self) -> str:
        """One line for a report."""
        over = "mean of the sentences' rates" if self.over == "sentences" else "over all words"
        return (
            f"Word errors as in {self.source} ({self.name}): {over}; failures lose every word. "
            f"Published figures are heard by {self.heard_by}"
        )


def _without(signs: str) -> Callable[[str], str]:
    table = str.maketrans("", "", signs)
    return lambda text: re.sub(r"\s+", " ", text.translate(table)).strip().lower()


def _letters(text: str) -> str:
    return " ".join(re.sub(r"[^a-z' ]", " ", text.lower()).split())


@cache
def _whisper_normalizer() -> Callable[[str], str]:
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    return EnglishTextNormalizer({})


CONVENTIONS = {
    convention.name: convention
    for convention in (
        Convention(
            "seed-tts-eval",
            _without(string.punctuation.replace("'", "") + WIDE),
            "sentences",
            "Whisper-large-v3",
            "seed-tts-eval (arXiv 2406.02430)",
        ),
        Convention(
            "librispeech-pc",
            _without(string.punctuation + WIDE),
            "sentences",
            "faster-whisper-large-v3",
            "F5-TTS's LibriSpeech-PC list (arXiv 2410.06885)",
        ),
        Convention(
            "vall-e",
            _letters,
            "words",
            "HuBERT-Large-LS960-ft, CTC",
            "VALL-E (arXiv 2301.02111)",
        ),
        Convention(
            "whisper",
            lambda text: _whisper_normalizer()(text),
            "sentences",
            "Whisper-large-v3",
            "URO-Bench, with Whisper's English normaliser without its table of British spellings",
        ),
        Convention(
            "vocalmtp",
            scoring_text,
            "words",
            "pocketsphinx",
            "vocalmtp eval intelligibility",
        ),
    )
}


def find_convention(name: str) -> Convention:
    """The convention of that name; raises InputError if there is none."""
    if name not in CONVENTIONS:
        raise InputError(
            f"convention '{name}': unknown; {nearest(name, CONVENTIONS)}", code="unknown_name"
        )
    return CONVENTIONS[name]

"""Scores of recognized text: word error rates by published conventions, exact match and F1.

A word error rate means something only with its convention: how both texts are normalized, and
whether the rate is over all words or the mean of the sentences' rates. The recognizer is chosen
independently; each convention names the one behind the published figures. Speech that failed loses
every word, where some published scripts skip it.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from vocalmtp.config import Registry
from vocalmtp.errors import InputError
from vocalmtp.evaluation.statistics import Estimate, bootstrap_mean, bootstrap_ratio
from vocalmtp.optional import require
from vocalmtp.text import normalize

Normalizer = Callable[[str], str]

# British spellings that recognizers write in the American way.
SPELLINGS = {
    british: american
    for pair in (
        "colour:color favour:favor flavour:flavor harbour:harbor honour:honor humour:humor "
        "labour:labor neighbour:neighbor centre:center metre:meter theatre:theater grey:gray "
        "travelled:traveled travelling:traveling traveller:traveler programme:program "
        "defence:defense licence:license realise:realize organise:organize recognise:recognize"
    ).split()
    for british, american in [pair.split(":")]
}

# Signs of Chinese texts, and typographic ones, that seed-tts-eval's script removes beside ASCII's.
WIDE = (
    "\uff02\uff03\uff04\uff05\uff06\uff07\uff08\uff09\uff0a\uff0b\uff0c\uff0d\uff0f\uff1a\uff1b"
    "\uff1c\uff1d\uff1e\uff20\uff3b\uff3c\uff3d\uff3e\uff3f\uff40\uff5b\uff5c\uff5d\uff5e\uff5f"
    "\uff60\uff62\uff63\uff64\u3000\u3001\u3003\u3008\u3009\u300a\u300b\u300c\u300d\u300e\u300f"
    "\u3010\u3011\u3014\u3015\u3016\u3017\u3018\u3019\u301a\u301b\u301c\u301d\u301e\u301f\u3030"
    "\u303e\u303f\u2013\u2014\u2018\u2019\u201b\u201c\u201d\u201e\u201f\u2026\u2027\ufe4f\ufe51"
    "\ufe54\u00b7\uff01\uff1f\uff61\u3002"
)
ANSWER_SIGNS = str.maketrans({sign: " " for sign in string.punctuation + "\u2018\u2019\u00b4`"})
ANSWER_LEAD = re.compile(r"^.*?\bthe answer is\b[\s:,]*", re.IGNORECASE | re.DOTALL)


# -- normalization -----------------------------------------------------------------------------


@cache
def _english_normalizer() -> Normalizer:
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    return EnglishTextNormalizer(SPELLINGS)


def spoken_form(text: str) -> str:
    """One form of all ways to write the same speech: "5 pm", "five p. m.", "W", "double you".

    The text front end first writes numbers, letters and symbols as words; then Whisper's English
    normalizer turns number words into digits and removes punctuation. Digits are separate words, so
    that a number with one wrong digit is not wrong as a whole. A text that the front end cannot
    read (another script) is only lower-cased.
    """
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(sign for sign in plain if not unicodedata.combining(sign))
    try:
        plain = normalize(plain)
    except InputError:
        plain = plain.lower()
    digits = re.sub(r"(\d)(?=\d)", r"\1 ", _english_normalizer()(plain))
    return re.sub(r"\bone\b", "1", digits)  # Whisper's normalizer writes a single 1 as "one"


def _remove(signs: str) -> Normalizer:
    """A normalizer that deletes `signs` and lower-cases the rest."""
    table = str.maketrans("", "", signs)
    return lambda text: re.sub(r"\s+", " ", text.translate(table)).strip().lower()


def _letters_only(text: str) -> str:
    return " ".join(re.sub(r"[^a-z' ]", " ", text.lower()).split())


# -- word errors -------------------------------------------------------------------------------


@dataclass(frozen=True)
class WordErrors:
    """Substitutions + deletions + insertions of one utterance, over `words` reference words."""

    errors: int
    words: int

    @property
    def rate(self) -> float:
        """Word error rate as a fraction, above 1 with many insertions."""
        return self.errors / self.words


def word_errors(
    reference: str, hypothesis: str, normalizer: Normalizer = spoken_form
) -> WordErrors:
    """Count the word errors of a transcript; an empty transcript loses every word.

    Args:
        reference: the text that was to be spoken.
        hypothesis: the transcript of the speech.
        normalizer: applied to both texts.

    Raises:
        InputError: the package jiwer is missing.
    """
    reference, hypothesis = normalizer(reference), normalizer(hypothesis)
    count = len(reference.split())
    if not hypothesis or not reference:
        return WordErrors(count or len(hypothesis.split()), max(count, 1))
    found = require("jiwer").process_words(reference, hypothesis)
    return WordErrors(found.substitutions + found.deletions + found.insertions, count)


def corpus_rate(scores: Sequence[WordErrors]) -> Estimate:
    """Word error rate over all words, with a 95 % bootstrap interval over utterances."""
    return bootstrap_ratio([s.errors for s in scores], [s.words for s in scores])


def mean_rate(scores: Sequence[WordErrors]) -> Estimate:
    """Mean of the utterances' word error rates, with a 95 % bootstrap interval."""
    return bootstrap_mean([s.rate for s in scores])


def relative_rate(scores: Sequence[WordErrors], natural: Sequence[WordErrors]) -> Estimate:
    """Ratio of the corpus rate to natural speech's, of the same sentences in the same order."""
    if [s.words for s in scores] != [s.words for s in natural]:
        raise ValueError("the two lists are not of the same sentences")
    return bootstrap_ratio([s.errors for s in scores], [s.errors for s in natural])


# -- conventions -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Convention:
    """Rules of a word error rate, and the recognizer of the published figures."""

    name: str
    normalizer: Normalizer
    average: Literal["sentences", "words"]  # the mean of the sentences' rates, or over all words
    recognizer: str
    source: str

    def rate(self, scores: Sequence[WordErrors]) -> Estimate:
        """Word error rate, with a 95 % bootstrap interval over the sentences."""
        return mean_rate(scores) if self.average == "sentences" else corpus_rate(scores)

    def describe(self) -> str:
        """Describe the rules in one line of a report."""
        over = "mean of the sentences' rates" if self.average == "sentences" else "over all words"
        return (
            f"Word error rate as in {self.source} ({self.name}): {over}; failed speech loses "
            "every word. "
            f"Published figures use {self.recognizer}"
        )


CONVENTIONS: Registry[Convention] = Registry("convention")
for _convention in (
    Convention(
        "seed-tts-eval",
        _remove(string.punctuation.replace("'", "") + WIDE),
        "sentences",
        "Whisper-large-v3",
        "seed-tts-eval (arXiv 2406.02430)",
    ),
    Convention(
        "librispeech-pc",
        _remove(string.punctuation + WIDE),
        "sentences",
        "faster-whisper-large-v3",
        "F5-TTS's LibriSpeech-PC list (arXiv 2410.06885)",
    ),
    Convention(
        "vall-e",
        _letters_only,
        "words",
        "HuBERT-Large-LS960-ft, CTC",
        "VALL-E (arXiv 2301.02111)",
    ),
    Convention(
        "whisper",
        lambda text: _english_normalizer()(text),
        "sentences",
        "Whisper-large-v3",
        "URO-Bench, by Whisper's English normalizer with a short table of British spellings",
    ),
    Convention(
        "vocalmtp",
        spoken_form,
        "words",
        "Whisper tiny.en, in older tables pocketsphinx",
        "vocalmtp eval, by Whisper's English normalizer after the text front end",
    ),
):
    CONVENTIONS.register(_convention.name)(_convention)


# -- short answers -----------------------------------------------------------------------------


def normalize_answer(text: str) -> str:
    """Normalize as TriviaQA's evaluation script does (arXiv 1705.03551).

    Lower case, punctuation as spaces, no articles, one space between words.
    """
    words = text.replace("_", " ").lower().translate(ANSWER_SIGNS)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", words).split())


def final_answer(text: str) -> str:
    """The part after "the answer is", if the text has these words; else the whole text."""
    return ANSWER_LEAD.sub("", text, count=1)


def exact_match(answer: str, aliases: Sequence[str]) -> float:
    """1 if the normalized answer is one of the aliases, else 0."""
    return _best(answer, aliases, lambda a, b: float(a == b))


def f1_score(answer: str, aliases: Sequence[str]) -> float:
    """F1 of the words in common, 0 to 1: the best over the aliases."""
    return _best(answer, aliases, _bag_f1)


def _best(answer: str, aliases: Sequence[str], score: Callable[[str, str], float]) -> float:
    given = normalize_answer(answer)
    return max(score(given, normalize_answer(alias)) for alias in aliases)


def _bag_f1(answer: str, truth: str) -> float:
    given, wanted = answer.split(), truth.split()
    common = (Counter(given) & Counter(wanted)).total()
    if not common:
        return 0.0
    precision, recall = common / len(given), common / len(wanted)
    return 2 * precision * recall / (precision + recall)


def text_scores(answer: str, aliases: Sequence[str]) -> tuple[float, float]:
    """Exact match and F1 of a written answer, without "the answer is"."""
    given = final_answer(answer)
    return exact_match(given, aliases), f1_score(given, aliases)


def speech_scores(transcript: str, aliases: Sequence[str]) -> tuple[float, float]:
    """Exact match and F1 of a recognized answer, in spoken form like its aliases."""
    return text_scores(spoken_form(transcript), [spoken_form(alias) for alias in aliases])


def agreement(answer: str, transcript: str) -> WordErrors:
    """Word errors of the transcript of an answer's speech; of an empty answer 0 of 0 words."""
    return word_errors(answer, transcript) if answer else WordErrors(0, 0)

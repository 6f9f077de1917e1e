"""Scores of a short answer against its aliases, as TriviaQA's official scorer has them.

Exact match and the F1 of the bags of words, after its normalisation; each the best over the aliases
(Joshi et al. 2017, arXiv 1705.03551, and its evaluation script).
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

from vocalmtp.evaluation.intelligibility import WordErrors, word_errors
from vocalmtp.evaluation.spoken_form import spoken_form

SPACED = str.maketrans({sign: " " for sign in string.punctuation + "\u2018\u2019\u00b4`"})
LEAD = re.compile(r"^.*?\bthe answer is\b[\s:,]*", re.IGNORECASE | re.DOTALL)


def normalise_answer(text: str) -> str:
    """Lower case, punctuation as spaces, no articles, one space between words."""
    words = text.replace("_", " ").lower().translate(SPACED)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", words).split())


def final_answer(text: str) -> str:
    """What follows "the answer is", where a text has these words; else all of it."""
    return LEAD.sub("", text, count=1)


def exact_match(answer: str, aliases: Sequence[str]) -> float:
    """1 if the answer is one of the aliases, else 0. Raises ValueError without aliases."""
    return _best(answer, aliases, lambda a, b: float(a == b))


def f1(answer: str, aliases: Sequence[str]) -> float:
    """F1 of the words in common, 0 to 1, best over the aliases. Raises ValueError without them."""
    return _best(answer, aliases, _bag_f1)


def _best(answer: str, aliases: Sequence[str], score: Callable[[str, str], float]) -> float:
    said = normalise_answer(answer)
    return max(score(said, normalise_answer(alias)) for alias in aliases)


def _bag_f1(answer: str, truth: str) -> float:
    said, wanted = answer.split(), truth.split()
    common = (Counter(said) & Counter(wanted)).total()
    if not common:
        return 0.0
    precision, recall = common / len(said), common / len(wanted)
    return 2 * precision * recall / (precision + recall)


def text_scores(answer: str, aliases: Sequence[str]) -> tuple[float, float]:
    """Exact match and F1 of a written answer, without "the answer is"."""
    said = final_answer(answer)
    return exact_match(said, aliases), f1(said, aliases)


def speech_scores(heard: str, aliases: Sequence[str]) -> tuple[float, float]:
    """As `text_scores`, of what was heard; answer and aliases as they sound, see `spoken_form`."""
    return text_scores(spoken_form(heard), [spoken_form(alias) for alias in aliases])


def agreement(answer: str, heard: str) -> WordErrors:
    """Word errors of what was heard against what was written, both as they sound.

    Without a text there is nothing to agree with: no errors of no words.
    """
    if not answer:
        return WordErrors(0, 0)
    return word_errors(spoken_form(answer), spoken_form(heard))

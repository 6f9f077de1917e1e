"""Listening to what was spoken, and speaking it again where it was not understood."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vocalmtp.evaluation.intelligibility import hear, word_errors
from vocalmtp.text import normalize
from vocalmtp.tts import SEED_STRIDE, SynthesisRequest

if TYPE_CHECKING:
    from vocalmtp.audio.io import Audio

# How a text is spoken again: not by the likeliest tokens, which would be the same ones.
LIVELIER = {"temperature": 0.5, "top_k": 20}


@dataclass(frozen=True)
class Check:
    """What was heard of an item."""

    heard: str
    wer: float  # word error rate of `heard` against the normalised text
    tries: int  # how often it was spoken
    request: SynthesisRequest  # that said what was kept


def check(audio: "Audio", request: SynthesisRequest, tries: int = 1) -> Check:
    """Recognise `audio` (pocketsphinx). Raises InputError if a package is missing."""
    heard = hear(audio.samples, audio.sample_rate)
    return Check(heard, word_errors(normalize(request.text), heard).rate, tries, request)


def best_of(
    audio: "Audio",
    request: SynthesisRequest,
    retries: int,
    say: Callable[[SynthesisRequest], "Audio"],
) -> tuple["Audio", Check]:
    """`audio`, or the best of up to `retries` others that `say` makes, and how it was heard.

    The recogniser errs on natural speech too, so what it calls wrong may be right; what it hears
    without an error is.
    """
    best = audio, check(audio, request)
    for tries in range(2, retries + 2):
        if best[1].wer == 0 and not best[0].truncated:
            break
        best = best[0], replace(best[1], tries=tries)
        again = replace(
            request,
            seed=(request.seed + tries * SEED_STRIDE) % 2**63,
            sampling=_livelier(request.sampling),
        )
        other = say(again)
        found = check(other, again, tries)
        if (other.truncated, found.wer) < (best[0].truncated, best[1].wer):
            best = other, found
    return best


def check_fields(check: Check) -> dict[str, Any]:
    """What the manifest says of the try that was kept."""
    fields = {"seed": check.request.seed, "wer": round(check.wer, 4), "heard": check.heard}
    if check.request.sampling:
        fields["sampling"] = check.request.sampling
    return fields | {"tries": check.tries}


def _livelier(sampling: dict) -> dict:
    """The options if they draw at all, or ones that do."""
    if sampling.get("temperature") and not sampling.get("greedy"):
        return sampling
    return {**{k: v for k, v in sampling.items() if k != "greedy"}, **LIVELIER}

"""Verification: recognize synthesized speech, and synthesize it again where words are wrong."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vocalmtp.evaluation.intelligibility import hear, word_errors
from vocalmtp.text import normalize
from vocalmtp.tts import SEED_STRIDE, SynthesisRequest

if TYPE_CHECKING:
    from vocalmtp.audio.io import Audio

# Sampling of retries: greedy decoding would repeat the same tokens.
RETRY_SAMPLING = {"temperature": 0.5, "top_k": 20}


@dataclass(frozen=True)
class Check:
    """The recognition result of an item."""

    transcript: str
    wer: float  # word error rate of `transcript` against the normalized text
    tries: int  # number of syntheses
    request: SynthesisRequest  # of the synthesis that was kept


def check(audio: "Audio", request: SynthesisRequest, tries: int = 1) -> Check:
    """Recognize `audio` by pocketsphinx. Raises InputError if a package is missing."""
    transcript = hear(audio.samples, audio.sample_rate)
    return Check(transcript, word_errors(normalize(request.text), transcript).rate, tries, request)


def best_of(
    audio: "Audio",
    request: SynthesisRequest,
    retries: int,
    synthesize: Callable[[SynthesisRequest], "Audio"],
) -> tuple["Audio", Check]:
    """Return the audio with the fewest word errors among `audio` and up to `retries` others.

    The recognizer also errs on natural speech: a correct transcript proves an item right, a wrong
    one does not prove it wrong.
    """
    best = audio, check(audio, request)
    for tries in range(2, retries + 2):
        if best[1].wer == 0 and not best[0].truncated:
            break
        best = best[0], replace(best[1], tries=tries)
        retry = replace(
            request,
            seed=(request.seed + tries * SEED_STRIDE) % 2**63,
            sampling=_retry_sampling(request.sampling),
        )
        other = synthesize(retry)
        found = check(other, retry, tries)
        if (other.truncated, found.wer) < (best[0].truncated, best[1].wer):
            best = other, found
    return best


def check_fields(check: Check) -> dict[str, Any]:
    """Manifest fields of the synthesis that was kept."""
    fields = {
        "seed": check.request.seed,
        "wer": round(check.wer, 4),
        "transcript": check.transcript,
    }
    if check.request.sampling:
        fields["sampling"] = check.request.sampling
    return fields | {"tries": check.tries}


def _retry_sampling(sampling: dict[str, Any]) -> dict[str, Any]:
    """`sampling` itself if it is random, or RETRY_SAMPLING in its place."""
    if sampling.get("temperature") and not sampling.get("greedy"):
        return sampling
    return {**{k: v for k, v in sampling.items() if k != "greedy"}, **RETRY_SAMPLING}

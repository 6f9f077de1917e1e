"""Verification: recognize synthesized speech, and synthesize it again where words are wrong."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vocalmtp.audio.io import read_audio, resample
from vocalmtp.evaluation.judges import SAMPLE_RATE, Judges
from vocalmtp.evaluation.scoring import word_errors
from vocalmtp.text.ssml import parse_marks
from vocalmtp.tts import SEED_STRIDE, SynthesisRequest

if TYPE_CHECKING:
    from vocalmtp.audio.io import Audio

# Sampling of retries: greedy decoding would repeat the same tokens.
RETRY_SAMPLING = {"temperature": 0.5, "top_k": 20}


@dataclass(frozen=True)
class Check:
    """The recognition result of an item.

    Attributes:
        transcript: by the recognizer.
        wer: word error rate against the text, both in spoken form.
        tries: number of syntheses.
        request: that of the synthesis that was kept.
        scores: `similarity` and `mos` of the chosen judges.
    """

    transcript: str
    wer: float
    tries: int
    request: SynthesisRequest
    scores: dict[str, float] = field(default_factory=dict)


class Verifier:
    """The judges of a batch: a recognizer, and speaker and MOS judges if they are chosen.

    The recognizer decides; the other judges decide between syntheses with equal word errors. The
    speaker judge compares with the recording that an item imitates, if it does.

    Args:
        judges: the judges.
    """

    def __init__(self, judges: Judges):
        self.judges = judges

    def check(
        self,
        audio: "Audio",
        request: SynthesisRequest,
        tries: int = 1,
        reference: Path | None = None,
    ) -> Check:
        """Judge the synthesis of a request; raises InputError if a package is missing.

        Args:
            audio: the synthesis.
            request: its request.
            tries: number of syntheses so far.
            reference: the recording that the voice imitates.
        """
        samples = resample(audio.samples, audio.sample_rate, SAMPLE_RATE)
        transcript = self.judges.recognizer.transcribe(samples)
        written = " ".join(passage.written for passage in parse_marks(request.text))
        wer = word_errors(written, transcript).rate
        target = None if reference is None else read_audio(reference, SAMPLE_RATE)
        scores = self.judges.scores(samples, target)
        return Check(transcript, wer, tries, request, scores)

    def best_of(
        self,
        audio: "Audio",
        request: SynthesisRequest,
        retries: int,
        synthesize: Callable[[SynthesisRequest], "Audio"],
        reference: Path | None = None,
    ) -> tuple["Audio", Check]:
        """Return the synthesis with the fewest word errors among `audio` and up to `retries` more.

        The recognizer also errs on natural speech: a correct transcript proves an item right, a
        wrong one does not prove it wrong.
        """
        best = audio, self.check(audio, request, reference=reference)
        for tries in range(2, retries + 2):
            if best[1].wer == 0 and not best[0].truncated:
                break
            best = best[0], replace(best[1], tries=tries)
            retry = replace(
                request,
                seed=(request.seed + tries * SEED_STRIDE) % 2**63,
                sampling=retry_sampling(request.sampling),
            )
            other = synthesize(retry)
            found = self.check(other, retry, tries, reference)
            if _rank(other, found) < _rank(*best):
                best = other, found
        return best


def _rank(audio: "Audio", check: Check) -> tuple[float, ...]:
    """The smaller, the better."""
    return (audio.truncated, check.wer, *(-score for score in check.scores.values()))


def recording_of(voice: str | None) -> Path | None:
    """The recording that a voice imitates; None if it is a name or a voice file."""
    path = Path(voice or "")
    return path if path.is_file() and path.suffix != ".safetensors" else None


def check_fields(check: Check) -> dict[str, Any]:
    """Manifest fields of the synthesis that was kept."""
    fields = {
        "seed": check.request.seed,
        "wer": round(check.wer, 4),
        "transcript": check.transcript,
    } | check.scores
    if check.request.sampling:
        fields["sampling"] = check.request.sampling
    return fields | {"tries": check.tries}


def retry_sampling(sampling: dict[str, Any]) -> dict[str, Any]:
    """`sampling` itself if it is random, or RETRY_SAMPLING in its place."""
    if sampling.get("temperature") and not sampling.get("greedy"):
        return sampling
    return {**{k: v for k, v in sampling.items() if k != "greedy"}, **RETRY_SAMPLING}

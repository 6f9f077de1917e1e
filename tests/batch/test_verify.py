"""Verification: the best of several syntheses is kept and recorded in the manifest."""

import json

import numpy as np
import pytest
from helpers.errors import raises_input_error

from vocalmtp.audio.io import Audio
from vocalmtp.batch import Job, run_batch
from vocalmtp.batch.verify import RETRY_SAMPLING, Verifier, recording_of
from vocalmtp.evaluation.judges import MOS_JUDGES, Judges
from vocalmtp.recognizers.base import RECOGNIZERS, Recognizer
from vocalmtp.tts import SynthesisRequest


@RECOGNIZERS.register("test-script")
class Scripted(Recognizer):
    """Returns the given transcripts, separated by slashes, one after the other."""

    name = description = "script"

    def __init__(self, transcripts: str, device: str = "cpu"):
        self.transcripts = transcripts.split("/")

    def transcribe(self, samples: np.ndarray) -> str:
        return self.transcripts.pop(0)


@MOS_JUDGES.register("test-length")
class Length:
    """An opinion score that grows with the duration."""

    name = title = description = "length"

    def __init__(self, *, device: str = "cpu"):
        self.device = device

    def score(self, samples: np.ndarray) -> dict[str, float]:
        return {"ovrl": len(samples) / 1000}


def verifier(transcripts: str, *others: str) -> Verifier:
    return Verifier(Judges([f"test-script={transcripts}", *others]))


def audio(truncated: bool = False, samples: int = 100) -> Audio:
    return Audio(np.zeros(samples, np.float32), 16_000, truncated=truncated)


@pytest.mark.parametrize(
    ("transcripts", "kept", "tries"),
    [
        ("one two three", 0, 1),
        ("one/one two/nothing", 1, 3),
        ("one/one two three", 1, 2),
        ("one/two/three", 0, 3),  # of equals, the first
    ],
)
def test_the_synthesis_with_the_fewest_word_errors_is_kept(transcripts, kept, tries):
    requests = [SynthesisRequest(text="One two three.", seed=5, sampling={"greedy": True})]

    def synthesize(request):
        requests.append(request)
        return audio()

    _, check = verifier(transcripts).best_of(audio(), requests[0], 2, synthesize)
    assert check.request == requests[kept] and check.tries == tries == len(requests)
    assert check.transcript == transcripts.split("/")[kept]
    assert len({request.seed for request in requests}) == len(requests)
    assert all("greedy" not in request.sampling for request in requests[1:])


@pytest.mark.parametrize(
    ("text", "transcript"),
    [("W", "double you"), ("USB", "u. s. b."), ("It is 5 pm.", "it is five p. m.")],
)
def test_text_and_transcript_are_compared_in_spoken_form(text, transcript):
    check = verifier(transcript).check(audio(), SynthesisRequest(text=text))
    assert check.wer == 0


def test_truncated_audio_never_wins_over_complete_audio():
    request = SynthesisRequest(text="One two three.")
    judge = verifier("one two three/one")
    made, check = judge.best_of(audio(truncated=True), request, 1, lambda retry: audio())
    assert not made.truncated and check.tries == 2


def test_other_judges_decide_between_equal_word_errors(tmp_path):
    request = SynthesisRequest(text="One two three.")
    judge = verifier("one/two/three", "test-length")
    lengths = iter((300, 200))
    made, check = judge.best_of(audio(), request, 2, lambda retry: audio(samples=next(lengths)))
    assert len(made.samples) == 300 and check.scores == {"mos": 0.3}
    assert recording_of("slt") is None and recording_of(str(tmp_path)) is None
    (tmp_path / "a.wav").touch()
    assert recording_of(str(tmp_path / "a.wav")) == tmp_path / "a.wav"


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [({"temperature": 0.9}, {"temperature": 0.9}), ({"greedy": True}, RETRY_SAMPLING)],
)
def test_retries_sample_and_keep_random_options(sampling, expected):
    request = SynthesisRequest(text="One two three.", sampling=sampling)
    retried = []
    judge = verifier("one/one two three")
    judge.best_of(audio(), request, 1, lambda retry: retried.append(retry) or audio())
    assert [retry.sampling for retry in retried] == [expected]


@pytest.fixture
def job(tmp_path):
    """Makes the job of a list of one item."""
    from helpers.toy_model import save_toy_model

    model = save_toy_model(tmp_path / "toy")
    (tmp_path / "list.txt").write_text("Yes.\n")
    place = {"input": tmp_path / "list.txt", "output": tmp_path / "out", "model": str(model)}
    return lambda **settings: Job(**place, **settings)


def test_manifest_has_the_scores_of_the_judges(job, tmp_path):
    run_batch(job(verify=1, judges=("test-script=no/yes", "test-length")))
    [line] = (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()
    row = json.loads(line)
    assert (row["wer"], row["tries"], row["transcript"]) == (0, 2, "yes") and row["mos"] > 0


def test_verification_by_pocketsphinx_recognizes_no_words_in_noise(job, tmp_path):
    run_batch(job(verify=0))
    row = json.loads((tmp_path / "out" / "manifest.jsonl").read_text())
    assert row["wer"] > 0 and row["tries"] == 1


def test_unusable_judges_are_refused_before_the_synthesis(job):
    with raises_input_error("unknown_name", "judge"):
        job(verify=1, judges=("pocketspinx",))
    with raises_input_error("conflict", "judges"):
        job(judges=("pocketsphinx",))

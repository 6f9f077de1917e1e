"""Verification: the best of several syntheses is kept and recorded in the manifest."""

import json

import numpy as np
import pytest

from vocalmtp.audio.io import Audio
from vocalmtp.batch import Job, run_batch, verify
from vocalmtp.tts import SynthesisRequest


class Recognizer:
    """Returns the given transcripts, one after the other."""

    def __init__(self, *heard: str):
        self.heard = list(heard)

    def __call__(self, samples, sample_rate):
        return self.heard.pop(0)


def audio(truncated: bool = False) -> Audio:
    return Audio(np.zeros(100, np.float32), 16_000, truncated=truncated)


@pytest.mark.parametrize(
    ("heard", "kept", "tries"),
    [
        (["one two three"], 0, 1),
        (["one", "one two", "nothing"], 1, 3),
        (["one", "one two three"], 1, 2),
        (["one", "two", "three"], 0, 3),  # of equals, the first
    ],
)
def test_the_best_try_is_kept(monkeypatch, heard, kept, tries):
    monkeypatch.setattr(verify, "hear", Recognizer(*heard))
    said = [SynthesisRequest(text="One two three.", seed=5, sampling={"greedy": True})]

    def say(request):
        said.append(request)
        return audio()

    made, check = verify.best_of(audio(), said[0], 2, say)
    assert check.request == said[kept] and check.tries == tries == len(said)
    assert check.transcript == heard[kept]
    assert len({request.seed for request in said}) == len(said)
    assert all("greedy" not in request.sampling for request in said[1:])


def test_truncated_audio_never_wins_over_complete_audio(monkeypatch):
    monkeypatch.setattr(verify, "hear", Recognizer("one two three", "one"))
    request = SynthesisRequest(text="One two three.")
    made, check = verify.best_of(audio(truncated=True), request, 1, lambda again: audio())
    assert not made.truncated and check.tries == 2


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [({"temperature": 0.9}, {"temperature": 0.9}), ({"greedy": True}, verify.RETRY_SAMPLING)],
)
def test_retries_sample_and_keep_random_options(monkeypatch, sampling, expected):
    monkeypatch.setattr(verify, "hear", Recognizer("one", "one two three"))
    request = SynthesisRequest(text="One two three.", sampling=sampling)
    retried = []
    verify.best_of(audio(), request, 1, lambda retry: retried.append(retry) or audio())
    assert [retry.sampling for retry in retried] == [expected]


def test_the_manifest_has_the_score(tmp_path):
    from helpers.toy_model import save_toy_model

    model = save_toy_model(tmp_path / "toy")
    (tmp_path / "list.txt").write_text("Yes.\nNo.\n")
    job = Job(input=tmp_path / "list.txt", output=tmp_path / "out", model=str(model), verify=1)
    run_batch(job)
    rows = [json.loads(line) for line in (tmp_path / "out/manifest.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    for row in rows:  # noise, from random weights
        assert row["wer"] > 0 and row["tries"] == 2 and "transcript" in row

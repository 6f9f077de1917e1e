"""The model that comes with the package keeps the promises, on its real weights."""

from itertools import product

import numpy as np
import pytest

import vocalmtp
from vocalmtp.evaluation.scoring import word_errors
from vocalmtp.recognizers.base import build_recognizer, transcribe_file
from vocalmtp.tts import SynthesisRequest

MANY = [
    "Yes.",
    "Good morning.",
    "The birch canoe slid on the smooth planks.",
    "When he came back, the letter that she had left on the table was gone.",
    "What is the time now?",
]
TEXTS = ["Good morning.", "The birch canoe slid on the smooth planks.", "What is the time now?"]
SAMPLED = {"temperature": 0.5, "top_k": 20}


@pytest.fixture(scope="module")
def tts():
    return vocalmtp.load("mini")


@pytest.mark.parametrize("sampling", [{}, SAMPLED], ids=["greedy", "sampled"])
def test_in_any_batch_and_order_a_row_equals_the_single_call(tts, sampling):
    """With the weights and kernels that users have, where rows come and go."""
    requests = [
        SynthesisRequest(text=text, voice=voice, seed=seed, sampling=sampling)
        for seed, (text, voice) in enumerate(product(MANY, ["slt", "rms"]))
    ]
    alone = [tts(r.text, voice=r.voice, seed=r.seed, **sampling) for r in requests]
    for batch_size, order in ((3, range(len(requests))), (7, reversed(range(len(requests))))):
        order = list(order)
        for place, made in tts.each([requests[n] for n in order], batch_size):
            want = alone[order[place]].samples
            assert len(made.samples) == len(want)
            assert np.abs(made.samples - want).max() <= 1e-2


@pytest.mark.parametrize("voice", ["slt", "rms", "awb"])
def test_streamed_audio_equals_offline_audio(tts, voice):
    whole = tts(TEXTS[1], voice=voice, seed=3)
    chunks = list(tts.stream(TEXTS[1], voice=voice, seed=3))
    joined = np.concatenate([chunk.samples for chunk in chunks])
    assert len(chunks) > 5 and joined.shape == whole.samples.shape
    assert np.abs(joined - whole.samples).max() <= 1e-3


def test_it_is_understood_and_knows_when_it_said_what(tts, tmp_path):
    text = "She was happy with the work of the last two years."
    audio = tts(text, voice="slt")
    path = audio.save(tmp_path / "a.wav")
    assert word_errors(text, transcribe_file(build_recognizer(), path)).rate <= 0.5
    assert [word.text for word in audio.words] == text.lower().rstrip(".").split()
    times = [t for word in audio.words for t in (word.start, word.end)]
    assert times == sorted(times) and times[-1] <= audio.duration


def test_every_voice_speaks_for_a_sensible_time(tts):
    for name in tts.voices:
        audio = tts(TEXTS[1], voice=name)
        assert 1.5 < audio.duration < 6 and not audio.truncated, name

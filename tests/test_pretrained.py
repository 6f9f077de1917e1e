"""The bundled model: batches and streams equal single calls, and its speech is intelligible."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vocalmtp
from vocalmtp.audio.io import Audio
from vocalmtp.evaluation.scoring import word_errors
from vocalmtp.recognizers.base import build_recognizer, transcribe_file
from vocalmtp.tts import TTS, SynthesisRequest

TEXTS = [
    "Yes.",
    "Good morning.",
    "The birch canoe slid on the smooth planks.",
    "When he came back, the letter that she had left on the table was gone.",
    "What is the time now?",
]
SENTENCE = TEXTS[2]
SAMPLED = {"temperature": 0.5, "top_k": 20}


@pytest.fixture(scope="module")
def tts() -> TTS:
    return vocalmtp.load("mini")


@pytest.mark.parametrize("sampling", [{}, SAMPLED], ids=["greedy", "sampled"])
def test_batch_rows_equal_single_calls_in_any_order(tts: TTS, sampling: dict[str, Any]) -> None:
    """With the weights and kernels that users have, and rows that are refilled."""
    requests = [
        SynthesisRequest(text=text, voice=voice, seed=seed, sampling=sampling)
        for seed, (text, voice) in enumerate(product(TEXTS, ["heart", "daniel"]))
    ]
    alone = [tts(r.text, voice=r.voice, seed=r.seed, **sampling) for r in requests]
    for batch_size, order in (
        (3, [*range(len(requests))]),
        (7, [*reversed(range(len(requests)))]),
    ):
        for place, audio in tts.each([requests[n] for n in order], batch_size):
            want = alone[order[place]].samples
            assert isinstance(audio, Audio) and len(audio.samples) == len(want)
            assert np.abs(audio.samples - want).max() <= 1e-2


def test_the_card_gives_the_voice_to_the_decoder_alone(tts: TTS) -> None:
    assert tts.speaker_conditioning == "decoder"
    daniel, clara = (tts.lm_speaker_vector(tts.voices[name]) for name in ("daniel", "clara"))
    assert daniel is None and clara is None
    both = vocalmtp.load("mini", speaker_conditioning="both")
    assert both.lm_speaker_vector(both.voices["clara"]) is both.voices["clara"].vector


@pytest.mark.parametrize("voice", ["heart", "daniel", "clara"])
def test_streamed_equals_offline(tts: TTS, voice: str) -> None:
    audio = tts(SENTENCE, voice=voice, seed=3)
    chunks = list(tts.stream(SENTENCE, voice=voice, seed=3))
    joined = np.concatenate([chunk.samples for chunk in chunks])
    assert len(chunks) > 5 and joined.shape == audio.samples.shape
    assert np.abs(joined - audio.samples).max() <= 1e-3


def test_speech_is_recognized_and_words_have_times(tts: TTS, tmp_path: Path) -> None:
    text = "She was happy with the work of the last two years."
    audio = tts(text, voice="heart")
    path = audio.save(tmp_path / "a.wav")
    assert word_errors(text, transcribe_file(build_recognizer(), path)).rate <= 0.5
    assert [word.text for word in audio.words] == text.split()
    times = [t for word in audio.words for t in (word.start, word.end)]
    assert times == sorted(times) and times[-1] <= audio.duration


def test_every_voice_has_a_plausible_duration(tts: TTS) -> None:
    for name in tts.voices:
        audio = tts(SENTENCE, voice=name)
        assert 1.5 < audio.duration < 6 and not audio.truncated, name

"""silero-vad on synthetic speech."""

import numpy as np
import pytest

import vocalmtp
from vocalmtp.audio.io import resample
from vocalmtp.audio.vad import FRAME, FRAME_SECONDS, SAMPLE_RATE, VoiceActivityDetector
from vocalmtp.chat.config import ChatConfig
from vocalmtp.chat.turns import TurnDetector

pytest.importorskip("silero_vad", reason="the extra 'demo' is not installed")


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    audio = vocalmtp.load("mini")("Good morning to you.", greedy=True)
    return resample(audio.samples, audio.sample_rate, SAMPLE_RATE)


def detect(samples: np.ndarray, voice: VoiceActivityDetector) -> list[tuple[str, float]]:
    """The signals of a turn detector and their times."""
    turns = TurnDetector(ChatConfig())
    found = []
    for number in range(len(samples) // FRAME):
        signal = turns.push(voice(samples[number * FRAME :][:FRAME]))
        if signal:
            found.append((signal, (number + 1) * FRAME_SECONDS))
    return found


def test_turn_begins_and_ends_with_the_speech(speech):
    quiet = np.zeros(SAMPLE_RATE, np.float32)
    voice = VoiceActivityDetector()
    signals = detect(np.concatenate([quiet, speech, quiet]), voice)
    assert [signal for signal, _ in signals] == ["start", "pause", "end"]
    (_, start), (_, pause), (_, end) = signals
    assert 1.0 < start < 1.35
    last = 1.0 + len(speech) / SAMPLE_RATE
    assert last - 0.3 < pause < last + 0.4
    assert end - pause == pytest.approx(0.4, abs=0.05)


def test_silence_and_noise_give_no_turn():
    noise = np.random.default_rng(0).standard_normal(3 * SAMPLE_RATE).astype(np.float32)
    for level in (0.0, 0.001, 0.05):
        assert detect(level * noise, VoiceActivityDetector()) == []


def test_detectors_share_no_state(speech):
    frames = speech[: len(speech) // FRAME * FRAME].reshape(-1, FRAME)
    alone = [VoiceActivityDetector()]
    expected = [alone[0](frame) for frame in frames]
    one, other = VoiceActivityDetector(), VoiceActivityDetector()
    found = []
    for frame in frames:
        found.append(one(frame))
        other(frame[::-1].copy())
    assert found == expected

"""The echo of an answer does not interrupt it; the user does. Also recipes/chat/echo.py."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from vocalmtp.audio.vad import FRAME, FRAME_SECONDS, SAMPLE_RATE
from vocalmtp.chat.audio_io import Playback
from vocalmtp.chat.echo_gate import EchoGate

SECONDS = 6.0


def speech(seconds: float, seed: int) -> np.ndarray:
    """Noise with an envelope of syllables, [N]."""
    rng = np.random.default_rng(seed)
    count = round(seconds * SAMPLE_RATE)
    syllables = np.repeat(rng.uniform(0.02, 0.3, round(seconds * 6) + 1), SAMPLE_RATE // 6)
    return (rng.standard_normal(count) * syllables[:count]).astype(np.float32)


def accepted(
    mode: str, microphone: np.ndarray, answer: np.ndarray, rate: int = SAMPLE_RATE
) -> np.ndarray:
    """Which frames of the microphone are accepted, [frames]; `rate` is the player's."""
    gate, playback = EchoGate(mode), Playback(rate)
    places = np.arange(round(len(answer) * rate / SAMPLE_RATE)) * (SAMPLE_RATE / rate)
    playback.add(np.interp(places, np.arange(len(answer)), answer).astype(np.float32), now=0.0)
    frames = microphone[: len(microphone) // FRAME * FRAME].reshape(-1, FRAME)
    flags = [gate.accepts(frame, playback, n * FRAME_SECONDS) for n, frame in enumerate(frames, 1)]
    return np.array(flags)


def echo(answer: np.ndarray, strength: float, delay: float) -> np.ndarray:
    late = round(delay * SAMPLE_RATE)
    return np.concatenate([np.zeros(late, np.float32), answer])[: len(answer)] * strength


def audible(microphone: np.ndarray) -> np.ndarray:
    """Which frames are not silent, [frames]."""
    frames = microphone[: len(microphone) // FRAME * FRAME].reshape(-1, FRAME)
    return frames.any(axis=1)


def longest_run(flags: np.ndarray) -> int:
    longest = run = 0
    for flag in flags:
        run = run + 1 if flag else 0
        longest = max(longest, run)
    return longest


@pytest.mark.parametrize("strength", [0.02, 0.2, 0.7])
@pytest.mark.parametrize("delay", [0.02, 0.15, 0.4])
def test_echo_is_never_accepted_for_long_enough_to_interrupt(strength, delay):
    answer = speech(SECONDS, seed=0)
    microphone = echo(answer, strength, delay)
    flags = accepted("energy", microphone, answer)
    assert longest_run(flags & audible(microphone)) < 3


@pytest.mark.parametrize("strength", [0.0, 0.05, 0.2])
def test_user_louder_than_the_echo_is_accepted(strength):
    answer, user = speech(SECONDS, seed=0), np.zeros(round(SECONDS * SAMPLE_RATE), np.float32)
    user[4 * SAMPLE_RATE :] = speech(2.0, seed=1) + 0.2
    flags = accepted("energy", echo(answer, strength, 0.1) + user, answer)
    first = round(4.0 / FRAME_SECONDS)
    assert longest_run(flags[first : first + 10]) >= 3  # within 0.3 s


@pytest.mark.parametrize("rate", [SAMPLE_RATE, 24_000])
@pytest.mark.parametrize("strength", [0.0, 0.05])
def test_user_is_accepted_from_the_beginning_of_the_first_answer(strength, rate):
    answer = speech(SECONDS, seed=0)
    user = np.concatenate([np.zeros(SAMPLE_RATE // 8, np.float32), speech(SECONDS, seed=1)])
    flags = accepted("energy", user[: len(answer)] + echo(answer, strength, 0.1), answer, rate)
    assert longest_run(flags[4:20]) >= 3  # within 0.5 s of the user's first word


def test_echo_is_recognized_at_another_sample_rate():
    answer = speech(SECONDS, seed=0)
    microphone = echo(answer, 0.3, 0.2)
    assert longest_run(accepted("energy", microphone, answer, 24_000) & audible(microphone)) < 3


def test_recent_playback_ends_now_and_is_silent_after_the_end():
    playback = Playback(1000)
    playback.add(np.arange(1.0, 501.0, dtype=np.float32), now=10.0)
    assert not playback.recent(10.0, 0.1).any()
    assert playback.recent(10.25, 0.1).tolist() == list(range(151, 251))
    assert playback.recent(10.01, 0.02).tolist() == [0.0] * 10 + list(range(1, 11))
    assert playback.recent(10.51, 0.02).tolist() == list(range(491, 501)) + [0.0] * 10
    assert not playback.recent(12.0, 0.1).any()
    for n in range(80):  # old audio is dropped
        playback.add(np.ones(1000, np.float32), now=10.5 + n)
    assert playback.recent(89.5, 0.1).all()
    assert np.count_nonzero(playback.recent(89.5, 60.0)) <= 4000


def test_everything_is_accepted_without_an_answer():
    silent = np.zeros(SAMPLE_RATE, np.float32)
    for mode in ("energy", "half-duplex", "off"):
        assert EchoGate(mode).accepts(silent[:FRAME], None, 0.0)
    assert accepted("energy", silent, silent).all()


def test_half_duplex_rejects_everything_until_the_answer_was_played():
    answer = speech(1.0, seed=0)
    flags = accepted("half-duplex", np.ones(2 * SAMPLE_RATE, np.float32), answer)
    times = np.arange(1, len(flags) + 1) * FRAME_SECONDS
    assert not flags[times < 1.4].any()
    assert flags[times > 1.6].all()


def test_everything_is_accepted_if_switched_off():
    answer = speech(1.0, seed=0)
    assert accepted("off", answer, answer).all()


def test_recipe_simulates_rooms_and_reports_rates(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "recipes" / "chat"))
    recipe = __import__("echo")
    rows = []
    for number in range(2):
        soundfile.write(tmp_path / f"{number}.wav", speech(1.5, seed=number), SAMPLE_RATE)
        row = {"id": str(number), "audio": f"{number}.wav", "text": "x", "voice": "v"}
        rows.append(json.dumps(row | {"split": "test", "seconds": 1.5}))
    (tmp_path / "manifest.jsonl").write_text("\n".join(rows) + "\n")
    [trial] = recipe.make_trials(tmp_path, 1)
    assert len(trial.answer) == len(trial.echo) == len(trial.user) == 3 * SAMPLE_RATE
    assert np.sqrt(np.mean(trial.echo**2)) == pytest.approx(recipe.LEVEL, rel=1e-3)
    recipe.main(tmp_path, tmp_path / "out", trials=2)
    report = json.loads((tmp_path / "out" / "echo.json").read_text())
    assert "user who speaks later is detected within 0.6 s" in json.dumps(report)
    assert "| the echo interrupts (should be 0) |  | 0 %" in capsys.readouterr().out

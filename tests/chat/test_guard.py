"""The echo of our own voice does not interrupt us; the user does."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from vocalmtp.audio.vad import FRAME, FRAME_SECONDS, SAMPLE_RATE
from vocalmtp.chat.echo_gate import EchoGate
from vocalmtp.chat.playback import Playback

SECONDS = 6.0


def speech(seconds: float, seed: int) -> np.ndarray:
    """Noise with the rise and fall of syllables, [N]."""
    rng = np.random.default_rng(seed)
    count = round(seconds * SAMPLE_RATE)
    syllables = np.repeat(rng.uniform(0.02, 0.3, round(seconds * 6) + 1), SAMPLE_RATE // 6)
    return (rng.standard_normal(count) * syllables[:count]).astype(np.float32)


def passed(
    mode: str, microphone: np.ndarray, ours: np.ndarray, rate: int = SAMPLE_RATE
) -> np.ndarray:
    """Which frames of the microphone may be the user, [frames]; `rate` is the player's."""
    guard, playback = EchoGate(mode), Playback(rate)
    places = np.arange(round(len(ours) * rate / SAMPLE_RATE)) * (SAMPLE_RATE / rate)
    playback.add(np.interp(places, np.arange(len(ours)), ours).astype(np.float32), now=0.0)
    frames = microphone[: len(microphone) // FRAME * FRAME].reshape(-1, FRAME)
    flags = [guard.passes(frame, playback, n * FRAME_SECONDS) for n, frame in enumerate(frames, 1)]
    return np.array(flags)


def echo(ours: np.ndarray, strength: float, delay: float) -> np.ndarray:
    late = round(delay * SAMPLE_RATE)
    return np.concatenate([np.zeros(late, np.float32), ours])[: len(ours)] * strength


def heard(microphone: np.ndarray) -> np.ndarray:
    """Which frames are not silent; a silent one is never taken for speech."""
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
def test_our_echo_never_passes_for_long_enough_to_interrupt(strength, delay):
    ours = speech(SECONDS, seed=0)
    microphone = echo(ours, strength, delay)
    flags = passed("energy", microphone, ours)
    assert longest_run(flags & heard(microphone)) < 3


@pytest.mark.parametrize("strength", [0.0, 0.05, 0.2])
def test_a_user_louder_than_the_echo_passes(strength):
    ours, user = speech(SECONDS, seed=0), np.zeros(round(SECONDS * SAMPLE_RATE), np.float32)
    user[4 * SAMPLE_RATE :] = speech(2.0, seed=1) + 0.2
    flags = passed("energy", echo(ours, strength, 0.1) + user, ours)
    first = round(4.0 / FRAME_SECONDS)
    assert longest_run(flags[first : first + 10]) >= 3  # within 0.3 s


@pytest.mark.parametrize("rate", [SAMPLE_RATE, 24_000])
@pytest.mark.parametrize("strength", [0.0, 0.05])
def test_a_user_is_heard_from_the_beginning_of_the_first_answer(strength, rate):
    ours = speech(SECONDS, seed=0)
    user = np.concatenate([np.zeros(SAMPLE_RATE // 8, np.float32), speech(SECONDS, seed=1)])
    flags = passed("energy", user[: len(ours)] + echo(ours, strength, 0.1), ours, rate)
    assert longest_run(flags[4:20]) >= 3  # within 0.5 s of the user's first word


def test_our_echo_is_known_at_another_rate():
    ours = speech(SECONDS, seed=0)
    microphone = echo(ours, 0.3, 0.2)
    assert longest_run(passed("energy", microphone, ours, 24_000) & heard(microphone)) < 3


def test_what_has_sounded_ends_now_and_goes_on_after_the_end():
    playback = Playback(1000)
    playback.add(np.arange(1.0, 501.0, dtype=np.float32), now=10.0)
    assert not playback.sounded(10.0, 0.1).any()
    assert playback.sounded(10.25, 0.1).tolist() == list(range(151, 251))
    assert playback.sounded(10.01, 0.02).tolist() == [0.0] * 10 + list(range(1, 11))
    assert playback.sounded(10.51, 0.02).tolist() == list(range(491, 501)) + [0.0] * 10
    assert not playback.sounded(12.0, 0.1).any()
    for n in range(80):  # what sounded long ago is forgotten
        playback.add(np.ones(1000, np.float32), now=10.5 + n)
    assert playback.sounded(89.5, 0.1).all() and len(playback._samples) <= 4000


def test_without_a_sound_of_ours_everything_passes():
    silent = np.zeros(SAMPLE_RATE, np.float32)
    for mode in ("energy", "half-duplex", "off"):
        assert EchoGate(mode).passes(silent[:FRAME], None, 0.0)
    assert passed("energy", silent, silent).all()


def test_half_duplex_lets_nothing_pass_until_it_is_quiet_again():
    ours = speech(1.0, seed=0)
    flags = passed("half-duplex", np.ones(2 * SAMPLE_RATE, np.float32), ours)
    times = np.arange(1, len(flags) + 1) * FRAME_SECONDS
    assert not flags[times < 1.4].any()
    assert flags[times > 1.6].all()


def test_switched_off_everything_passes():
    ours = speech(1.0, seed=0)
    assert passed("off", ours, ours).all()


def test_the_recipe_that_measures_it_makes_rooms_and_judges_them(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "recipes" / "chat"))
    recipe = __import__("echo")
    rows = []
    for number in range(2):
        soundfile.write(tmp_path / f"{number}.wav", speech(1.5, seed=number), SAMPLE_RATE)
        row = {"id": str(number), "audio": f"{number}.wav", "text": "x", "voice": "v"}
        rows.append(json.dumps(row | {"split": "test", "seconds": 1.5}))
    (tmp_path / "manifest.jsonl").write_text("\n".join(rows) + "\n")
    [trial] = recipe.make_trials(tmp_path, 1)
    assert len(trial.ours) == len(trial.echo) == len(trial.user) == 3 * SAMPLE_RATE
    assert np.sqrt(np.mean(trial.echo**2)) == pytest.approx(recipe.LOUD, rel=1e-3)
    recipe.main(tmp_path, tmp_path / "out", trials=2)
    told = json.loads((tmp_path / "out" / "echo.json").read_text())
    assert "who speaks later is heard within 0.6 s" in json.dumps(told)
    assert "| the echo interrupts (should be 0) |  | 0 %" in capsys.readouterr().out

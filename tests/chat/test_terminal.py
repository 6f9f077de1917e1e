"""Conversations through the devices of this machine, which are replaced by arrays."""

import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.chat_fakes import RATE, ScriptedLLM, silence, tone
from helpers.errors import raises_input_error

from vocalmtp.chat.events import AudioChunk
from vocalmtp.chat.terminal import Player, run_terminal


class Device:
    """Input and output stream of sounddevice: reads `sound`, then silence, and fills `played`."""

    sound: np.ndarray
    played: list[np.ndarray]
    speed = 4  # times faster than real time

    def __init__(self, rate, blocksize=0, callback=None, **_):
        self.rate, self.callback, self.open, self.span = rate, callback, False, 0

    def __enter__(self):
        self.open = True
        if self.callback:
            threading.Thread(target=self._play, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.open = False

    def read(self, count):
        assert self.open
        time.sleep(count / self.rate / self.speed)
        block = self.sound[self.span : self.span + count]
        self.span += count
        return np.pad(block, (0, count - len(block)))[:, None], False

    def _play(self):
        while self.open:
            out = np.full((320, 1), np.nan, np.float32)
            self.callback(out, 320, None, None)
            self.played.append(out[:, 0])
            time.sleep(320 / self.rate / self.speed)


def fake_sounddevice(monkeypatch, sound: np.ndarray) -> list[np.ndarray]:
    played: list[np.ndarray] = []
    device = type("Device", (Device,), {"sound": sound, "played": played})
    module = SimpleNamespace(
        InputStream=device,
        OutputStream=device,
        PortAudioError=OSError,
        query_devices=lambda kind: {"default_samplerate": float(RATE)},
    )
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return played


def test_answer_is_played_completely(make_session, monkeypatch):
    played = fake_sounddevice(monkeypatch, np.concatenate([silence(0.2), tone(0.5)]))
    session = make_session(ScriptedLLM("One two."))
    seen = []

    def show(event):
        seen.append(event)
        if event.kind == "finished":
            threading.Thread(target=close_when_played).start()

    def close_when_played():
        audio = np.concatenate([event.samples for event in seen if event.kind == "audio_chunk"])
        while np.count_nonzero(np.concatenate(played)) < np.count_nonzero(audio):
            time.sleep(0.01)
        session.close()

    run_terminal(session, RATE, show)
    chunks = [event.samples for event in seen if event.kind == "audio_chunk"]
    output = np.concatenate(played)
    assert np.isfinite(output).all()
    assert np.array_equal(np.trim_zeros(output), np.trim_zeros(np.concatenate(chunks)))
    assert session.closed


def test_interruption_stops_playback(make_session, monkeypatch):
    fake_sounddevice(monkeypatch, np.concatenate([tone(0.3), silence(1.5), tone(0.4)]))
    text = " ".join(["word"] * 80)  # 20 s
    session = make_session(ScriptedLLM(text))
    seen = []

    def show(event):
        seen.append(event)
        if event.kind == "interrupted":
            session.close()

    run_terminal(session, RATE, show)
    interrupted = next(event for event in seen if event.kind == "interrupted")
    assert 0.0 < interrupted.seconds < 20.0
    assert len(interrupted.played_text) < len(text)


def test_failing_microphone_ends_the_conversation(make_session, monkeypatch):
    fake_sounddevice(monkeypatch, silence(0.2))
    monkeypatch.setattr(sys.modules["sounddevice"].InputStream, "read", None)
    session = make_session()
    with raises_input_error("unusable", key="terminal"):
        run_terminal(session, RATE, lambda event: None)
    assert session.closed


def test_player_counts_what_it_plays_and_restarts_with_a_new_answer():
    player = Player(10)
    player.push(AudioChunk(1, np.ones(4, np.float32), 10, 0.0))
    out = np.full((6, 1), np.nan, np.float32)
    player.fill(out)
    assert out[:, 0].tolist() == [1, 1, 1, 1, 0, 0]
    assert player.seconds == 0.4
    player.push(AudioChunk(1, np.ones(4, np.float32), 10, 0.4))
    player.clear()
    player.fill(out)
    assert not out.any()
    player.push(AudioChunk(2, np.ones(1, np.float32), 10, 0.0))
    assert player.seconds == 0.0


@pytest.mark.parametrize(
    ("where", "code"), [("device", "unusable"), ("PortAudio", "not_installed")]
)
def test_missing_device_or_library_is_reported(make_session, monkeypatch, where, code):
    fake_sounddevice(monkeypatch, silence(0.1))

    def missing(*_, **__):
        raise OSError("it is missing")

    if where == "device":
        sys.modules["sounddevice"].query_devices = missing
    else:
        monkeypatch.setattr("vocalmtp.audio.playback.require", missing)
    with raises_input_error(code):
        run_terminal(make_session(), RATE, print)

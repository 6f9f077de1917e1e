"""The verbs on a folder that its publisher wrote."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.chat_fakes import CountingRecognizer, ScriptedLLM
from helpers.command_line import run
from helpers.errors import error_code
from helpers.published_lms import save_orpheus

import vocalmtp


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    save_orpheus(folder)
    return folder


def test_tts_writes_and_streams_the_same(folder: Path, tmp_path: Path):
    options = ["--model", folder, "--voice", "tara", "--seed", 5, "--engine", "eager"]
    whole, streamed = tmp_path / "whole.wav", tmp_path / "streamed.wav"
    assert run("tts", "I.", *options, "-o", whole) == 0
    assert run("tts", "I.", *options, "--stream", "-o", streamed) == 0
    samples, rate = soundfile.read(whole)
    assert rate == 24_000 and len(samples) > 10_000
    np.testing.assert_allclose(soundfile.read(streamed)[0], samples, atol=1e-4)


def test_unknown_voice_and_sampling(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    out = ["-o", tmp_path / "x.wav", "--model", folder]
    assert run("tts", "I.", "--voice", "tarra", *out) == 2
    assert error_code(capsys.readouterr().err) == "not_found"
    assert run("tts", "I.", "--repetition-penalty", 0, *out) == 2
    assert error_code(capsys.readouterr().err) == "out_of_range"


def test_server_speaks_with_named_voices(folder: Path):
    pytest.importorskip("prometheus_client", reason="the extra 'serve' is not installed")
    from helpers.speech_client import client_of

    from vocalmtp.chat.pipeline import ChatPipeline
    from vocalmtp.chat.responders import CascadeResponder
    from vocalmtp.server.engine import EngineTTS, SpeechEngine
    from vocalmtp.server.metrics import Metrics
    from vocalmtp.server.service import SpeechLimits, SpeechService
    from vocalmtp.server.state import ServerState
    from vocalmtp.server.voices import VoiceCatalogue

    tts, limits, metrics = vocalmtp.load(folder, engine="eager"), SpeechLimits(), Metrics()
    engine = SpeechEngine(tts, limits.rows, limits.queue, metrics)
    served = EngineTTS(engine)
    service = SpeechService(engine, VoiceCatalogue(served), metrics, "orpheus", limits)
    pipeline = ChatPipeline(
        CascadeResponder(served, ScriptedLLM("Hello.")), CountingRecognizer(), served
    )
    state = ServerState.over(pipeline, speech=service)
    client = client_of(state)
    names = [voice["id"] for voice in client.get("/v1/audio/voices").json()["voices"]]
    assert {"tara", "leo"} <= set(names)
    body = {"input": "I.", "voice": "leo", "response_format": "pcm", "seed": 5}
    made = client.post("/v1/audio/speech", json=body)
    state.close()
    samples = np.frombuffer(made.content, "<i2") / 32768
    np.testing.assert_allclose(samples, tts("I.", voice="leo", seed=5).samples, atol=1e-3)

"""The verbs on a folder that its publisher wrote."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.chat_fakes import CountingRecognizer, ScriptedLLM
from helpers.command_line import run
from helpers.errors import error_code
from helpers.published_lms import save_orpheus

import vocalmtp
from vocalmtp.bench.profile import time_shares
from vocalmtp.bench.run import next_token_model
from vocalmtp.bench.speed import steps_per_second
from vocalmtp.decoding.synthesis import SentenceRequest
from vocalmtp.models.prompts import Segment
from vocalmtp.tts import TTS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    save_orpheus(folder)
    return folder


@pytest.fixture(scope="module")
def tts(folder: Path) -> TTS:
    return vocalmtp.load(folder, engine="eager")


def test_tts_writes_and_streams_the_same(folder: Path, tmp_path: Path):
    options = ["--model", folder, "--voice", "tara", "--seed", 5, "--engine", "eager"]
    whole, streamed = tmp_path / "whole.wav", tmp_path / "streamed.wav"
    assert run("tts", "I.", *options, "-o", whole) == 0
    assert run("tts", "I.", *options, "--stream", "-o", streamed) == 0
    samples, rate = soundfile.read(whole)
    assert rate == 24_000 and len(samples) > 10_000
    np.testing.assert_allclose(soundfile.read(streamed)[0], samples, atol=1e-4)


def test_batch_writes_what_tts_speaks(folder: Path, tts: TTS, tmp_path: Path):
    texts = tmp_path / "lines.txt"
    texts.write_text("I.\nA.\n", encoding="utf-8")
    options = ["--model", folder, "--voice", "leo", "--seed", 5, "--engine", "eager"]
    assert run("batch", texts, "-o", tmp_path / "out", *options, "--batch-size", 2) == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").open()]
    assert [row["status"] for row in rows] == ["ok", "ok"]
    for row in rows:
        samples, _ = soundfile.read(tmp_path / "out" / row["audio"])
        alone = tts(row["text"], voice="leo", seed=row["seed"])
        np.testing.assert_allclose(samples, alone.samples, atol=1e-4)


def test_the_prompt_of_a_sentence_is_made_once(tts: TTS, monkeypatch: pytest.MonkeyPatch):
    made, prompt_format = [], tts.prompt_format
    assert prompt_format is not None

    def counted(sentence: SentenceRequest) -> list[Segment]:
        made.append(sentence.text)
        return prompt_format(sentence)

    monkeypatch.setattr(tts, "prompt_format", counted)
    tts("Yes. No.", voice="tara")
    for _ in tts.stream("I.", voice="leo"):
        pass
    assert made == ["yes.", "no.", "i."]


def test_info_reads_no_weights(folder: Path, capsys: pytest.CaptureFixture):
    assert run("info", folder) == 0
    out = " ".join(capsys.readouterr().out.split())
    for fact in (
        "Model Orpheus",
        "snac-24khz (",
        "llama, 2 layers of width 32",
        "2 files, 0.0038 GB, 32 bits",
        "0.0076 GB in 32 bits",
        "tara, leah",
        "Llama 3.2 Community License",
        "sampling.repetition_penalty 1.3",
    ):
        assert fact in out, fact


def test_info_says_where_the_tokenizer_is_missing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("VOCALMTP_TOKENIZERS", raising=False)
    monkeypatch.setenv("VOCALMTP_CACHE", str(tmp_path / "cache"))
    copy = shutil.copytree(folder, tmp_path / "copy")
    shutil.rmtree(copy / "tokenizer")
    assert run("info", copy) == 0
    assert "vocalmtpgetsnac-24khz" in "".join(capsys.readouterr().out.split())
    sorted(copy.glob("model-*.safetensors"))[0].unlink()
    assert run("info", copy) == 2
    assert error_code(capsys.readouterr().err) == "missing"


def test_bench_measures_the_loops(tts: TTS):
    """The decode loop by time, by part, and beside a next-token model of the same backbone."""
    twin = next_token_model(tts)
    rates = steps_per_second({"published": tts, "next": twin}, frames=2, repeats=1)
    assert all(rate["steps"].value > 0 for rate in rates.values())
    assert sum(time_shares(tts, repeats=1).values()) == pytest.approx(1)


def test_unknown_voice_and_sampling(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    out = ["-o", tmp_path / "x.wav", "--model", folder]
    assert run("tts", "I.", "--voice", "tarra", *out) == 2
    assert error_code(capsys.readouterr().err) == "not_found"
    assert run("tts", "I.", "--repetition-penalty", 0, *out) == 2
    assert error_code(capsys.readouterr().err) == "out_of_range"


def test_server_speaks_with_named_voices(tts: TTS):
    pytest.importorskip("prometheus_client", reason="the extra 'serve' is not installed")
    from helpers.speech_client import client_of

    from vocalmtp.chat.pipeline import ChatPipeline
    from vocalmtp.chat.responders import CascadeResponder
    from vocalmtp.server.engine import EngineTTS, SpeechEngine
    from vocalmtp.server.metrics import Metrics
    from vocalmtp.server.service import SpeechLimits, SpeechService
    from vocalmtp.server.state import ServerState
    from vocalmtp.server.voices import VoiceCatalogue

    limits, metrics = SpeechLimits(), Metrics()
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

"""pocketsphinx on synthetic speech, Whisper with random weights, and streams over both."""

import os
import pickle
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.chat_fakes import QUESTION
from helpers.errors import raises_input_error
from helpers.tiny_whisper import save_tiny_whisper

import vocalmtp
from vocalmtp.audio.io import Audio, resample
from vocalmtp.evaluation.scoring import word_errors
from vocalmtp.fetch.cards import fetched_folder
from vocalmtp.recognizers.base import (
    RECOGNIZERS,
    SAMPLE_RATE,
    BufferedRecognizerStream,
    Recognizer,
    build_recognizer,
    transcribe_files,
)
from vocalmtp.recognizers.pocketsphinx import PocketsphinxRecognizer


@pytest.fixture(scope="module")
def recognizer() -> PocketsphinxRecognizer:
    return PocketsphinxRecognizer()


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    audio = vocalmtp.load("mini")(QUESTION, greedy=True)
    samples = resample(audio.samples, audio.sample_rate, SAMPLE_RATE)
    noise = 1e-4 * np.random.default_rng(0).standard_normal(len(samples) + 3200)
    return np.pad(samples, (1600, 1600)) + noise.astype(np.float32)


def stream_text(recognizer: Recognizer, samples: np.ndarray, size: int = 512) -> str:
    """The transcript of samples that are pushed in pieces of a size."""
    stream = recognizer.open_stream()
    for start in range(0, len(samples), size):
        stream.push(samples[start : start + size])
    text = stream.text(settled=True)
    stream.close()
    return text


def test_pocketsphinx_stream_returns_partial_transcripts(recognizer, speech):
    stream = recognizer.open_stream()
    partial = []
    for start in range(0, len(speech), 1600):
        stream.push(speech[start : start + 1600])
        partial.append(stream.text())
    assert partial[0] == ""
    assert partial[-1]
    text = stream.text(settled=True)
    assert stream.text(settled=True) == text
    stream.close()
    assert word_errors(QUESTION, text).rate <= 0.5
    assert stream_text(recognizer, speech) == text  # independent of the utterance before


def test_concurrent_pocketsphinx_streams_have_processes_that_are_reused(speech):
    recognizer = PocketsphinxRecognizer()
    expected = stream_text(recognizer, speech)
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(stream_text(recognizer, speech, 4000)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 2
    streams = [recognizer.open_stream() for _ in range(2)]
    pids = {stream.pid for stream in streams}
    assert len(pids) == 2
    for stream in streams:
        stream.close()
    again = recognizer.open_stream()
    assert again.pid in pids
    again.close()


def test_dead_pocketsphinx_process_raises_and_is_replaced(recognizer, speech):
    stream = recognizer.open_stream()
    os.kill(stream.pid, signal.SIGKILL)
    with pytest.raises(OSError):
        for _ in range(1000):
            stream.push(speech)
            stream.text()
    idle = recognizer.open_stream()
    idle.close()
    os.kill(idle.pid, signal.SIGKILL)
    os.waitpid(idle.pid, 0)
    assert stream_text(recognizer, speech)


def test_pocketsphinx_continues_after_a_pause_and_transcribes_silence_as_nothing(
    recognizer, speech
):
    assert stream_text(recognizer, np.zeros(SAMPLE_RATE // 2, np.float32)) in ("", "the", "a")
    stream = recognizer.open_stream()
    assert stream.text(settled=True) == ""
    stream.push(speech)
    once = stream.text(settled=True)
    stream.push(speech)
    assert stream.text(settled=True).startswith(once + " ")
    stream.close()


def test_files_are_transcribed_as_samples_are(recognizer, speech, tmp_path):
    assert recognizer.transcribe(np.zeros(0, np.float32)) == ""
    paths = [Audio(speech, SAMPLE_RATE).save(tmp_path / f"{n}.wav") for n in range(2)]
    alone = dict(transcribe_files(recognizer, paths))
    assert word_errors(QUESTION, alone[0]).rate <= 0.5
    assert (
        dict(transcribe_files(recognizer, paths, processes=2))
        == alone
        == {0: alone[0], 1: alone[0]}
    )
    assert pickle.loads(pickle.dumps(recognizer)).transcribe(speech)


def test_buffered_stream_limits_how_often_it_transcribes():
    sizes: list[int] = []
    stream = BufferedRecognizerStream(
        lambda samples: sizes.append(len(samples)) or f" {len(samples)} "
    )
    for _ in range(100):  # 3.2 s
        stream.push(np.zeros(512, np.float32))
        stream.text()
    assert len(sizes) == 3
    assert stream.text(settled=True) == "51200"
    assert stream.text(settled=True) == "51200"
    assert len(sizes) == 4


def test_whisper_folder_is_recognized_and_greedy(tmp_path, speech):
    folder = save_tiny_whisper(tmp_path / "tiny")
    recognizer = build_recognizer(str(folder))
    assert recognizer.description == "Whisper (tiny)"
    text = stream_text(recognizer, speech)
    assert text  # random weights: random letters, but always the same
    assert stream_text(recognizer, speech, 16_000) == text
    assert "<|" not in text
    assert build_recognizer(f"whisper={folder}").name == recognizer.name


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_whisper_transcribes_on_a_gpu(tmp_path, speech):
    folder = save_tiny_whisper(tmp_path / "tiny")
    assert build_recognizer(str(folder), device="cuda").transcribe(speech)


def test_registered_recognizer_is_built_by_name():
    @RECOGNIZERS.register("test-constant")
    class Constant(Recognizer):
        name = description = "constant"

        def __init__(self, text: str = "hello", device: str = "cpu"):
            self.result = f"{text} on {device}"

        def transcribe(self, samples: np.ndarray) -> str:
            return self.result

    built = build_recognizer("test-constant=good morning", device="meta")
    assert stream_text(built, np.zeros(10, np.float32)) == "good morning on meta"


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ("whispr", "unknown_name"),
        ("whisper", "missing"),
        ("whisper=nowhere", "not_found"),
        ("speech-lm=nowhere", "not_found"),
        ("pocketsphinx=", "unusable"),
        ("folder", "unusable"),
    ],
)
def test_unusable_recognizers_are_refused(tmp_path, monkeypatch, spec, code):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    with raises_input_error(code, key="recognizer"):
        build_recognizer(spec)


def noises() -> dict[str, np.ndarray]:
    """Four seconds each of what is no speech."""
    random, seconds = np.random.default_rng(0), np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
    white = random.standard_normal(len(seconds))
    noises = {
        "silence": np.zeros(len(seconds)),
        "faint noise": 1e-3 * white,
        "loud noise": 0.2 * white,
        "hum": 0.1 * np.sin(2 * np.pi * 50 * seconds) + 0.03 * np.sin(2 * np.pi * 150 * seconds),
        "clicks": 0.9 * (random.random(len(seconds)) < 2e-4),
        "syllables of noise": 0.1 * white * (1 + np.sin(2 * np.pi * 4 * seconds)),
    }
    return {name: samples.astype(np.float32) for name, samples in noises.items()}


@pytest.mark.parametrize("name", noises())
def test_whisper_hears_no_words_in_noise(monkeypatch, name):
    pytest.importorskip("faster_whisper")
    monkeypatch.delenv("VOCALMTP_CACHE")
    folder = fetched_folder("whisper-tiny.en")
    if folder is None:
        pytest.skip("needs: vocalmtp get whisper-tiny.en")
    assert build_recognizer(f"faster-whisper={folder}").transcribe(noises()[name]) == ""

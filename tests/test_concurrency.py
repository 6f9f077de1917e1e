"""Models used by many callers: several models, asyncio, spawned processes, a thousand calls."""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from threading import active_count

import numpy as np
import pytest
from helpers import spawned
from helpers.toy_model import save_toy_model

from vocalmtp.audio.io import join
from vocalmtp.loading import load
from vocalmtp.tts import TTS

CALLS = 1000
GROWTH = 16 << 20  # bytes that a thousand calls may leave to the allocator


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_toy_model(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def tts(folder: Path) -> TTS:
    return load(folder)


def test_two_models_in_one_process_do_not_mix(tts: TTS, tmp_path: Path) -> None:
    other = load(save_toy_model(tmp_path / "other", frames_per_step=1, text="prompt"))
    alone = [model("Yes. No.", seed=3).samples for model in (tts, other)]
    chunks: tuple[list, list] = ([], [])
    streams = [tts.stream("Yes. No.", seed=3), other.stream("Yes. No.", seed=3)]
    while any(streams):
        for number, stream in enumerate(streams):
            if stream is not None and (chunk := next(stream, None)) is not None:
                chunks[number].append(chunk)
            else:
                streams[number] = None
    for own, expected in zip(chunks, alone, strict=True):
        samples = join(own).samples
        assert samples.shape == expected.shape
        assert np.abs(samples - expected).max() <= 1e-3


def test_tasks_of_asyncio_share_a_model(tts: TTS) -> None:
    texts = [f"{word}." for word in "yes no one two".split()]

    async def pieces(text: str) -> AsyncIterator[str]:
        for letter in text:
            await asyncio.sleep(0)
            yield letter

    async def speak(text: str) -> np.ndarray:
        return join([chunk async for chunk in tts.stream(pieces(text), seed=3)]).samples

    async def everyone() -> list[np.ndarray]:
        whole = [asyncio.to_thread(tts, text, seed=3) for text in texts]
        spoken = await asyncio.gather(*whole, *map(speak, texts))
        return [getattr(each, "samples", each) for each in spoken]

    spoken = asyncio.run(everyone())
    for text, called, streamed in zip(texts, spoken[:4], spoken[4:], strict=True):
        assert np.array_equal(called, tts(text, seed=3).samples)
        assert np.abs(called - streamed).max() <= 1e-3


@pytest.mark.slow
def test_spawned_processes_speak_alike(tts: TTS, folder: Path) -> None:
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        spoken = list(pool.map(spawned.speak, [folder] * 2, ["Yes.", "No."], timeout=300))
    for text, samples in zip(["Yes.", "No."], spoken, strict=True):
        assert np.array_equal(samples, tts(text, seed=3).samples)


def memory() -> int:
    """Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.fuzz
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/statm")
def test_a_thousand_calls_leave_no_memory_and_no_thread(tts: TTS) -> None:
    def call(turn: int) -> None:
        number = turn % 12  # lengths recur, as libraries keep what they compiled for each
        if number % 4 == 0:
            next(tts.stream("Yes.", seed=number, speed=1.5))  # abandoned
        elif number % 4 == 1:
            list(tts.batch(["Yes.", "No."], seed=number))
        else:
            tts(f"Number {number}. [pause]", seed=number)

    for number in range(100):
        call(number)
    gc.collect()
    before, threads = memory(), active_count()
    for number in range(CALLS):
        call(number)
    gc.collect()
    assert memory() - before < GROWTH
    assert active_count() <= threads

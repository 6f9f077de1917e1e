"""`vocalmtp bench --chat`: latency of conversations by part, and how many run in real time at once.

Latency is measured from outside: clients stream recorded questions to the WebSocket of a server in
a separate process, at the pace of a microphone.
"""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from vocalmtp.audio.io import resample
from vocalmtp.audio.vad import SAMPLE_RATE
from vocalmtp.bench.speed import runtime_options, seconds_now
from vocalmtp.chat.client import Exchange, connect
from vocalmtp.chat.config import ChatConfig
from vocalmtp.decoding.generate import prefill_prompts
from vocalmtp.decoding.strategies import Grouped
from vocalmtp.decoding.streaming import SentenceStream
from vocalmtp.errors import InputError
from vocalmtp.evaluation.report import Metric
from vocalmtp.evaluation.statistics import median_range, single
from vocalmtp.loading import load
from vocalmtp.tts import TTS, SynthesisRequest

QUESTIONS = (
    "What is the capital of France?",
    "How many days are in a week?",
    "Tell me the colour of the sky.",
    "Which month comes after June?",
    "Good morning, how are you today?",
)
TURNS = 8  # of a single client
CLIENTS = (1, 2, 4, 8)  # at once
CLIENT_TURNS = 2  # of each
REAL_TIME = 0.5  # seconds after the end-of-turn silence within which playback must start
START_TIMEOUT = 180.0  # seconds until the page must be there

# The parts of the latency that a client sees, in their order.
PARTS = ("end of turn", "recognition", "LLM", "first clause", "synthesis", "network", "playback")


@dataclass(frozen=True)
class SpokenQuestion:
    """A recorded question: samples [N] at SAMPLE_RATE, of which `speech` seconds are speech."""

    text: str
    samples: np.ndarray
    speech: float


def record(tts: TTS, texts: tuple[str, ...] = QUESTIONS) -> list[SpokenQuestion]:
    """Synthesize the questions."""
    made = []
    for text in texts:
        audio = tts(text, greedy=True)
        samples = resample(audio.samples, audio.sample_rate, SAMPLE_RATE)
        speech = audio.words[-1].end if audio.words else audio.duration
        made.append(SpokenQuestion(text, samples, speech))
    return made


def run_chat_bench(
    model: Path | str, runtime: Mapping[str, Any] | None = None, quick: bool = False
) -> list[Metric]:
    """Measure conversations with a model and an LLM that echoes; times in milliseconds.

    Args:
        model: name or folder.
        runtime: device, engine and threads, arguments of `vocalmtp.load`.
        quick: fewer clients at once.
    """
    runtime = runtime or {}
    tts, name = load(model, **runtime), str(model)
    questions, clients = record(tts), CLIENTS[:2] if quick else CLIENTS
    parts = first_audio_parts(tts)
    options = ["--model", str(model), "--sessions", str(max(clients) + 1)]
    options += runtime_options(runtime)
    with serving(*options) as server:
        asyncio.run(converse(server.socket, questions, 1))  # warms up
        exchanges = asyncio.run(converse(server.socket, questions, TURNS))
        metrics = latency_metrics(name, exchanges)
        for part, values in parts.items():
            metrics.append(Metric(f"... of synthesis: {part}", name, median_range(values), "ms", 1))
        metrics += load_metrics(name, server.socket, questions, clients)
    return metrics


async def converse(
    address: str, questions: list[SpokenQuestion], turns: int, first: int = 0
) -> list[Exchange]:
    """The exchanges of one client that asks `turns` questions, starting with the `first`."""
    async with connect(address) as client:
        exchanges = []
        for turn in range(first, first + turns):
            question = questions[turn % len(questions)]
            exchanges.append(await client.ask(question.samples, question.speech))
        return exchanges


def parts_of(exchange: Exchange) -> dict[str, float] | None:
    """Milliseconds of PARTS of one answer, and their sum as "total"; None without audio."""
    parts, silence = exchange.parts, ChatConfig().end_silence
    if exchange.first_audio is None or "total" not in parts:
        return None
    start = exchange.playout.first or exchange.first_audio
    seconds = {
        "end of turn": exchange.turn_end - exchange.speech_end - silence,
        "recognition": parts["recognition"],
        "LLM": parts["first_text"],
        "first clause": parts["first_clause"] - parts["first_text"],
        "synthesis": parts["first_audio"] - parts["first_clause"],
        "network": exchange.first_audio - exchange.turn_end - parts["total"],
        "playback": start - exchange.first_audio,
        "total": start - exchange.speech_end - silence,
    }
    return {part: 1000 * value for part, value in seconds.items()}


def latency_metrics(name: str, exchanges: list[Exchange]) -> list[Metric]:
    """Latency of a single client by part: medians between the smallest and the largest."""
    found = [parts for exchange in exchanges if (parts := parts_of(exchange)) is not None]
    metrics = [
        Metric(f"latency: {part}", name, median_range([parts[part] for parts in found]), "ms", 0)
        for part in (*PARTS, "total")
    ]
    gaps = sum(exchange.playout.gaps for exchange in exchanges)
    answered = single(len(found) / len(exchanges))
    return [
        *metrics,
        Metric("answered", name, answered, "%", 0),
        Metric("gaps", name, single(gaps), "", 0),
    ]


def load_metrics(
    name: str, address: str, questions: list[SpokenQuestion], clients: Sequence[int] = CLIENTS
) -> list[Metric]:
    """Latency and gaps with several clients that ask at the same moments, the worst case."""
    metrics, most, steady = [], 0, True
    for size in clients:
        groups = asyncio.run(_converse_at_once(address, questions, size))
        exchanges = [exchange for group in groups for exchange in group]
        found = [parts for exchange in exchanges if (parts := parts_of(exchange)) is not None]
        total = median_range([parts["total"] for parts in found])
        gaps = sum(exchange.playout.gaps for exchange in exchanges)
        metrics.append(Metric(f"{size} at once: latency, total", name, total, "ms", 0))
        metrics.append(Metric(f"{size} at once: gaps", name, single(gaps), "", 0))
        steady &= not gaps and len(found) == len(exchanges) and total.value <= 1000 * REAL_TIME
        most = size if steady else most
    return [*metrics, Metric("conversations in real time", name, single(most), "", 0)]


async def _converse_at_once(
    address: str, questions: list[SpokenQuestion], size: int
) -> list[list[Exchange]]:
    clients = [converse(address, questions, CLIENT_TURNS, first) for first in range(size)]
    return await asyncio.gather(*clients)


@torch.inference_mode()
def first_audio_parts(tts: TTS, repeats: int = 9) -> dict[str, list[float]]:
    """Milliseconds from a clause to its first audio, by part, warm and outside of the server.

    Empty for a tokenizer that does not stream.
    """
    if tts.tokenizer.spec.lookahead is None:
        return {}
    taken: dict[str, list[float]] = {"prefill": [], "first steps": [], "first decode": []}
    device = tts.model.device
    for turn in range(repeats + 1):
        row = tts.plan(SynthesisRequest(text=QUESTIONS[turn % len(QUESTIONS)]))[0]
        stream = SentenceStream(
            row.sentence, tts.model.layout, tts.tokenizer, tts.decoder_speaker_vector(row.voice)
        )
        strategy, chunk, decoding = Grouped(), None, 0.0
        times = [seconds_now(device)]
        state = prefill_prompts(tts.model, [tts.prompt(row)], strategy)
        times.append(seconds_now(device))
        while chunk is None:
            batch = strategy.emit(tts.model, state)
            start = seconds_now(device)
            chunk = stream.push(batch.tokens[0, 0])
            decoding = seconds_now(device) - start
            if chunk is None:
                strategy.forward(tts.model, state, batch)
        times.append(seconds_now(device) - decoding)
        if turn:  # the first turn warms up
            taken["prefill"].append(1000 * (times[1] - times[0]))
            taken["first steps"].append(1000 * (times[2] - times[1]))
            taken["first decode"].append(1000 * decoding)
    return taken


# -- the server --------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChatServer:
    """A running server process."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def page(self) -> str:
        """URL of the page."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def socket(self) -> str:
        """URL of its WebSocket."""
        return f"ws://127.0.0.1:{self.port}/talk/socket"


@contextmanager
def serving(*options: str, headers: Sequence[tuple[str, str]] = ()) -> Iterator[ChatServer]:
    """Run `vocalmtp chat` on a free port until the block ends.

    Args:
        options: options of the command line.
        headers: sent with the requests that wait for the page.

    Raises:
        InputError: the process fails, or the page does not appear.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "vocalmtp", "chat", "--port", str(port), *options]
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, env=environment, stderr=errors)
        server = ChatServer(port, process)
        try:
            _wait(server, headers, errors)
            yield server
        finally:
            process.terminate()
            process.wait()


def _wait(server: ChatServer, headers: Sequence[tuple[str, str]], errors: IO[str]) -> None:
    request = urllib.request.Request(server.page, headers=dict(headers))
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        try:
            urllib.request.urlopen(request, timeout=5).read()
            return
        except OSError:
            time.sleep(0.2)
    errors.seek(0)
    lines = errors.read().strip().splitlines()
    raise InputError(
        f"chat: the server did not start ({lines[-1] if lines else 'too slow'}); "
        "try vocalmtp chat by hand",
        code="unusable",
    )

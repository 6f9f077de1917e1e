"""`vocalmtp bench --chat`: how long an answer takes, part by part, and how many can talk at once.

The whole way is measured from outside: callers speak recorded questions into the socket of a server
in a process of its own, at the pace of a microphone.
"""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vocalmtp.audio.io import resample
from vocalmtp.audio.vad import SAMPLE_RATE
from vocalmtp.bench.chat_server import serving
from vocalmtp.chat.client import Exchange, connect
from vocalmtp.chat.config import ChatConfig
from vocalmtp.decoding.generate import prefill_prompts
from vocalmtp.decoding.strategies import Grouped
from vocalmtp.decoding.streaming import SentenceStream
from vocalmtp.evaluation.report import Line
from vocalmtp.evaluation.statistics import once, spread
from vocalmtp.tts import TTS, SynthesisRequest, load

QUESTIONS = (
    "What is the capital of France?",
    "How many days are in a week?",
    "Tell me the colour of the sky.",
    "Which month comes after June?",
    "Good morning, how are you today?",
)
TURNS = 8  # of the lone caller
CROWD = (1, 2, 4, 8)  # callers at once
CROWD_TURNS = 2  # of each
PROMPT = 0.5  # seconds beyond the silence within which an answer must sound

# What the caller sees of the way, in its order.
PARTS = ("end of turn", "recognition", "LLM", "first clause", "synthesis", "network", "playback")


@dataclass(frozen=True)
class SpokenQuestion:
    """A recorded one: samples [N] at SAMPLE_RATE, and for how many seconds they are speech."""

    text: str
    samples: np.ndarray
    speech: float


def record(tts: TTS, texts: tuple[str, ...] = QUESTIONS) -> list[SpokenQuestion]:
    """The questions, spoken by the model."""
    made = []
    for text in texts:
        audio = tts(text, greedy=True)
        samples = resample(audio.samples, audio.sample_rate, SAMPLE_RATE)
        speech = audio.words[-1].end if audio.words else audio.duration
        made.append(SpokenQuestion(text, samples, speech))
    return made


def run_chat_bench(model: Path | str) -> list[Line]:
    """All figures of conversations with `model` and an echo; times in milliseconds."""
    tts, name = load(model), str(model)
    questions = record(tts)
    beside = first_audio_parts(tts)
    with serving("--model", str(model), "--sessions", str(max(CROWD) + 1)) as server:
        asyncio.run(converse(server.socket, questions, 1))  # warms up
        alone = asyncio.run(converse(server.socket, questions, TURNS))
        lines = chain(name, alone)
        for part, values in beside.items():
            lines.append(Line(f"... of synthesis: {part}", name, spread(values), "ms", 1))
        lines += crowds(name, server.socket, questions)
    return lines


async def converse(address: str, questions: list[SpokenQuestion], turns: int, first: int = 0):
    """The exchanges of one caller who asks so many questions, from the `first` on."""
    async with connect(address) as caller:
        exchanges = []
        for turn in range(first, first + turns):
            question = questions[turn % len(questions)]
            exchanges.append(await caller.ask(question.samples, question.speech))
        return exchanges


def parts_of(exchange: Exchange) -> dict[str, float] | None:
    """Milliseconds of PARTS of one answer, and their sum as "whole"; None if nothing sounded."""
    parts, silence = exchange.parts, ChatConfig().end_silence
    if exchange.first_audio is None or "total" not in parts:
        return None
    sounded = exchange.playout.first or exchange.first_audio
    seconds = {
        "end of turn": exchange.turn_end - exchange.speech_end - silence,
        "recognition": parts["recognition"],
        "LLM": parts["first_text"],
        "first clause": parts["first_clause"] - parts["first_text"],
        "synthesis": parts["first_audio"] - parts["first_clause"],
        "network": exchange.first_audio - exchange.turn_end - parts["total"],
        "playback": sounded - exchange.first_audio,
        "whole": sounded - exchange.speech_end - silence,
    }
    return {part: 1000 * value for part, value in seconds.items()}


def chain(name: str, exchanges: list[Exchange]) -> list[Line]:
    """The latency chain of one caller: medians with the least and the most."""
    found = [parts for exchange in exchanges if (parts := parts_of(exchange)) is not None]
    lines = [
        Line(f"latency: {part}", name, spread([parts[part] for parts in found]), "ms", 0)
        for part in (*PARTS, "whole")
    ]
    gaps = sum(exchange.playout.gaps for exchange in exchanges)
    answered = once(len(found) / len(exchanges))
    return [*lines, Line("answered", name, answered, "%", 0), Line("gaps", name, once(gaps), "", 0)]


def crowds(name: str, address: str, questions: list[SpokenQuestion]) -> list[Line]:
    """Callers who all ask at the same moments: the hardest that so many can be."""
    lines, most, steady = [], 0, True
    for size in CROWD:
        groups = asyncio.run(_crowd(address, questions, size))
        exchanges = [exchange for group in groups for exchange in group]
        found = [parts for exchange in exchanges if (parts := parts_of(exchange)) is not None]
        whole = spread([parts["whole"] for parts in found])
        gaps = sum(exchange.playout.gaps for exchange in exchanges)
        what = f"{size} at once"
        lines.append(Line(f"{what}: latency, whole", name, whole, "ms", 0))
        lines.append(Line(f"{what}: gaps", name, once(gaps), "", 0))
        steady &= not gaps and len(found) == len(exchanges) and whole.value <= 1000 * PROMPT
        most = size if steady else most
    return [*lines, Line("conversations in real time", name, once(most), "", 0)]


async def _crowd(address: str, questions: list[SpokenQuestion], size: int) -> list[list[Exchange]]:
    callers = [converse(address, questions, CROWD_TURNS, first) for first in range(size)]
    return await asyncio.gather(*callers)


@torch.inference_mode()
def first_audio_parts(tts: TTS, repeats: int = 9) -> dict[str, list[float]]:
    """Milliseconds from a clause to its first audio, by part, beside the server and warm.

    Empty for a tokenizer that does not stream: it has no first audio but the last.
    """
    if tts.tokenizer.spec.lookahead is None:
        return {}
    taken: dict[str, list[float]] = {"prefill": [], "first steps": [], "first decode": []}
    for turn in range(repeats + 1):
        row = tts.plan(SynthesisRequest(text=QUESTIONS[turn % len(QUESTIONS)]))[0]
        spoken = SentenceStream(
            row.text, tts.model.layout, tts.tokenizer, tts.decoder_speaker_vector(row.voice)
        )
        strategy, chunk, decoding = Grouped(), None, 0.0
        times = [time.perf_counter()]
        state = prefill_prompts(tts.model, [tts.prompt(row)], strategy)
        times.append(time.perf_counter())
        while chunk is None:
            emission = strategy.emit(tts.model, state)
            start = time.perf_counter()
            chunk = spoken.push(emission.tokens[0, 0])
            decoding = time.perf_counter() - start
            if chunk is None:
                strategy.forward(tts.model, state, emission)
        times.append(time.perf_counter() - decoding)
        if turn:  # the first turn warms up
            taken["prefill"].append(1000 * (times[1] - times[0]))
            taken["first steps"].append(1000 * (times[2] - times[1]))
            taken["first decode"].append(1000 * decoding)
    return taken

"""Measure echo suppression: recorded voices in simulated rooms.

    python recipes/chat/echo.py --corpus corpus --output results/echo

Every trial plays three seconds of one recording while another person speaks, or nobody does, in a
room with a random reverberation. echo.md reports how often the echo alone would interrupt an answer,
and how often a user is detected in time, at the beginning of the first answer and later.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from vocalmtp.audio.io import read_audio
from vocalmtp.audio.vad import FRAME, FRAME_SECONDS, SAMPLE_RATE
from vocalmtp.chat.audio_io import Playback
from vocalmtp.chat.config import ChatConfig
from vocalmtp.chat.echo_gate import EchoGate
from vocalmtp.chat.turns import TurnDetector
from vocalmtp.data.manifest import read_manifest
from vocalmtp.evaluation.report import Metric, write_report
from vocalmtp.evaluation.statistics import bootstrap_mean

SECONDS = 3.0  # of a trial
LATER = 2.0  # seconds into the answer
STRENGTHS = (0.0, 0.05, 0.2, 0.7)  # of the echo, as a ratio to the answer
LEVEL = 0.08  # RMS of both voices
NOISE = 0.0014  # RMS of the room's noise, 35 dB below
AUDIBLE = 0.004  # RMS from which a frame may count as speech
DEADLINES = (0.3, 0.6)  # seconds within which a user should be detected


@dataclass(frozen=True)
class Trial:
    """An answer, its echo in a room at full strength, a user, and noise, each [N].

    Attributes:
        onset: seconds into the answer at which an early user begins.
    """

    answer: np.ndarray
    echo: np.ndarray
    user: np.ndarray
    noise: np.ndarray
    onset: float


def make_trials(corpus: Path, count: int) -> Iterator[Trial]:
    """Yield trials of two different recordings each, of the corpus's test split."""
    rng = np.random.default_rng(0)
    rows = read_manifest(corpus, "test")
    size = round(SECONDS * SAMPLE_RATE)
    for _ in range(count):
        pair = rng.choice(len(rows), 2, replace=False)
        answer, user = (
            at_level(read_audio(rows[index].audio, SAMPLE_RATE), size) for index in pair
        )
        delay = round(rng.uniform(0.02, 0.4) * SAMPLE_RATE)
        echo = reverberate(np.concatenate([np.zeros(delay, np.float32), answer])[:size], rng)
        noise = NOISE * rng.standard_normal(size).astype(np.float32)
        yield Trial(answer, echo, user, noise, rng.uniform(0.05, 0.4))


def at_level(samples: np.ndarray, size: int) -> np.ndarray:
    """Return `size` samples from the first sound on, repeated if need be, at LEVEL."""
    loud = np.flatnonzero(np.abs(samples) > 0.2 * np.abs(samples).max())
    samples = np.resize(samples[loud[0] :], size)
    return (samples * (LEVEL / np.sqrt(np.mean(samples**2)))).astype(np.float32)


def reverberate(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return samples [N] as a small loudspeaker in a room reproduces them.

    The direct sound is 0 to 6 dB above the reverberation, which decays by 60 dB in 0.25 to 0.6 s.
    """
    times = np.arange(round(0.4 * SAMPLE_RATE)) / SAMPLE_RATE
    response = rng.standard_normal(len(times)) * 10 ** (-3 * times / rng.uniform(0.25, 0.6))
    response[times < 0.003] = 0
    response *= 10 ** (-rng.uniform(0, 6) / 20) / np.sqrt(np.sum(response**2))
    response[0] = 1.0
    high_pass = [1.0, -rng.uniform(0.5, 0.95)]
    filtered = np.convolve(np.convolve(samples, response)[: len(samples)], high_pass)
    filtered = filtered[: len(samples)]
    return (filtered * (LEVEL / np.sqrt(np.mean(filtered**2)))).astype(np.float32)


def speech_frames(trial: Trial, microphone: np.ndarray) -> np.ndarray:
    """Return which frames of the microphone would count as the user's speech, [frames]."""
    gate, playback = EchoGate("energy"), Playback(SAMPLE_RATE)
    frames = microphone[: len(microphone) // FRAME * FRAME].reshape(-1, FRAME)
    for frame in trial.noise[: 16 * FRAME].reshape(-1, FRAME):
        gate.accepts(frame, None, 0.0)
    playback.add(trial.answer, 0.0)
    flags = [gate.accepts(frame, playback, n * FRAME_SECONDS) for n, frame in enumerate(frames, 1)]
    return np.array(flags) & (np.sqrt(np.mean(frames**2, axis=1)) > AUDIBLE)


def interrupts(flags: np.ndarray) -> bool:
    """Return whether the frames of speech would interrupt an answer."""
    turns = TurnDetector(ChatConfig())
    return any(turns.push(float(flag), answering=True) == "start" for flag in flags)


def run_trial(trial: Trial) -> Iterator[tuple[str, float, bool]]:
    """Yield the name of every outcome, the strength of the echo, and the outcome."""
    for strength in STRENGTHS:
        echo = strength * trial.echo + trial.noise
        if strength:
            flags = speech_frames(trial, echo)
            yield "the echo interrupts (should be 0)", strength, interrupts(flags)
        for when, onset in (("at once", trial.onset), ("later", LATER)):
            first = round(onset * SAMPLE_RATE)
            user = np.concatenate([np.zeros(first, np.float32), trial.user])[: len(echo)]
            flags = speech_frames(trial, echo + user)[first // FRAME :]
            for deadline in DEADLINES:
                found = interrupts(flags[: round(deadline / FRAME_SECONDS) + 1])
                yield f"user who speaks {when} is detected within {deadline} s", strength, found


def main(
    corpus: Annotated[Path, typer.Option(help="What recipes/corpus made.")] = Path("corpus"),
    output: Annotated[Path, typer.Option(help="Where echo.md is written.")] = Path("results/echo"),
    trials: Annotated[int, typer.Option(min=1, help="Rooms, with two recordings each.")] = 200,
) -> None:
    """Measure the echo suppression of conversations in simulated rooms.

    Example: `python recipes/chat/echo.py --corpus corpus --output results/echo`
    """
    outcomes: dict[tuple[float, str], list[bool]] = defaultdict(list)
    for trial in make_trials(corpus, trials):
        for name, strength, outcome in run_trial(trial):
            outcomes[strength, name].append(outcome)
    lines = [
        Metric(name, f"echo of {strength:g}", bootstrap_mean(values), "%", 0)
        for (strength, name), values in sorted(outcomes.items())
    ]
    notes = [f"{trials} rooms; an echo of 0.2 has a fifth of the answer's amplitude."]
    print(write_report(output, "echo", lines, notes))


if __name__ == "__main__":
    typer.run(main)

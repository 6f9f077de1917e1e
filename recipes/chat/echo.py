"""How well a conversation tells its own echo from a user: rooms are simulated, voices are recorded.

    python recipes/chat/echo.py --corpus corpus --output results/echo

Every trial plays three seconds of one recording while another speaks, or nobody does, in a room
with a reverberation of its own. echo.md says how often the echo alone would interrupt, and how
often a user is heard soon, at the beginning of a call's first answer and later.
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
from vocalmtp.chat.config import ChatConfig
from vocalmtp.chat.echo_gate import EchoGate
from vocalmtp.chat.playback import Playback
from vocalmtp.chat.turns import TurnDetector
from vocalmtp.data.manifest import read_manifest
from vocalmtp.evaluation.report import Line, write_report
from vocalmtp.evaluation.statistics import bootstrap_mean

SECONDS = 3.0  # of a trial
LATER = 2.0  # seconds into the answer
STRENGTHS = (0.0, 0.05, 0.2, 0.7)  # of the echo, over our sound
LOUD = 0.08  # root mean square of both voices
NOISE = 0.0014  # of the room, 35 dB below
SOUND = 0.004  # what may be taken for speech
SOON = (0.3, 0.6)  # seconds after which a user should have been heard


@dataclass(frozen=True)
class Trial:
    """An answer of ours, its echo in some room at full strength, and a user, each [N]."""

    ours: np.ndarray
    echo: np.ndarray
    user: np.ndarray
    noise: np.ndarray
    begins: float  # seconds into the answer, of who interrupts at once


def make_trials(corpus: Path, count: int) -> Iterator[Trial]:
    """Trials of recordings of the corpus's tests, two different ones each."""
    rng = np.random.default_rng(0)
    rows = read_manifest(corpus, "test")
    size = round(SECONDS * SAMPLE_RATE)
    for _ in range(count):
        pair = rng.choice(len(rows), 2, replace=False)
        ours, user = (as_loud(read_audio(rows[index].audio, SAMPLE_RATE), size) for index in pair)
        late = round(rng.uniform(0.02, 0.4) * SAMPLE_RATE)
        echo = in_room(np.concatenate([np.zeros(late, np.float32), ours])[:size], rng)
        noise = NOISE * rng.standard_normal(size).astype(np.float32)
        yield Trial(ours, echo, user, noise, rng.uniform(0.05, 0.4))


def as_loud(samples: np.ndarray, size: int) -> np.ndarray:
    """Samples from their first sound on, again and again until there are `size`, at LOUD."""
    loud = np.flatnonzero(np.abs(samples) > 0.2 * np.abs(samples).max())
    samples = np.resize(samples[loud[0] :], size)
    return (samples * (LOUD / np.sqrt(np.mean(samples**2)))).astype(np.float32)


def in_room(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Samples [N] from a small loudspeaker in a room: at most 6 dB above its reverberation, which
    falls by 60 dB in 0.25 to 0.6 s.
    """
    times = np.arange(round(0.4 * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal(len(times)) * 10 ** (-3 * times / rng.uniform(0.25, 0.6))
    tail[times < 0.003] = 0
    tail *= 10 ** (-rng.uniform(0, 6) / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    colour = [1.0, -rng.uniform(0.5, 0.95)]  # no bass
    heard = np.convolve(np.convolve(samples, tail)[: len(samples)], colour)[: len(samples)]
    return (heard * (LOUD / np.sqrt(np.mean(heard**2)))).astype(np.float32)


def passed(trial: Trial, microphone: np.ndarray) -> np.ndarray:
    """Which frames of the microphone would be taken for the user's voice, [frames]."""
    guard, playback = EchoGate("energy"), Playback(SAMPLE_RATE)
    frames = microphone[: len(microphone) // FRAME * FRAME].reshape(-1, FRAME)
    for frame in trial.noise[: 16 * FRAME].reshape(-1, FRAME):
        guard.passes(frame, None, 0.0)
    playback.add(trial.ours, 0.0)
    flags = [guard.passes(frame, playback, n * FRAME_SECONDS) for n, frame in enumerate(frames, 1)]
    return np.array(flags) & (np.sqrt(np.mean(frames**2, axis=1)) > SOUND)


def interrupts(flags: np.ndarray) -> bool:
    """Whether a turn would begin, if all that passes is speech."""
    turns = TurnDetector(ChatConfig())
    return any(turns.push(float(flag), answering=True) == "start" for flag in flags)


def judge(trial: Trial) -> Iterator[tuple[str, float, bool]]:
    """What is asked of a trial, the strength of the echo, and the answer."""
    for strength in STRENGTHS:
        echo = strength * trial.echo + trial.noise
        if strength:
            yield "the echo interrupts (should be 0)", strength, interrupts(passed(trial, echo))
        for when, begins in (("at once", trial.begins), ("later", LATER)):
            first = round(begins * SAMPLE_RATE)
            user = np.concatenate([np.zeros(first, np.float32), trial.user])[: len(echo)]
            flags = passed(trial, echo + user)[first // FRAME :]
            for soon in SOON:
                found = interrupts(flags[: round(soon / FRAME_SECONDS) + 1])
                yield f"who speaks {when} is heard within {soon} s", strength, found


def main(
    corpus: Annotated[Path, typer.Option(help="What recipes/corpus made.")] = Path("corpus"),
    output: Annotated[Path, typer.Option(help="Where echo.md is written.")] = Path("results/echo"),
    trials: Annotated[int, typer.Option(min=1, help="Rooms, with two recordings each.")] = 200,
) -> None:
    """Measure the echo guard of conversations in simulated rooms.

    Example: `python recipes/chat/echo.py --corpus corpus --output results/echo`
    """
    found: dict[tuple[float, str], list[bool]] = defaultdict(list)
    for trial in make_trials(corpus, trials):
        for what, strength, answer in judge(trial):
            found[strength, what].append(answer)
    lines = [
        Line(what, f"echo of {strength:g}", bootstrap_mean(answers), "%", 0)
        for (strength, what), answers in sorted(found.items())
    ]
    notes = [f"{trials} rooms; an echo of 0.2 is a fifth as loud as the sound that makes it."]
    print(write_report(output, "echo", lines, notes))


if __name__ == "__main__":
    typer.run(main)

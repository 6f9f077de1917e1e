"""How fast a model speaks: real-time factor, first audio, cold start, and two models side by side.

All figures are medians between the smallest and the largest of repeated, interleaved runs.
"""

import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from vocalmtp.decoding.generate import start
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.strategy import Grouped
from vocalmtp.eval.statistics import Figure, spread
from vocalmtp.synthesis import TTS, Utterance

SENTENCES = (
    "The birch canoe slid on the smooth planks.",
    "Every morning when you wake up, the house is a little different.",
    "What is the best way to get to the station from here?",
    "She said that the letter would arrive on the second of March.",
)


def hardware() -> str:
    """One line: processor, cores and threads in use, versions."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return (
        f"{model}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, Python {platform.python_version()}"
    )


def real_time_factors(
    models: dict[str, TTS], batch_size: int = 1, repeats: int = 5, **sampling: Any
) -> dict[str, Figure]:
    """Compute time over audio time of every model, warm, in turns; `batch_size` rows at once."""
    texts = [SENTENCES[i % len(SENTENCES)] for i in range(batch_size * len(SENTENCES))]
    factors: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(repeats + 1):
        for name, tts in models.items():
            start = time.perf_counter()
            made = list(tts.batch(texts, batch_size=batch_size, **sampling))
            taken = time.perf_counter() - start
            if turn:  # the first turn warms up
                factors[name].append(taken / sum(audio.duration for audio in made))
    return {name: spread(values) for name, values in factors.items()}


def first_audio(tts: TTS, repeats: int = 9, **sampling: Any) -> Figure:
    """Milliseconds from the call of `stream` to its first samples, warm."""
    values = []
    for turn in range(repeats + 1):
        start = time.perf_counter()
        stream = tts.stream(SENTENCES[turn % len(SENTENCES)], **sampling)
        while not len(next(stream).samples):
            pass
        if turn:
            values.append(1000 * (time.perf_counter() - start))
        stream.close()
    return spread(values)


def cold_start(model: str, repeats: int = 3) -> tuple[Figure, float]:
    """Seconds of a whole `vocalmtp tts` process, and the peak memory of such processes in GiB."""
    values = []
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "vocalmtp", "tts", SENTENCES[0], "--model", model]
        command += ["-o", str(Path(folder) / "cold.wav")]
        for _ in range(repeats):
            start = time.perf_counter()
            subprocess.run(
                command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            values.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20  # KiB on Linux
    return spread(values), peak


def steps_per_second(
    models: dict[str, TTS], batch_size: int = 1, steps: int = 60, repeats: int = 5
) -> dict[str, dict[str, Figure]]:
    """The bare decode loop of every model for `steps` steps, in turns, whatever they say.

    Returns per model the steps a second and the seconds of audio that they stand for. With end and
    text ignored, models that are not yet understood can be compared too.
    """
    runs = {name: _loop(tts, batch_size, steps) for name, tts in models.items()}
    taken: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn:
                taken[name].append(time.perf_counter() - start)
    result = {}
    for name, tts in models.items():
        layout, rate = tts.model.layout, tts.tokenizer.card.frame_rate
        frames = 1 / len(layout.streams) if layout.flat else layout.frames_per_step
        rates = [steps / seconds for seconds in taken[name]]
        result[name] = {
            "steps": spread(rates),
            "audio": spread([r * batch_size * frames / rate for r in rates]),
        }
    return result


def _loop(tts: TTS, batch_size: int, steps: int) -> Callable[[], None]:
    """A function that runs the decode loop for `steps` steps, whether or not a row has ended."""
    voice = tts.find_voice(None)
    texts = [SENTENCES[i % len(SENTENCES)].lower() for i in range(batch_size)]
    batch = tts.prompt([Utterance(text, voice, 0) for text in texts])
    sampler, strategy = Sampler(greedy=True), Grouped()

    @torch.inference_mode()
    def run() -> None:
        hidden, state = tts.model.prefill(batch)
        start(state, [0] * batch_size)
        for _ in range(steps):
            tokens = strategy.emit(tts.model, hidden, state, sampler)
            hidden, state = tts.model.step(state, tokens)

    return run

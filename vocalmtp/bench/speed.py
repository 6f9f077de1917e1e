"""How fast a model speaks: real-time factor, first audio, cold start, and two loops side by side.

All figures are medians between the smallest and the largest of repeated, interleaved runs.
"""

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from vocalmtp.decoding.generate import prefill_prompts
from vocalmtp.decoding.statistics import DecodeStatistics
from vocalmtp.errors import InputError
from vocalmtp.evaluation.statistics import Estimate, spread
from vocalmtp.tts import TTS, SynthesisRequest

PEAK_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes, of ru_maxrss
SENTENCES = (
    "The birch canoe slid on the smooth planks.",
    "Every morning when you wake up, the house is a little different.",
    "What is the best way to get to the station from here?",
    "She said that the letter would arrive on the second of March.",
)

# Run by a small process of its own: the peak memory of a child includes its parent's at the fork.
MEASURE = (
    "import resource, subprocess, sys, time; start = time.perf_counter(); "
    "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
    "print(time.perf_counter() - start, "
    "resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
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
    tts: TTS, batch_sizes: Sequence[int], repeats: int = 5, **sampling: Any
) -> dict[int, Estimate]:
    """Compute time over audio time, warm, for batches of these sizes, in turns."""
    factors: dict[int, list[float]] = {size: [] for size in batch_sizes}
    for turn in range(repeats + 1):
        for size in batch_sizes:
            count = len(SENTENCES) * max(1, size // 2)  # every place is taken at least twice
            texts = [SENTENCES[i % len(SENTENCES)] for i in range(count)]
            start = time.perf_counter()
            made = list(tts.batch(texts, batch_size=size, **sampling))
            taken = time.perf_counter() - start
            if turn:  # the first turn warms up
                factors[size].append(taken / sum(audio.duration for audio in made))
    return {size: spread(values) for size, values in factors.items()}


def side_by_side(models: dict[str, TTS], repeats: int = 5, **sampling: Any) -> dict[str, Estimate]:
    """Compute time over audio time of every model at batch 1, warm, in turns."""
    factors: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(repeats + 1):
        for name, tts in models.items():
            start = time.perf_counter()
            made = list(tts.batch(SENTENCES, batch_size=1, **sampling))
            taken = time.perf_counter() - start
            if turn:  # the first turn warms up
                factors[name].append(taken / sum(audio.duration for audio in made))
    return {name: spread(values) for name, values in factors.items()}


def first_audio(tts: TTS, repeats: int = 9, **sampling: Any) -> Estimate:
    """Milliseconds from the call of `stream` to its first samples, warm; NaN if there are none."""
    values = []
    for turn in range(repeats + 1):
        start = time.perf_counter()
        stream = tts.stream(SENTENCES[turn % len(SENTENCES)], **sampling)
        spoke = any(len(chunk.samples) for chunk in stream)  # up to the first that has some
        if turn and spoke:
            values.append(1000 * (time.perf_counter() - start))
        stream.close()
    return spread(values)


def cold_start(model: Path | str, repeats: int = 3) -> tuple[Estimate, Estimate]:
    """Seconds of a whole `vocalmtp tts` process, and its peak memory in GiB.

    Raises InputError with what the process said if it fails.
    """
    seconds, memory = [], []
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "vocalmtp", "tts", SENTENCES[0], "--model", str(model)]
        command += ["-o", str(Path(folder) / "cold.wav")]
        for _ in range(repeats):
            done = subprocess.run(
                [sys.executable, "-c", MEASURE, *command], capture_output=True, text=True
            )
            if done.returncode:
                why = done.stderr.strip().splitlines()[0]
                raise InputError(
                    f"model '{model}': 'vocalmtp tts' failed ({why}); try it by hand",
                    code="invalid_value",
                )
            taken, peak = done.stdout.split()
            seconds.append(float(taken))
            memory.append(float(peak) * PEAK_UNIT / 2**30)
    return spread(seconds), spread(memory)


def steps_per_second(
    models: dict[str, TTS], batch_size: int = 1, frames: int = 60, repeats: int = 5
) -> dict[str, dict[str, Estimate]]:
    """The bare decode loop of every model for `frames` frames of audio, in turns, whatever it says.

    Returns per model the steps a second and the seconds of audio that they stand for. With end and
    text ignored, models that cannot speak can be compared too.
    """
    steps = {name: tts.model.layout.num_steps(frames) for name, tts in models.items()}
    taken = loop_seconds(models, batch_size, steps, repeats)
    result = {}
    for name, tts in models.items():
        seconds = batch_size * frames / tts.tokenizer.spec.frame_rate
        result[name] = {
            "steps": spread([steps[name] / t for t in taken[name]]),
            "audio": spread([seconds / t for t in taken[name]]),
        }
    return result


def loop_seconds(
    models: dict[str, TTS], batch_size: int, passes: dict[str, int], repeats: int = 5
) -> dict[str, list[float]]:
    """Seconds of every model's decode loop over so many forward passes, warm, in turns."""
    runs = {name: decode_loop(tts, batch_size, passes[name]) for name, tts in models.items()}
    taken: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn:  # the first turn warms up
                taken[name].append(time.perf_counter() - start)
    return taken


def decode_loop(tts: TTS, batch_size: int, passes: int) -> Callable[[], None]:
    """A function that runs so many forward passes, whether or not a row has ended."""
    requests = [
        SynthesisRequest(text=SENTENCES[i % len(SENTENCES)], sampling={"greedy": True})
        for i in range(batch_size)
    ]
    prompts = [tts.prompt(tts.plan(request)[0]) for request in requests]
    strategy = tts.decoding.strategy(DecodeStatistics())

    @torch.inference_mode()
    def run() -> None:
        state = prefill_prompts(tts.model, prompts, strategy)
        for _ in range(passes):
            strategy.forward(tts.model, state, strategy.emit(tts.model, state))

    return run


def codec_seconds(tts: TTS, frames: int, repeats: int) -> float:
    """Median seconds to decode so many frames, warm."""
    spec = tts.tokenizer.spec
    codes = torch.zeros(1, len(spec.streams), frames, dtype=torch.long, device=tts.tokenizer.device)
    speaker = None
    if spec.speaker_dim:
        speaker = torch.from_numpy(tts.find_voice(None).vector)[None].to(tts.tokenizer.device)
    taken = []
    for turn in range(repeats + 1):
        start = time.perf_counter()
        tts.tokenizer.decode(codes, speaker)
        if turn:  # the first turn warms up
            taken.append(time.perf_counter() - start)
    return spread(taken).value

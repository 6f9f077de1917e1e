"""Measurements of speed: real-time factor, first audio, cold start, decode loops side by side.

All figures are medians between the smallest and the largest of repeated, interleaved runs.
"""

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vocalmtp.decoding.generate import open_stepper, prefill_prompts
from vocalmtp.decoding.statistics import DecodeStatistics
from vocalmtp.engines.cpu import cpu_name
from vocalmtp.engines.device import resolve_device
from vocalmtp.errors import InputError
from vocalmtp.evaluation.statistics import Estimate, median_range
from vocalmtp.io.progress import progress
from vocalmtp.tts import TTS, SynthesisRequest

LINE_SECONDS = 20.0  # between lines of progress where stderr is not a terminal
PEAK_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes, of ru_maxrss
SENTENCES = (
    "The birch canoe slid on the smooth planks.",
    "Every morning when you wake up, the house is a little different.",
    "What is the best way to get to the station from here?",
    "She said that the letter would arrive on the second of March.",
)

# Executed by a small process of its own: a child's peak memory includes its parent's at the fork.
MEASURE = (
    "import resource, subprocess, sys, time; start = time.perf_counter(); "
    "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
    "print(time.perf_counter() - start, "
    "resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def hardware(device: str = "cpu") -> str:
    """One line: processor or accelerator, cores and threads in use, versions."""
    model = cpu_name()
    if resolve_device(device).type == "cuda":
        model = f"{torch.cuda.get_device_name(resolve_device(device))}, {model}"
    return (
        f"{model}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, Python {platform.python_version()}"
    )


def seconds_now(device: torch.device) -> float:
    """Seconds of a clock, once all work that was queued on `device` is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


# -- synthesis ---------------------------------------------------------------------------------


def real_time_factors(
    tts: TTS, batch_sizes: Sequence[int], repeats: int = 5, **sampling: Any
) -> dict[int, Estimate]:
    """Compute time over audio time of every batch size, warm and interleaved."""
    factors: dict[int, list[float]] = {size: [] for size in batch_sizes}
    with progress("real-time factors", (repeats + 1) * len(factors), LINE_SECONDS) as advance:
        for turn in range(repeats + 1):
            for size in batch_sizes:
                count = len(SENTENCES) * max(1, size // 2)  # every row is used at least twice
                texts = [SENTENCES[i % len(SENTENCES)] for i in range(count)]
                factor = _real_time_factor(tts, texts, size, sampling)
                if turn:  # the first turn warms up
                    factors[size].append(factor)
                advance(f"batch {size}")
    return {size: median_range(values) for size, values in factors.items()}


def side_by_side(
    models: Mapping[str, TTS], repeats: int = 5, **sampling: Any
) -> dict[str, Estimate]:
    """Compute time over audio time of every model at batch 1, warm and interleaved."""
    factors: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(repeats + 1):
        for name, tts in models.items():
            factor = _real_time_factor(tts, SENTENCES, 1, sampling)
            if turn:  # the first turn warms up
                factors[name].append(factor)
    return {name: median_range(values) for name, values in factors.items()}


def _real_time_factor(
    tts: TTS, texts: Sequence[str], batch_size: int, sampling: Mapping[str, Any]
) -> float:
    start = time.perf_counter()
    made = list(tts.batch(texts, batch_size=batch_size, **sampling))
    taken = time.perf_counter() - start  # the audio is on the CPU: nothing is queued any more
    return taken / sum(audio.duration for audio in made)


def first_audio(tts: TTS, repeats: int = 9, **sampling: Any) -> Estimate:
    """Milliseconds from the call of `stream` to its first samples, warm; NaN if there are none."""
    values = []
    for turn in range(repeats + 1):
        start = time.perf_counter()
        stream = tts.stream(SENTENCES[turn % len(SENTENCES)], **sampling)
        spoke = any(len(chunk.samples) for chunk in stream)  # up to the first that has some
        if turn and spoke:
            values.append(1000 * (time.perf_counter() - start))
        stream.close()  # a generator
    return median_range(values)


def cold_start(
    model: Path | str, repeats: int = 3, runtime: Mapping[str, Any] | None = None
) -> tuple[Estimate, Estimate]:
    """Seconds of a complete `vocalmtp tts` process, and its peak memory in GiB.

    Raises:
        InputError: the process fails.
    """
    seconds, memory = [], []
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "vocalmtp", "tts", SENTENCES[0], "--model", str(model)]
        command += ["-o", str(Path(folder) / "cold.wav")]
        command += runtime_options(runtime or {})
        for _ in range(repeats):
            done = subprocess.run(
                [sys.executable, "-c", MEASURE, *command], capture_output=True, text=True
            )
            if done.returncode:
                why = done.stderr.strip().splitlines()[0]
                raise InputError(
                    f"model '{model}': 'vocalmtp tts' failed ({why}); try it by hand",
                    code="unusable",
                )
            taken, peak = done.stdout.split()
            seconds.append(float(taken))
            memory.append(float(peak) * PEAK_UNIT / 2**30)
    return median_range(seconds), median_range(memory)


def runtime_options(runtime: Mapping[str, Any]) -> list[str]:
    """Return arguments of `vocalmtp.load` as options of the command line."""
    given = {name: value for name, value in runtime.items() if value is not None}
    return [word for name, value in given.items() for word in (f"--{name}", str(value))]


# -- decode loops ------------------------------------------------------------------------------


def steps_per_second(
    models: Mapping[str, TTS], batch_size: int = 1, frames: int = 60, repeats: int = 5
) -> dict[str, dict[str, Estimate]]:
    """Speed of every model's bare decode loop over `frames` frames of audio, interleaved.

    The loop ignores text and end tokens, so models that were not trained can be compared too.

    Returns:
        By model: `steps`, per second, and `audio`, seconds of audio per second.
    """
    steps = {name: tts.model.layout.num_steps(frames) for name, tts in models.items()}
    taken = loop_seconds(models, batch_size, steps, repeats)
    result = {}
    for name, tts in models.items():
        seconds = batch_size * frames / tts.tokenizer.spec.frame_rate
        result[name] = {
            "steps": median_range([steps[name] / t for t in taken[name]]),
            "audio": median_range([seconds / t for t in taken[name]]),
        }
    return result


def loop_seconds(
    models: Mapping[str, TTS], batch_size: int, passes: Mapping[str, int], repeats: int = 5
) -> dict[str, list[float]]:
    """Seconds of every model's decode loop over a number of forward passes, interleaved."""
    runs = {name: decode_loop(tts, batch_size, passes[name]) for name, tts in models.items()}
    taken: dict[str, list[float]] = {name: [] for name in models}
    label = f"decode loops, batch {batch_size}"
    with progress(label, (repeats + 1) * len(runs), LINE_SECONDS) as advance:
        for turn in range(repeats + 1):
            for name, run in runs.items():
                device = models[name].model.device
                start = seconds_now(device)
                run()
                if turn:  # the first turn warms up
                    taken[name].append(seconds_now(device) - start)
                advance(name)
    return taken


def decode_loop(tts: TTS, batch_size: int, passes: int) -> Callable[[], None]:
    """A function that executes a number of passes, whether or not a row has ended.

    They run as in synthesis: as programs if the engine has them.
    """
    requests = [
        SynthesisRequest(text=SENTENCES[i % len(SENTENCES)], sampling={"greedy": True})
        for i in range(batch_size)
    ]
    strategy = tts.decoding.strategy(DecodeStatistics())
    steps = passes * (1 + tts.decoding.drafts)  # at most
    prompts = [replace(tts.prompt(tts.plan(each)[0]), max_steps=steps) for each in requests]

    @torch.inference_mode()
    def run() -> None:
        stepper = open_stepper(tts.model, strategy)
        stepper.add(prefill_prompts(tts.model, prompts, strategy))
        for _ in range(passes):
            stepper.next()
        stepper.keep([])

    return run


@torch.inference_mode()
def codec_seconds(tts: TTS, frames: int, repeats: int) -> float:
    """Median seconds of decoding a number of codec frames, warm."""
    spec, device = tts.tokenizer.spec, tts.tokenizer.device
    codes = torch.zeros(1, len(spec.streams), frames, dtype=torch.long, device=device)
    speaker = None
    if spec.speaker_dim and (voice := tts.find_voice(None)) is not None:
        speaker = torch.from_numpy(voice.vector)[None].to(device)
    taken = []
    for turn in range(repeats + 1):
        start = seconds_now(device)
        tts.tokenizer.decode(codes, speaker)
        if turn:  # the first turn warms up
            taken.append(seconds_now(device) - start)
    return median_range(taken).value

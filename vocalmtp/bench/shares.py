"""Where the time of a decode loop goes, and how near it is to what the memory allows."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from vocalmtp.bench.speed import codec_seconds, decode_loop
from vocalmtp.decoding.constraints import ConstrainedSampler
from vocalmtp.tts import TTS

FRAMES = 100  # codec frames a run
BANDWIDTH_BYTES = 2**28  # of the array that is read to find the bandwidth; larger than any cache

# Operators that compute; all others only move, reshape or decide, and count as dispatch.
COMPUTE = (
    "mm",
    "linear",
    "attention",
    "conv",
    "fft",
    "gelu",
    "silu",
    "softmax",
    "norm",
    "embedding",
)


def time_shares(tts: TTS, repeats: int = 3) -> dict[str, float]:
    """Shares of the wall time of speaking at batch 1, by part; they sum to 1.

    Backbone, head, sampling and inputs are timed inside of the loop, the codec beside it, and the
    rest is the loop itself.
    """
    steps = tts.model.layout.num_steps(FRAMES)
    spent = dict.fromkeys(("backbone", "head", "sampling", "inputs"), 0.0)
    run = decode_loop(tts, 1, steps)
    run()
    with _timed(tts, spent):
        start = time.perf_counter()
        for _ in range(repeats):
            run()
        whole = time.perf_counter() - start
    spent["head"] -= spent["sampling"]  # the head calls the picker
    spent["loop"] = whole - sum(spent.values())
    spent["tokenizer"] = repeats * codec_seconds(tts, FRAMES, 1)
    total = sum(spent.values())
    return {name: seconds / total for name, seconds in spent.items()}


@contextmanager
def _timed(tts: TTS, spent: dict[str, float]) -> Iterator[None]:
    """Add the time of the loop's parts to `spent` while the block runs."""
    model = tts.model
    runner = model.runner if model.runner is not None else model.backbone.base_model
    step = "step" if model.runner is not None else "forward"
    places: list[tuple[Any, str, str]] = [
        (runner, step, "backbone"),
        (model.head, "propose", "head"),
        (ConstrainedSampler, "all", "sampling"),
        (ConstrainedSampler, "__call__", "sampling"),
        (model, "embed_step", "inputs"),
    ]
    before = [(owner, name, owner.__dict__.get(name)) for owner, name, _ in places]
    for owner, name, part in places:
        setattr(owner, name, _clocked(getattr(owner, name), part, spent))
    try:
        yield
    finally:
        for owner, name, old in before:
            delattr(owner, name) if old is None else setattr(owner, name, old)


def _clocked(call: Callable[..., Any], part: str, spent: dict[str, float]) -> Callable[..., Any]:
    def timed(*args: Any, **options: Any) -> Any:
        start = time.perf_counter()
        result = call(*args, **options)
        spent[part] += time.perf_counter() - start
        return result

    return timed


def dispatch_share(tts: TTS) -> float:
    """Share of the loop's wall time at batch 1 that is not spent in operators that compute."""
    run = decode_loop(tts, 1, tts.model.layout.num_steps(FRAMES))
    run()
    start = time.perf_counter()
    run()
    whole = time.perf_counter() - start
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        run()
    computing = sum(
        event.self_cpu_time_total
        for event in profile.key_averages()
        if any(word in event.key for word in COMPUTE)
    )
    return max(0.0, 1 - computing / 1e6 / whole)


def memory_bound(tts: TTS) -> tuple[float, float]:
    """Seconds that one step takes at least, since every weight is read once, and as it is.

    The bandwidth is that of summing a large array on the same threads.
    """
    array = torch.ones(BANDWIDTH_BYTES // 4)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        array.sum()
        times.append(time.perf_counter() - start)
    bandwidth = BANDWIDTH_BYTES / min(times)
    steps = tts.model.layout.num_steps(FRAMES)
    run = decode_loop(tts, 1, steps)
    run()
    start = time.perf_counter()
    run()
    taken = (time.perf_counter() - start) / steps
    return weight_bytes(tts) / bandwidth, taken


def weight_bytes(tts: TTS) -> int:
    """Bytes of the matrices that a step reads, those of backbone and head."""
    runner = tts.model.runner
    layers = runner.linears if runner is not None else list(tts.model.backbone.base_model.modules())
    matrices = [*layers, *tts.model.head.modules()]
    return sum(
        module.weight.numel() * module.weight.element_size()
        for module in matrices
        if hasattr(module, "weight")
        and isinstance(module.weight, torch.Tensor)
        and not isinstance(module, nn.Embedding)
    )

"""Profile of a decode loop: the time of its parts, and the bound of memory bandwidth."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from vocalmtp.bench.speed import codec_seconds, decode_loop, seconds_now
from vocalmtp.decoding.constraints import ConstrainedSampler
from vocalmtp.decoding.static import StaticBatch
from vocalmtp.tts import TTS

FRAMES = 100  # codec frames of a run
BANDWIDTH_BYTES = 2**28  # of the array that the bandwidth is measured on; larger than any cache

# Operators that compute; all others count as dispatch.
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
    """Shares of the wall time of synthesis at batch 1, by part; they sum to 1.

    Backbone, head, sampling and inputs are timed inside the decode loop, or recorded passes as
    wholes, and the codec separately; the rest is the loop itself.
    """
    steps = tts.model.layout.num_steps(FRAMES)
    places = _timed_places(tts)
    spent = {part: 0.0 for _, _, part in places}
    run = decode_loop(tts, 1, steps)
    run()
    with _timed(places, spent, tts.model.device):
        start = seconds_now(tts.model.device)
        for _ in range(repeats):
            run()
        elapsed = seconds_now(tts.model.device) - start
    if "head" in spent:
        spent["head"] -= spent["sampling"]  # the head calls the sampler
    spent["loop"] = elapsed - sum(spent.values())
    spent["tokenizer"] = repeats * codec_seconds(tts, FRAMES, 1)
    total = sum(spent.values())
    return {name: seconds / total for name, seconds in spent.items()}


Place = tuple[
    Any, str, str
]  # an object, the method of it that is timed, and the part it belongs to


def _timed_places(tts: TTS) -> list[Place]:
    """What is timed in the decode loop of a model."""
    model = tts.model
    programs = getattr(model, "programs", None)
    if programs is not None and programs.records:  # no method of the model is called
        return [(StaticBatch, "launch", "passes")]
    runner = model.runner if model.runner is not None else model.backbone.base_model
    step = "step" if model.runner is not None else "forward"
    return [
        (runner, step, "backbone"),
        (model.head, "propose", "head"),
        (ConstrainedSampler, "all", "sampling"),
        (ConstrainedSampler, "__call__", "sampling"),
        (model, "embed_step", "inputs"),
    ]


@contextmanager
def _timed(places: list[Place], spent: dict[str, float], device: torch.device) -> Iterator[None]:
    """Add the time of the loop's parts to `spent` while the block runs."""
    before = [(owner, name, owner.__dict__.get(name)) for owner, name, _ in places]
    for owner, name, part in places:
        setattr(owner, name, _clocked(getattr(owner, name), part, spent, device))
    try:
        yield
    finally:
        for owner, name, old in before:
            delattr(owner, name) if old is None else setattr(owner, name, old)


def _clocked(
    call: Callable[..., Any], part: str, spent: dict[str, float], device: torch.device
) -> Callable[..., Any]:
    def timed(*args: Any, **options: Any) -> Any:
        start = seconds_now(device)
        result = call(*args, **options)
        spent[part] += seconds_now(device) - start
        return result

    return timed


def dispatch_share(tts: TTS) -> float:
    """Share of the decode loop's wall time at batch 1 outside of operators that compute."""
    run = decode_loop(tts, 1, tts.model.layout.num_steps(FRAMES))
    run()
    device = tts.model.device
    start = seconds_now(device)
    run()
    elapsed = seconds_now(device) - start
    activity = torch.profiler.ProfilerActivity
    cuda = device.type == "cuda"
    with torch.profiler.profile(activities=[activity.CUDA if cuda else activity.CPU]) as profile:
        run()
    computing = sum(
        event.self_device_time_total if cuda else event.self_cpu_time_total
        for event in profile.key_averages()
        if cuda or any(word in event.key for word in COMPUTE)
    )
    return max(0.0, 1 - computing / 1e6 / elapsed)


def graph_share(tts: TTS) -> float:
    """Share of the decode loop's processor time at batch 1 outside of ONNX graphs."""
    spent = 0.0

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            nonlocal spent
            start = time.process_time()
            result = call(*args, **options)
            spent += time.process_time() - start
            return result

        return run

    run = decode_loop(tts, 1, tts.model.layout.num_steps(FRAMES))
    run()
    sessions: Any = tts.model
    with ExitStack() as stack:
        for session in sessions.sessions.values():
            for name in ("run", "run_with_iobinding"):
                setattr(session, name, timed(getattr(session, name)))
                stack.callback(delattr, session, name)
        start = time.process_time()
        run()
        elapsed = time.process_time() - start
    return max(0.0, 1 - spent / elapsed)


def memory_bound(tts: TTS) -> tuple[float, float]:
    """Seconds of a step if reading every weight once were all of it, and of a measured step.

    The bandwidth is that of summing a large array on the same device and threads.
    """
    device = tts.model.device
    array = torch.ones(BANDWIDTH_BYTES // 4, device=device)
    times = []
    for _ in range(5):
        start = seconds_now(device)
        array.sum()
        times.append(seconds_now(device) - start)
    bandwidth = BANDWIDTH_BYTES / min(times)
    steps = tts.model.layout.num_steps(FRAMES)
    run = decode_loop(tts, 1, steps)
    run()
    start = seconds_now(device)
    run()
    taken = (seconds_now(device) - start) / steps
    return weight_bytes(tts) / bandwidth, taken


def weight_bytes(tts: TTS) -> int:
    """Bytes of the matrices of backbone and head, which every step reads."""
    # The fused runner has its own matrices; others run the modules of the backbone.
    model = tts.model
    layers = getattr(model.runner, "linears", None)
    if layers is None:
        layers = list(model.backbone.base_model.modules())
    matrices = [*layers, *model.head.modules()]
    return sum(
        module.weight.numel() * module.weight.element_size()
        for module in matrices
        if hasattr(module, "weight")
        and isinstance(module.weight, torch.Tensor)
        and not isinstance(module, nn.Embedding)
    )

"""The engine for CPUs: fused modules, on the kind of linear layers that is fastest on this machine.

Which kind that is depends on the CPU: 8-bit products are the fastest with VNNI instructions, and the
slowest without. A measurement of half a second decides, once for a machine and version.
"""

import json
import os
import platform
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch
from torch import nn

from vocalmtp.engines.base import EngineSettings
from vocalmtp.engines.device import float32_on_cpu
from vocalmtp.engines.eager import Optimizable, TorchEngine
from vocalmtp.engines.linears import (
    Fp16Linear,
    Int8Linear,
    LinearFactory,
    TransposedLinear,
    has_exact_int8,
    has_fp16,
)
from vocalmtp.engines.threads import torch_threads
from vocalmtp.errors import InputError
from vocalmtp.fetch.cards import cache_root
from vocalmtp.io.atomic import atomic_path

KINDS: dict[str, LinearFactory] = {
    "int8": Int8Linear,
    "float16": Fp16Linear,
    "float32": TransposedLinear,
}
SECONDS = 0.4  # of the measurement
ROWS = (1, 16)  # of the measured batches
WEIGHTS = 5_000_000  # measured, more than the caches nearest to a core hold
MAX_WIDTH = 1024  # of the measured layers
MARGIN = 1.1  # int8 is kept if nothing is faster by more: it gives equal bits in any batch
LIMITS = (
    "ATEN_CPU_CAPABILITY",
    "FBGEMM_ENABLE_INSTRUCTIONS",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
)


class CPUEngine(TorchEngine):
    """Fused modules, with linear layers in 8 bits, float16 or float32."""

    fuses = True
    keeps_half = True

    def optimize(self, model: Optimizable, settings: EngineSettings) -> None:
        names = candidates(settings)
        name = names[0] if len(names) == 1 else choose_kind(linear_times(names, model.width))
        model.optimize_for_inference(KINDS[name])


def candidates(settings: EngineSettings) -> tuple[str, ...]:
    """Return the kinds of linear layers that lose nothing to be heard.

    Raises:
        InputError: 8 bits are demanded, and this CPU's products of them are wrong.

    """
    if settings.int8 and not has_exact_int8():
        raise InputError(
            "int8 'True': 8-bit products saturate on this CPU, which has no VNNI; leave it out",
            code="unsupported",
        )
    if settings.int8:
        return ("int8",)
    allowed = {
        "int8": settings.int8 is None and settings.recommended and has_exact_int8(),
        "float16": settings.half and has_fp16(),
        "float32": True,
    }
    return tuple(name for name in KINDS if allowed[name])


def choose_kind(seconds: dict[str, float]) -> str:
    """Return the fastest kind; int8 also where it is slower by no more than the margin."""
    best = min(seconds, key=lambda name: seconds[name])
    return "int8" if seconds.get("int8", float("inf")) <= MARGIN * seconds[best] else best


def linear_times(
    names: tuple[str, ...],
    width: int,
    kinds: Mapping[str, LinearFactory] = KINDS,
    weights: int | None = None,
) -> dict[str, float]:
    """Return the seconds of a pass through linear layers of every kind, measured or remembered.

    Args:
        names: kinds of layers.
        width: D of the model.
        kinds: what makes the layers.
        weights: how many are measured; None: WEIGHTS.

    """
    file = cache_root() / "linears.json"
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    key = f"{machine()}, width {width}"
    if weights is not None:
        key += f", {weights} weights"
    found = known.get(key) if isinstance(known, dict) else None
    if isinstance(found, dict) and all(isinstance(found.get(name), float) for name in names):
        return {name: found[name] for name in names}
    measured = measure_linears(names, width, kinds, WEIGHTS if weights is None else weights)
    known = known if isinstance(known, dict) else {}
    with suppress(OSError, InputError):  # a home that cannot be written: measured again next time
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(file) as partial:
            partial.write_text(json.dumps(known | {key: measured}, indent=1) + "\n", "utf-8")
    return measured


@torch.inference_mode()
def measure_linears(
    names: tuple[str, ...], width: int, kinds: Mapping[str, LinearFactory], weights: int
) -> dict[str, float]:
    """Measure a pass through layers of every kind, in turns on one thread.

    Returns:
        The geometric mean over ROWS of the shortest times, in seconds: what else runs on the
        machine prolongs the others.

    """
    width = min(width, MAX_WIDTH)
    with float32_on_cpu(), torch_threads(1):
        count = max(1, weights // (6 * width * width))
        pairs = [(width, 3 * width), (3 * width, width)] * count
        made = [nn.Linear(*pair, bias=False) for pair in pairs]
        layers = {name: [kinds[name](linear) for linear in made] for name in names}
        del made
        inputs = {size: [torch.randn(rows, size) for rows in ROWS] for size in pairs[0]}
        shortest = {name: [float("inf")] * len(ROWS) for name in names}
        end, turn = time.perf_counter() + SECONDS, 0
        while turn < 3 or time.perf_counter() < end:
            for name, modules in layers.items():
                for place in range(len(ROWS)):
                    start = time.perf_counter()
                    for (size, _), module in zip(pairs, modules, strict=True):
                        module(inputs[size][place])
                    taken = time.perf_counter() - start
                    shortest[name][place] = min(shortest[name][place], taken)
            turn += 1
    return {name: float(torch.tensor(times).log().mean().exp()) for name, times in shortest.items()}


@cache
def machine() -> str:
    """Describe everything that the speed of a product depends on: CPU, limits, versions."""
    import vocalmtp

    capability = torch.backends.cpu.get_cpu_capability()
    versions = f"torch {torch.__version__}, vocalmtp {vocalmtp.__version__}"
    return ", ".join([cpu_name(), capability, *environment_limits(), versions])


def cpu_name() -> str:
    """Return the name of the processor, as far as the system tells."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def environment_limits() -> list[str]:
    """Return the variables of the environment that keep libraries from using instructions."""
    return [f"{name}={os.environ[name]}" for name in LIMITS if name in os.environ]

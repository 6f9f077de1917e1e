"""The number of torch's threads: how many a model gets, and that they are set while it computes.

At other times the number belongs to the calling program, which may want another one.
"""

import math
import os
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

LARGE = 200_000_000  # bytes of weights from which on a step is long enough to be split
MOST = 8  # threads of a large model: its steps wait for memory
CGROUPS = Path("/sys/fs/cgroup")
PARTS = ("quota", "period")
_IMPORTED_BY = os.getpid()


def default_threads(folder: Path) -> int:
    """Return the threads for the model of a folder: one, unless it is large."""
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return 1 if size < LARGE else min(MOST, available_cpus())


def available_cpus(cgroups: Path = CGROUPS) -> int:
    """Count the CPUs that this process may use: by its affinity, and by the quota of a container."""
    affinity = getattr(os, "sched_getaffinity", None)  # where the system has it
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # version 2: "max 100000", or the microseconds of both
        quota, period = (cgroups / "cpu.max").read_text().split()
        return max(1, min(count, math.floor(int(quota) / int(period))))
    with suppress(OSError, ValueError):  # version 1, where -1 is no limit
        quota, period = ((cgroups / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in PARTS)
        if int(quota) > 0:
            return max(1, min(count, math.floor(int(quota) / int(period))))
    return count


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Run a block with `threads` threads of torch; None leaves their number as it is.

    A forked process has one: the threads of its parent, for which torch would wait, are not there.
    """
    if os.getpid() != _IMPORTED_BY:
        threads = 1
    torch = sys.modules.get("torch")  # an engine without torch imports none
    if torch is None or threads is None or threads == torch.get_num_threads():
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def iterate_with_threads(items: Iterator[T], threads: int | None) -> Generator[T, None, None]:
    """Yield `items`, with `threads` threads of torch while the next one is made."""
    try:
        while True:
            with torch_threads(threads):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item
    finally:
        if close := getattr(items, "close", None):
            close()

"""Huge pages for weights: every step reads all of them, and finding small pages takes a third of that.

Linux alone, from version 6.1 on; elsewhere nothing happens.
"""

import ctypes
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

HUGE = 2 << 20  # bytes of a page
MOST = 512 << 20  # bytes that one call moves
COLLAPSE = 25  # MADV_COLLAPSE: move to huge pages now
Area = tuple[int, int]  # first address, and the one after the last


def anonymous_areas() -> set[Area]:
    """Return the areas of this process's memory that can be written and belong to no file."""
    lines: list[str] = []
    with suppress(OSError):
        lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    areas = set()
    for line in lines:
        place, access, _, _, inode, *name = line.split()
        if access == "rw-p" and inode == "0" and name in ([], ["[heap]"]):
            start, _, end = place.partition("-")
            areas.add((int(start, 16), int(end, 16)))
    return areas


def use_huge_pages(areas: Iterable[Area]) -> int:
    """Move memory to huge pages; addresses and contents stay.

    Args:
        areas: of memory, such as `anonymous_areas`; what is no longer there is left out.

    Returns:
        How many bytes are in huge pages now.

    """
    if sys.platform != "linux":
        return 0
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    starts = [
        page
        for start, end in areas
        for page in range(-(-start // HUGE) * HUGE, end - HUGE + 1, HUGE)
    ]
    moved = 0
    for start in starts[: MOST // HUGE]:
        moved += HUGE * (advise(start, HUGE, COLLAPSE) == 0)
    return moved

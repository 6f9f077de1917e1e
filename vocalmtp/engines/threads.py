"""The number of torch's threads, set only while the library computes.

The number belongs to the calling program, which may want another one for its own work.
"""

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Run a block with `threads` threads of torch; None leaves their number as it is."""
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

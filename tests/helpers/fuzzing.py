"""Hypothesis at two sizes: a few cases in every run of the tests, many with `pytest -m fuzz`."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

FEW = 12  # cases of a property in the usual run
HANGS = timedelta(seconds=60)  # a case takes milliseconds, but the machine may be busy
SIZES = [pytest.param(False, id="few"), pytest.param(True, id="many", marks=pytest.mark.fuzz)]

# What may stand where a file has a number or a text.
VALUES = (
    *(b"0", b"-1", b"1.5", b"1e999", b"NaN", b"Infinity", b"99999999999999999999999", b"true"),
    *(b"null", b"[]", b"{}", b'""', b'"x"', b"\\ud800", b"\\u0000", b"[[[[", b"!!python/name:os"),
)
BYTES = (
    b"\x00",
    b"\xff",
    b"\n",
    b"\r",
    b'"',
    b"'",
    b"{",
    b"}",
    b":",
    b",",
    b"\xef\xbb\xbf",
    b"\x1a",
)


def both_sizes(test: Callable[..., None]) -> Callable[..., None]:
    """Run `test(many=...)` with a few cases, and marked `fuzz` with many."""
    return pytest.mark.parametrize("many", SIZES)(test)


def check(
    many: bool, cases: int, strategy: st.SearchStrategy, holds: Callable[[Any], None]
) -> None:
    """Let `holds` see `cases` values of `strategy`, or FEW of them, always the same."""

    @settings(
        max_examples=cases if many else FEW,
        derandomize=not many,
        deadline=HANGS,
        database=None,
        phases=(Phase.generate, Phase.shrink) if many else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def run(value: Any) -> None:
        holds(value)

    run()


@st.composite
def mutated(draw: st.DrawFn, whole: bytes) -> bytes:
    """The content of a file after one to four accidents, most of them near its start."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        reach = draw(st.sampled_from((16, 300, 2000, len(whole))))
        start = draw(st.integers(0, min(len(data), reach)))
        end = min(len(data), start + draw(st.sampled_from((0, 1, 2, 4, 8, 100))))
        kind = draw(st.sampled_from(("flip", "put", "value", "drop", "tear", "again", "byte")))
        if kind == "flip" and start < len(data):
            data[start] ^= 1 << draw(st.integers(0, 7))
        elif kind == "put":
            data[start:end] = draw(st.binary(max_size=8))
        elif kind == "byte":
            data[start:end] = draw(st.sampled_from(BYTES))
        elif kind == "value":
            data[slice(*_scalar(data, start))] = draw(st.sampled_from(VALUES))
        elif kind == "drop":
            del data[start:end]
        elif kind == "tear":
            del data[start:]
        elif kind == "again":
            data[start:start] = data[start:end]
    return bytes(data)


def _scalar(data: bytearray, start: int) -> tuple[int, int]:
    """Start and end of the first number or quoted text of a file after `start`."""
    import re

    match = re.compile(rb'-?\d[\d.]*|"[^"\n]*"').search(bytes(data[start : start + 200]))
    return (start, start) if match is None else (start + match.start(), start + match.end())

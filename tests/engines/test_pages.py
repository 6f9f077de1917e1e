"""Memory in huge pages: contents stay, and nothing else happens where there are none."""

import sys

import numpy as np
import pytest

from vocalmtp.engines.pages import HUGE, anonymous_areas, use_huge_pages


@pytest.mark.skipif(sys.platform != "linux", reason="areas of memory are those of Linux")
def test_areas_hold_new_memory() -> None:
    array = np.ones(8 * HUGE, np.uint8)
    middle = array.ctypes.data + array.size // 2
    assert any(start <= middle < end for start, end in anonymous_areas())


def test_contents_stay() -> None:
    array = np.arange(2 * HUGE, dtype=np.int64)
    start = array.ctypes.data
    moved = use_huge_pages([(start, start + array.nbytes)])
    assert moved % HUGE == 0
    assert moved <= array.nbytes
    assert np.array_equal(array, np.arange(2 * HUGE))


def test_missing_memory_is_left_out() -> None:
    assert use_huge_pages([(HUGE, HUGE + 100), (1 << 46, (1 << 46) + 2 * HUGE)]) == 0


def test_other_systems_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert use_huge_pages(anonymous_areas()) == 0

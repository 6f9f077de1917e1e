"""Curricula over heads: equal phases, monotonic, within the range."""

from hypothesis import given
from hypothesis import strategies as st

from vocalmtp.training.train import active_heads


def test_phases_are_equal_parts_of_the_run() -> None:
    steps = range(12)
    assert [active_heads("forward", s, 12, 4) for s in steps] == [
        1,
        1,
        1,
        2,
        2,
        2,
        3,
        3,
        3,
        4,
        4,
        4,
    ]
    assert [active_heads("reverse", s, 12, 4) for s in steps] == [
        4,
        4,
        4,
        3,
        3,
        3,
        2,
        2,
        2,
        1,
        1,
        1,
    ]
    assert {active_heads("constant", s, 12, 4) for s in steps} == {4}


@given(steps=st.integers(1, 50), heads=st.integers(1, 9), extra=st.integers(0, 5))
def test_curricula_are_monotonic_and_in_range(steps: int, heads: int, extra: int) -> None:
    ups = [active_heads("forward", s, steps, heads) for s in range(steps + extra)]
    downs = [active_heads("reverse", s, steps, heads) for s in range(steps + extra)]
    assert ups == sorted(ups) and downs == sorted(downs, reverse=True)
    assert all(up + down == heads + 1 for up, down in zip(ups, downs, strict=True))
    assert ups[0] == 1 and downs[0] == heads
    if steps >= heads:
        assert set(ups) == set(range(1, heads + 1))

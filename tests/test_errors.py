"""Hints for names that nobody knows."""

import pytest

from vocalmtp.errors import nearest


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("slr", "did you mean 'slt'?"),
        ("zzz", "choose one of: awb, slt"),
    ],
)
def test_nearest(name, hint):
    assert nearest(name, ["slt", "awb"]) == hint


def test_nearest_of_nothing():
    assert nearest("x", []) == "there are none"

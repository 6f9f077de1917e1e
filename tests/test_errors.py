"""Hints for unknown names, and error lines that quote user input."""

import pickle

import pytest

from vocalmtp.errors import InputError, nearest


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


def test_quoted_input_stays_on_the_line_and_survives_pickling():
    error = InputError("text 'a\n  b\x1b[2J\u202e\udcff': is no text", code="invalid_value")
    assert str(error) == "text 'a b?[2J??': is no text"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # workers send it

"""Readings, row by row: golden.tsv has the kind, the written text (line breaks as `\\n`), the words."""

import hashlib
from pathlib import Path

import pytest

from vocalmtp.text import ALPHABET, VERSION, normalize
from vocalmtp.text.normalizer import READINGS

GOLDEN = Path(__file__).with_name("golden.tsv")
ROWS = [line.split("\t") for line in GOLDEN.read_text(encoding="utf-8").splitlines()]
CASES = [(kind, written.replace("\\n", "\n"), words) for kind, written, words in ROWS]


@pytest.mark.parametrize("kind", sorted({kind for kind, _, _ in CASES}))
def test_readings(kind):
    rows = [(written, words) for of, written, words in CASES if of == kind]
    readings = [(written, normalize(written), words) for written, words in rows]
    assert [row for row in readings if row[1] != row[2]] == []
    assert [words for _, words in rows if normalize(words) != words] == []


def test_golden_rows_are_many_and_distinct():
    assert len(CASES) >= 1000
    assert len({written for _, written, _ in CASES}) == len(CASES)
    assert all(set(words) <= set(ALPHABET) for _, _, words in CASES)


def readings_hash() -> str:
    pairs = sorted(f"{written}\t{words}\n" for _, written, words in CASES)
    return hashlib.sha256("".join(pairs).encode()).hexdigest()[:16]


def test_a_changed_reading_needs_a_new_version():
    assert READINGS[VERSION] == readings_hash(), (
        f"the golden rows are not those of version {VERSION}: "
        f'add {VERSION + 1}: "{readings_hash()}" to READINGS in vocalmtp/text/normalizer.py'
    )


def test_versions_are_consecutive_and_distinct():
    assert list(READINGS) == list(range(1, VERSION + 1))
    assert len(set(READINGS.values())) == VERSION

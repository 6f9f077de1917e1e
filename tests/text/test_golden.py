"""How texts are read out, case by case: golden.tsv has the kind, what is written, what is said."""

import hashlib
from pathlib import Path

import pytest

from vocalmtp.text import ALPHABET, VERSION, normalize
from vocalmtp.text.alphabet import READINGS

GOLDEN = Path(__file__).with_name("golden.tsv")
CASES = [tuple(line.split("\t")) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(("kind", "written", "spoken"), CASES)
def test_it_is_read_out_as_a_person_would(kind, written, spoken):
    assert normalize(written) == spoken
    assert normalize(spoken) == spoken


def test_there_are_many_cases_and_none_twice():
    assert len(CASES) >= 300
    assert len({written for _, written, _ in CASES}) == len(CASES)
    assert all(set(spoken) <= set(ALPHABET) for _, _, spoken in CASES)


def readings_hash() -> str:
    pairs = sorted(f"{written}\t{spoken}\n" for _, written, spoken in CASES)
    return hashlib.sha256("".join(pairs).encode()).hexdigest()[:16]


def test_a_changed_reading_raises_the_version():
    assert READINGS[VERSION] == readings_hash(), (
        f"the golden cases are not those of version {VERSION}: "
        f'add {VERSION + 1}: "{readings_hash()}" to READINGS in vocalmtp/text/alphabet.py'
    )


def test_every_version_has_a_number_and_readings_of_its_own():
    assert list(READINGS) == list(range(1, VERSION + 1))
    assert len(set(READINGS.values())) == VERSION

"""Figures in words: dates, times, money, units, years, ordinals, fractions, telephone numbers.

`spell_numbers` applies the table of rules from top to bottom; each rule reads one written form and
leaves the rest to the rules below it. Thousands have no comma in words, years read in pairs.
"""

import re

from vocalmtp.text.amounts import AMOUNTS, EQUATIONS
from vocalmtp.text.codes import CODES
from vocalmtp.text.dates import DATES, TIMES_OF_DAY, YEARS
from vocalmtp.text.figures import NUM, Rule, cardinal, digits, ordinal
from vocalmtp.text.roman import ROMAN
from vocalmtp.text.tables import LETTER_NAMES

COUNTS: tuple[Rule, ...] = (
    (r"(?<![\w,])(\d[\d,]{0,15})(?i:st|nd|rd|th)\b", lambda m: ordinal(m[1])),
)
PLAIN: tuple[Rule, ...] = (
    (r"(?<!\w)v\.?(?=\d)", lambda m: "version "),
    (
        r"(?<![\d.])\d+(?:\.\d+){2,}",
        lambda m: " point ".join(map(cardinal, m[0].split("."))),
    ),
    (r"(?<![\d.])\.(\d+)", lambda m: f"point {digits(m[1])}"),
    (r"(?<=\d)-(?=[A-Z])", lambda m: " "),
    (
        r"(?<![A-Za-z])([A-Z]{1,2})-?(?=\d)",
        lambda m: "".join(f"{LETTER_NAMES[letter.lower()]} " for letter in m[1]),
    ),
    (r"(?<=[A-Za-z])-?(?=\d)|(?<=\d)(?=[A-Za-z])", lambda m: " "),
    (NUM, lambda m: cardinal(m[0])),
)
RATIO: Rule = (
    r"(?<![\d:])\d+(?::\d+)+(?![\d:])",
    lambda m: " to ".join(map(cardinal, m[0].split(":"))),
)
_ROMAN = [(re.compile(pattern), function) for pattern, function in ROMAN]
_FIGURES = [
    (re.compile(pattern), function)
    for pattern, function in (
        *CODES,
        *DATES,
        *TIMES_OF_DAY,
        RATIO,
        *EQUATIONS,
        *YEARS[:1],
        *COUNTS,
        *AMOUNTS,
        *YEARS[1:],
        *PLAIN,
    )
]


def spell_numbers(text: str) -> str:
    """`text`, its capitals still there, with every figure written out in words."""
    rules = _ROMAN + _FIGURES if re.search(r"\d", text) else _ROMAN
    for pattern, function in rules:
        text = pattern.sub(function, text)
    return text

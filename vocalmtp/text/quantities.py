"""Money, units, fractions and arithmetic."""

import re

from vocalmtp.text.numbers import NUM, Rule, cardinal, choice, is_attributive, ordinal, year
from vocalmtp.text.tables import (
    COINS,
    CURRENCIES,
    DENOMINATORS,
    DIRECTIONS,
    HALVES,
    MEASURES,
    PER,
    SAID_APART,
    SCALES,
    TIMES,
    UNITS,
)

_UNIT, _SCALE, _SIGN = choice(UNITS), choice(SCALES), choice(CURRENCIES)
_SIGNS = "[$\u00a3\u20ac\u00a5\u20b9]"
_EXPONENT = r"[-+\u2212]?\d{1,15}"
_POWERS = {"2": "square", "3": "cubic"}


def _money(match: re.Match[str]) -> str:
    amount, scale = match["amount"].replace(",", ""), SCALES.get(match["scale"] or "", "")
    one, many, cent, cents = CURRENCIES[match["sign"]]
    per = f" per {_per(match['per'])}" if match["per"] else ""
    whole, _, fraction = amount.partition(".")
    if scale or (fraction and (len(fraction) != 2 or not cent)):
        words = f"{cardinal(amount)} {scale} {one if is_attributive(match) else many}"
        return words.replace("  ", " ") + per
    bare = whole.lstrip("0") or "0"
    words = f"{cardinal(bare)} {one if bare == '1' or is_attributive(match) else many}"
    if int(fraction or 0):
        small = f"{cardinal(str(int(fraction)))} {cent if fraction == '01' else cents}"
        words = small if bare == "0" else f"{words} and {small}"
    return words + per


def _money_range(match: re.Match[str]) -> str:
    many, scale = CURRENCIES[match[1]][1], SCALES.get(match[4] or "", "")
    return f"{cardinal(match[2])} to {cardinal(match[3])} {scale} {many}".replace("  ", " ")


def _coins(match: re.Match[str]) -> str:
    one, many = COINS[match[2]]
    return f"{cardinal(match[1])} {one if match[1] == '1' else many}"


def _per(unit: str) -> str:
    return PER.get(unit) or UNITS[unit][0]


def _unit(match: re.Match[str]) -> str:
    number, unit, power, per, per_power = match.groups()
    singular = number == "1" or is_attributive(match)
    words = UNITS[unit][0 if singular else 1]
    if power:
        words = f"{_POWERS[power[-1]]} {words}"
    if per:
        below = _per(per)
        if per_power:
            kind = _POWERS[per_power[-1]]
            after = {"square": "squared", "cubic": "cubed"}[kind]
            below = f"{below} {after}" if per in TIMES else f"{kind} {below}"
        words += f" per {below}"
    return f"{cardinal(number)} {words}"


def _feet(match: re.Match[str]) -> str:
    inches = f" {cardinal(match[2])}" if match[2] else ""
    return f"{cardinal(match[1])} foot{inches}" if inches else f"{cardinal(match[1])} feet"


def _inches(match: re.Match[str]) -> str:
    singular = match[1] == "1" or is_attributive(match)
    return f"{cardinal(match[1])} {'inch' if singular else 'inches'}"


def _by(match: re.Match[str]) -> str:
    return " by ".join((year if len(n) == 4 else cardinal)(n) for n in match.groups())


def _fraction(match: re.Match[str]) -> str:
    whole, top, bottom, noun = match.groups()
    if f"{top}/{bottom}" in SAID_APART:
        return _with_noun(f"{cardinal(top)} {cardinal(bottom)}", noun)
    if int(bottom) not in DENOMINATORS or not 0 < int(top) < int(bottom):
        words = f"{cardinal(top)} over {cardinal(bottom)}"
        return _with_noun(f"{cardinal(whole)} {words}" if whole else words, noun)
    one, many = HALVES.get(int(bottom)) or (ordinal(bottom), f"{ordinal(bottom)}s")
    plain = f"{cardinal(top)} {one if top == '1' else many}"
    if whole:
        part = f"a {one}" if top == "1" and int(bottom) in HALVES else plain
        return _with_noun(f"{cardinal(whole)} and {part}", noun, plural=True)
    if is_attributive(match):  # "a 1/2 inch pipe"
        return _with_noun(one if bottom == "2" else plain, noun)
    measure = UNITS[noun][0] if noun in UNITS else noun
    if noun not in ("a", "an"):
        if measure not in MEASURES:
            return _with_noun(plain, noun)
        vowel = measure == "hour" or measure[0] in "aeiou"
        measure = f"{'an' if vowel else 'a'} {measure}"
    if bottom == "2":
        return f"half {measure}"
    return f"{f'a {one}' if top == '1' else plain} of {measure}"


def _with_noun(words: str, noun: str | None, plural: bool = False) -> str:
    if not noun:
        return words
    return f"{words} {UNITS[noun][plural] if noun in UNITS else noun}"


def _power(text: str) -> str:
    text = text.replace("\u2212", "-").lstrip("+")
    return f"to the power of {'minus ' * text.startswith('-')}{cardinal(text.lstrip('-'))}"


def _scientific(match: re.Match[str]) -> str:
    short = {"2": "squared", "3": "cubed"} if match[1] != "10" else {}
    words = f"{cardinal(match[1])} {short.get(match[2]) or _power(match[2])}"
    return f"{words} {UNITS[match[3]][1]}" if match[3] else words


def _raised(match: re.Match[str]) -> str:
    return {"2": " squared", "3": " cubed"}.get(match[1]) or f" {_power(match[1])}"


EQUATIONS: tuple[Rule, ...] = (
    (rf"({NUM})\s?[-\u2013\u2212]\s?(?=\d[\d.,]{{0,20}}\s?=)", lambda m: f"{m[1]} minus "),
    (rf"({NUM})\s?/\s?(?=\d[\d.,]{{0,20}}\s?=)", lambda m: f"{m[1]} divided by "),
    (r"(?<=[\d)])\s?\*\s?(?=[\d(])", lambda m: " times "),
    (r"(?<=\d)\s?\u2212\s?(?=\d)", lambda m: " minus "),
    (r"([=+]\s?\d{1,9})x\b", lambda m: f"{m[1]} ex"),
    (rf"({NUM})\^({_EXPONENT})(?:\s?({_UNIT})(?![\w^/]))?", _scientific),
    (r"(?<![\w.])~\s?(?=\d)", lambda m: "about "),
    (
        rf"(?<![\w.,])({NUM})[eE]([-+\u2212]?\d{{1,3}})\b",
        lambda m: f"{cardinal(m[1])} times ten {_power(m[2])}",
    ),
)
AMOUNTS: tuple[Rule, ...] = (
    (r"\b(50|20)-\1\b(?!-)", lambda m: f"{cardinal(m[1])} {cardinal(m[1])}"),
    (
        rf"(?<![\w/.,])(?:(\d{{1,9}})[ -])?(\d{{1,3}})/(\d{{1,4}})(?![\w/])"
        rf"(?:\s?({_UNIT}|an?|{choice(MEASURES)})(?!\w)(?:\.(?=\s[a-z]))?)?",
        _fraction,
    ),
    (
        rf"({_SIGN})({NUM})\s?[-\u2013]\s?({NUM})(?:\s?({_SCALE}))?(?!\w)",
        _money_range,
    ),
    (rf"(?<=[\d%])\s?[-\u2013]\s?(?={_SIGNS}?\d)", lambda m: " to "),
    (rf"(?<![\w)^])[-\u2212](?={_SIGNS}?\.?\d)", lambda m: "minus "),
    (
        rf"(?<![A-Za-z])(?P<sign>{_SIGN})\s?(?P<amount>{NUM})(?:\s?(?P<scale>{_SCALE}))?(?!\w)"
        rf"(?:/(?P<per>{choice(PER | UNITS)})(?!\w))?",
        _money,
    ),
    (r"(?<!\d)(\d+),(?=\d\d\s?\u20ac)", lambda m: f"{m[1]}."),
    (
        rf"(?<![\w.,])(?P<amount>{NUM})(?:\s?(?P<scale>{_SCALE}))?\s?(?P<sign>{_SIGN})(?!\s?\w)"
        r"(?P<per>)",
        _money,
    ),
    (rf"({NUM})\s?({choice(COINS)})", _coins),
    (r"(?<![\w.,'])(\d{1,2})'\s?(?:(\d{1,2})(?:''|\"|\b))", _feet),
    (r"(?<![\w.,'])(\d{1,3})''", _inches),
    (r"\b(\d{1,2}) ?ft\.? (\d{1,2}) ?in\b", lambda m: f"{m[1]} ft {cardinal(m[2])} inches"),
    (
        rf"(?<=\d)\u00b0\s?({choice(DIRECTIONS)})\b",
        lambda m: f"\u00b0 {DIRECTIONS[m[1]]}",
    ),
    (r"(?<![\d.,])(\d{1,9})\s?x\s?(\d{1,9})(?![\d.,]\d)", _by),
    (rf"({NUM} [a-z]{{1,30}})/({choice(PER)})\b", lambda m: f"{m[1]} per {PER[m[2]]}"),
    (
        rf"({NUM})\s?({_UNIT})(\^[23])?(?:/({choice(PER | UNITS)})(\^[23])?)?(?![\w^])"
        r"(?:\.(?=\s[a-z]))?",
        _unit,
    ),
    (rf"\^({_EXPONENT})", _raised),
)

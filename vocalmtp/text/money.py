"""Readings of money: amounts, ranges, prices per unit and names of exchange rates."""

import re

from vocalmtp.text.numbers import DASH, NUM, Rule, cardinal, choice, is_attributive, letters, rule
from vocalmtp.text.quantities import PER_PATTERN, per_words, simple_fraction
from vocalmtp.text.units import ATTRIBUTED, COINS, CURRENCIES, CURRENCY_SIGNS, SCALES

_SCALE, _SIGN = choice(SCALES), choice(CURRENCIES)
_ALONE = re.compile(rf"[ -](?:{ATTRIBUTED})\b")


def _money(match: re.Match[str]) -> str:
    amount, scale = match["amount"].replace(",", ""), SCALES.get(match["scale"] or "", "")
    one, many, cent, cents = CURRENCIES[match["sign"]]
    if is_attributive(match) or _ALONE.match(match.string, match.end()):
        many = one
    per = f" per {per_words(match['per'])}" if match["per"] else ""
    whole, _, fraction = amount.partition(".")
    if scale or (fraction and (len(fraction) != 2 or not cent)):
        return f"{cardinal(amount)} {scale} {many}".replace("  ", " ") + per
    bare = whole.lstrip("0") or "0"
    words = f"{cardinal(bare)} {one if bare == '1' else many}"
    if int(fraction or 0):
        small = f"{cardinal(str(int(fraction)))} {cent if fraction == '01' else cents}"
        words = small if bare == "0" else f"{words} and {small}"
    return words + per


def _money_range(match: re.Match[str]) -> str:
    one, many = CURRENCIES[match[1]][:2]
    noun = one if _ALONE.match(match.string, match.end()) or is_attributive(match) else many
    words = f"{cardinal(match[2])} to {cardinal(match[3])} {SCALES.get(match[4] or '', '')} {noun}"
    return words.replace("  ", " ")


def _money_fraction(match: re.Match[str]) -> str:
    one = CURRENCIES[match[1]][0]
    if match[2] == "1" and match[3] == "2":
        return f"half a {one}"
    article = "an" if one[0] in "aeiou" else "a"
    return f"{simple_fraction(match[2], match[3])} of {article} {one}"


def _exchange(match: re.Match[str]) -> str:
    """ "EUR/USD", the name of a rate."""
    if not {match[1], match[2]} <= CURRENCIES.keys():
        return match[0]
    return f"{letters(match[1])} {letters(match[2])}"


def _coins(match: re.Match[str]) -> str:
    one, many = COINS[match[2]]
    return f"{cardinal(match[1])} {one if match[1] == '1' else many}"


MONEY_FORMS: tuple[Rule, ...] = (
    rule(r"\b([A-Z]{3})/([A-Z]{3})\b", _exchange, needs=("/",)),
    rule(r"([$\u00a3\u20ac])\s?\(([\d.,]{1,20})\)", lambda m: f"minus {m[1]}{m[2]}", needs=("(",)),
    rule(rf"({CURRENCY_SIGNS})\s?[-\u2212](?=[\d.])", lambda m: f"minus {m[1]}", needs=("-", "−")),
    rule(rf"({CURRENCY_SIGNS})\.(?=\d)", lambda m: f"{m[1]}0."),
    rule(rf"({_SIGN})\s?(\d)/(\d{{1,2}})(?![\w/])", _money_fraction, needs=("/",)),
    rule(
        rf"(?<![A-Za-z])({_SIGN})\s?({NUM}){DASH}({NUM})(?:\s?({_SCALE}))?(?!\w)",
        _money_range,
        needs=("-", "–", "—", "−"),
    ),
)
MONEY: tuple[Rule, ...] = (
    rule(
        rf"(?<![A-Za-z])(?P<sign>{_SIGN})\s?(?P<amount>{NUM})(?:[\s-]?(?P<scale>{_SCALE})(?!\w))?"
        rf"(?:/(?P<per>{PER_PATTERN})(?!\w)\.?)?",
        _money,
    ),
    rule(
        rf"(?<![\w.,])(?P<amount>{NUM})(?:\s?(?P<scale>{_SCALE}))?\s?(?P<sign>{_SIGN})(?![^\W_])"
        rf"(?:/(?P<per>{PER_PATTERN})(?!\w)\.?)?",
        _money,
    ),
    rule(
        r"\b(dollars?|cents?|euros?|pounds?|pence)/(?=\d)", lambda m: f"{m[1]} per ", needs=("/",)
    ),
    rule(r"(?<![\w.,])(\d{1,2}|0?\.\d)(\u00a2)", _coins, needs=("¢",)),
    rule(rf"({NUM})\s?(\u00a2)", _coins, needs=("¢",)),
    rule(r"(?<![\w.,:/-])(\d{1,2})(p)(?![\w/])", _coins),
)

"""Readings of amounts: numbers with units of measure, and money."""

import re

from vocalmtp.text.dimensions import simple_fraction
from vocalmtp.text.numbers import DASH, NUM, Rule, cardinal, choice, is_attributive, letters, rule
from vocalmtp.text.units import (
    ATTRIBUTED,
    COINS,
    COUNTED,
    CURRENCIES,
    CURRENCY_SIGNS,
    DESCRIBED,
    DIRECTIONS,
    PER,
    RATE_NOUNS,
    SCALES,
    TIMES,
    UNITS,
)

PER_PATTERN = choice(PER | UNITS)
_UNIT, _PER = choice(UNITS), rf"(?:{PER_PATTERN})(?:\^?[23](?<=[mt\^][23]))?"
_POWERS = {"2": "square", "3": "cubic"}
_ATTRIBUTED = re.compile(rf"[ -](?:{DESCRIBED})\b")


def _singular(match: re.Match[str]) -> bool:
    described = _ATTRIBUTED.match(match.string, match.end())
    return match["amount"] == "1" or bool(described) or is_attributive(match)


# Units


def per_words(unit: str) -> str:
    """Words after "per": "hr" -> "hour", "cm^3" -> "cubic centimeter"."""
    name, power = re.fullmatch(r"(.*?)\^?([23]?)", unit).groups()  # type: ignore[union-attr]
    return _power(name, power, PER.get(name) or UNITS[name][0])


def _power(unit: str, power: str | None, words: str) -> str:
    if not power:
        return words
    if unit in TIMES:
        return f"{words} {'squared' if power[-1] == '2' else 'cubed'}"
    return f"{_POWERS[power[-1]]} {words}"


def _unit(match: re.Match[str]) -> str:
    unit, described = match["unit"], match["joint"] == "-"
    singular = described or _singular(match)
    words = _power(unit, match["power"], UNITS[unit][0 if singular else 1])
    for below in filter(None, (match["per"], match["per2"])):
        words += f" per {per_words(below)}"
    return f"{cardinal(match['amount'])} {words}"


def _degrees(match: re.Match[str]) -> str:
    scale = "celsius" if match[2] == "C" else "fahrenheit"
    pause = "," if match.string[match.end() : match.end() + 1] == "/" else ""
    return f"{cardinal(match[1])} degrees {scale}{pause}"


def _basis_points(match: re.Match[str]) -> str:
    number = match[1].replace(",", "")
    if float(number) >= 1000:
        return f"{cardinal(match[1])} bits per second"
    return f"{cardinal(match[1])} basis point{'' if number == '1' else 's'}"


_LONG_UNIT = choice(unit for unit in UNITS if len(unit) > 1 and unit.isalpha())
_COUNT_NOUN = rf"(?=(?:[ -][a-z]{{2,15}})?[ -](?:{COUNTED})\b)"
_RATE = choice(RATE_NOUNS)
MEASUREMENTS: tuple[Rule, ...] = (
    rule(rf"({NUM})\s?m{_COUNT_NOUN}", lambda m: f"{m[1]} million", needs=(" ", "-")),
    rule(rf"({NUM})\s?[bB]{_COUNT_NOUN}", lambda m: f"{m[1]} billion", needs=(" ", "-")),
    rule(
        r"(?<![\w.,])([2458]|16)[kK](?= (?:video|resolution|TV|display|screen|monitor|UHD|HDR))",
        lambda m: f"{cardinal(m[1])} kay",
        needs=("HDR", "TV", "UHD", "display", "monitor", "resolution", "screen", "video"),
    ),
    rule(
        r"(?<![\w.,])(\d{2})\s?[kK]t?(?= (?:gold|white|yellow|rose)\b)",
        lambda m: f"{cardinal(m[1])} karat",
        needs=("gold", "rose", "white", "yellow"),
    ),
    rule(
        r"(?<![\w.,])(5|10)[kK](?= (?:run|race|walk|runner|fun run|course|event)s?\b)",
        lambda m: f"{cardinal(m[1])} kay",
        needs=("course", "event", "race", "run", "walk"),
    ),
    rule(rf"(?<![a-z]\+)({NUM})k\b(?!\))", lambda m: f"{cardinal(m[1])} thousand"),
    rule(
        r"(?<![\w.])(\d[\d,]*\d|\d\.\d+|[1367]|9)K\b",
        lambda m: f"{cardinal(m[1])} thousand",
        needs=("K",),
    ),
    rule(rf"({NUM}) K\b(?!-)", lambda m: f"{cardinal(m[1])} kelvin", needs=(" K",)),
    rule(
        rf"(?<=\d)\u00b0\s?({choice(DIRECTIONS)})\b",
        lambda m: f"\u00b0 {DIRECTIONS[m[1]]}",
        needs=("°",),
    ),
    rule(rf"({NUM})\s?bps\b", _basis_points, needs=("bps",)),
    rule(
        r"(?<![\w.,:-])(\d{2,3}(?:\.\d)?)\s?([CF])(?=[\s,;:!?/)]|\.(?![A-Za-z])|$)(?! [A-Z])",
        _degrees,
        needs=("C", "F"),
    ),
    rule(
        rf"({NUM})\s?A(?= (?:fuse|current|circuit|breaker|charger|supply|max|peak|outlet)\b)",
        lambda m: f"{cardinal(m[1])} amp",
        needs=(
            "breaker",
            "charger",
            "circuit",
            "current",
            "fuse",
            "max",
            "outlet",
            "peak",
            "supply",
        ),
    ),
    rule(r"(?<=\u00b0[CF])/(?=\d|[Gg]as)", ", ", needs=("°",)),
    rule(
        r"(?<=[A-Za-z\d])/(?=\d[\d.,]{0,6} ?(?:[cmk]?m|ft|[mk]?g|m?[lL])(?:[23]|\^[23])?\b)",
        " per ",
        needs=("/",),
    ),
    rule(
        r"(?<![\w.,])(\d{1,3})[ -]?pt(?= (?:font|type|text)\b)",
        lambda m: f"{cardinal(m[1])} point",
        needs=("font", "text", "type"),
    ),
    rule(r"(?<![\w.,])(\d{1,3})pt\b", lambda m: f"{cardinal(m[1])} points", needs=("pt",)),
    rule(r"(?<![\w.,])(\d{1,3}) ?(?:yo|y/o)\b(?= [a-z])", lambda m: f"{cardinal(m[1])} year old"),
    rule(
        r"(?<![\w.,])(\d{1,3}) d\b(?!')",
        lambda m: f"{cardinal(m[1])} {'day' if m[1] == '1' else 'days'}",
        needs=(" d",),
    ),
    rule(
        rf"({NUM}) N(?= of force\b| force\b)",
        lambda m: f"{cardinal(m[1])} newtons",
        needs=("force",),
    ),
    rule(
        rf"({NUM})\s?T(?= (?:MRI|magnet|magnetic|field|scanner)\b)",
        lambda m: f"{cardinal(m[1])} tesla",
        needs=("MRI", "field", "magnet", "scanner"),
    ),
    rule(rf"(?<=\d)(\s?(?:{_UNIT}))/(?=\d)", lambda m: f"{m[1]}, ", needs=("/",)),
    rule(
        rf"({NUM})/({_LONG_UNIT}|day|month|week|year)(?![\w^/])",
        lambda m: f"{cardinal(m[1])} per {per_words(m[2])}",
        needs=("/",),
    ),
    rule(
        rf"(?<=\d )(thousand|million|billion|trillion) ({_LONG_UNIT})(?![\w^/.])",
        lambda m: f"{m[1]} {UNITS[m[2]][1]}",
        needs=("llion", "thousand"),
    ),
    rule(r"\bpH(?=\s?\d|\b)", "pee aitch", needs=("pH",)),
    rule(
        rf"({NUM})\s?({_RATE})/({_PER})(?!\w)",
        lambda m: f"{cardinal(m[1])} {RATE_NOUNS[m[2]]} per {per_words(m[3])}",
        needs=("/",),
    ),
    rule(
        rf"({NUM} [a-z]{{3,30}})/({_PER})(?![\w^])",
        lambda m: f"{m[1]} per {per_words(m[2])}",
        needs=("/",),
    ),
    rule(
        rf"(?<![A-Za-z])(?P<amount>{NUM})(?P<joint>\s?|-)(?P<unit>{_UNIT})(?P<power>\^[23]|(?<=[mt])[23])?"
        rf"(?:/(?P<per>{_PER})(?:/(?P<per2>{_PER}))?)?"
        r"(?![\w^])(?:\.(?=\s[a-z(]|[,;:)]))?",
        _unit,
    ),
)


def _over(match: re.Match[str]) -> str:
    return f"/{match[1]}" if match[2] == "1" else f"/{match[1]}^{match[2]}"


def _rate_alone(match: re.Match[str]) -> str:
    """ "in km/h"; single letters, as in "A/B", are no units but for "m/s"."""
    above, below, power = match.groups()
    if len(above) == len(below) == 1 and f"{above}/{below}" not in ("m/s", "g/L", "L/h"):
        return match[0]
    return f"{UNITS[above][1]} per {_power(below, power, UNITS[below][0])}"


_ALONE = "kWh|MWh|kW|GHz|MHz|kHz|Hz|mph|rpm|mpg|kg|km|cm|mm|mg|ml|mL|dB|GB|MB|TB|KB|kB|ms|lbs?|oz|psi|kPa"
_WORD_PER = choice(word for word in PER if len(word) > 3)
RATES: tuple[Rule, ...] = (
    rule(r"(?<!\d)(?<!\d )\bN\u00b7m\b", "newton meters", needs=("\u00b7",)),
    rule(  # "5 m s^-1"
        rf"({NUM}\s?(?:{_UNIT}))((?:[ \u00b7](?:{_UNIT})\^[-\u2212][123]){{1,3}})(?!\w)",
        lambda m: m[1] + re.sub(r"[ \u00b7](\w+)\^.([123])", _over, m[2]),
        needs=("^-", "^\u2212"),
    ),
    rule(
        rf"\b({_RATE})/(m[lL]|dL|L|\u03bcL|kg|min|hr|day|week)(?!\w)",
        lambda m: f"{RATE_NOUNS[m[1]]} per {per_words(m[2])}",
        needs=("/",),
    ),
    rule(rf"\b([a-z]{{3,20}}s)/({_WORD_PER})\b", lambda m: f"{m[1]} per {m[2]}", needs=("/",)),
    rule(rf"(?<=\bper )({_ALONE}|min|sec|hr)\b(?!/)", lambda m: UNITS[m[1]][0], needs=("per ",)),
    rule(rf"(?<=\bin )({_ALONE})\b(?!/)", lambda m: UNITS[m[1]][1], needs=("in ",)),
    rule(
        rf"(?<![\w/.)-])(?<!\d )({_UNIT})/({_UNIT})(\^[23])?(?![\w/^-])", _rate_alone, needs=("/",)
    ),
)

# Money

_SCALE, _SIGN = choice(SCALES), choice(CURRENCIES)
_PRICED = re.compile(rf"[ -](?:{ATTRIBUTED})\b")


def _money(match: re.Match[str]) -> str:
    amount, scale = match["amount"].replace(",", ""), SCALES.get(match["scale"] or "", "")
    one, many, cent, cents = CURRENCIES[match["sign"]]
    if is_attributive(match) or _PRICED.match(match.string, match.end()):
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
    noun = one if _PRICED.match(match.string, match.end()) or is_attributive(match) else many
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
    rule(r"\b([A-Z]{3})/?([A-Z]{3})\b", _exchange),
    rule(r"\b(US|AU|CA|NZ|HK|SG) (?=\$\d)", lambda m: m[1], needs=("$",)),
    rule(r"([$\u00a3\u20ac])\s?\(([\d.,]{1,20})\)", lambda m: f"minus {m[1]}{m[2]}", needs=("(",)),
    rule(rf"({CURRENCY_SIGNS})\s?[-\u2212](?=[\d.])", lambda m: f"minus {m[1]}", needs=("-", "−")),
    rule(
        rf"(?<=\d)(\s?(?:{_SCALE}))?{DASH}(?={CURRENCY_SIGNS}\d)",
        lambda m: f"{m[1] or ''} to ",
        needs=("-", "–", "—", "−"),
    ),
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

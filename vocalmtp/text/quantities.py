"""Readings of money, units of measure, fractions and dimensions."""

import re

from vocalmtp.text.numbers import (
    DASH,
    NUM,
    Rule,
    cardinal,
    choice,
    digits,
    is_attributive,
    ordinal,
    pairs,
    plural,
    rule,
    year,
)
from vocalmtp.text.units import (
    COUNTED,
    CURRENCY_SIGNS,
    DENOMINATORS,
    DESCRIBED,
    DIRECTIONS,
    HALVES,
    MEASURES,
    ONCE,
    PER,
    RATE_NOUNS,
    SAID_APART,
    TIMES,
    UNITS,
)

PER_PATTERN = choice(PER | UNITS)
_UNIT, _PER = choice(UNITS), rf"(?:{PER_PATTERN})(?:\^?[23](?<=[mt\^][23]))?"
_POWERS = {"2": "square", "3": "cubic"}
_ATTRIBUTED = re.compile(rf"[ -](?:{DESCRIBED})\b")
# Words after a length in feet or inches that it does not describe: "5' tall", not "a 5' wall".
_NOT_A_THING = (
    "tall|long|wide|high|deep|thick|of|in|from|by|and|or|apart|away|above|below|to|off|per|is|are|"
    "was|were|at|on|x|under|over|for|with|across|down|up|than|when|before|after|but|as|into|out|"
    "between|through|along|inside|longer|taller|wider|higher|deeper|shorter|around|diameter|"
    "would|will|it|the|a"
)
_THING = re.compile(rf"[ -](?:(?!(?:{_NOT_A_THING})\b)[a-z]|\dK\b|[A-Z]{{2,5}}\b)")


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


def _length(match: re.Match[str]) -> str:
    feet, inches = match[1], match[2]
    thing = bool(_THING.match(match.string, match.end()))
    if inches and float(inches) >= 12:
        return f"{cardinal(feet)} minutes {cardinal(inches)} seconds"
    if inches:
        return f"{cardinal(feet)} foot {cardinal(inches)}"
    return f"{cardinal(feet)} {'foot' if thing or feet == '1' else 'feet'}"


def _inches(match: re.Match[str]) -> str:
    one = match[1] == "1" or _THING.match(match.string, match.end())
    return f"{cardinal(match[1])} {'inch' if one else 'inches'}"


def _resolution(match: re.Match[str]) -> str:
    return " by ".join((year if len(n) == 4 else cardinal)(n) for n in match.groups())


def _degrees(match: re.Match[str]) -> str:
    scale = "celsius" if match[2] == "C" else "fahrenheit"
    pause = "," if match.string[match.end() : match.end() + 1] == "/" else ""
    return f"{cardinal(match[1])} degrees {scale}{pause}"


def _coordinate(match: re.Match[str]) -> str:
    degrees, minutes, seconds, direction = match.groups()
    words = [f"{cardinal(degrees)} degrees", f"{cardinal(minutes.lstrip('0') or '0')} minutes"]
    if seconds:
        words.append(f"{cardinal(seconds)} seconds")
    pause = "," if re.match(r" \d", match.string[match.end() :][:2]) else ""
    return ", ".join(words) + (f" {DIRECTIONS[direction]}" if direction else "") + pause


def _basis_points(match: re.Match[str]) -> str:
    number = match[1].replace(",", "")
    if float(number) >= 1000:
        return f"{cardinal(match[1])} bits per second"
    return f"{cardinal(match[1])} basis point{'' if number == '1' else 's'}"


_FOOD = (
    "(?:of )?(?:milk|water|sugar|flour|butter|oil|salt|vanilla|rice|cream|honey|vinegar|lemon|soy|"
    "baking|brown|white|olive|vegetable|chopped|minced|grated|fresh|ground|all-purpose|melted|"
    "cold|warm|hot|heavy|sour|dry|dried|black|red|green|whole|powdered|unsalted|cocoa|chicken|"
    "beef|broth|stock|wine|juice|cinnamon|pepper|garlic|ginger|mustard|mayo|yogurt|oats|cheese|"
    "nuts|raisins|chocolate|cornstarch|yeast|paprika|cumin|thyme|basil|oregano|parsley|maple)"
)
_KITCHEN = {
    "c": ("cup", "cups"),
    "C": ("cup", "cups"),
    "T": ("tablespoon", "tablespoons"),
    "t": ("teaspoon", "teaspoons"),
}


def _kitchen(match: re.Match[str]) -> str:
    one = re.search(
        r"(?:^|[^\d/])1$|/\d+$", match.string[max(0, match.start() - 6) : match.start()]
    )
    return f" {_KITCHEN[match[1]][0 if one else 1]} "


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
    rule(rf"({NUM})k\b(?!\))", lambda m: f"{cardinal(m[1])} thousand"),
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
        r"(?<![\w.,:-])(\d{2,3}(?:\.\d)?)\s?([CF])(?=[\s,;:.!?/)]|$)(?! [A-Z])",
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
    rule(  # "5 m s^-1"
        rf"({NUM}\s?(?:{_UNIT}))((?:[ \u00b7](?:{_UNIT})\^[-\u2212][123]){{1,3}})(?!\w)",
        lambda m: m[1] + re.sub(r"[ \u00b7](\w+)\^.([123])", _over, m[2]),
        needs=("^-", "^\u2212"),
    ),
    rule(rf"\b([a-z]{{3,20}}s)/({_WORD_PER})\b", lambda m: f"{m[1]} per {m[2]}", needs=("/",)),
    rule(rf"(?<=\bper )({_ALONE}|min|sec|hr)\b(?!/)", lambda m: UNITS[m[1]][0], needs=("per ",)),
    rule(rf"(?<=\bin )({_ALONE})\b(?!/)", lambda m: UNITS[m[1]][1], needs=("in ",)),
    rule(
        rf"(?<![\w/.)-])(?<!\d )({_UNIT})/({_UNIT})(\^[23])?(?![\w/^-])", _rate_alone, needs=("/",)
    ),
)

# Fractions and dimensions


def is_simple_fraction(top: str, bottom: str) -> bool:
    """Whether a fraction has a name, such as "three quarters"."""
    numbers = top.isdecimal() and bottom.isdecimal() and len(bottom) < 5
    return numbers and int(bottom) in DENOMINATORS and 0 < int(top) < int(bottom)


def simple_fraction(top: str, bottom: str) -> str:
    """ "3", "4" -> "three quarters"."""
    one, many = HALVES.get(int(bottom)) or (ordinal(bottom), f"{ordinal(bottom)}s")
    return f"{cardinal(top)} {one if top == '1' else many}"


def _fraction(match: re.Match[str]) -> str:
    whole, top, bottom, noun = match.groups()
    if f"{top}/{bottom}" in SAID_APART:
        return _with_noun(f"{cardinal(top)} {cardinal(bottom)}", noun)
    if not is_simple_fraction(top, bottom):
        words = f"{cardinal(top)} over {cardinal(bottom)}"
        return _with_noun(f"{cardinal(whole)} {words}" if whole else words, noun, plural=True)
    one = HALVES.get(int(bottom), (ordinal(bottom),))[0]
    plain = simple_fraction(top, bottom)
    if whole:
        part = f"a {one}" if top == "1" and int(bottom) in HALVES else plain
        return _with_noun(f"{cardinal(whole)} and {part}", noun, plural=True)
    if is_attributive(match):  # "a 1/2 inch pipe"
        return _with_noun(one if bottom == "2" else plain, noun)
    measure = UNITS[noun][0] if noun in UNITS else noun
    if noun not in ("a", "an"):
        if measure not in MEASURES:
            return _with_noun(plain, noun)
        vowel = measure in ONCE
        measure = f"{'an' if vowel else 'a'} {measure}"
    if bottom == "2":
        return f"half {measure}"
    return f"{f'a {one}' if top == '1' else plain} of {measure}"


def _with_noun(words: str, noun: str | None, plural: bool = False) -> str:
    if not noun:
        return words
    return f"{words} {UNITS[noun][plural] if noun in UNITS else noun}"


def _fraction_inches(match: re.Match[str]) -> str:
    whole = re.search(
        r"\d[ -]\d{1,2}/\d+$", match.string[max(0, match.start() - 9) : match.start()]
    )
    return " inches" if whole and not _THING.match(match.string, match.end()) else " inch"


def _dimensions(match: re.Match[str]) -> str:
    """ "9''x13'' pan": the unit once, at the end."""
    marks = {"'": ("foot", "feet"), "''": ("inch", "inches")}
    sizes = [cardinal(number) for number in re.findall(r"\d[\d.]*", match[0])]
    unit = marks["''" if "''" in match[0] else "'"]
    thing = _THING.match(match.string, match.end())
    return f"{' by '.join(sizes)} {unit[0 if thing else 1]}"


_SIDE = r"\d{1,4}(?:\.\d{1,4})?"
_OUT_OF = r"(\d{1,3}(?:\.\d)?)/(5|10|20|100)"
FRACTIONS: tuple[Rule, ...] = (
    rule(r"(?<=\d')-(?=\d{1,2}'')", " ", needs=("'-",)),
    rule(
        r"(?<![\w.])\.(\d{2,3})(?= (?:caliber|cal|rifle|pistol|revolver|[Mm]agnum|ammo|rounds?)\b)",
        lambda m: pairs(m[1]),
    ),
    rule(r"\b24/7/365\b", "twenty-four seven, three sixty-five", needs=("/365",)),
    rule(rf"(?<![\w.)])\.(\d{{1,9}})(?=\s?(?:{_UNIT})(?!\w))", lambda m: f"0.{m[1]}"),
    rule(
        rf"{_OUT_OF}(?= (?:rating|score|stars?|reviews?|points|marks|on)\b)",
        lambda m: f"{cardinal(m[1])} out of {cardinal(m[2])}",
        needs=("/",),
    ),
    rule(
        rf"\b((?:[Ss]cored?|[Rr]ated?|[Rr]ating|[Gg]rade|got|gave it)(?: of|:)? )"
        rf"{_OUT_OF}(?![\w/])",
        lambda m: f"{m[1]}{cardinal(m[2])} out of {cardinal(m[3])}",
        needs=("ate", "ating", "core", "gave it", "got", "rade"),
    ),
    rule(
        r"(?<![\w/])(\d{1,3}\.\d)/(\d{1,3})(?![\w/.])",
        lambda m: f"{cardinal(m[1])} out of {cardinal(m[2])}",
        needs=("/",),
    ),
    rule(
        r"\b((?:[Pp]age|[Ss]lide|[Pp]art|[Ss]tep|[Cc]hapter|[Ll]evel|[Ww]eek|[Dd]ay|[Ii]tem) )"
        r"(\d{1,4})/(\d{1,4})(?![\w/])",
        lambda m: f"{m[1]}{cardinal(m[2])} of {cardinal(m[3])}",
        needs=("/",),
    ),
    rule(
        r"(?<![\w/])(\d{1,2})/(\d{1,2})(?= (?:time|meter|beat)\b)",
        lambda m: f"{cardinal(m[1])} {cardinal(m[2])}",
        needs=("beat", "meter", "time"),
    ),
    rule(rf"(?<=\d) ([cCtT])\.? (?={_FOOD}\b)", _kitchen),
    rule(r"(?<=\d) ([ctT])\. (?=[a-z])", _kitchen, needs=(". ",)),
    rule(r"(?:(?<=/\d)|(?<=/\d\d))''", _fraction_inches, needs=("''",)),
    rule(
        r"(?:(?<=dds of )|(?<=dds are ))(\d{1,4})[/-](\d{1,4})\b",
        lambda m: f"{m[1]} to {m[2]}",
        needs=("dds ",),
    ),
    rule(
        r"(?<![\w/.,])(\d{1,4})[/-](\d{1,4})(?= odds\b)",
        lambda m: f"{m[1]} to {m[2]}",
        needs=(" odds",),
    ),
    rule(
        r"(?<![\w/.,])(\d{1,3})/(\d{1,4})(?:rds|ths|nds)\b",
        lambda m: simple_fraction(m[1], m[2]),
        needs=("nds", "rds", "ths"),
    ),
    rule(
        rf"(?<![\w/.,])(?:(\d{{1,9}})[ -])?(\d{{1,3}})/(\d{{1,4}})(?![\w/])"
        rf"(?:[\s-]?({_UNIT}|an?|{choice(MEASURES)})(?!\w)(?:\.(?=\s[a-z]))?)?",
        _fraction,
        needs=("/",),
    ),
)
DIMENSIONS: tuple[Rule, ...] = (
    rule(
        r"\b(\d{1,2}) ?ft\.?(?: ?(\d{1,2}) ?in\b\.?|(\d{1,2})\b)",
        lambda m: (
            f"{cardinal(m[1])} {'foot' if m[1] == '1' else 'feet'} {cardinal(m[2] or m[3])}"
            + (" inches" if m[2] else "")
        ),
        needs=("ft",),
    ),
    rule(r"(?<![\w.])(\d{1,4})X\b(?!-)", lambda m: f"{cardinal(m[1])} times", needs=("X",)),
    rule(
        r"(?<=[A-Za-z)]) x ?(?=\d{1,3} (?:days?|weeks?|months?|doses?)\b)", " for ", needs=(" x",)
    ),
    rule(
        r"(?<![\w.])(\d{1,2})x(\d{1,2})s\b",
        lambda m: f"{cardinal(m[1])} by {plural(cardinal(m[2]))}",
    ),
    rule(r"(?<![\w.])(\d{1,4}) in(?= ?=)", _inches, needs=(" in",)),
    rule(r"(?<=[a-z\d])-yrs?\b\.?(?= )", "-year", needs=("-yr",)),
    rule(
        r"(?<![\w.])(\d{1,2}) ?x ?(?=\d[\d,.]{0,6} ?(?:mg|g|mcg|ml|mL|kg|GB|TB|MB|W|V|GHz|USB|oz|l|L)\b)",
        lambda m: f"{cardinal(m[1])} times ",
    ),
    rule(
        r"(\d{1,3})\u00b0\s?(\d{1,2})'\s?(?:([\d.]{1,9})''\s?)?([NSEW]?)(?!\w)",
        _coordinate,
        needs=("°",),
    ),
    rule(
        rf"(?<![\w.,']){_SIDE}('{{1,2}})\s?[xX]\s?{_SIDE}\1(?:\s?[xX]\s?{_SIDE}\1)?",
        _dimensions,
        needs=("'",),
    ),
    rule(
        r"(?<![\w.,'])(\d{1,2})'[\s-]?(\d{1,2}(?:\.\d)?)(?:''|(?![\d'\w]))", _length, needs=("'",)
    ),
    rule(r"(?<![\w.,'])(\d{1,4})'(?!')()(?!\w)", _length, needs=("'",)),
    rule(r"(?<![\w.,'])(\d{1,4}(?:\.\d{1,4})?)''", _inches, needs=("''",)),
    rule(
        r"\b(\d{1,3}) ?lbs?\.? (\d{1,2}) ?oz\b\.?",
        lambda m: f"{m[1]} lb {cardinal(m[2])} ounces",
        needs=("lb",),
    ),
    rule(r"(?<![\w.,])(\d{3,4})\s?x\s?(\d{3,4})(?![\w.,])", _resolution),
    rule(
        r"(?<=\d)( ?(?:[cmk]?m|ft|in|yd|mi|feet|meters|inches)\.?)? ?x ?(?=\d)",
        lambda m: f"{m[1] or ''} by ",
    ),
    rule(r"(?<![\w.,])(\d{1,4}(?:\.\d{1,4})?)in\b", _inches, needs=("in",)),
    rule(rf"(?<=\bby )({_SIDE})[ -]in\b\.?", _inches, needs=("by ",)),
    rule(
        r"(?<![\w.,])(\d{1,3})-in\.?(?= [a-z])", lambda m: f"{cardinal(m[1])}-inch", needs=("-in",)
    ),
)
RANGES: tuple[Rule, ...] = (
    rule(r"(?<![\w-])\d(?:-\d){2,9}(?![\w-])", lambda m: digits(m[0]), needs=("-",)),
    rule(r"\b24-7\b", "twenty-four seven", needs=("24-7",)),
    rule(r"\b(50|20)-\1\b(?!-)", lambda m: f"{cardinal(m[1])} {cardinal(m[1])}", needs=("-",)),
    rule(rf"(?<=[\d%]){DASH}(?={CURRENCY_SIGNS}?\d)", " to ", needs=("-", "–", "—", "−")),
    rule(rf"(?<=\d)\s?({_UNIT})[-\u2013](?=\d)", lambda m: f"{m[1]} to ", needs=("-", "–")),
    rule(rf"(?<=\d)\s?({_UNIT})\s[-\u2013]\s(?=\d)", lambda m: f"{m[1]} to ", needs=("-", "–")),
    rule(rf"(?<![\w)^])[-\u2212](?={CURRENCY_SIGNS}?\.?\d)", "minus ", needs=("-", "−")),
)

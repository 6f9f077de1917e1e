"""Readings of fractions, ratings, sizes in feet and inches, dimensions, coordinates and ranges."""

import re

from vocalmtp.text.numbers import (
    DASH,
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
    CURRENCY_SIGNS,
    DENOMINATORS,
    DIRECTIONS,
    HALVES,
    MEASURES,
    ONCE,
    READ_APART,
    UNITS,
)

_UNIT = choice(UNITS)
# Words after a length in feet or inches that it does not describe: "5' tall", not "a 5' wall".
_NOT_A_THING = (
    "tall|long|wide|high|deep|thick|of|in|from|by|and|or|apart|away|above|below|to|off|per|is|are|"
    "was|were|at|on|x|under|over|for|with|across|down|up|than|when|before|after|but|as|into|out|"
    "between|through|along|inside|longer|taller|wider|higher|deeper|shorter|around|diameter|"
    "would|will|it|the|a"
)
_THING = re.compile(rf"[ -](?:(?!(?:{_NOT_A_THING})\b)[a-z]|\dK\b|[A-Z]{{2,5}}\b)")


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
    if top == bottom in ("5", "10", "100") and not (whole or noun):
        return f"{cardinal(top)} out of {cardinal(bottom)}"
    if f"{top}/{bottom}" in READ_APART:
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


def _joined_fraction(match: re.Match[str]) -> str:
    """ "a 1/4-inch drill" -> "a quarter-inch drill"."""
    top, bottom, noun = match.groups()
    if not is_simple_fraction(top, bottom):
        return match[0]
    one = HALVES.get(int(bottom), (ordinal(bottom),))[0]
    count = "" if top == "1" and int(bottom) in HALVES else f"{cardinal(top)} "
    noun = {"in": "inch", "ft": "foot", "mi": "mile"}.get(noun, noun)
    return f"{count}{one}-{noun}"


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


def _length(match: re.Match[str]) -> str:
    feet, inches = match[1], match[2]
    thing = bool(_THING.match(match.string, match.end()))
    if inches and float(inches) >= 12:
        return f"{cardinal(feet)} minute{'' if feet == '1' else 's'} {cardinal(inches)} seconds"
    if inches and inches != "0":
        return f"{cardinal(feet)} foot {cardinal(inches)}"
    return f"{cardinal(feet)} {'foot' if thing or feet == '1' else 'feet'}"


def _inches(match: re.Match[str]) -> str:
    one = match[1] == "1" or _THING.match(match.string, match.end())
    return f"{cardinal(match[1])} {'inch' if one else 'inches'}"


def _resolution(match: re.Match[str]) -> str:
    return " by ".join((year if len(n) == 4 else cardinal)(n) for n in match.groups())


def _coordinate(match: re.Match[str]) -> str:
    degrees, minutes, seconds, direction = match.groups()
    words = [f"{cardinal(degrees)} degrees", f"{cardinal(minutes.lstrip('0') or '0')} minutes"]
    if seconds:
        words.append(f"{cardinal(seconds)} seconds")
    pause = "," if re.match(r" \d", match.string[match.end() :][:2]) else ""
    return ", ".join(words) + (f" {DIRECTIONS[direction]}" if direction else "") + pause


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


_SIDE = r"\d{1,4}(?:\.\d{1,4})?"
_OUT_OF = r"(\d{1,3}(?:\.\d)?)/(5|10|20|100)"
FRACTIONS: tuple[Rule, ...] = (
    rule(r"(?<=/\d'') ?[xX] ?(?=\d)", " by ", needs=("''",)),
    rule(r"(?<=\d) [Tt]bl?s?\.? (?=[a-z])", lambda m: " tbsp ", needs=(" Tb", " tb")),
    rule(r"(?<=\d/\d) ?[-\u2013] ?(?=\d)", " to ", needs=("-", "–")),
    rule(
        r"(?<=\d')[-\u2013](?=\d{1,2}'(?!'))|(?<='')[-\u2013](?=\d{1,3}'{1,2})",
        " to ",
        needs=("'-", "'–"),
    ),
    rule(r"(?<=\d\))[-\u2013](?=\(\d)", " to ", needs=(")-", ")–")),
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
        r"(?<![\w/.,])(\d{1,3})/(\d{1,4})(?i:rd|th|nd)s?\b",
        lambda m: simple_fraction(m[1], m[2]),
        needs=("/",),
    ),
    rule(
        r"\b(\d{1,3})/(\d|10)(?= \(\d{1,3}(?:\.\d)? ov)",  # cricket
        lambda m: f"{cardinal(m[1])} for {cardinal(m[2])}",
        needs=(" ov",),
    ),
    rule(r"(?<=\d) ov\b\.?", " overs", needs=(" ov",)),
    rule(
        rf"(?<![\w/.,-])(?<!\d )(\d)/(\d{{1,2}})-((?:{choice(MEASURES)})|in|ft|mi)\b\.?(?= [a-z])",
        _joined_fraction,
        needs=("/",),
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
    rule(
        rf"(?<=[\d%]){DASH}(?=[-\u2212]?{CURRENCY_SIGNS}?\.?\d)", " to ", needs=("-", "–", "—", "−")
    ),
    rule(rf"(?<=\d)\s?({_UNIT})[-\u2013](?=\d)", lambda m: f"{m[1]} to ", needs=("-", "–")),
    rule(rf"(?<=\d)\s?({_UNIT})\s[-\u2013]\s(?=\d)", lambda m: f"{m[1]} to ", needs=("-", "–")),
    rule(rf"(?<![\w)^])[-\u2212](?={CURRENCY_SIGNS}?\.?\d)", "minus ", needs=("-", "−")),
)

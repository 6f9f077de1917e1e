"""Abbreviations in full: titles, streets, states, and words with a full stop."""

import re

from vocalmtp.text.numbers import Rule, apply_rules, choice, groups, letters, ordinal, rule
from vocalmtp.text.tables import (
    ABBREVIATIONS,
    BOOKS,
    COMPASS,
    COUNTED,
    COUNTED_SHORT,
    FLOORS,
    IN_SENTENCE,
    LABELS,
    LONG_STATES,
    MEASURES,
    MONTHS,
    NAMED,
    NEVER_LAST,
    NOT_TOWNS,
    PLACES,
    ROOMS,
    SHORT_WORDS,
    STARTERS,
    STATE_WORDS,
    STATES,
    STREET_OR_NAME,
    STREET_OWNERS,
    STREET_WORDS,
    STREETS,
    TITLES,
    WEEKDAYS,
    entries,
)

_NEXT_NAME = re.compile(r"\s([A-Z]\w*)")
_AFTER_NUMBER = re.compile(r"\d(?:\w*| [A-Z]\w*\.?(?: [A-Z]\w*\.?){0,2}) $")
_AFTER_NAME = re.compile(r"(?:^|[\s(])([A-Z]\w+) $")
_CAPITAL = re.compile(r"\s+[A-Z](?![A-Z])")


def begins_sentence(text: str, place: int) -> bool:
    """Whether what follows `place` is a word that begins sentences, and no name."""
    following = _NEXT_NAME.match(text, place)
    return bool(following) and following[1] in STARTERS  # type: ignore[index]


def _full_stop(match: re.Match[str]) -> str:
    """The full stop of an abbreviation, if it also ends the sentence."""
    return "." if match[0].endswith(".") and begins_sentence(match.string, match.end()) else ""


# Places


def _state(match: re.Match[str]) -> str:
    """ "Portland, OR." but not "Yes, OR"; a word in capitals needs a pause after it."""
    town, code = match[1], match[2]
    after = match.string[match.end() : match.end() + 12]
    whole = not after or re.match(
        r"\s?[.,;:!?)/]|\s(?:\d{5}|and|[A-Z]\d[A-Z]|where|on|is|was|at|to|for|with|has|from|area|in)\b|-based",
        after,
    )
    if town in NOT_TOWNS or (code in STATE_WORDS and not whole):
        return match[0]
    return f"{town}, {STATES[code]}"


def _state_list(match: re.Match[str]) -> str:
    return re.sub("[A-Z]{2,3}", lambda m: STATES[m[0]], match[0])


def _street_or_name(match: re.Match[str]) -> str:
    """ "St. Paul" against "Main St.": the words around it decide."""
    before_name, after_name = STREET_OR_NAME[match[1]]
    before = match.string[max(0, match.start() - 60) : match.start()]
    named = _NEXT_NAME.match(match.string, match.end())
    starts = begins_sentence(match.string, match.end())
    owner = _AFTER_NAME.search(before)
    dotted = match[0].endswith(".")
    is_street = (
        _AFTER_NUMBER.search(before)
        or (owner and owner[1] in STREET_OWNERS)
        or (owner and owner[1] not in STARTERS and (starts or not named))
        or (dotted and match[1] == "St" and not named)
    )
    if not is_street:
        return before_name if named or dotted else match[0]
    return f"{after_name}{'.' if dotted and starts else ''}"


def _street(match: re.Match[str]) -> str:
    return f"{match[1]} {STREETS[match[2]]}{_full_stop(match)}"


_STATE, _COMPASS = choice(STATES), choice(COMPASS)
_STREET_TYPE = f"{choice(STREETS)}|{choice(STREET_OR_NAME)}|{'|'.join(STREET_WORDS)}"
PLACE_RULES: tuple[Rule, ...] = (
    rule(
        rf"(?<=[a-z.]),? ({_STATE})\.?,? (\d{{5}}(?:-\d{{4}})?)(?![\d-])",
        lambda m: f", {STATES[m[1]]}, {groups(m[2])}",
    ),
    rule(
        rf"\b(?:(?:{_STATE}), ){{2,20}}(?:(?:and|or) )?(?:{_STATE})\b", _state_list, needs=(", ",)
    ),
    rule(rf"\b([A-Z][a-z]+), ({_STATE})\b(?!['\w])", _state, needs=(", ",)),
    rule(
        rf"\b([A-Z][a-z]+), ({choice(LONG_STATES)})\.(?=[\s,;)]|$)",
        lambda m: f"{m[1]}, {LONG_STATES[m[2]]}{_full_stop(m)}",
        needs=(", ",),
    ),
    rule(
        rf"\b([DRI])-({_STATE}|{choice(LONG_STATES)})\b\.?(?=[),])",
        lambda m: f"{letters(m[1])}, {STATES.get(m[2]) or LONG_STATES[m[2]]}",
        needs=("-",),
    ),
    rule(
        rf"(?<=\d )({_COMPASS})\.? (?=[A-Z][a-z]+|\d{{1,3}}(?:st|nd|rd|th)\b)",
        lambda m: f"{COMPASS[m[1]]} ",
    ),
    rule(
        r"\b((?:[Hh]ighway|[Rr]oute|Hwy\.?|Rte\.?|I|US)[ -]\d{1,3}) ([NSEW])\b(?!\.[A-Z])",
        lambda m: f"{m[1]} {COMPASS[m[2]]}",
    ),
    rule(
        rf"\b({_COMPASS})(?= \d{{1,3}}(?:[-\u2013]\d{{1,3}})? ?(?:kts?|mph|km/h|knots)\b)",
        lambda m: COMPASS[m[1]],
    ),
    rule(
        rf"\b({_COMPASS})\.? (?=(?:\d{{1,3}}(?:st|nd|rd|th)|[A-Z][a-z]+) (?:{_STREET_TYPE})\b)",
        lambda m: f"{COMPASS[m[1]]} ",
    ),
    rule(
        rf"\b({_STREET_TYPE})\b(\.?,?) ({_COMPASS})\b(?!\.?[A-Z]|')",
        lambda m: f"{m[1]}{m[2]} {COMPASS[m[3]]}",
    ),
    rule(r"\b(St|Dr)\b\.?(?!')", _street_or_name, needs=("Dr", "St")),
    rule(
        rf"\b([A-Z][a-z]+\.?|\d{{1,3}}(?:st|nd|rd|th)) ({choice(STREETS)})\b\.?(?! [a-z]+ly\b)",
        _street,
    ),
    rule(
        r"(?<=\d(?:ST|ND|RD|TH|st|nd|rd|th) )(ST|AVE|RD|BLVD|st|ave|rd|blvd)\b(?:\.(?! [A-Z]))?",
        lambda m: "street" if m[1].lower() == "st" else STREETS[m[1].capitalize()],
        needs=("S", "A", "R", "B", " st", " ave", " rd", " blvd"),
    ),
    rule(
        rf"(?<!\d )\b({choice(PLACES)})\b\.?(?= (?:[A-Z][a-z]|saint ))",
        lambda m: PLACES[m[1]],
        needs=("Ft", "Mt", "Pt"),
    ),
    rule(
        rf"\b({choice(ROOMS)}) (?=\d|[A-Z]\b)",
        lambda m: f"{ROOMS[m[1]]} ",
        needs=("Apt", "Bldg", "Ch", "Ext", "Fig", "Flt", "Hwy", "Rm", "Rte", "Ste", "Tel", "Vol"),
    ),
)

# Abbreviations

_ANY = {
    key.lower(): words
    for key, words in (
        PLACES | NAMED | COUNTED | MEASURES | IN_SENTENCE | ABBREVIATIONS | TITLES | STREETS
    ).items()
}
_SHORT_MONTHS = {key: month for key, month in MONTHS.items() if len(key) <= 4 and key != "May"}
_TITLES, _SAFE = (
    {key.lower(): words for key, words in table.items()} for table in (TITLES, ABBREVIATIONS)
)
_NEVER_LAST = {key.lower() for key in NEVER_LAST}
_MEASURES = MEASURES.keys() | set(
    "tbsps tbs tsp tsps lbs hrs mins secs yrs wks pkg min sec".split()
)
_MEASURED = re.compile(r"\d ?$|\d (?:sq|cu|fl)\. ?$")
_COUNT = re.compile(
    r"\s?(?:(?:\(|number )?\d|(?:[IVXLC]{2,7}|[ivxl]{2,6})\b|I[-\u2013]|[A-HVX]\b(?![.']))"
)
_ANSWER = re.compile(r"\b(?:said|says?|oh|is|was|be|answer(?:ed)?|replied) $", re.IGNORECASE)
_YEAR = re.compile(r"\s?(?:1\d|20)\d\d\b")
_GOES_ON = re.compile(r"\s(?:[a-z(]|\d)")
_BEFORE_NAME = re.compile(r"\s[A-Z]")


def _abbreviation(match: re.Match[str]) -> str:
    """A word with a full stop: what it is before, and what comes after it, decide."""
    text, word, end = match.string, match[1], match.end()
    key = word.lower()
    if key not in _ANY and word not in _SHORT_MONTHS and word not in WEEKDAYS:
        return match[0]
    before = text[max(0, match.start() - 10) : match.start()]
    following = text[end : end + 1]
    if word.isupper() and len(word) > 1 and key not in _SAFE and not _COUNT.match(text, end):
        return match[0]  # "EST." and other acronyms at the end of a sentence
    if key == "est":
        return "established" if _YEAR.match(text, end) else "estimated"
    if key in COUNTED and _COUNT.match(text, end) and not (word == "no" and _ANSWER.search(before)):
        return COUNTED[key] + (" " if following == "(" else "")
    if word in _SHORT_MONTHS and following in ("", " ", ",", "-", "\u2013"):
        return _SHORT_MONTHS[word].capitalize()
    if word in WEEKDAYS and not before.lower().endswith("the "):
        return WEEKDAYS[word] + _full_stop(match)
    if key in _TITLES and following == " ":
        return _TITLES[key]
    if word in NAMED and _BEFORE_NAME.match(text, end):
        return NAMED[word]
    if key in _MEASURES and _MEASURED.search(before):
        return match[0]  # the rules for units read the number and the unit
    if following in (",", ";", ":", ")"):
        return match[0] if key in COUNTED_SHORT else _ANY.get(key, match[0])
    if word == "inc":
        return "including"
    if key in IN_SENTENCE and _GOES_ON.match(text, end):
        return IN_SENTENCE[key]
    if key in _SAFE:
        return _with_stop(match, _SAFE[key])
    return match[0]


def _with_stop(match: re.Match[str], words: str) -> str:
    """`words`, with a full stop if a sentence begins after the abbreviation."""
    ends = match[1].lower() not in _NEVER_LAST and _CAPITAL.match(match.string, match.end())
    return f"{words}." if ends else words


def _featuring(match: re.Match[str]) -> str:
    before_name = not begins_sentence(match.string, match.end() - 1)
    return "featuring " if before_name else match[0]


_PHRASES = entries(
    "et_al:et_al et_seq:and_the_following op._cit:op_cit e.g:for_example i.e:that_is "
    "a.k.a:also_known_as fl._oz:fluid_ounces ph.d:pee_aitch_dee "
    "tel:telephone tel._no:telephone_number"
)
_AREAS = entries("ft:feet m:meters mi:miles km:kilometers in:inches yd:yards")
_TITLE = choice({spelling for key in TITLES for spelling in (key, key.lower(), key.upper())})
ABBREVIATION_RULES: tuple[Rule, ...] = (
    rule(r"\b(?:M(?:rs?|s|t)|Dr|Prof|St)\.(?=[A-Z][a-z])", lambda m: f"{m[0]} ", (".",)),
    rule(
        rf"(?<=\dst |\dnd |\drd |\dth )({choice(FLOORS)})(?:\.(?!\s?\d)|(?<=Fl)(?=[\s,;)]|$))",
        lambda m: f"{FLOORS[m[1]]}{_full_stop(m)}",
        needs=("nd ", "rd ", "st ", "th "),
    ),
    rule(
        rf"(?<!\d )\b([Ss]q|[Cc]u)\. ?({choice(_AREAS)})\b\.?",
        lambda m: f"{'square' if m[1].lower() == 'sq' else 'cubic'} {_AREAS[m[2]]}",
        ("q. ", "q.f", "u. ", "u.f"),
    ),
    rule(
        rf"(?<!\S)({choice(SHORT_WORDS)})(?=[\s,;:!?)]|\.?$|\.\s[A-Z])",
        lambda m: SHORT_WORDS[m[1]],
        ("/", "'n'", "Y", "y-", "yoy", "qoq", "p.a.", "w.r", "aka", "hwy"),
    ),
    rule(r"(?<!\S)vs\b\.?", "versus", ("vs",)),
    rule(
        rf"\b(?:([123]) )?({choice(BOOKS)})\.?(?= \d{{1,3}}:\d)",
        lambda m: f"{ordinal(m[1]) + ' ' if m[1] else ''}{BOOKS[m[2]]}",
        (":",),
    ),
    rule(
        r"\b([A-G](?: sharp| flat)?) (min|maj)\b\.?(?![a-z])",
        lambda m: f"{m[1]} {'minor' if m[2] == 'min' else 'major'}",
        (" min", " maj"),
    ),
    rule(
        r"\b([Ll]at|[Ll]ong?)\.? (?=\d{1,3}(?:\.\d{1,9})?\u00b0)",
        lambda m: "latitude " if m[1].lower() == "lat" else "longitude ",
        ("\u00b0",),
    ),
    rule(
        r"(?<=\d )(lg|lge|sm|med)\. (?=[a-z])",
        lambda m: {"s": "small ", "m": "medium "}.get(m[1][0], "large "),
        ("lg", "sm", "med"),
    ),
    rule(r"(?<=\d)[- ]spd\b\.?", "-speed", ("spd",)),
    rule(r"\bMk\.? (?=\d|[IVX]{1,5}\b)", "Mark ", ("Mk",)),
    rule(
        r"\b[Ff]eat\. (?=[A-Z])|(?:(?<=[a-z)] )|(?<=\())ft\. (?=[A-Z])", _featuring, ("eat.", "ft.")
    ),
    rule(r"(?<!\S)w/(?=[a-z]{2})", "with ", ("w/",)),
    rule(r"\bext (?=\d)", "extension ", ("ext ",)),
    rule(r"\bFl\.? (?=\d{1,3}\b)", "floor ", ("Fl",)),
    rule(r"(?:^|(?<=[.?!] ))Sr\. (?=[A-Z])", "sister ", ("Sr.",)),
    rule(rf"\b({choice(LABELS)})\.?(?=:)", lambda m: LABELS[m[1]], (":",)),
    rule(r"\bv\. ?(?=\d+\.\d)", "version ", ("v.",)),
    rule(r"(?<=[a-z] )v\. (?=[a-z])", "versus ", (" v.",)),
    rule(r"\b([A-Z][\w.]*) v\.? (?=[A-Z])", lambda m: f"{m[1]} versus ", (" v",)),
    rule(
        rf"(?<![\w.'])(?<!\d )({choice(_PHRASES)})\.",
        lambda m: _with_stop(m, _PHRASES[m[1].lower()]),
        (".",),
        re.IGNORECASE,
    ),
    rule(r"(?<![\w.'])([A-Za-z][A-Za-z']{0,7})\.(?![A-Za-z])", _abbreviation, (".",)),
    rule(rf"\b({_TITLE})(?=\s)", lambda m: _TITLES[m[1].lower()]),
)


def expand_abbreviations(text: str) -> str:
    """`text`, its capitals still there, with abbreviations in full."""
    if not text.islower():
        text = apply_rules(PLACE_RULES, text)
    return apply_rules(ABBREVIATION_RULES, text)

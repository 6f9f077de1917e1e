"""Marks for reading: pauses, own pronunciations, and the elements of SSML that have an effect.

`parse_marks` splits a text at its pauses: `[pause]`, `[pause 2 s]`, `<break time="300ms"/>`. It
resolves `[word](spelling)`, `<say-as>`, `<phoneme>`, `<sub>` and the words of a lexicon. Other
elements of SSML have no effect, and a warning names them.
"""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

from vocalmtp.text.letter_phones import Chunk
from vocalmtp.text.lexicon import Lexicon, Spelling, read_spelling, spelling_of
from vocalmtp.text.numbers import cardinal, groups, ordinal, spell
from vocalmtp.text.tables import MONTH_NAMES

LONGEST_PAUSE = 10.0  # seconds
STRENGTHS = {  # seconds of <break strength="...">, and of [short pause] and [long pause]
    "none": 0.0,
    "x-weak": 0.1,
    "weak": 0.25,
    "short": 0.25,
    "medium": 0.5,
    "strong": 1.0,
    "long": 1.0,
    "x-strong": 1.5,
}
DEFAULT_STRENGTH = "medium"

_WITH_MARKS = re.compile(r"[\[<]")
_MARK = re.compile(
    r"""<break\b(?P<break>[^<>]{0,200})>(?:\s?</break\s?>)?
    | \[(?:(?P<length>short|long)\s)?(?:pause|break)(?:[\s:=]{1,3}(?P<time>[^\[\]]{1,12}))?\](?!\()
    | \[(?P<word>[^\[\]\n]{1,60})\]\((?P<spelling>/[^()/\n]{1,80}/|[A-Za-z][A-Za-z' -]{0,60})\)
    | <(?P<name>say-as|phoneme|sub)\s(?P<attributes>[^<>]{1,300})>(?P<inner>[^<>]{0,500})
      </(?P=name)\s?>
    | <!--.{0,2000}?-->|<\?xml[^<>]{0,200}\?>
    | <(?P<dropped>metadata|desc)\b[^<>]{0,300}>.{0,2000}?</(?P=dropped)\s?>
    | <(?P<end>/?)(?P<ignored>speak|prosody|voice|emphasis|audio|mark|lang|lexicon|meta|w|token|p|s
      |say-as|phoneme|sub|amazon:[\w-]{1,20}|google:[\w-]{1,20}|mstts:[\w-]{1,20})
      (?:\s[^<>]{0,300})?/?>""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_HTML_TOO = ("p", "s", "w", "sub", "mark", "audio", "meta")  # marks of SSML inside <speak> only
_SILENT = ("speak", "p", "s", "w", "token", "meta")  # ignored elements that no warning names
_ATTRIBUTE = re.compile(r"""([\w:-]{1,40})\s?=\s?(?:"([^"]*)"|'([^']*)'|([^\s"'>/]+))""")
_DURATION = re.compile(r"\+?(\d{0,6}(?:\.\d{1,6})?)\s?(ms|milliseconds?|s|secs?|seconds?)?")


@dataclass(frozen=True)
class Passage:
    """A part of a text without a pause inside.

    Attributes:
        spoken: the text to normalize, with own pronunciations in place.
        written: the same part as it is written, without marks.
        pause: seconds of silence after it that the text asks for; None if it is the end.
        phones: phones of words of `spoken`, in lower case, that the text or the lexicon gives.

    """

    spoken: str
    written: str
    pause: float | None = None
    phones: Mapping[str, Chunk] = field(default_factory=dict)


def parse_marks(text: str, lexicon: Lexicon | None = None) -> list[Passage]:
    """Split a text at its pauses, and resolve its pronunciations.

    Passages may be without words, such as that before a pause at the start. A mark that cannot be
    understood is left out with a warning.

    Args:
        text: as it is written.
        lexicon: own pronunciations.

    """
    lexicon = Lexicon({}) if lexicon is None else lexicon
    if not _WITH_MARKS.search(text):
        return [Passage(lexicon.apply(text), text, phones=lexicon.phones)]
    document = re.search(r"<speak\b", text, re.IGNORECASE) is not None
    passages: list[Passage] = []
    spoken, written, place = "", "", 0
    ignored: dict[str, None] = {}
    phones = dict(lexicon.phones)
    for match in _MARK.finditer(text):
        name = (match["name"] or match["ignored"] or "").lower()
        alias = name == "sub" and match["name"] and "alias" in _attributes(match["attributes"])
        if name in _HTML_TOO and not document and not alias:
            continue
        plain = text[place : match.start()]
        spoken, written, place = spoken + lexicon.apply(plain), written + plain, match.end()
        seconds = _pause(match)
        if seconds is not None:
            passages.append(Passage(spoken, written, seconds, phones))
            spoken = written = ""
        elif match["word"]:
            own = read_spelling(match["spelling"])
            spoken += match[0] if own is None else own.letters  # a link such as [page](/docs/)
            phones |= own.phones if own else {}
            written += match["word"]
        elif match["name"]:
            attributes = _attributes(match["attributes"])
            own = _phoneme(attributes) if name == "phoneme" else None
            spoken += own.letters if own else _reading(name, match["inner"], attributes)
            phones |= own.phones if own else {}
            written += match["inner"]
        elif name in ("p", "s") and match["end"]:
            spoken, written = f"{spoken}\n\n", f"{written} "
        elif name and name not in _SILENT:
            ignored[name] = None
    _warn_of(list(ignored))
    rest = text[place:]
    passages.append(Passage(spoken + lexicon.apply(rest), written + rest, phones=phones))
    return passages


def _warn_of(ignored: list[str]) -> None:
    if ignored:
        tags = ", ".join(f"<{name}>" for name in ignored)
        warnings.warn(f"text: {tags} of SSML have no effect", stacklevel=3)


def _attributes(source: str) -> dict[str, str]:
    found = _ATTRIBUTE.findall(source)
    return {name.lower(): quoted or single or bare for name, quoted, single, bare in found}


def _pause(match: re.Match[str]) -> float | None:
    """The seconds of a pause; None if the match is no pause."""
    if match["break"] is not None:
        attributes = _attributes(match["break"])
        time, strength = attributes.get("time"), attributes.get("strength", DEFAULT_STRENGTH)
    elif match[0].startswith("["):
        if match["word"]:
            return None
        time, strength = match["time"], match["length"] or DEFAULT_STRENGTH
    else:
        return None
    if time is None:
        if strength.lower() not in STRENGTHS:
            warnings.warn(f"text: strength '{strength}' of a break is unknown", stacklevel=4)
        return STRENGTHS.get(strength.lower(), STRENGTHS[DEFAULT_STRENGTH])
    duration = _DURATION.fullmatch(time.strip().lower())
    if duration is None or duration[1] in ("", "."):
        warnings.warn(f"text: time '{time}' of a pause is not understood", stacklevel=4)
        return STRENGTHS[DEFAULT_STRENGTH]
    seconds = float(duration[1]) / (1000 if (duration[2] or "s").startswith("m") else 1)
    if seconds > LONGEST_PAUSE:
        warnings.warn(f"text: time '{time}' of a pause is cut to 10 s", stacklevel=4)
    return min(seconds, LONGEST_PAUSE)


def _reading(name: str, inner: str, attributes: dict[str, str]) -> str:
    """What is read in place of the content of an element."""
    if name == "sub":
        return attributes.get("alias", inner)
    kind = attributes.get("interpret-as", "").lower()
    if kind in ("characters", "character", "spell-out", "verbatim", "letters"):
        return ", ".join(spell(part) for part in inner.split()) or inner
    digits = re.sub(r"[\s,]", "", inner)
    if kind in ("digits", "telephone", "phone") and re.search(r"\d", digits):
        return groups(inner)
    if kind in ("ordinal", "cardinal", "number") and digits.isdecimal():
        return ordinal(digits) if kind == "ordinal" else cardinal(digits)
    if kind == "date":
        return _date(inner, attributes.get("format", ""))
    return inner  # times, money and units are read by their form


def _phoneme(attributes: dict[str, str]) -> Spelling | None:
    """The spelling of the phones of an element; None with a warning if they are unknown."""
    alphabet, phones = attributes.get("alphabet", "ipa"), attributes.get("ph", "")
    spelling = spelling_of(phones, alphabet)
    if spelling is None:
        warnings.warn(f"text: phones '{phones}' ({alphabet}) are unknown", stacklevel=4)
    return spelling


def _date(text: str, order: str) -> str:
    """A date in digits with the month's name, by its order, such as "dmy"."""
    numbers = re.findall(r"\d+", text)
    order = order.lower().replace("yyyy", "y").replace("mm", "m").replace("dd", "d")
    named = dict(zip(order, numbers, strict=False))
    if len(numbers) != len(order) or not {"m"} <= set(named) <= set("dmy"):
        return text
    if not 1 <= int(named["m"]) <= 12:
        return text
    month = MONTH_NAMES[int(named["m"]) - 1].capitalize()
    parts = [month, named.get("d", "")]
    return " ".join(filter(None, parts)) + (f", {named['y']}" if "y" in named else "")

"""Readings of codes: phone numbers, versions, models, addresses of the web and of houses, files."""

import re

from vocalmtp.text.numbers import (
    LETTER_NAMES,
    Rule,
    cardinal,
    choice,
    digits,
    groups,
    letters,
    pairs,
    plural,
    rule,
    set_apart,
    spell,
    year,
)
from vocalmtp.text.tables import DOMAINS, EXTENSIONS, IN_ADDRESS, KEYS

# Telephone, card and other numbers that are read digit by digit

_GROUP = re.compile(r"[A-Z]+|\d+")


def _phone(match: re.Match[str]) -> str:
    found = _GROUP.findall(match[0])
    if sum(len(group) for group in found) < 7:  # too short for a telephone number
        return match[0]
    readings = [
        group.lower()
        if group.isalpha()
        else cardinal(group)
        if group in ("800", "900") and index < len(found) - 1
        else digits(group)
        for index, group in enumerate(found)
    ]
    return ("plus " if match[0][0] == "+" else "") + ", ".join(readings)


def _internet_address(match: re.Match[str]) -> str:
    *parts, mark, rest = match.groups()
    if any(int(part) > 255 for part in parts):
        return match[0]
    words = " dot ".join(map(digits, parts))
    if not mark:
        return words
    return f"{words} port {pairs(rest)}" if mark == ":" else f"{words} slash {cardinal(rest)}"


def _by_sign(match: re.Match[str]) -> str:
    """ "0x1F", "a1:2b", a key or a serial number: every character."""
    parts = re.split(r"([-:.])", match[0])
    named = {"-": ",", ":": ",", ".": " dot"}
    return " ".join(named.get(part) or spell(part) for part in parts if part).replace(" ,", ",")


def _key(match: re.Match[str]) -> str:
    """A hash or a serial number, if letters and digits alternate as in no word."""
    changes = len(re.findall(r"[A-Za-z](?=\d)|\d(?=[A-Za-z])", match[0]))
    return spell(match[0]) if changes >= (3 if len(match[0]) >= 10 else 4) else match[0]


def _dialled(match: re.Match[str]) -> str:
    signs = {"*": "star", "#": "hash"}
    return f"{match[1]} " + " ".join(signs.get(c) or digits(c) for c in match[2])


_HEX = "[0-9a-fA-F]"
PHONES: tuple[Rule, ...] = (
    rule(r"\b0([xX])\b", "zero ex"),
    rule(rf"\b0[xX]({_HEX}{{1,32}})\b", lambda m: f"zero ex, {spell(m[1])}"),
    rule(r"\b0([bo])([01]{2,64}|[0-7]{2,22})\b", lambda m: f"zero {letters(m[1])}, {digits(m[2])}"),
    rule(rf"\b{_HEX}{{8}}-(?:{_HEX}{{4}}-){{3}}{_HEX}{{12}}\b", _by_sign, needs=("-",)),
    rule(rf"\b(?:{_HEX}{{2}}[:-]){{5}}{_HEX}{{2}}\b", _by_sign, needs=("-", ":")),
    rule(  # IPv6
        r"(?<![\w:])(?=[\d:]{0,30}[a-f]|[\da-f:]{0,30}::)(?:[\da-f]{1,4}::?){2,7}[\da-f]{1,4}(?![\w:])",
        _by_sign,
        needs=(":",),
    ),
    rule(r"(?<![\w:])[\da-f]{1,4}::[\da-f]{1,4}(?![\w:])", _by_sign, needs=("::",)),
    rule(r"(?<![\w.-])(?:[A-Z\d]{7,40}|[a-f\d]{7,64})(?![\w-])", _key),
    rule(r"(?<![\w.,-])\d{5}-\d{4}(?![\w-]|[.,]\d)", lambda m: groups(m[0]), needs=("-",)),
    rule(
        r"\b([Tt]elephone|[Ff]ax|[Pp]hone|[Mm]obile)((?: number)?:?) (\d{5,12}|\d{3} \d{4})\b(?! \d)",
        lambda m: f"{m[1]}{m[2]} {groups(m[3])}",
        needs=("elephone", "ax", "hone", "obile"),
    ),
    rule(
        r"\b((?:card|account|number)\b[^.?!\d]{0,20} ending in|(?:PIN|pin|OTP|otp|code|password) is"
        r"|(?:PIN|pin|OTP|passcode):?) (\d{3,8})(?![\w,]|\.\d)",
        lambda m: f"{m[1]} {digits(m[2])}",
        needs=("ending in", " is ", "PIN", "pin", "OTP", "passcode"),
    ),
    rule(
        r"\b(911|999)(?= (?:calls?|operators?|dispatch\w*|emergency|cent(?:er|re)|services?)\b)",
        lambda m: digits(m[1]),
        needs=("911", "999"),
    ),
    rule(
        r"(?<![\w*)] )(?<![\w*)])\*(\d{2,3})(?!\w|[.,]\d|%| [a-z]+s\b)",
        lambda m: f"star {digits(m[1])}",
        needs=("*",),
    ),
    rule(
        r"\b([Cc]all|[Dd]ial|[Pp]hone|[Tt]ext) ([*#]\d{2,12}#?|\d{3,12})(?![-.,]\d|\w)"
        r"(?! (?:people|times|of|[a-z]+s\b))",
        _dialled,
        needs=("all", "ext", "hone", "ial"),
    ),
    rule(
        r"\b([Tt]ext \w{2,12} to) (\d{4,6})\b", lambda m: f"{m[1]} {digits(m[2])}", needs=("ext ",)
    ),
    rule(
        r"(?<=\d{3}[- ]\d{4}),? ?(?:x|[Ee]xt\.?) ?(\d{1,6})\b",
        lambda m: f" extension {cardinal(m[1]) if len(m[1]) < 3 else digits(m[1])}",
        needs=(" ", "-"),
    ),
    rule(
        r"(?<![\w-])(?:1[-. ]\(?\d{3}\)?|\(?(?:8\d\d|900)\)?)[-. ](?:\d{1,4}-)?(?=[A-Z]{3}|[A-Z]{2}-)"
        r"[A-Z]{2,10}(?:-[A-Z\d]{1,10}){0,3}(?![\w-])",
        _phone,
    ),
    rule(r"(?<![\w-])\d{1,7}(?:-\d{1,7}){3,5}(?![\w-])", _phone, needs=("-",)),
    rule(r"(?<![\w-])\d{3}-\d\d-\d{4}(?![\w-])", lambda m: groups(m[0]), needs=("-",)),
    rule(r"(?<![\w-])\d{4}(?:[ -]\d{4}){3}(?![\w-])", lambda m: groups(m[0]), needs=(" ", "-")),
    rule(
        r"(?<![\d.])(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?:([:/])(\d{1,5}))?(?![\d.]\d|\d)",
        _internet_address,
    ),
    rule(
        r"(?<![\w+])(?:\+\d{1,3}(?:[ .-]?\(\d{1,4}\))?[ .-]?\d{1,12}(?:[ .-]\d{2,8}){0,5}"
        r"|0\d{1,4}(?:[ -]\d{3,8}){1,4}|0\d{2,4}(?: \d\d){3,4}|00 ?\d{1,3}(?: \d{2,8}){2,4}|\(0\d{1,5}\)(?:[ -]?\d{3,8}){1,3})(?![\w,]|[.]\d)",
        _phone,
        needs=(" ", "(0", "+", "-"),
    ),
    rule(
        r"(?<![\w.,-])(?:\d{1,3}[-. ])?(?:\(\d{3}\)[-. ]?|\d{3}[-. ])\d{3}[-. ]\d{4}(?![\w-])",
        _phone,
    ),
    rule(r"(?<![\w.,-])\d{3}-\d{4}(?<!00)(?![\w-])", _phone),
)

# Versions, models, standards, flights and rooms

_STAGES = {
    "rc": "release candidate",
    "b": "beta",
    "a": "alpha",
    "p": "patch",
    "dev": "dev",
    "pre": "pre",
}


def _stage(match: re.Match[str]) -> str:
    """The end of "2.3.1-rc.2" or "3.13.0b1"."""
    name = match["stage"].lower()
    number = match["number"]
    words = f", {_STAGES.get(name, name)}"
    return f"{words} {' point '.join(map(cardinal, number.split('.')))}" if number else words


def _model_number(text: str) -> str:
    """ "747" -> "seven forty-seven", "12700" -> "twelve seven hundred"."""
    if re.fullmatch(r"(?:19|20)\d\d", text):
        return year(text)
    if len(text) == 5 and text[0] != "0":
        return f"{cardinal(text[:2])} {pairs(text[2:])}"
    return pairs(text)


def _hyphenated(match: re.Match[str]) -> str:
    """ "Llama-3-8B" and "F-16-style", where no hyphen is a range; but "A1-A5" is one."""
    token = match[0]
    if not re.search(r"\d", token):
        return token
    span = re.fullmatch(r"([A-Za-z]{1,2})(\d{1,3})[-\u2013]\1(\d{1,3})", token)
    if span:
        return f"{span[1]}{span[2]} to {span[1]}{span[3]}"
    token = re.sub(r"(?<=\w)[-\u2013](?=\d)|(?<=\d)[-\u2013](?=[A-Z\d]|[a-z]\b)", " ", token)
    token = re.sub(r"(?<=\d[A-Z])-", " ", token)
    token = re.sub(r"(?<= )(\d)x(?=\d)", r"\1 ex ", token)
    token = re.sub(
        r"(?<= )(\d{2,4})s\b", lambda m: set_apart(m, plural(_model_number(m[1]))), token
    )
    token = re.sub(r"(?<![\w.'])([A-Za-z])(?= ?\d)", lambda m: set_apart(m, letters(m[1])), token)
    token = re.sub(r"(?<=\d)a$", " ay", token)
    return re.sub(
        r"(?<![\w.])\d{3,5}(?=(?:[A-Za-z]|[A-Z]\d[A-Z]|[a-z]{3})?\b)(?!\.\d)",
        lambda m: set_apart(m, _model_number(m[0])),
        token,
    )


_NAMED_NUMBER = (
    "Boeing|Airbus|Cessna|[Ff]light|[Rr]oute|[Rr]ooms?|[Ss]uite|[Hh]ighway|Hwy|Interstate|RTX|GTX|RX|GT|"
    "Ryzen \\d|Xeon|EPYC|BMW|Porsche|Peugeot|HTTP|[Ee]rror|[Ss]tatus|[Aa]partment|[Uu]nit|RFC|"
    "Form|Studio|[Gg]ate|[Ll]ocker|Psych|English|Math|Physics|Chemistry|Biology|History|Nokia|"
    "Area|Xbox|[Pp]ort|[Ww]ard|[Bb]us|Intel|Pixel|Canon|Nikon|Mazda|Audi|Volvo|Lexus|Ferrari|code|Bldg|Apt"
)
_FLIGHTS = "AA|UA|DL|BA|AF|LH|KL|QF|EK|SQ|CX|JL|NH|AC|WN|B6|AS|VS|EI|IB|TK|QR|EY|MH|FR|U2"


def _named_number(match: re.Match[str]) -> str:
    """ "Boeing 747-400", but "Rooms 201-205" are a range."""
    name, first, second = match.groups()
    words = f"{name} {_model_number(first)}"
    if not second:
        return words
    return f"{words}{' to ' if name[-1] == 's' else ' '}{_model_number(second)}"


MODELS: tuple[Rule, ...] = (
    rule(r"\b(7[0-8]7)(?= (?:MAX|Max|jets?|planes?|aircraft|Dreamliner)\b)", lambda m: pairs(m[1])),
    rule(
        r"\b([Hh]ighway|[Rr]oute|Rte\.?|Hwy\.?) (\d{1,3})([NSEW])\b",
        lambda m: f"{m[1]} {cardinal(m[2])} {letters(m[3])}",
    ),
    rule(r"(?<=\d\.\d\d)t\b", " tee"),  # a build of Python
    rule(r"\b(\d{1,2})W-(\d\d)\b", lambda m: f"{cardinal(m[1])} double you {cardinal(m[2])}"),
    rule(
        r"\b([Pp]orts) (\d{2,5})/(\d{2,5})\b",
        lambda m: f"{m[1]} {_model_number(m[2])}, {_model_number(m[3])}",
    ),
    rule(r"\b([Hh])\.(26\d)\b", lambda m: f"aitch {pairs(m[2])}", needs=("26",)),
    rule(
        r"\bCVE-(\d{4})-(\d{4,7})\b",
        lambda m: f"CVE {year(m[1])}, {_model_number(m[2])}",
        needs=("CVE-",),
    ),
    rule(r"(?<!\w)v(?:er)?\.?(?=\d)", "version "),
    rule(
        r"(?<=\d)[-.+]?(?P<stage>rc|RC|alpha|beta|dev|pre|preview|post|snapshot|SNAPSHOT|nightly)"
        r"(?:[-.]?(?P<number>\d{1,8}(?:\.\d{1,8}){0,3}))?(?![\w-])",
        _stage,
        needs=(
            "RC",
            "SNAPSHOT",
            "alpha",
            "beta",
            "dev",
            "nightly",
            "post",
            "pre",
            "rc",
            "snapshot",
        ),
    ),
    rule(r"(?<=\d\.\d)(?P<stage>[abp])(?P<number>\d{1,2})\b", _stage),
    rule(
        r"\b802\.(\d{1,2})([a-z]{0,2})\b",
        lambda m: f"eight oh two dot {cardinal(m[1])} {letters(m[2])}",
        needs=("802.",),
    ),
    rule(
        r"(?<![\w.,])(\d{3,4})([pi])(\d\d)?\b",  # 1080p60
        lambda m: f"{pairs(m[1])} {letters(m[2])} {cardinal(m[3]) if m[3] else ''}",
    ),
    rule(r"(?:(?<=\d\.\d)|(?<=\.\d\d))-(?=\d{1,4}(?:-[a-z]|[+~][a-z]))", " ", needs=("-",)),
    rule(
        r"(?<![\w.])(\d{1,3}(?:\.\d{1,3})+)\.x\b",
        lambda m: " point ".join(map(cardinal, m[1].split("."))) + " point ex",
        needs=(".x",),
    ),
    rule(r"\bPHP (?=[4-9](?:(?:\.\d){1,2}(?!\d)|\b(?![.,]\d)))", "pee aitch pee ", needs=("PHP",)),
    rule(  # a tyre: "205/55 R16 91V"
        r"\b([12]\d5)/(\d\d) ?(Z?R) ?([12]\d)(?: (\d{2,3})([A-Z]))?\b",
        lambda m: (
            f"{pairs(m[1])} {cardinal(m[2])} {letters(m[3])} {cardinal(m[4])}"
            + (f", {cardinal(m[5])} {letters(m[6])}" if m[5] else "")
        ),
        needs=("R",),
    ),
    rule(
        r"\b((?:[Uu]nit|[Ff]lat|[Aa]pt\.?|[Aa]partment|[Ss]hop) \d{1,3}[A-Z]?)/(?=\d{1,4} [A-Z])",
        lambda m: f"{m[1]}, ",
        needs=("/",),
    ),
    rule(
        r"(?<![\w-])(\d{1,4})-(in|on|for|by|of|and|vs|at)-(?:an?-)?(\d{1,4})(?![\w-])",
        lambda m: f"{cardinal(m[1])} {m[2]} {cardinal(m[3])}",
        needs=("-",),
    ),
    rule(
        r"\b(T)[-\u2212](?=\d{1,4} (?:sec|min|hour|day|week|month|s\b|h\b))",
        "tee minus ",
        needs=("-", "−"),
    ),
    rule(
        r"\b(401|403|501|529)(?: ?\(([a-z])\)|([kb])(?!\w))(?:\((\d)\))?",
        lambda m: f"{pairs(m[1])} {letters(m[2] or m[3])}{f' {cardinal(m[4])}' if m[4] else ''}",
        needs=("401", "403", "501", "529"),
    ),
    rule(
        r"(?<![\w-])7([0-8])7-(\d{1,4})(?![\w-])",
        lambda m: f"{pairs(f'7{m[1]}7')} {pairs(m[2])}",
        needs=("7-",),
    ),
    rule(
        rf"\b({_NAMED_NUMBER}) (\d{{3,5}})(?:[-\u2013](\d{{1,4}}))?(?!\d|[,.:]\d|%|-\w)",
        _named_number,
    ),
    rule(rf"\b({_FLIGHTS}) ?(\d{{2,4}})\b(?!%)", lambda m: f"{spell(m[1])} {_model_number(m[2])}"),
    rule(
        r"\b([A-Z][a-z]{3,}) 101\b(?! [a-z]{3,}s\b)",
        lambda m: f"{m[1]} one oh one",
        needs=(" 101",),
    ),
    rule(
        r"(?<![\w.$'\u00b0%-])[A-Za-z][\w.]{0,40}(?:[-\u2013][\w.]{0,40}\w){1,8}",
        _hyphenated,
        needs=("-", "–"),
    ),
)

# Addresses of the web, files and keys

# Lengths are bounded, or the time for a long odd text would not be linear.
_HOST = r"[\w-]{1,63}(?:\.[\w-]{1,63}){0,9}"
_PORT = r"(?::\d{1,5})?"
_PATH = r"(?:[/?#][\w./?=&#%~:+-]{0,300}\w)?/?"
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])|_")
_PIECE = re.compile(r"[A-Za-z]+|\d+|[^A-Za-z\d]")


def _address_words(address: str) -> str:
    pieces = _PIECE.findall(address.rstrip("/"))
    words = [_piece(*pair) for pair in zip(pieces, ["", *pieces[:-1]], strict=True)]
    return " ".join(word for word in words if word)


def _piece(piece: str, before: str) -> str:
    if piece.isdecimal():
        return cardinal(piece) if len(piece) < 3 and piece[0] != "0" else digits(piece)
    if before == "." and piece in ("ai", "uk", "io", "eu", "de"):
        return letters(piece)
    if before == "." and EXTENSIONS.get(piece):
        return EXTENSIONS[piece]
    if len(piece) == 1 and piece.isalpha():
        return LETTER_NAMES.get(piece.lower(), piece)
    return IN_ADDRESS.get(piece, piece)


def _keys(match: re.Match[str]) -> str:
    parts = re.split(r"[+-]", match[0])
    return " ".join(KEYS.get(part) or (spell(part) if len(part) == 1 else part) for part in parts)


ADDRESSES: tuple[Rule, ...] = (
    rule(
        r"(?<![\w#])#(?=[0-9]{0,5}[A-Fa-f])([0-9A-F]{6}|[0-9a-f]{6})\b",
        lambda m: f"hash {spell(m[1])}",
        needs=("#",),
    ),
    rule(r"(?<=[\dA-F])-(?=U\+[\dA-F]{4})", " to ", needs=("-U+",)),
    rule(r"\bU\+([0-9A-F]{4,6})\b", lambda m: f"you plus {spell(m[1])}", needs=("U+",)),
    rule(r"\bmailto:(?=\w)", "", needs=("mailto:",)),
    rule(
        rf"(?<![\w.+-])[\w.+-]{{1,64}}@{_HOST}|(?<!\w)(?!http|ftp:)[a-z][a-z\d+]{{1,9}}:///?[\w.-]+{_PORT}{_PATH}"
        rf"|(?<!\w)(?:https?|ftp)://({_HOST}{_PORT}{_PATH})|\bwww\.{_HOST}{_PORT}{_PATH}"
        rf"|(?<![\w.-]){_HOST}\.(?:{'|'.join(DOMAINS)})\b(?!\.\w){_PORT}{_PATH}"
        rf"|(?<![\w./-]){_HOST}\.(?:ly|be|gl|me|us|gg|cc|ws|nl|ch|se|it|es|jp|cn|in|au|ru|br)/\w{_PATH}",
        lambda m: _address_words(m[1] or m[0]),
    ),
    rule(
        r"\b[A-Za-z]:\\(?:[\w.-]{1,60}\\){0,12}[\w.-]{0,60}",
        lambda m: _address_words(m[0]),
        needs=(":\\",),
    ),
    rule(
        rf"(?<![\w./@-]){_HOST}\.(?:{'|'.join(EXTENSIONS)})\b(?!\.?\w)",
        lambda m: _address_words(m[0]),
    ),
    rule(
        r"(?<![\w/.:<])(?:(?:~|\.{1,2})(?:/[\w.-]{0,63}\w){1,12}|(?:/[\w.-]{0,63}\w){2,12})",
        lambda m: _address_words(m[0]),
        needs=("/",),
    ),
    rule(
        r"(?<![\w./])\.(?=[a-z]{1,12}(?:rc|ignore)\b|(?:env|htaccess|ssh|git|config)\b)",
        "dot ",
        needs=(".",),
    ),
    rule(
        r"(?<![\w#&])#(?!(?=[A-Fa-f]{0,5}\d)[\dA-Fa-f]{6}\b)([A-Za-z]\w{0,99})",
        lambda m: f"hashtag {_HUMP.sub(' ', m[1])}",
        needs=("#",),
    ),
    rule(r"(?<![\w@.])@([A-Za-z]\w{0,99})", lambda m: f"at {_address_words(m[1])}", needs=("@",)),
    rule(
        rf"\b(?:{choice(KEYS)})(?:[+-](?:{choice(KEYS)}|F\d{{1,2}}|Enter|Tab|Space|[A-Za-z\d]))"
        r"{1,3}(?!\w)",
        _keys,
        needs=("+", "-"),
    ),
)

"""Figures that are said one by one: telephone numbers, book and card numbers, addresses."""

import re

from vocalmtp.text.figures import Rule, cardinal, choice, digits, groups
from vocalmtp.text.tables import STATES

_GROUP = re.compile(r"\d+")


def _phone(match: re.Match[str]) -> str:
    found = _GROUP.findall(match[0])
    if len("".join(found)) < 7:  # too short for a telephone number
        return match[0]
    said = [
        cardinal(group) if group in ("800", "900") and index < len(found) - 1 else digits(group)
        for index, group in enumerate(found)
    ]
    return ("plus " if match[0][0] == "+" else "") + ", ".join(said)


def _state(match: re.Match[str]) -> str:
    return f"{STATES[match[1]]} {groups(match[2])}"


CODES: tuple[Rule, ...] = (
    (
        r"\b([Cc]all|[Dd]ial|[Pp]hone|[Tt]ext) (\d{3,12})\b(?![-.,]\d)",
        lambda m: f"{m[1]} {digits(m[2])}",
    ),
    (rf"(?<=[a-z], )({choice(STATES)}) (\d{{5}}(?:-\d{{4}})?)(?![\d-])", _state),
    (r"(?<![\w-])\d{1,7}(?:-\d{1,7}){3,5}(?![\d-])", _phone),
    (r"(?<![\w-])\d{3}-\d\d-\d{4}(?![\w-])", lambda m: groups(m[0])),
    (r"(?<![\w-])\d{4}(?:[ -]\d{4}){3}(?![\w-])", lambda m: groups(m[0])),
    (
        r"(?<![\d.])(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?![\d.]\d)",
        lambda m: " dot ".join(map(digits, m.groups())),
    ),
    (
        r"(?<![\w+])(?:\+\d{1,3}(?:[ .-]?\(\d{1,4}\))?[ .-]?\d{1,12}(?:[ .-]\d{2,8}){0,5}"
        r"|0\d{1,4}(?:[ -]\d{3,8}){1,4})(?![\w,]|[.]\d)",
        _phone,
    ),
    (r"(?<![\w.,-])(?:\d{1,3}[-. ])?(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}(?![\w-])", _phone),
    (r"(?<![\w.,-])\d{3}[-.]\d{4}(?<!00)(?![\w-])", _phone),
)

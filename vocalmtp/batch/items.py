"""The items of a list, validated one by one."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from vocalmtp.audio.stretch import check_speed
from vocalmtp.data.text_lists import read_fields, short
from vocalmtp.errors import ErrorCode, InputError

ID_BYTES = 200  # file names have at most 255 bytes, suffixes included
STYLE = ("language", "instructions")
KNOWN = ("id", "text", "voice", "seed", "temperature", "speed", *STYLE)
SIMILAR = 0.8  # of a field's name to a known one that is probably meant


@dataclass(frozen=True, kw_only=True)
class Item:
    """One text to synthesize, or an error.

    `line` is its line number in the list, from 1; an item with an `error` is not synthesized.
    """

    line: int
    id: str
    text: str = ""
    voice: str | None = None
    seed: int | None = None
    temperature: float | None = None
    speed: float | None = None
    language: str | None = None
    instructions: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)  # other fields, copied to the manifest
    error: str | None = None
    code: ErrorCode | None = None  # of the error


def read_items(path: Path) -> Iterator[Item]:
    """Yield the items of a list in order; memory holds one of them, and a hash of every `id`.

    An invalid line, an `id` that is not a file name, and a repeated `id` give items whose `error`
    names the file and the line.
    """
    named = path.suffix.lower() != ".txt"  # otherwise ids are line numbers, which are unique
    seen: set[int] = set()
    for line, fields in read_fields(path):
        if isinstance(fields, str):
            error = f"{path} line {line}: {fields}"
            yield Item(line=line, id=_line_id(line), error=error, code="invalid_value")
            continue
        try:
            item = _item(line, fields)
            if named:
                _check_new(item.id, seen)
        except InputError as error:
            item = _failed(line, fields, f"{path} line {line}: {error}", error.code)
        yield item


def _check_new(name: str, seen: set[int]) -> None:
    if hash(name) in seen:
        raise InputError(
            f"id {short(name)}: occurs twice; give every item its own", code="invalid_value"
        )
    seen.add(hash(name))


def _line_id(line: int) -> str:
    """The id of an item that has none: file names then sort in the order of the list."""
    return f"{line:06d}"


def _item(line: int, fields: dict[str, Any]) -> Item:
    _check_names(fields)
    return Item(
        line=line,
        id=_check_id(fields["id"]) if fields.get("id") is not None else _line_id(line),
        text=_check_text(fields),
        voice=_check_words("voice", fields),
        language=_check_words("language", fields),
        instructions=_check_words("instructions", fields),
        seed=_check_seed(fields.get("seed")),
        temperature=_check_temperature(fields.get("temperature")),
        speed=None if fields.get("speed") is None else check_speed(fields["speed"]),
        extra={key: value for key, value in fields.items() if key not in KNOWN},
    )


def _check_names(fields: dict[str, Any]) -> None:
    """Raise InputError for a field whose name is nearly that of a known one, which is not there."""
    absent = [name for name in KNOWN if name not in fields]
    for name in fields:
        for meant in () if name in KNOWN else get_close_matches(name.lower(), absent, 1, SIMILAR):
            raise InputError(
                f"field {short(name)}: is not known; did you mean '{meant}'?", code="unknown_name"
            )


def _failed(line: int, fields: dict[str, Any], error: str, code: ErrorCode) -> Item:
    """An invalid item, with the fields that could be read."""
    name, text = fields.get("id"), fields.get("text")
    return Item(
        line=line,
        id=_line_id(line) if name is None else name if isinstance(name, str) else short(name),
        text=text if isinstance(text, str) else "",
        extra={key: value for key, value in fields.items() if key not in KNOWN},
        error=error,
        code=code,
    )


def _check_id(value: object) -> str:
    """Return `value` as a file name without folders, or raise InputError."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value:
        raise InputError(
            f"id {short(value)}: must be a string, which names the item's file",
            code="invalid_value",
        )
    refused = '/\\:*?"<>|' if sys.platform == "win32" else "/\\"
    if not value.isprintable() or any(character in value for character in refused):
        raise InputError(
            f"id {short(value)}: must be a file name; leave out control characters and {refused}",
            code="invalid_value",
        )
    if value.startswith("."):
        raise InputError(
            f"id {short(value)}: begins with a dot, as hidden files do; remove it",
            code="invalid_value",
        )
    if len(value.encode()) > ID_BYTES:
        raise InputError(
            f"id {short(value)}: is too long; use {ID_BYTES} bytes at most", code="wrong_length"
        )
    return value


def _check_text(fields: dict[str, Any]) -> str:
    if "text" not in fields:
        raise InputError("text: is missing; add a field 'text'", code="missing")
    if not isinstance(fields["text"], str):
        raise InputError(
            f"text {short(fields['text'])}: must be a string; put it in quotes",
            code="invalid_value",
        )
    return fields["text"]


def _check_words(name: str, fields: dict[str, Any]) -> str | None:
    value = fields.get(name)
    if value is not None and not (isinstance(value, str) and value):
        raise InputError(
            f"{name} {short(value)}: must be a string with something in it; or leave it out",
            code="invalid_value",
        )
    return value


def _check_seed(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise InputError(
            f"seed {short(value)}: must be an integer from 0 to 2 ** 63 - 1",
            code="out_of_range",
        )
    return value


def _check_temperature(value: object) -> float | None:
    if value is None:
        return None
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else -1.0
    if not 0 <= number <= 1e6:  # also refuses NaN
        raise InputError(
            f"temperature {short(value)}: must be a number of 0 or more", code="out_of_range"
        )
    return float(number)

"""What to say, one by one: the items of a list, each with what is wrong with it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vocalmtp.data.text_lists import read_fields, short
from vocalmtp.errors import InputError

ID_BYTES = 200  # a file's name has 255, and its suffixes need some
KNOWN = ("id", "text", "voice", "seed", "temperature")


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing to say. `line` is its place in the list, from 1; `error` says why it cannot be."""

    line: int
    id: str
    text: str | None = None
    voice: str | None = None
    seed: int | None = None
    temperature: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)  # its other fields, for the manifest
    error: str | None = None


def read_items(path: Path) -> Iterator[Item]:
    """The items of a list in its order: one at a time in memory, and a hash of every `id`.

    A line that will not do, an `id` that is no file's name and one that was there before are items
    with an `error` that names the file and the line.
    """
    named = path.suffix.lower() != ".txt"  # else ids are line numbers, which are never there twice
    seen: set[int] = set()
    for line, fields in read_fields(path):
        if isinstance(fields, str):
            error = f"{path} line {line}: {fields}"
            yield Item(line=line, id=_line_id(line), error=error)
            continue
        try:
            item = _item(line, fields)
            if named:
                _check_new(item.id, seen)
        except InputError as error:
            item = _failed(line, fields, f"{path} line {line}: {error}")
        yield item


def _check_new(name: str, seen: set[int]) -> None:
    if hash(name) in seen:
        raise InputError(
            f"id {short(name)}: is there twice; give every item its own", code="invalid_value"
        )
    seen.add(hash(name))


def _line_id(line: int) -> str:
    """The id of an item that has none; files are then listed in the list's order."""
    return f"{line:06d}"


def _item(line: int, fields: dict[str, Any]) -> Item:
    return Item(
        line=line,
        id=_check_id(fields["id"]) if fields.get("id") is not None else _line_id(line),
        text=_check_text(fields),
        voice=_check_voice(fields.get("voice")),
        seed=_check_seed(fields.get("seed")),
        temperature=_check_temperature(fields.get("temperature")),
        extra={key: value for key, value in fields.items() if key not in KNOWN},
    )


def _failed(line: int, fields: dict[str, Any], error: str) -> Item:
    """The item, as far as it can be told what it was meant to be."""
    name, text = fields.get("id"), fields.get("text")
    return Item(
        line=line,
        id=_line_id(line) if name is None else name if isinstance(name, str) else short(name),
        text=text if isinstance(text, str) else None,
        extra={key: value for key, value in fields.items() if key not in KNOWN},
        error=error,
    )


def _check_id(value: object) -> str:
    """`value` as the name of a file that stays in its folder, or InputError."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value:
        raise InputError(
            f"id {short(value)}: must be a text, which names the item's file", code="invalid_value"
        )
    if not value.isprintable() or "/" in value or "\\" in value:
        raise InputError(
            f"id {short(value)}: must be a file's name; leave out slashes and such",
            code="invalid_value",
        )
    if value.startswith("."):
        raise InputError(
            f"id {short(value)}: begins with a dot; such files are hidden", code="invalid_value"
        )
    if len(value.encode()) > ID_BYTES:
        raise InputError(
            f"id {short(value)}: is too long; {ID_BYTES} bytes are the most", code="wrong_length"
        )
    return value


def _check_text(fields: dict[str, Any]) -> str:
    if "text" not in fields:
        raise InputError("text: is missing; add a field 'text' with what to say", code="missing")
    if not isinstance(fields["text"], str):
        raise InputError(
            f"text {short(fields['text'])}: must be a text; put it in quotes", code="invalid_value"
        )
    return fields["text"]


def _check_voice(value: object) -> str | None:
    if value is not None and not (isinstance(value, str) and value):
        raise InputError(
            f"voice {short(value)}: must be a voice's name; or leave it out", code="conflict"
        )
    return value


def _check_seed(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise InputError(
            f"seed {short(value)}: must be a whole number from 0 to 2 ** 63 - 1",
            code="out_of_range",
        )
    return value


def _check_temperature(value: object) -> float | None:
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and 0 <= value <= 1e6):  # NaN is refused too
        raise InputError(
            f"temperature {short(value)}: must be a number of 0 or more", code="out_of_range"
        )
    return float(value)

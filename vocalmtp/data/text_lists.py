"""Lists of texts: .txt, .jsonl, .csv and .tsv files to the fields of every item.

An invalid line gives an error message in place of fields, and never affects the lines after it.
"""

import codecs
import csv
import io
import json
import math
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from vocalmtp.errors import InputError, nearest

LIMIT = 1 << 22  # bytes of a line or a CSV record; longer ones are not read into memory
RECORD = 1000  # lines of a CSV record, which bounds a quote that is never closed
KINDS = (".txt", ".jsonl", ".csv", ".tsv")
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
BOM = b"\xef\xbb\xbf"
TYPES = {
    "id": str,
    "voice": str,
    "seed": int,
    "temperature": float,
    "speed": float,
    "language": str,
    "instructions": str,
}  # of CSV fields
CONTROL = bytes(set(range(32)) - set(b"\t\n\r\f"))  # above 5 % of a file, it is binary


@dataclass(frozen=True)
class Survey:
    """The numbers of lines and of items of a list; a CSV field of n lines counts as n items."""

    lines: int
    items: int


def survey(path: Path) -> Survey:
    """Count the lines and items of a list without parsing them.

    Raises InputError if the list is missing, empty, binary, of an unknown format, or a CSV file
    without a column `text`.
    """
    kind = _kind(path)
    if not path.is_file():
        raise InputError(
            f"input '{path}': no such file; give a list: {', '.join(KINDS)}", code="not_found"
        )
    with path.open("rb") as file:
        head = file.read(1 << 16)
        if head.startswith(UTF16_MARKS):
            head = b""
        if 20 * len(head.translate(None, CONTROL)) < 19 * len(head):
            raise InputError(
                f"input '{path}': is binary; give a list in UTF-8 or UTF-16", code="invalid_value"
            )
    lines = items = 0
    for number, line in _lines(path):
        lines = number
        items += bool(line.strip())
    if kind == ".csv" and items:
        _header(path, _csv_rows(path))
        items -= 1
    if not items:
        raise InputError(f"input '{path}': has no items; write one per line", code="empty")
    return Survey(lines, items)


def read_fields(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield the number of every line that is not blank, from 1, and its fields or an error."""
    reader = {".txt": _read_txt, ".jsonl": _read_jsonl, ".csv": _read_csv}[_kind(path)]
    return reader(path)


def short(value: object) -> str:
    """`value` abbreviated for an error message."""
    shown = ascii(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def guess_kind(content: str) -> str:
    """Return the suffix of a list by its first line: .jsonl, .csv or .txt."""
    line = content.lstrip().partition("\n")[0]
    if line.startswith("{"):
        return ".jsonl"
    return ".txt" if _delimiter(line) is None or line.strip() == "text" else ".csv"


def _kind(path: Path) -> str:
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise InputError(
            f"input '{path}': unknown format of a list; {nearest(kind, KINDS)}",
            code="invalid_value",
        )
    return ".csv" if kind == ".tsv" else kind  # the header shows what separates the columns


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Every line in UTF-8 with its number, from 1; the first LIMIT bytes of a longer one."""
    with path.open("rb") as file:
        wide = file.read(2) in UTF16_MARKS
        file.seek(0)
        source: IO[Any] = file
        if wide:
            source = io.TextIOWrapper(file, "utf-16", errors="replace", newline="\n")
        number = 0
        while line := source.readline(LIMIT):
            number += 1
            rest = line
            while len(rest) == LIMIT and rest[-1:] not in (b"\n", "\n"):
                rest = source.readline(LIMIT)
            content = line.encode() if wide else line
            yield number, content.removeprefix(BOM) if number == 1 else content


def _text_lines(path: Path) -> Iterator[tuple[int, str, str | None]]:
    """The number, the text and the error, or None, of every line."""
    for number, line in _lines(path):
        if len(line) >= LIMIT - len(BOM):
            yield number, "", f"is longer than {LIMIT >> 20} MiB; split it"
        elif b"\0" in line:
            yield number, "", "is binary; write text"
        else:
            try:
                yield number, line.decode("utf-8"), None
            except UnicodeDecodeError as error:
                place = error.start + 1
                yield number, "", f"byte {place} is not UTF-8; convert the list with iconv"


def _read_txt(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for number, text, problem in _text_lines(path):
        if problem or text.strip():
            yield number, problem or {"text": text.strip()}


def _read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    for number, text, problem in _text_lines(path):
        if problem or text.strip():
            yield number, problem or _object(text)


def _object(text: str) -> dict[str, Any] | str:
    try:
        fields = json.loads(text, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        return f"not valid JSON ({error}); write one object per line"
    if not isinstance(fields, dict):
        return f'not a JSON object; write {{"text": "..."}}, not {short(fields)}'
    return fields


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value


# -- CSV: a record may span several lines ------------------------------------------------------------


def _read_csv(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    rows = _csv_rows(path)
    header = _header(path, rows)
    for number, cells in rows:
        yield number, cells if isinstance(cells, str) else _named(header, cells)


def _header(path: Path, rows: Iterator[tuple[int, list[str] | str]]) -> list[str]:
    """The column names, from the first record. Raises InputError if they are invalid."""
    number, cells = next(rows, (1, []))
    if isinstance(cells, str):
        raise InputError(f"input '{path}' line {number}: {cells}", code="invalid_value")
    names = [cell.strip() for cell in cells]
    if "text" not in names:
        found = ", ".join(short(name) for name in names[:10]) or "nothing"
        raise InputError(
            f"input '{path}': has no column 'text', only {found}; rename one", code="missing"
        )
    for name in names:
        if not name or names.count(name) > 1:
            raise InputError(
                f"input '{path}': column {short(name)} is not unique; rename it",
                code="invalid_value",
            )
    return names


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str] | str]]:
    """The header and every record after it, with the number of its first line.

    A malformed record costs one line: a missing quote may have absorbed the lines after it, so
    they are parsed again.
    """
    csv.field_size_limit(LIMIT)  # of the whole process; the default refuses a long text
    lines = _text_lines(path)
    delimiter = _delimiter(next((text for _, text, _ in _text_lines(path) if text.strip()), ""))
    again: deque[tuple[int, str, str | None]] = deque()
    width: int | None = None
    while True:
        used: list[tuple[int, str, str | None]] = []
        try:
            cells = next(
                csv.reader(_record(lines, again, used), strict=True, delimiter=delimiter or ",")
            )
            problem = None
            if width is not None and cells and len(cells) != width:
                problem = f"{len(cells)} fields, not {width}; put a text with commas in quotes"
        except StopIteration:
            if not used:
                return
            cells, problem = [], used[0][2]
        except csv.Error as error:
            cells, problem = [], used[0][2] or f"not valid CSV ({error}); close its quotes"
        if problem is not None and not used[0][1].isspace():
            again.extendleft(reversed(used[1:]))
            yield used[0][0], problem
        elif cells and problem is None:
            width = width or len(cells)
            yield used[0][0], cells


def _delimiter(header: str) -> str | None:
    """What separates the columns of a header with a column "text"; None if there is none."""
    for delimiter in ",;\t":
        if "text" in [cell.strip().strip('"') for cell in header.split(delimiter)]:
            return delimiter
    return None


def _record(
    lines: Iterator[tuple[int, str, str | None]],
    again: deque[tuple[int, str, str | None]],
    used: list[tuple[int, str, str | None]],
) -> Iterator[str]:
    """Lines for the CSV parser, recorded in `used`, up to the limits of a record."""
    size = 0
    while len(used) < RECORD and size < LIMIT:
        line = again.popleft() if again else next(lines, None)
        if line is None:
            return
        used.append(line)
        if line[2] is not None:
            return
        size += len(line[1])
        yield line[1]


def _named(header: list[str], cells: list[str]) -> dict[str, Any]:
    """The fields of a record; an empty cell is an absent field."""
    fields: dict[str, Any] = dict(zip(header, cells, strict=True))
    for name, kind in TYPES.items():
        if not fields.get(name):
            fields.pop(name, None)
            continue
        with suppress(ValueError):  # reported by the validation of the item
            fields[name] = kind(fields[name])
    return fields

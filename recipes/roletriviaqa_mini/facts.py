"""Facts with short answers, from freely packaged data.

Sources are WordNet (a Debian package), the time zone database (the Python package tzdata), Python's
calendar, the table of elements beside this file, and arithmetic. Nothing is downloaded here.
"""

from __future__ import annotations

import calendar
import datetime
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from num2words import num2words

RECIPE = Path(__file__).parent
FIRST_YEAR, LAST_YEAR = 1990, 2030
MOST_PLACES, MOST_ELEMENTS, LARGEST = 60, 60, 9  # facts of each kind; operand of tables
PARTS = {"Africa": (), "Asia": (), "Europe": (), "America": ("the americas",)}
CONCRETE = {"05", "06", "08", "13", "20"}  # files of animals, artifacts, body, food, plants
MOST_OPPOSITES, MOST_KINDS = 60, 60


@dataclass(frozen=True)
class Fact:
    """The subject, as it stands in a wording, and all correct answers, the preferred one first."""

    kind: str
    subject: str
    answers: tuple[str, ...]


def all_facts(wordnet: Path, zones: Path | None = None) -> list[Fact]:
    """All facts in a fixed order; see `wordings.yaml` for their kinds."""
    found = [
        *places(zones or Path(str(files("tzdata") / "zoneinfo"))),
        *elements(),
        *arithmetic(),
        *months(),
        *first_days(),
        *opposites(wordnet),
        *kinds(wordnet),
    ]
    return list(dict.fromkeys(found))


def words(number: int) -> str:
    """A number in words, without hyphens and commas."""
    return num2words(number).replace("-", " ").replace(",", "")


def places(zones: Path) -> Iterator[Fact]:
    """Countries of cities that have a time zone, and continents of countries.

    Both are drawn evenly from the sorted list.
    """
    lines = _table(zones / "iso3166.tab")
    names = {code: name for code, name in lines}
    parts: dict[str, set[str]] = defaultdict(set)
    cities: dict[str, Fact] = {}
    for code, _, zone, *_ in _table(zones / "zone.tab"):
        part, _, city = zone.partition("/")
        parts[code].add(part)
        city = city.rpartition("/")[2].replace("_", " ")
        country = _plain(names[code])
        is_known = city.isascii() and city.lower() != country.lower() and part in PARTS
        if is_known and code not in cities:
            cities[code] = Fact("country", city, _country(names[code]))
    within = [
        Fact("continent", _plain(names[code]), (part, *PARTS[part]))
        for code, found in sorted(parts.items())
        if len(found) == 1 and (part := next(iter(found))) in PARTS
    ]
    for some in (list(cities.values()), within):
        yield from some[:: len(some) // MOST_PLACES][:MOST_PLACES]


def _table(path: Path) -> list[list[str]]:
    lines = path.read_text("utf-8").splitlines()
    return [line.split("\t") for line in lines if line and not line.startswith("#")]


def _plain(name: str) -> str:
    """The name of a country without the part in parentheses."""
    return re.sub(r"\s*\(.*?\)", "", name)


def _country(name: str) -> tuple[str, ...]:
    return (_plain(name), *re.findall(r"\((.*?)\)", name))


def elements() -> Iterator[Fact]:
    """The atomic numbers of elements, and elements by atomic number."""
    names = (RECIPE / "elements.txt").read_text("utf-8").split()
    for number, name in enumerate(names[:MOST_ELEMENTS], start=1):
        yield Fact("atomic_number", name, (words(number), str(number)))
        yield Fact("element", words(number), (name,))


def arithmetic() -> Iterator[Fact]:
    """Products, sums and differences of two numbers, and sums of three."""
    for a in range(2, LARGEST + 1):
        for b in range(2, LARGEST + 1):
            yield _result("product", f"{words(a)} times {words(b)}", a * b)
            yield _result("sum", f"{words(a)} plus {words(b)}", a + b)
    for a in range(10, 41):
        yield _result("difference", f"{words(a)} minus {words(a % 9 + 1)}", a - a % 9 - 1)
    for a in range(2, 21):
        total = a + 3 + (a * 7) % 11
        text = f"{words(a)} plus three plus {words((a * 7) % 11)}"
        yield _result("three", text, total)


def _result(kind: str, text: str, value: int) -> Fact:
    return Fact(kind, text, (words(value), str(value)))


def months() -> Iterator[Fact]:
    """The order of the months, and their days, with both answers for February."""
    names = list(calendar.month_name)[1:]
    for index, name in enumerate(names):
        yield Fact("month_after", name, (names[(index + 1) % 12],))
        yield Fact("month_before", name, (names[index - 1],))
        days = calendar.monthrange(2023, index + 1)[1]
        also = (words(29), "29") if index == 1 else ()
        yield Fact("month_days", name, (words(days), str(days), *also))


def first_days() -> Iterator[Fact]:
    """The day of the week on which a year began."""
    for year in range(FIRST_YEAR, LAST_YEAR + 1):
        day = calendar.day_name[datetime.date(year, 1, 1).weekday()]
        yield Fact("first_day", _year(year), (day, f"a {day}"))


def _year(year: int) -> str:
    return num2words(year, to="year").replace("-", " ")


# -- WordNet ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Synset:
    """A line of WordNet's data files: lemmas, and pointers (sign, offset, lemma numbers)."""

    file: str
    lemmas: tuple[str, ...]
    pointers: tuple[tuple[str, int, str], ...]


def read_synsets(path: Path) -> dict[int, Synset]:
    """The synsets of a data file by their offset."""
    found = {}
    for line in path.read_text("latin-1").splitlines():
        head, bar, _ = line.partition(" | ")
        if not bar or line.startswith("  "):  # the licence is indented
            continue
        place, file, _, count, *rest = head.split()
        lemmas, rest = rest[: 2 * int(count, 16) : 2], rest[2 * int(count, 16) :]
        marks = rest[1 : 1 + 4 * int(rest[0])]
        pointers = tuple(
            (marks[i], int(marks[i + 1]), marks[i + 3]) for i in range(0, len(marks), 4)
        )
        plain = tuple(re.sub(r"\(.*?\)$", "", lemma) for lemma in lemmas)
        found[int(place)] = Synset(file, plain, pointers)
    return found


def frequent(wordnet: Path, part: str) -> list[str]:
    """Lemmas whose first sense occurs in tagged texts, the most frequent first."""
    ranks = []
    for line in (wordnet / "cntlist.rev").read_text("latin-1").splitlines():
        key, sense, count = line.split()
        lemma, _, rest = key.partition("%")
        if rest.startswith(part) and sense == "1" and re.fullmatch("[a-z]{3,}", lemma):
            ranks.append((-int(count), lemma))
    return [lemma for _, lemma in sorted(ranks)]


def opposites(wordnet: Path) -> Iterator[Fact]:
    """The most frequent adjectives and their antonyms."""
    synsets, first = read_synsets(wordnet / "data.adj"), _first_senses(wordnet / "index.adj")
    pairs: dict[str, list[str]] = defaultdict(list)
    for own, synset in synsets.items():
        for sign, place, meant in synset.pointers:
            source, target = int(meant[:2], 16), int(meant[2:], 16)
            if sign != "!" or not source or not target or place not in synsets:
                continue
            lemma = synset.lemmas[source - 1]
            if first.get(lemma) == own:
                pairs[lemma].append(synsets[place].lemmas[target - 1])
    ranked = [lemma for lemma in frequent(wordnet, "3:") if lemma in pairs]
    for lemma in ranked[:MOST_OPPOSITES]:
        yield Fact("opposite", lemma, _words(pairs[lemma]))


def kinds(wordnet: Path) -> Iterator[Fact]:
    """The most frequent concrete nouns and their hypernyms."""
    synsets = read_synsets(wordnet / "data.noun")
    by_lemma: dict[str, Synset] = {}
    first = _first_senses(wordnet / "index.noun")
    for place, synset in synsets.items():
        for lemma in synset.lemmas:
            if synset.file in CONCRETE and first.get(lemma) == place:
                by_lemma[lemma] = synset
    count = 0
    for lemma in frequent(wordnet, "1:"):
        synset = by_lemma.get(lemma)
        above = [p for sign, p, _ in synset.pointers if sign == "@"] if synset else []
        answers = _words(lemma for place in above for lemma in synsets[place].lemmas)
        if not answers or any(answer in lemma or lemma in answer for answer in answers):
            continue
        article = "an" if lemma[0] in "aeiou" else "a"
        yield Fact("kind", f"{article} {lemma}", answers)
        count += 1
        if count == MOST_KINDS:
            return


def _first_senses(index: Path) -> dict[str, int]:
    """The offset of the first sense of every lemma."""
    found = {}
    for line in index.read_text("latin-1").splitlines():
        if line.startswith("  "):
            continue
        fields = line.split()
        found[fields[0]] = int(fields[-int(fields[2])])
    return found


def _words(lemmas: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(lemma.replace("_", " ").lower() for lemma in lemmas))

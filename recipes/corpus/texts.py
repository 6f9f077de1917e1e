"""What the voices read: WordNet, fortunes, word lists and patterns, as one shuffled pool.

The sources are Debian packages, fetched and unpacked without installing them (:func:`fetch`).
Every text of the pool is distinct and in the normal form of ``normalise.py``; the pool is
shuffled as a whole, so that any stretch of it is a fair mix of the sources.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random

import templates
from normalise import bare, normalise

PACKAGES = ("wordnet-base", "fortunes", "fortunes-min", "wamerican")
RECIPE = Path(__file__).parent

# The most texts taken from a source; the sources without a bound give all that they have.
MOST = {
    **{"gloss": 18_000, "list": 9_000, "carrier": 9_000, "template": 14_000},
    **{"dialogue": 14_000, "named": 8_000},
}

# The part that each source has in any stretch of a teacher's texts, as long as it lasts.
SHARES = {
    **{"example": 0.28, "fortune": 0.16, "dialogue": 0.16, "template": 0.14, "carrier": 0.08},
    **{"gloss": 0.08, "named": 0.06, "list": 0.04},
}

TEMPLATES = {
    **{"template": "patterns", "dialogue": "dialogues", "named": "named", "carrier": "carriers"}
}  # source -> list of patterns in templates.yaml

JOINED = 0.5  # of the texts under nine words, the part that gets another text appended

# Files that are no prose (tables, drawings, code) or that many readers would mind.
_SKIPPED_FORTUNES = {
    *("ascii-art", "debian", "knghtbrd", "magic", "perl", "translate-me"),
    *("drugs", "ethnic", "men-women", "politics"),
}
_UNWANTED = re.compile(
    r"\b(?:nigg|fuck|shit|bitch|whore|slut|porn|nude|genital|orgasm|masturb|copulat|testic|erotic|"
    r"prostitut|negro|pedophil|homosex|lesbian|castrat|circumcis|molest|incestu|retarded|spastic|"
    r"(?:rap(?:e|ed|ist)|fag|dyke|cunt|dick|cock|penis|vagina|sex|sexual|naked|breast|semen|anus|"
    r"anal|jew|cripple|nazi|hitler|incest|bastard|piss|kike|spic|wop|squaw|slave)s?\b)"
)


def fetch(directory: Path) -> Path:
    """Download and unpack the packages below ``directory`` once; return their ``usr/share``."""
    share = directory / "usr/share"
    if all((share / name).is_dir() for name in ("wordnet", "games/fortunes", "dict")):
        return share
    directory.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", *PACKAGES], cwd=directory, check=True)
    for package in sorted(directory.glob("*.deb")):
        subprocess.run(["dpkg", "-x", package.resolve(), directory], check=True)
        package.unlink()
    return share


def read_lines(name: str) -> list[str]:
    """The lines of one of the lists committed beside this file."""
    return (RECIPE / name).read_text("utf-8").split("\n")[:-1]


def pool(share: Path, seed: int) -> list[tuple[str, str]]:
    """All training texts as (source, text), shuffled: the same for the same sources and seed.

    Sentences of the test and rare lists are left out, compared without punctuation, and so is
    every text with a word that begins with one of ``unseen_words.txt``.
    """
    random = Random(f"{seed}/pool")
    words = _plain_words(share)
    unseen = _unseen()
    candidates: dict[str, list[str]] = {}
    for source, text in _wordnet(share, set(words)):
        candidates.setdefault(source, []).append(text)
    candidates["fortune"] = list(_fortunes(share))
    candidates["list"] = list(_word_lists(words, random))
    names = _names(share, set(words))
    for source, kind in TEMPLATES.items():
        candidates[source] = [
            templates.sentence(random, kind, word=words, proper=names)
            for _ in range(2 * MOST[source])
        ]
    taken = {bare(text) for name in ("test.txt", "rare.txt") for text in read_lines(name)}
    texts: list[tuple[str, str]] = []
    for source, found in candidates.items():
        random.shuffle(found)
        kept: list[str] = []
        for text in found:
            key = bare(text)
            if key in taken or unseen.search(text) or _UNWANTED.search(text):
                continue
            taken.add(key)
            kept.append(text)
        kept = kept[: MOST.get(source)]
        texts += [(source, text) for text in _joined(kept, random)]
    random.shuffle(texts)
    return texts


def word_lists(share: Path, seed: int) -> list[str]:
    """Every word of the word list once, three to six together, without the unseen ones."""
    unseen = _unseen()
    words = [w for w in _plain_words(share) if not unseen.search(w) and not _UNWANTED.search(w)]
    return list(_word_lists(words, Random(f"{seed}/words")))


def _unseen() -> re.Pattern[str]:
    """What finds a word that no training text may have."""
    return re.compile(r"\b(?:" + "|".join(read_lines("unseen_words.txt")) + ")")


def _joined(texts: list[str], random: Random) -> Iterator[str]:
    """The texts in order, some of the short ones with their successor.

    A dictionary's examples are shorter than what people say; and a model must also see a text
    go on after a full stop.
    """
    held = ""
    for text in texts:
        if held:
            text, held = f"{held} {text}", ""
        elif text.count(" ") < 8 and random.random() < JOINED:
            held = text
            continue
        yield text
    if held:
        yield held


def _plain_words(share: Path) -> list[str]:
    """The lower-case words of the word list, without names and possessives."""
    lines = (share / "dict/american-english").read_text("utf-8").split("\n")
    return [word for word in lines if re.fullmatch("[a-z]{2,}|[ai]", word)]


def _names(share: Path, words: set[str]) -> list[str]:
    """The names of the word list in lower case: people, places, peoples."""
    lines = (share / "dict/american-english").read_text("utf-8").split("\n")
    names = {line.lower(): None for line in lines if re.fullmatch("[A-Z][a-z]{2,11}", line)}
    plurals = {name for name in names if name.endswith("s") and name[:-1] in names}
    return [name for name in names if name not in words and name not in plurals]


def mixed(texts: list[tuple[str, str]], random: Random) -> list[tuple[str, str]]:
    """The texts in a random order in which every stretch has the sources by their ``SHARES``."""
    waiting: dict[str, list[tuple[str, str]]] = {}
    for text in random.sample(texts, len(texts)):
        waiting.setdefault(text[0], []).append(text)
    order = []
    while waiting:
        sources = sorted(waiting)
        source = random.choices(sources, [SHARES[name] for name in sources])[0]
        order.append(waiting[source].pop())
        if not waiting[source]:
            del waiting[source]
    return order


def _wordnet(share: Path, words: set[str]) -> Iterator[tuple[str, str]]:
    """Quoted example sentences, and glosses in three shapes.

    Glosses must be of listed words only: the others are full of Latin names.
    """
    for part in ("noun", "verb", "adj", "adv"):
        for line in (share / f"wordnet/data.{part}").read_text("latin-1").split("\n"):
            head, bar, gloss = line.partition(" | ")
            if not bar:  # the licence above the data, or the end of the file
                continue
            for example in re.findall(r'"([^"]+)"', gloss):
                text = normalise(example)
                if text and " " in text:
                    yield "example", text
            lemma = head.split()[4].lower()
            meaning = normalise(gloss.split('; "')[0].split(";")[0])
            if not meaning or not words.issuperset([lemma, *re.findall("[a-z]+", meaning)]):
                continue
            if part == "noun" and re.match("(?:a|an|the) ", meaning):
                article = "an" if lemma[0] in "aeiou" else "a"
                shapes = (f"{lemma}: {meaning}", f"what is {article} {lemma}? it is {meaning}")
            else:
                shapes = (f"{lemma}: {meaning}", meaning)
            # By the length, because a choice must not depend on what was drawn before.
            yield "gloss", shapes[len(gloss) % 2]


def _fortunes(share: Path) -> Iterator[str]:
    """The sentences of the fortunes' prose."""
    for path in sorted((share / "games/fortunes").iterdir()):
        if path.suffix or path.name in _SKIPPED_FORTUNES or not path.is_file():
            continue
        for fortune in re.split(r"^%\n", path.read_text("utf-8", "replace"), flags=re.MULTILINE):
            prose = re.split(r"^\s*--", fortune, flags=re.MULTILINE)[0]  # the author follows
            prose = re.sub(r"\s+", " ", prose).strip()
            for part in re.split(r"(?<=[a-z][.?!])[\"']?\s+(?=[\"'A-Z])", prose):
                text = normalise(part)
                if text and text.count(" ") >= 1:
                    yield text


def _word_lists(words: list[str], random: Random) -> Iterator[str]:
    """Every word of the list once, three to six together, with commas."""
    words = random.sample(words, len(words))
    while words:
        size = random.randint(3, 6)
        yield ", ".join(words[:size]) + "."
        del words[:size]

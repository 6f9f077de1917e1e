"""Numbers as words, and the pieces that the rules for figures share."""

import re
from collections.abc import Callable
from functools import lru_cache

from num2words import num2words

Rule = tuple[str, Callable[[re.Match[str]], str]]  # what is written, and how it is said

# A figure, from its first digit on. The bounds keep odd texts from taking for ever.
NUM = r"(?<!\d)(?:\d{1,3}(?:,\d{3}){1,10}(?!\d)|\d+)(?:\.\d+)?"
LONGEST = 15  # digits without commas that are still read as one number
DIGITS = "zero one two three four five six seven eight nine".split()


def digits(text: str) -> str:
    """ "407" -> "four zero seven"; other characters are dropped."""
    return " ".join(DIGITS[int(d)] for d in text if d.isdecimal())


def groups(text: str) -> str:
    """ "555-1234" -> "five five five, one two three four"."""
    return ", ".join(digits(group) for group in re.findall(r"\d+", text))


@lru_cache(4096)
def cardinal(text: str) -> str:
    """ "1,234.50" -> "one thousand two hundred and thirty-four point five zero"."""
    whole, _, fraction = text.partition(".")
    bare = whole.replace(",", "")
    as_code = len(bare) > 9 and not bare.endswith("000") or len(bare) > LONGEST
    if (as_code and "," not in whole) or (len(bare) > 1 and bare[0] == "0"):
        words = digits(bare)
    else:
        words = num2words(int(bare)).replace(",", "")
    return f"{words} point {digits(fraction)}" if fraction else words


def ordinal(text: str) -> str:
    """ "21" -> "twenty-first"."""
    text = text.replace(",", "")
    if len(text) > LONGEST:
        return f"{digits(text)}th"
    return num2words(int(text), to="ordinal").replace(",", "")


def year(text: str) -> str:
    """ "1905" -> "nineteen oh five"."""
    return num2words(int(text), to="year").replace("oh-", "oh ").replace(",", "")


def plural(words: str) -> str:
    """ "nineteen ninety" -> "nineteen nineties"."""
    return re.sub("y$", "ie", words) + ("es" if words.endswith("six") else "s")


def is_attributive(match: re.Match[str]) -> bool:
    """Whether an amount stands between "a" and a noun: "a $5 bill", which has no plural."""
    before, after = match.string[max(0, match.start() - 4) : match.start()], match.end()
    return bool(
        re.search(r"(?:^|\s)[Aa]n? $", before) and re.match("[ -][a-z]", match.string[after:][:2])
    )


def choice(words: dict[str, object] | set[str]) -> str:
    """A pattern for any of `words`, longest first."""
    return "|".join(map(re.escape, sorted(words, key=len, reverse=True)))

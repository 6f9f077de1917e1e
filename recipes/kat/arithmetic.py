"""Arithmetic of six levels, with worked solutions: the testbed of recipes/kat.

A problem is written in words, with its numbers in words or digits, as people say it and as recognizers
write it. Level 1 is a sum or difference of digits, levels 2 to 4 a product of a number of 1 to 3
digits with a digit, levels 5 and 6 a chain of 3 or 5 operations modulo ten. Solutions with steps check
what can be known by heart, so that thinking costs something. All steps are sums, differences and
products of digits, have one width and are at one distance from the problem: a small model takes much
longer to learn them in other forms.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from random import Random

from num2words import num2words
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from vocalmtp.text.thinking import ANSWER, END_ANSWER, END_THINK, TAGS, THINK

TEST_SEED = 1000  # other problems than those that were looked at while the textbook was composed
LEVELS = range(1, 7)
TEXTBOOK_LEVELS = (1, 2, 1, 2, 3, 4, 5, 6)  # in turn: what is learned by heart is repeated most
QUESTION_LEVELS = (1, 2, 3, 1, 2, 4, 1, 2, 5, 1, 2, 6)  # a third needs thinking, as in the paper
GAP = 5  # words between a problem and its solution, see `filler`
END = "<|end|>"
SPACE = "\u2581"  # before every word in the vocabulary
OPERATIONS = ("plus", "minus", "times")
SIGNS = {r"\+": "plus", r"[-\u2212\u2013]": "minus", r"[*x\u00d7]": "times"}
NUMBER_WORDS = sorted({word for n in range(101) for word in num2words(n).split("-")[0].split()})
# Of the judge's rationale, of people who say how much to think, and of `filler`.
OTHER_WORDS = (
    "many",
    "steps",
    "single",
    "step",
    "as",
    "asked",
    "answer",
    "briefly",
    "think",
    "carefully",
)
CHAT_TEMPLATE = "{{ messages[-1]['content'] }}"


@dataclass(frozen=True)
class Problem:
    """A problem with its answer and worked solution."""

    level: int
    prompt: str
    answer: str
    thoughts: str


def draw(random: Random, level: int) -> Problem:
    """Draw a problem of a level."""
    if level == 1:
        a, b = random.randrange(10), random.randrange(10)
        sign = random.choice("+-")
        a, b = (max(a, b), min(a, b)) if sign == "-" else (a, b)
        result = a + b if sign == "+" else a - b
        name = "plus" if sign == "+" else "minus"
        return _problem(random, level, [a, name, b], result, checked_steps(a, sign, b))
    if level <= 4:
        a = random.randrange(10 ** (level - 2), 10 ** (level - 1))
        b = random.randrange(2, 10)
        steps = checked_steps(a, "*", b) if level == 2 else product_steps(a, b)
        return _problem(random, level, [a, "times", b], a * b, steps)
    return _chain(random, level, 3 if level == 5 else 5)


def checked_steps(a: int, sign: str, b: int) -> str:
    """Write a sum, difference or product of digits, and check it: "7+5=12;5+7=12;12"."""
    if sign == "-":
        return f"{a}-{b}={a - b:02};{b}+{a - b}={a:02};{a - b:02}"
    result = a + b if sign == "+" else a * b
    return f"{a}{sign}{b}={result:02};{b}{sign}{a}={result:02};{result:02}"


def product_steps(a: int, b: int) -> str:
    """Work out a product digit by digit, from the right, with what is carried:
    "2*7=14+0=14;1*7=07+1=08;6*7=42+0=42;4284".
    """
    steps, carry = [], 0
    for digit in reversed(str(a)):
        product = int(digit) * b
        value = product + carry
        steps.append(f"{digit}*{b}={product:02}+{carry}={value:02}")
        carry = value // 10
    return ";".join([*steps, str(a * b)])


def _chain(random: Random, level: int, count: int) -> Problem:
    """Draw a chain, such as "8 plus 4 times 3 modulo 10", worked out as "8+4=12,2;2*3=06,6".

    Its operands differ, so that a step tells which of them is the next.
    """
    value = random.randrange(10)
    spoken: list[str | int] = [value]
    steps = []
    for operand in random.sample(range(2, 10), count):
        operation = random.choice(OPERATIONS)
        spoken += [operation, operand]
        sign = {"plus": "+", "minus": "-", "times": "*"}[operation]
        full = {"+": value + operand, "-": value - operand, "*": value * operand}[sign]
        steps.append(f"{value}{sign}{operand}={full:{'2' if full < 0 else '02'}},{full % 10}")
        value = full % 10
    return _problem(random, level, [*spoken, "modulo", 10], value, ";".join(steps))


def _problem(
    random: Random, level: int, parts: list[str | int], result: int, thoughts: str
) -> Problem:
    in_words = random.random() < 0.5
    written = [
        in_english(part) if in_words and isinstance(part, int) else str(part) for part in parts
    ]
    return Problem(level, " ".join(written), str(result), thoughts)


def in_english(number: int) -> str:
    """Write a number in words, without "and" and hyphens."""
    return num2words(number).replace("-", " ").replace(" and ", " ")


# -- texts -----------------------------------------------------------------------------------------


def solution(problem: Problem, thinks: bool) -> str:
    """Write the answer of a textbook, with or without the steps to it."""
    steps = f"{THINK} {problem.thoughts} {END_THINK} " if thinks else ""
    return f"{steps}{ANSWER} {problem.answer} {END_ANSWER}"


def write_problems(folder: Path, train: int, test: int, seed: int = 0) -> None:
    """Write a textbook, questions of all levels, and their test and validation splits.

    The textbook has one in eight of the solutions of levels 1 and 2 with steps, so that they are
    learned by heart, and nine in ten of the others, which cannot be. No problem of levels 3 to 6 of
    the test split is in another one; levels 1 and 2 have too few problems for that.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random, of_test = Random(seed), Random(TEST_SEED + seed)
    tested = [draw(of_test, level) for level in islice(cycle(QUESTION_LEVELS), test)]
    held_out = {problem.thoughts for problem in tested if problem.level > 2}
    questions = list(islice(draw_others(random, QUESTION_LEVELS, held_out), train // 4))
    book = list(islice(draw_others(random, TEXTBOOK_LEVELS, held_out), train))
    _write(folder / "test.jsonl", [vars(problem) for problem in tested])
    _write(folder / "train.jsonl", [vars(problem) for problem in questions])
    lines = [
        {
            "prompt": problem.prompt + filler(random),
            "answer": solution(problem, shows_steps(random, problem.level)),
        }
        for problem in book
    ]
    held = max(1, len(lines) // 50)
    _write(folder / "textbook_valid.jsonl", lines[:held])
    _write(folder / "textbook.jsonl", lines[held:])


def draw_others(random: Random, levels: Sequence[int], held_out: set[str]) -> Iterator[Problem]:
    """Draw problems of the levels in turn, without those whose thoughts are held out."""
    for level in cycle(levels):
        problem = draw(random, level)
        while problem.thoughts in held_out:
            problem = draw(random, level)
        yield problem


def filler(random: Random) -> str:
    """Draw words without meaning, which stand between a problem and its solution.

    A small model looks a problem up at the distance from which it has learned to; so there are as many
    as a judge's rationale and a mode have tokens.
    """
    return "".join(f" {word}" for word in random.choices(OTHER_WORDS, k=GAP))


def shows_steps(random: Random, level: int) -> bool:
    """Whether the solution of a problem of the textbook has steps."""
    return random.random() < (1 / 8 if level <= 2 else 9 / 10)


def _write(file: Path, rows: list[dict]) -> None:
    file.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")


# -- tokenizer -------------------------------------------------------------------------------------


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Make the tokenizer: words, single digits and signs.

    Numbers in words become digits, and words that it does not know are dropped.
    """
    words = sorted({*OPERATIONS, "modulo", *OTHER_WORDS})
    pieces = [END, SPACE, *(SPACE + word for word in words), *"0123456789+-*=,;"]
    tokenizer = Tokenizer(models.WordLevel({p: n for n, p in enumerate(pieces)}, unk_token=END))
    known = "|".join([*words, *NUMBER_WORDS])
    replaced = [
        # As recognizers write operations; in solutions, signs have no space beside them.
        *((rf"(?<= )(?:{sign})(?= )", name) for sign, name in SIGNS.items()),
        (rf"\b(?!(?:{known})\b)[a-z']+|[?!.\"]", " "),
        (r"(?<=[a-z])-(?=[a-z])", " "),
        (r"\s+", " "),
        *digits_of_words(),
        (" (?=[0-9])", ""),  # a digit has one token wherever it is
    ]
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            *(normalizers.Replace(Regex(pattern), text) for pattern, text in replaced),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(SPACE, prepend_scheme="always"),
            pre_tokenizers.Split(Regex(r"[0-9+\-*=,;]"), "isolated"),
        ]
    )
    tokenizer.decoder = decoders.Metaspace(SPACE, prepend_scheme="always")
    tokenizer.add_tokens(
        [AddedToken(tag, lstrip=True, rstrip=True, normalized=False) for tag in TAGS]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, chat_template=CHAT_TEMPLATE
    )


def digits_of_words() -> Iterator[tuple[str, str]]:
    """Yield patterns and their replacements, in turn, that write numbers below 1000 as digits."""
    for number in range(20):
        yield rf"\b{in_english(number)}\b", str(number)
    for number in range(20, 100, 10):
        yield rf"\b{in_english(number)} (?=[1-9]\b)", str(number // 10)
        yield rf"\b{in_english(number)}\b", str(number)
    yield " hundred (?=[0-9]{2})", ""
    yield " hundred (?=[0-9])", "0"
    yield " hundred", "00"

"""Arithmetic of six levels, with worked solutions: the testbed of recipes/kat.

A problem is written in words, with its numbers in words or digits, as people say it and as recognizers
write it. Level 1 is a sum or difference of digits, levels 2 to 4 a product of a number of 1 to 3
digits with a digit, levels 5 and 6 a chain of 3 or 5 operations modulo ten. The steps of all levels
are sums, differences and products of digits, so that a small model learns these few facts from all.
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
END = "<|end|>"
SPACE = "\u2581"  # before every word in the vocabulary
OPERATIONS = ("plus", "minus", "times")
# Of the judge's rationale, of people who say how much to think, and of `filler`.
OTHER_WORDS = (
    "many",
    "steps",
    "one",
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
        return _problem(random, level, [a, name, b], result, f"{a}{sign}{b}={result}")
    if level <= 4:
        a = random.randrange(10 ** (level - 2), 10 ** (level - 1))
        b = random.randrange(2, 10)
        return _problem(random, level, [a, "times", b], a * b, product_steps(a, b))
    return _chain(random, level, 3 if level == 5 else 5)


def product_steps(a: int, b: int) -> str:
    """Work out a product digit by digit, from the right: "2*7=14;1*7=7+1=8;6*7=42;4284"."""
    steps, carry = [], 0
    for digit in reversed(str(a)):
        product = int(digit) * b
        value = product + carry
        steps.append(f"{digit}*{b}={product}" + (f"+{carry}={value}" if carry else ""))
        carry = value // 10
    return ";".join([*steps, str(a * b)] if a > 9 else steps)


def _chain(random: Random, level: int, count: int) -> Problem:
    value = random.randrange(10)
    spoken: list[str | int] = [value]
    steps = []
    for _ in range(count):
        operation, operand = random.choice(OPERATIONS), random.randrange(2, 10)
        spoken += [operation, operand]
        sign = {"plus": "+", "minus": "-", "times": "*"}[operation]
        full = {"+": value + operand, "-": value - operand, "*": value * operand}[sign]
        steps.append(f"{value}{sign}{operand}={full},{full % 10}")
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
    learned by heart, and nine in ten of the others, which cannot be. No prompt of the test split
    is in another one; levels 1 and 2 have so few problems that their numbers in words are in one
    split and those in digits may be in another.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random, of_test = Random(seed), Random(TEST_SEED + seed)
    tested = [draw(of_test, LEVELS[n % len(LEVELS)]) for n in range(test)]
    held_out = {problem.prompt for problem in tested if problem.level > 2}
    questions = list(islice(draw_others(random, LEVELS, held_out), train // 4))
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
    """Draw problems of the levels in turn, without those whose prompts are held out."""
    for level in cycle(levels):
        problem = draw(random, level)
        while problem.prompt in held_out:
            problem = draw(random, level)
        yield problem


def filler(random: Random) -> str:
    """Draw 0 to 8 words without meaning, which stand between a problem and its solution.

    A small model that has seen all solutions at one distance from their problems looks no problem up
    from behind a judge's rationale.
    """
    return "".join(f" {word}" for word in random.choices(OTHER_WORDS, k=random.randrange(9)))


def shows_steps(random: Random, level: int) -> bool:
    """Whether the solution of a problem of the textbook has steps."""
    return random.random() < (1 / 8 if level <= 2 else 9 / 10)


def _write(file: Path, rows: list[dict]) -> None:
    file.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")


# -- tokenizer -------------------------------------------------------------------------------------


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Make the tokenizer: words, single digits and signs; words that it does not know are dropped."""
    numbers = {word for n in (*range(101), 1000) for word in in_english(n).split()}
    words = sorted({*numbers, *OPERATIONS, "modulo", *OTHER_WORDS})
    pieces = [END, SPACE, *(SPACE + word for word in words), *"0123456789+-*=,;"]
    tokenizer = Tokenizer(models.WordLevel({p: n for n, p in enumerate(pieces)}, unk_token=END))
    known = "|".join(words)
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace(Regex(rf"\b(?!(?:{known})\b)[a-z']+|[?!.\"]"), " "),
            normalizers.Replace(Regex(r"(?<=[a-z])-(?=[a-z])"), " "),
            normalizers.Replace(Regex(r"\s+"), " "),
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

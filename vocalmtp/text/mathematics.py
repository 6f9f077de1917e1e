"""Readings of mathematics in LaTeX or plain text: a reader of expressions and rules that find them."""

import re

from vocalmtp.text.dimensions import is_simple_fraction, simple_fraction
from vocalmtp.text.numbers import LETTER_NAMES, NUM, Rule, cardinal, choice, rule
from vocalmtp.text.quantities import PER_PATTERN, per_words
from vocalmtp.text.symbols import GREEK, SYMBOLS
from vocalmtp.text.tables import (
    LATEX,
    LATEX_ACCENTS,
    LATEX_SILENT,
    LATEX_TEXT,
)
from vocalmtp.text.units import UNITS

_FUNCTIONS = {
    name: name for name in "cosh sinh tanh log exp max min det gcd mod arg lim sum".split()
} | {"sin": "sine", "cos": "cosine", "tan": "tangent", "ln": "natural log", "sqrt": "root"}
_OPERATORS = {
    "+": "plus",
    "-": "minus",
    "\u2212": "minus",
    "*": "times",
    "/": "over",
    "+/-": "plus or minus",
    "+-": "plus or minus",
    ",": ",",
    ";": ",",
    "!": "factorial",
    "'": "prime",
    "\u00b7": "times",
    "\\\\": ",",
    "&": ",",
    "|": "given",
}
_TOKEN = re.compile(
    r"\\[A-Za-z]+|\\.|\d+(?:,\d{3})*(?:\.\d+)?|\+/-|\+-|[<>!=]=|->|=>"
    rf"|(?:{choice(_FUNCTIONS)})(?![A-Za-z])|\S"
)
_WITH_LIMITS = {
    "sum": "the sum",
    "int": "the integral",
    "oint": "the integral",
    "prod": "the product",
    "lim": "the limit",
    "bigcup": "the union",
    "bigcap": "the intersection",
}
_OF = set("fghFGPE") | set(_FUNCTIONS) | {f"\\{name}" for name in _FUNCTIONS}  # "f(x)"
_DEEPEST = 12  # nested groups that are read; deeper braces are ignored


def read_math(source: str) -> str:
    """Words for an expression such as `x^2 + 1` or `\\frac{a}{b}`, with pauses as commas."""
    return _MathReader(source).read()


class _MathReader:
    """A recursive-descent reader of one expression."""

    def __init__(self, source: str):
        self._tokens = _TOKEN.findall(source)
        self._place = 0
        self._depth = 0

    def read(self, closing: str = "") -> str:
        """Words up to the closing token, or to the end."""
        words: list[str] = []
        before = ""
        while token := self._next():
            if token == closing:
                break
            words.append(self._item(token, before, words))
            before = token
        text = " ".join(word for word in words if word)
        return re.sub(r"(?: ?,)+", ",", text).strip(", ")

    def _peek(self) -> str:
        return self._tokens[self._place] if self._place < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._place += 1
        return token

    def _nested(self, closing: str) -> str:
        if self._depth >= _DEEPEST:
            return ""
        self._depth += 1
        words = self.read(closing)
        self._depth -= 1
        return words

    def _group(self) -> str:
        """The words of `{...}`, of a signed number or of one token."""
        token = self._next()
        if token == "{":
            return self._nested("}")
        if token in ("-", "\u2212", "+"):
            return f"{_OPERATORS[token]} {self._group()}" if self._depth < _DEEPEST else ""
        return self._item(token, "", []) if token else ""

    def _raw_group(self) -> str:
        """The text of `{...}` as it is, for `\\text{...}`."""
        if self._peek() != "{":
            return ""
        self._next()
        parts = []
        while (token := self._next()) and token != "}":
            parts.append(token)
        return re.sub(r"(?<=[A-Za-z]) (?=[A-Za-z])", "", " ".join(parts))

    def _item(self, token: str, before: str, words: list[str]) -> str:
        if token[0].isdecimal():
            return self._number(token)
        if token == "(" or token == "[":
            return self._brackets(token, before)
        if token == "{":
            return self._nested("}")
        if token == "^":
            return self._power(words)
        if token == "_":
            return self._index(before)
        if token == "/" and before[:1].isdecimal() and self._peek()[:1].isdecimal():
            return "divided by"
        if token.startswith("\\"):
            return self._command(token[1:])
        return self._sign(token)

    def _number(self, token: str) -> str:
        after = self._tokens[self._place : self._place + 2]
        if len(after) == 2 and after[0] == "/" and is_simple_fraction(token, after[1]):
            self._place += 2
            return simple_fraction(token, after[1])
        return cardinal(token)

    def _sign(self, token: str) -> str:
        if token in _OPERATORS:
            return _OPERATORS[token]
        if token in _FUNCTIONS:
            return self._function(token)
        if token.lower() in LETTER_NAMES:
            return LETTER_NAMES[token.lower()]
        return GREEK.get(token) or SYMBOLS.get(token, "").strip()

    def _function(self, name: str) -> str:
        if name == "sqrt":
            return self._root()
        if name in _WITH_LIMITS and self._peek() in ("_", "^"):
            return self._limits(name)
        if name == "log" and self._peek() == "_":
            self._next()
            return f"log base {self._group()} of"
        word = _FUNCTIONS.get(name, name)
        return word if self._peek() in ("(", "^", "_") else f"{word} of"

    def _command(self, name: str) -> str:
        if name in ("frac", "dfrac", "tfrac"):
            return self._fraction()
        if name in LATEX_TEXT:
            return self._raw_group()
        if name in ("begin", "end"):
            self._raw_group()
            return ","
        if name in LATEX_ACCENTS:
            return f"{self._group()} {LATEX_ACCENTS[name]}"
        if name in _WITH_LIMITS:
            return self._limits(name)
        if name in _FUNCTIONS or name == "sqrt":
            return self._function(name)
        if name in LATEX_SILENT or not name.isalpha():
            return "," if name == "\\" else ""
        return LATEX.get(name, name)

    def _limits(self, name: str) -> str:
        """ "\\sum_{i=1}^n" -> "the sum from i equals one to n of"."""
        words = [_WITH_LIMITS[name]]
        links = {"_": "as" if name == "lim" else "from", "^": "to"}
        for _ in range(2):
            if self._peek() in links:
                words.append(f"{links[self._next()]} {self._group()}")
        text = " ".join(words)
        return f"{text.replace(' to ', ' approaches ') if name == 'lim' else text} of"

    def _fraction(self) -> str:
        start = self._place
        above = self._group()
        middle = self._place
        below = self._group()
        numbers = [
            "".join(self._tokens[a:b]).strip("{}")
            for a, b in ((start, middle), (middle, self._place))
        ]
        if is_simple_fraction(*numbers):
            return simple_fraction(*numbers)
        comma = "," if len(above.split()) > 3 else ""
        return f"{above}{comma} over {below}"

    def _root(self) -> str:
        kind = "square"
        if self._peek() == "[":
            self._next()
            degree = self._nested("]")
            kind = {"three": "cube", "two": "square"}.get(degree, f"{degree}-th")
        opened = self._peek() == "("
        if opened:
            self._next()
        return f"the {kind} root of {self._nested(')') if opened else self._group()}"

    def _power(self, words: list[str]) -> str:
        words_of_power = self._group()
        pause = ", " if words and words[-1].endswith(",") else ""
        short = {"two": "squared", "three": "cubed", "degrees": "degrees", "prime": "prime"}
        if words_of_power in short:
            return pause + short[words_of_power]
        return f"{pause}to the power of {words_of_power}" if words_of_power else ""

    def _index(self, before: str) -> str:
        words = self._group()
        return words if words.split(" ")[0] in _NUMBER_STARTS else f"sub {words}"

    def _brackets(self, token: str, before: str) -> str:
        words = self._nested({"(": ")", "[": "]"}[token])
        if before in _OF:
            link = "of"
        else:
            link = "times" if before[:1].isalnum() or before in (")", "]", "(") else ""
        pause = "," if len(words.split()) > 1 and self._peek() not in ("", ")", "=", ",") else ""
        return f"{link} {words}{pause}".strip()


_NUMBER_STARTS = set("zero one two three four five six seven eight nine ten eleven twelve".split())

# Expressions in running text

_LETTER = r"(?<![A-Za-z'.])[A-Za-z](?:'(?=\(| ?=)|(?![A-Za-z\d']))"
_SHORT_WORDS = "(?:i[nsf]|o[rnf]|a[nst]|to|by|my|no|we|he|it|me|us|up|so|do|go|be)\\b"
_UNIT_LETTERS = "[msghlLWVJKCF]"  # "3 m^2" is an area
_TERM = (
    rf"(?:(?<!\d)\d+(?:,\d{{3}})*(?:\.\d+)?(?!\d|\s?{_UNIT_LETTERS}(?![A-Za-z]))"
    r"(?:(?!st|nd|rd|th)[a-z]{1,2}(?![A-Za-z']))?"
    rf"|{_LETTER}(?:_\w)?|(?<![A-Za-z'])[a-z]{{2}}(?=\^)"
    rf"|(?:{choice(_FUNCTIONS)})(?=\^|\()|(?:(?<==)|(?<== ))(?!{_SHORT_WORDS})[A-Za-z]{{2}}(?![A-Za-z'])"
    rf"|[\u03b1-\u03c9\u0394\u03a3\u03a9\u221e])"
)
_EXPONENT = r"(?:\^(?:[-+\u2212]?\d{1,15}|[-\u2212]?[A-Za-z](?![A-Za-z])|\([^()]{1,40}\)))"
_OPERAND = rf"[-\u2212\u00b1\u221a]?\(?(?:{_TERM}{_EXPONENT}?){{1,3}}(?:\({_TERM}(?:[,|] ?{_TERM})*\))?\)?{_EXPONENT}?"
_OPERATOR = (
    r"(?:\+/-|\+-|[<>!=]=|[-+*/=<>\u2212\u00d7\u00f7\u00b1\u2248\u2260\u2264\u2265\u2261\u221d\u00b7\u2208\u2209\u2229\u222a\u2282\u2286]"
    r"|x(?= ?\d+(?:\.\d+)? ?=))"
)
_EXPRESSION = (
    rf"(?<![\w.,:/$\u00a3\u20ac@#^'\"-])(?:(?<!\d )|(?![A-Za-z\u03bc]))(?:{_OPERAND}(?:\s?{_OPERATOR}\s?{_OPERAND})+"
    rf"|\(?{_TERM}\)?{_EXPONENT}|(?:{choice(_FUNCTIONS)})\({_TERM}\))(?![\w@]|/\w|-\w|[.,:]\d)"
)
_AMOUNT_FOLLOWS = re.compile(rf"\s?(?:{choice(UNITS)})(?!\w)")
_STRONG = re.compile(
    r"[+*=<>^\u2212\u00d7\u00f7\u00b1\u2248\u2260\u2264\u2265\u221a\u2261\u221d\u00b7\u2208\u2209\u2229\u222a\u2282\u2286]"
)
_VARIABLES = set("xyznktr")


def _expression(match: re.Match[str]) -> str:
    """The expression in words, if it is one: "x - y" and "1/x", but not "3-2" or "A/B"."""
    source = match[0]
    if source[-1].isdecimal() and _AMOUNT_FOLLOWS.match(match.string, match.end()):
        return source
    if not _STRONG.search(source):
        variables = re.findall(r"[A-Za-z](?![A-Za-z])", source)
        if not variables or not set(variables) <= _VARIABLES:
            return source
        if re.search(r"[A-Za-z][-/][A-Za-z]|\d-[A-Za-z]", source) and "/" not in source:
            return source  # "x-y plane"
    source = re.sub(r"(?<=\d)\s?x\s?(?=\d)", "*", source)
    if source[0] == "(" and source.count("(") > source.count(")"):
        return f"({read_math(source[1:])}"
    if source[-1] == ")" and source.count("(") < source.count(")"):
        return f"{read_math(source[:-1])})"
    if re.fullmatch(r"\([^()]*\)", source):
        return f"({read_math(source[1:-1])})"
    return read_math(source)


_POWERED = (
    rf"({NUM})\^([-+\u2212]?\d{{1,15}}(?!\d))(?:\s?({choice(UNITS)})(?![\w^]))?"
    rf"(?:/({PER_PATTERN})(?![\w^]))?"
)


def _item(text: str) -> str:
    return LETTER_NAMES.get(text) or cardinal(text)


def _power_words(power: str) -> str:
    power = power.replace("\u2212", "-").lstrip("+")
    return f"to the power of {'minus ' * power.startswith('-')}{cardinal(power.lstrip('-'))}"


def _scientific(match: re.Match[str]) -> str:
    short = {"2": "squared", "3": "cubed"} if match[1] != "10" else {}
    words = f"{cardinal(match[1])} {short.get(match[2]) or _power_words(match[2])}"
    words += f" {UNITS[match[3]][1]}" if match[3] else ""
    return f"{words} per {per_words(match[4])}" if match[4] else words


def _raised(match: re.Match[str]) -> str:
    return {"2": " squared", "3": " cubed"}.get(match[1]) or f" {_power_words(match[1])}"


MATHEMATICS: tuple[Rule, ...] = (
    rule(  # a size, not a product
        r"(?<=\d) ?\u00d7 ?(?=\d[\d.]{0,6} ?(?:[cmk]?m|ft|in|px|yd)\b)"
        r"|(?<=\d{3})\u00d7(?=\d{3,4}\b)",
        "x",
        needs=("\u00d7",),
    ),
    rule(
        r"\bd([a-z])/d([a-z])\b",
        lambda m: f"dee {_item(m[1])} over dee {_item(m[2])}",
        needs=("/d",),
    ),
    rule(  # "2-3x", "2x-3x"
        r"(?<![\w.+*/=-])(\d{1,4}(?:\.\d+)?)x?[-\u2013](\d{1,4}(?:\.\d+)?)x(?!\s?[\d^+*/=-]|\s?[A-Za-z]\b|[A-Za-z])",
        lambda m: f"{cardinal(m[1])} to {cardinal(m[2])} times",
        needs=("x",),
    ),
    rule(
        r"(?<![\w.])(\d{1,4}|[a-z])!(?= ?[-=/*+<>)])",
        lambda m: f"{_item(m[1])} factorial",
        needs=("!",),
    ),
    rule(
        r"(?<![\w.])(\d{1,4})\((?=[a-z\d]{1,3} ?[-+\u2212] ?[a-z\d])",
        lambda m: f"{m[1]} times ",
        needs=("(",),
    ),
    rule(
        r"(?<![\w/])(\d)/(\d)(?=[a-z]\b)", lambda m: f"{simple_fraction(m[1], m[2])} ", needs=("/",)
    ),
    rule(
        r"\|([a-z](?: ?[-+] ?[a-z\d]{1,3})?|[-\u2212]\d{1,4})\|(?= ?[-<>=+\u2264\u2265])",
        lambda m: f"the absolute value of {read_math(m[1])}",
        needs=("|",),
    ),
    rule(
        r"\b([fghP])('{0,2})\(([A-Za-z](?:[|,] ?[A-Za-z])?)\)",
        lambda m: read_math(m[0]) if m[1] == "P" or m[2] else m[0],
        needs=("(",),
    ),
    rule(
        rf"(?<![\w.])[A-Za-z] ?= ?[-+\u2212]?[(\u221a](?:{choice(_FUNCTIONS)}|[a-z]{{1,2}}(?![a-z])"
        r"|[-\d+*/^()\u221a\u00b1.\u2212 ]){3,80}(?<![. ])(?!\w)",
        lambda m: read_math(m[0]) if m[0].count("(") == m[0].count(")") else m[0],
        needs=("=",),
    ),
    rule(r"\bO\(([^()]{1,30})\)", lambda m: f"oh of {read_math(m[1])}", needs=("O(",)),
    rule(r"(?<=\d) / (?=\d)", " divided by ", needs=(" / ",)),
    rule(rf"{_POWERED}(?!\s?{_OPERATOR})", _scientific, needs=("^",)),
    rule(_EXPRESSION, _expression),
    rule(_POWERED, _scientific, needs=("^",)),
    rule(r"(?<![\w.])~\s?(?=[$\u00a3\u20ac]?\d)", "about ", needs=("~",)),
    rule(
        r"(?<![A-Za-z'_])([A-Za-z])_([a-z\d]{1,2})(?![\w])",
        lambda m: read_math(f"{m[1]}_{{{m[2]}}}"),
        needs=("_",),
    ),
    rule(r"(?<=[\d)])\s?\*\s?(?=[\d(])", " times ", needs=("*",)),
    rule(r"(?<=\d)\s?\u2212\s?(?=\d)", " minus ", needs=("−",)),
)
EXPONENTS: tuple[Rule, ...] = (
    rule(
        rf"(?<![\w.,])({NUM})[eE]([-+\u2212]?\d{{1,3}})\b",
        lambda m: f"{cardinal(m[1])} times ten {_power_words(m[2])}",
    ),
)
POWERS: tuple[Rule, ...] = (
    rule(r"\^([-+\u2212]?\d{1,15})", _raised, needs=("^",)),
)  # after the units

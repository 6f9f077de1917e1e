"""Removal of HTML, Markdown and LaTeX markup; lists, headings and tables as pauses."""

import html
import re

from vocalmtp.text.mathematics import read_math
from vocalmtp.text.numbers import LETTER_NAMES

# HTML

_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
_COMMENT = re.compile(r"<!--.{0,2000}?-->", re.DOTALL)
_HIDDEN = re.compile(r"<(script|style)\b[^<>]{0,300}>.{0,20000}?</\1\s?>", re.I | re.DOTALL)
_RAISED = re.compile(r"(?<![A-Za-z]{3})<sup>\s?([-+\u2212]?\d{1,3}|[a-z])\s?</sup>")
_TAG = re.compile(
    r"</?([a-zA-Z][\w:-]{0,20})((?:\s+[\w:@-]{1,40}(?:\s?=\s?(?:\"[^\"<>]{0,300}\"|'[^'<>]{0,300}'"
    r"|[^\s\"'<>]{1,100}))?){0,12})\s{0,3}/?>|<!(?:DOCTYPE|doctype)[^<>]{0,100}>"
)
_BLOCKS = set(
    "p div li ul ol h1 h2 h3 h4 h5 h6 tr table section article header footer blockquote pre hr dt "
    "dd title option figcaption speak thead tbody nav main body html form".split()
)
_PAUSES = set("br td th break".split())
_INLINE = set(
    "b i em strong span a u code small font mark s del ins sub sup abbr cite tt wbr big kbd q "
    "label button center img input select video audio source iframe meta link svg head summary "
    "details emphasis prosody voice sub".split()
)


def _tag(match: re.Match[str]) -> str:
    name = (match[1] or "").lower()
    if name in _BLOCKS:
        return "\n\n"
    if name in _PAUSES:
        return ", "
    if name in _INLINE or match[2] or not name:
        return ""
    return f" {match[1]} "  # "<name>", to be filled in


def _strip_html(text: str) -> str:
    text = _HIDDEN.sub(" ", _COMMENT.sub(" ", text))
    return _TAG.sub(_tag, _RAISED.sub(r"^\1", text))


# LaTeX

_LATEX_BLOCK = re.compile(
    r"\$\$([^$]{1,1000})\$\$|\\\[(.{1,1000}?)\\\]|\\\((.{1,500}?)\\\)", re.DOTALL
)
_LATEX_INLINE = re.compile(r"(?<![\w$\\])\$(?!\s)([^$\n]{1,300}?)(?<![\s\\])\$(?![\w$])")
_BRACES = r"\{(?:[^{}]|\{[^{}]{0,80}\}){0,200}\}"
_LATEX_COMMAND = re.compile(
    rf"\\(?:frac|sqrt|sum|int|prod|lim)(?![a-zA-Z])(?:[_^]?(?:{_BRACES}|[\w+=-]|\\[a-z]{{1,12}})){{1,20}}"
)
_IS_MATH = re.compile(
    r"[\\^_{}=+<>*/]|^-?[A-Za-z]$|^[A-Za-z]'{0,2}(?:\([A-Za-z, ]{1,9}\))?$|^\d+[a-z]{1,2}$|^[A-Z]{2}$"
)
_IS_MONEY = re.compile(r"\d[\d.,]*(?:[-/\s][a-z]{2}|\s|$)")
_ESCAPED = re.compile(r"\\([%&_#$*~`\[\]-])")


def _latex_block(match: re.Match[str]) -> str:
    return f" {read_math(match[1] or match[2] or match[3])} "


def _latex_inline(match: re.Match[str]) -> str:
    source = match[1]
    if _IS_MONEY.match(source) or not _IS_MATH.search(source):
        return match[0]
    return read_math(source)


def _read_latex(text: str) -> str:
    text = _LATEX_BLOCK.sub(_latex_block, text)
    text = _LATEX_INLINE.sub(_latex_inline, text)
    if "\\" in text:
        text = _LATEX_COMMAND.sub(lambda m: read_math(m[0]), text)
        text = _ESCAPED.sub(r"\1", text)
    return text


# Lines of Markdown

_FENCE = re.compile(r"(?:`{3,9}|~{3,9})\s?[\w+#./-]{0,30}(?:\s?\{[^}]{0,60}\})?$")
_RULER = re.compile(
    r"([-*_=])(?:\s{0,3}\1){2,79}$|\|?(?:\s*:?-{2,40}:?\s*\|){1,20}\s*(?::?-{2,40}:?)?$"
)
_HEADING = re.compile(r"#{1,6}\s+")
_QUOTATION = re.compile(r"(?:>\s?){1,5}(?=[^\s\d$=])")
_BULLET = re.compile(r"[-*+\u2022\u25e6\u25aa\u2023\u00b7\u2013]\s+(?:\[[ xX]\]\s+)?(?=\S)")
_NUMBER = re.compile(r"(\d{1,2})[.)]\s+(?=[^\s\d])")
_LETTER = re.compile(r"\(?([a-hA-H])\)\s+(?=\S)")
_BROKEN_WORD = re.compile(r"\b([A-Za-z]+)-[ \t]*\n[ \t]*(?=[a-z]{2})")
_HYPHENATED = set(  # a hyphen after these at the end of a line belongs to the word
    "well self non long short high low ex all half part full old new real first second third one "
    "two three four five six seven eight nine ten twenty thirty forty fifty sixty seventy eighty "
    "ninety ever much so hard open free deep fast large small state time two-year".split()
)


def _join_broken(match: re.Match[str]) -> str:
    return match[1] + ("-" if match[1].lower() in _HYPHENATED else "")


def _read_lines(text: str) -> str:
    """One line of text; what ends with a line is a pause: items, headings, rows, paragraphs."""
    text = _BROKEN_WORD.sub(_join_broken, text)
    done: list[str] = []
    pause = ""  # owed before the next line
    in_code = False
    for raw in text.splitlines():
        line = " ".join(raw.split())
        line = _QUOTATION.sub("", line, count=1) if line.startswith(">") else line
        if not line or _FENCE.match(line) or _RULER.match(line):
            in_code ^= bool(_FENCE.match(line))
            pause = "."
            continue
        after = "," if in_code else ""
        if line.startswith("|") and line.endswith("|"):
            line, pause, after = line.strip("| "), pause or ".", "."
        elif heading := _HEADING.match(line):
            line, pause, after = line[heading.end() :].rstrip(" #"), ".", "."
        elif bullet := _BULLET.match(line):
            line, pause = line[bullet.end() :], pause or ","
        elif number := _NUMBER.match(line):
            line, pause = f"{number[1]}, {line[number.end() :]}", "."
        elif letter := _LETTER.match(line):
            name = LETTER_NAMES[letter[1].lower()]
            line, pause = f"{name}, {line[letter.end() :]}", pause or "."
        if done and pause and done[-1][-1:] not in ".?!:;,\u2026":
            done[-1] += pause
        done.append(line)
        pause = after
    return " ".join(done)


# Marks within a line

_REFERENCE = re.compile(
    r"(?<=[\w.,)\"'])(?<!\b[A-Za-z])\[(?:[1-9]\d{0,2}(?:[-,\u2013]\s?\d{1,3}){0,5}|\^\w{1,20})\]:?"
)
_MARKS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), kept)
    for pattern, kept in (
        (r"!?\[([^\[\]]{1,300})\]\([^()\s]{1,300}(?:\s\"[^\"]{0,200}\")?\)", r"\1"),
        (r"(?<!\w)\[([^\[\]]{1,300})\]\[[\w-]{0,30}\]", r"\1"),
        (r"(?<!\S)\[[ xX]\]\s", ""),
        (r"\s\[[1-9]\d?(?:, ?[1-9]\d?){0,5}\](?=[.,;]|$|\sand\s\[)", ""),  # a reference
        (r"<((?:https?://|mailto:)?[^<>\s]{1,200}[@/.][^<>\s]{1,200})>", r"\1"),
        (r"`{1,3}([^`]{1,500})`{1,3}", r"\1"),
        (r"(?<=[\w)])\*\*(?=\d|[a-z]\b)", "^"),  # a power, as in Python
        (r"\*\*|~~|(?<![\w_])__(?=\S)|(?<=\S)__(?![\w_])", ""),
        (r"(?<![\w*)])[*_](?=[^\s*_\d])", ""),
        (r"(?<=[^\s*_])[*_](?![\w*(])", ""),
        (r"(?<![\w=!<>])==(?=[^\s=])([^=]{1,200})(?<=[^\s=])==(?![\w=])", r"\1"),
        (r"(?<!\S)[:;=]-?'?[)(DPpOo|/\]\[](?!\S)|(?<!\S)(?:\^_?\^|[xX]D|:'\(|:3)(?!\S)", " "),
        (r"(?<=[a-z])\(\)", ""),  # print()
    )
)


def strip_markup(text: str) -> str:
    """One line of plain text; line breaks that end an item or a paragraph become pauses."""
    if "&" in text:
        text = _ENTITY.sub(lambda m: html.unescape(m[0]), text)
    if "<" in text:
        text = _strip_html(text)
    if "$" in text or "\\" in text:
        text = _read_latex(text)
    text = _read_lines(text)
    text = _REFERENCE.sub("", text)
    for pattern, kept in _MARKS:
        text = pattern.sub(kept, text)
    return text

"""Folding of Unicode to the characters that the rules read, and symbols in words."""

import re
import unicodedata

from vocalmtp.text.numbers import LETTER_NAMES, Rule, roman_value, rule
from vocalmtp.text.tables import entries
from vocalmtp.text.units import UNITS

SYMBOLS = {
    symbol: f" {name} "
    for symbol, name in entries(
        "<=:less_than_or_equal_to >=:greater_than_or_equal_to !=:not_equal_to <>:not_equal_to ==:equals "
        "+/-:plus_or_minus &&:and ||:or &:and @:at +:plus =:equals %:percent <:less_than >:greater_than "
        "$:dollar ‰:per_mille ‱:per_ten_thousand °:degrees ×:times ÷:divided_by ±:plus_or_minus ∓:minus_or_plus "
        "≈:about ≠:not_equal_to ≤:less_than_or_equal_to ≥:greater_than_or_equal_to "
        "≦:less_than_or_equal_to ≧:greater_than_or_equal_to ≮:not_less_than ≯:not_greater_than "
        "≰:not_less_than_or_equal_to ≱:not_greater_than_or_equal_to ≪:much_less_than "
        "≫:much_greater_than ≡:identical_to ≢:not_identical_to ≅:approximately_equal_to "
        "≇:not_approximately_equal_to ∼:similar_to ≁:not_similar_to ≃:approximately_equal_to "
        "≉:not_almost_equal_to ∝:proportional_to √:the_square_root_of ∛:the_cube_root_of "
        "∞:infinity \u2212:minus ∈:in ∉:not_in ∋:contains ∌:does_not_contain ∀:for_all "
        "∃:there_exists ∄:there_does_not_exist ∅:the_empty_set ∩:intersection ∪:union "
        "⊂:a_subset_of ⊄:not_a_subset_of ⊆:a_subset_of_or_equal_to ⊈:not_a_subset_of_or_equal_to "
        "⊃:a_superset_of ⊅:not_a_superset_of ⊇:a_superset_of_or_equal_to ∧:and ∨:or ¬:not "
        "∑:the_sum_of ∏:the_product_of ∫:the_integral_of ∂:partial ∇:nabla ∠:angle "
        "⊥:perpendicular_to ∥:parallel_to ∦:not_parallel_to ∣:divides ∤:does_not_divide "
        "∴:therefore ∵:because ⊕:plus ⊗:times ↑:up ↓:down ♭:flat ♯:sharp §§:sections §:section "
        "¶:paragraph ©:copyright €:euro £:pound ¥:yen ₹:rupee ¢:cent ₩:won ₽:ruble ₺:lira "
        "₪:shekel ₫:dong ₱:peso ₴:hryvnia ₦:naira ฿:baht ₿:bitcoin"
    ).items()
} | dict.fromkeys(["->", "=>", *"→←⇒⇐⟶⟵➔➜➡↦▶↔⇔"], ", ")
PUNCTUATION = {
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u02bc\u00b4\u2032`", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a", '"'),
    **dict.fromkeys("\u2010\u2011\u2012\ufe63\uff0d", "-"),
    **dict.fromkeys("\u2015\u3001\uff0c\u060c\u2022\u25e6\u25aa", ", "),
    **dict.fromkeys("\u00bf\u00a1\u2122\u00ae\u2120\u00aa\u200b", ""),
    "\u2033": "''",
    "\u2014": ", ",
    "\u2026": "...",
    "\u3002": ". ",
    "\u061b": "; ",
    "\u061f": "? ",
    "\u2044": "/",
    "\u2215": "/",
    "\u2236": ":",
    "\u2116": "No. ",
    "\u00ba": "°",
    "\u00b5": "μ",
    "\u2126": "Ω",
    "\u22c5": "·",
}
LETTERS = entries("ß:ss ẞ:SS æ:ae Æ:Ae œ:oe Œ:Oe ð:th Ð:Th þ:th Þ:Th ı:i ŋ:ng Ŋ:Ng ə:e")
GREEK = entries(  # after the units, since "μm" is one
    "α:alpha β:beta γ:gamma δ:delta ε:epsilon ϵ:epsilon ζ:zeta η:eta θ:theta ϑ:theta ι:iota "
    "κ:kappa λ:lambda μ:mu ν:nu ξ:xi ο:omicron π:pi ρ:rho σ:sigma ς:sigma τ:tau υ:upsilon φ:phi "
    "ϕ:phi χ:chi ψ:psi ω:omega"
)
GREEK |= {letter.upper(): name for letter, name in GREEK.items()}

_SIGNS = str.maketrans(PUNCTUATION | LETTERS)
_VULGAR_FRACTION = re.compile("[¼-¾⅐-⅞↉]")
_BREADCRUMB = re.compile(r"(?<=\w) [\u203a\u00bb\u25b8\u25ba] (?=\w)")
_CIRCLED = re.compile("[①-⑳]")
_THIN_SPACE = re.compile(r"(?<=\d)(?:[\u00a0\u2009\u202f](?=\d{3}(?!\d))| (?=000(?!\d)))")
_ROMAN = re.compile(r"(?<![A-Za-z] )[\u2160-\u217f]+")
_RAISED = "¹²³⁰ⁱ⁴-⁺⁻ⁿ\u02b0-\u02b8\u1d43-\u1d4d"
_NOTE = re.compile("(?<=[A-Za-z]{3})[¹²³⁰⁴-⁹]+")
_SUPERSCRIPT = re.compile(f"[{_RAISED}⁼-⁾]+")
_FEMININE = re.compile("(?<=\\d)\u00aa")
_ANGSTROM = re.compile(r"(?<=\d)\s?[\u00c5\u212b](?!\w)")
_NEGATED = re.compile("[^\\w\\s]\u0338")
_GREEK_LETTER = re.compile(
    f"(?<![{''.join(GREEK)}])[{''.join(GREEK)}]{{1,2}}(?![{''.join(GREEK)}])"
)
_SYMBOL = re.compile("|".join(map(re.escape, sorted(SYMBOLS, key=len, reverse=True))))
_STROKED = re.compile(r"LATIN (SMALL|CAPITAL) LETTER ([A-Z]) WITH ")
_QUOTE_AFTER_DIGIT = re.compile(r"\d ?[\"']")
_QUOTE = re.compile(r"[\"']")


def fold_characters(text: str) -> str:
    """ASCII and the symbols that have a reading; accents off, powers as "^2", lines kept.

    Letters of foreign scripts stay.
    """
    text = _THIN_SPACE.sub("", text)
    if text.isascii():
        return text
    text = _ANGSTROM.sub(" angstroms", _FEMININE.sub("th", _BREADCRUMB.sub(", ", text)))
    text = _VULGAR_FRACTION.sub(lambda m: " " + unicodedata.normalize("NFKD", m[0]), text)
    text = _CIRCLED.sub(lambda m: f" {unicodedata.normalize('NFKD', m[0])} ", text)
    text = _NOTE.sub("", text)
    text = _SUPERSCRIPT.sub(lambda m: "^" + unicodedata.normalize("NFKD", m[0]), text)
    text = _ROMAN.sub(_roman_number, text)
    # Twice, since NFKD can reveal a sign of the table, and takes some of them apart.
    text = unicodedata.normalize("NFKD", text.translate(_SIGNS)).translate(_SIGNS)
    # NFKD makes "=" and a stroke of a "≠": put such signs together again.
    text = _NEGATED.sub(lambda m: unicodedata.normalize("NFC", m[0]), text)
    return "".join(c if c.isascii() or c in SYMBOLS or c in GREEK else _fold(c) for c in text)


def _roman_number(match: re.Match[str]) -> str:
    return str(roman_value(unicodedata.normalize("NFKD", match[0])))


def _fold(character: str) -> str:
    category = unicodedata.category(character)
    if category in ("Mn", "Me", "Cf"):  # accents, marks of direction, joiners
        return ""
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category in ("Zs", "Zl", "Zp"):
        return " "
    if category in ("Sm", "Sc"):  # "SQUARE IMAGE OF OR EQUAL TO"
        name = unicodedata.name(character, "").lower()
        return f" {re.sub(' (sign|operator|symbol)$', '', name).replace('-', ' ')} "
    stroked = _STROKED.match(unicodedata.name(character, ""))
    if stroked:
        return stroked[2].lower() if stroked[1] == "SMALL" else stroked[2]
    return character


def mark_lengths(text: str) -> str:
    """Inch marks as `''`, and closing quotation marks after a digit as a space.

    `a 12" pan` has an inch mark; `he said "I am 12"` does not, since a quotation is open.
    """
    if not _QUOTE_AFTER_DIGIT.search(text):
        return text
    opened = {'"': False, "'": False}
    pieces, done = [], 0
    for match in _QUOTE.finditer(text):
        quote, place = match[0], match.start()
        before = text[place - 1] if place else " "
        after = text[place + 1] if place + 1 < len(text) else " "
        replacement = quote
        if quote == "'" and (before == "'" or after == "'"):
            continue
        if before.isdecimal() and not (quote == "'" and after.isalpha()):
            if opened[quote]:
                opened[quote], replacement = False, " "
            elif quote == '"':
                replacement = "''"
        elif quote == '"':
            opened[quote] = not opened[quote]
        elif not before.isalnum() and after.isalpha():
            opened[quote] = True
        elif not after.isalnum():
            opened[quote] = False
        pieces += [text[done:place], replacement]
        done = place + 1
    return "".join(pieces) + text[done:]


# Symbols whose reading depends on what is beside them, before the numbers are read
IN_CONTEXT: tuple[Rule, ...] = (
    rule(r"(?<=[A-Za-z]{2}) ?> ?(?=[A-Z][A-Za-z])", ", ", needs=(">",)),  # File > Save As
    rule(
        r"(?<=[\d%)m]) ?(?:->|→|⟶|➔) ?(?=[$€£]?\d)", " to ", needs=("->", "→", "➔", "⟶")
    ),  # 7:45 -> 9:10
    rule(r"(?<=\d) ?★", " stars", needs=("★",)),
    rule(r"\b([A-G])[#♯](?!\w)", lambda m: f"{m[1]} sharp", needs=("#", "♯")),
    rule(r"(?<![\w#&])#(\d{1,4})(?=[a-z]{3})", lambda m: f"hashtag {m[1]} ", needs=("#",)),
    rule(r"(?<!\w)(?<!\d )\u03bc[mgLlsAVFM](?!\w)", lambda m: UNITS[m[0]][1], needs=("\u03bc",)),
    rule(r"#(?=\d)", "number ", needs=("#",)),
    rule(r"(?:(?<![^(])|(?<=[(&|=]\s))!(?=[A-Za-z_])", "not ", needs=("!",)),
    rule(r"(?<=\d)(?:\.\.(?=\d)|\.{2,3}(?=[a-z]\b))", " to ", needs=("..",)),
    rule(  # "log2 8", "log10(x)"
        r"\blog_?(2|10)(?: ?\(([a-z\d]{1,6})\)| (?=\d|[a-z]\b))",
        lambda m: f"log base {'two' if m[1] == '2' else 'ten'} of {m[2] or ''}",
        needs=("log",),
    ),
    rule(r"\b[Nn]°\s?(?=\d)", "number ", needs=("N°", "n°")),
    rule(r"(?<=\d) ?deg\.? ?([CF])\b", lambda m: f"°{m[1]}", needs=("deg",)),
    rule(r"(\^[-\u2212]\d{1,2}) ?M\b(?! [a-z])", lambda m: f"{m[1]} molar", needs=("^",)),
    rule(r"(?<=\.\d\d) ?pp\b", " per person", needs=("pp",)),
    rule(
        r"\blim(?:it)? ?([a-z]) ?(?:→|->) ?(?=\d|[a-z]\b|[-+]?\u221e)",
        lambda m: f"the limit as {m[1]} approaches ",
        needs=("lim",),
    ),
    rule(
        r"(?<![\w+-])([A-DF])([-+\u2212])(?=[\s,.;:)]|$)",
        lambda m: f"{LETTER_NAMES[m[1].lower()]} {'plus' if m[2] == '+' else 'minus'}",
    ),
    rule(r"(?<!\S)>{2,3}(?!\S)", ", ", needs=(">>",)),  # a prompt
    rule(r"(?<!\S)<3+(?!\S)", " ", needs=("<",)),
)


def spell_symbols(text: str) -> str:
    """Symbols and Greek letters as words."""
    text = _SYMBOL.sub(lambda m: SYMBOLS[m[0]], text)
    if text.isascii():
        return text
    return _GREEK_LETTER.sub(lambda m: "".join(f" {GREEK[c]} " for c in m[0]), text)

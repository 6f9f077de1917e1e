"""Readings of chemical formulas, ions, reactions, isotopes and molar concentrations."""

import re

from vocalmtp.text.numbers import LETTER_NAMES, Rule, cardinal, pairs, rule
from vocalmtp.text.tables import ELEMENTS, FORMULAS, IONS, METALS

_ATOM = r"[A-Z][a-z]?\d{0,3}"
_PART = rf"(?:{_ATOM}|[(\[](?:{_ATOM}){{1,8}}[)\]]\d{{0,2}})"
_FORMULA = (
    rf"(?<![\w./-])(\d{{0,2}})({_PART}{{1,12}}(?:\u00b7\d{{0,2}}{_PART}{{1,6}})?)"
    r"(\^\d?[-+\u2212](?!\w)|\+(?![\w+])|-(?=[\s,.;:)]|$))?(?![\w\u00b7])"
)
_SYMBOL = re.compile(r"[A-Z][a-z]?")


def is_formula(text: str) -> bool:
    """Whether a word without a charge is a chemical formula, such as "H2SO4" or "NaCl"."""
    symbols = _SYMBOL.findall(text)
    if not symbols or not all(symbol in ELEMENTS for symbol in symbols):
        return False
    if text in FORMULAS:
        return True
    word_and_number = re.fullmatch(r"[A-Z]{2,}\d\d+|[A-Z]{4,}\d|[A-Z][a-z]?\d*", text)  # "COP26"
    return bool(re.search(r"\d", text)) and not word_and_number


def _spell_formula(text: str) -> str:
    pieces = re.findall(r"[A-Za-z]|\d+|\u00b7", text)
    return " ".join(
        "," if piece == "\u00b7" else LETTER_NAMES.get(piece.lower()) or cardinal(piece)
        for piece in pieces
    ).replace(" ,", ",")


def _formula(match: re.Match[str]) -> str:
    count, formula, charge = match[1], match[2], match[3] or ""
    if charge and (charge[0] == "^" or formula in IONS):
        known = all(symbol in ELEMENTS for symbol in _SYMBOL.findall(formula))
        number = cardinal(charge[1]) + " " if charge[1:2].isdecimal() else ""
        ending = f" {number}{'plus' if charge[-1] == '+' else 'minus'}"
    elif count and formula in METALS:
        known, ending = True, charge
    else:
        known, ending = is_formula(formula), charge
    if not known:
        return match[0]
    return f"{cardinal(count) + ' ' if count else ''}{_spell_formula(formula)}{ending}"


def _reaction(match: re.Match[str]) -> str:
    sides = [re.sub(r"^\d+", "", side) for side in match.groups()]
    elements = [side in ELEMENTS or bool(re.fullmatch(r"[A-Z][a-z]?\d", side)) for side in sides]
    formulas = list(map(is_formula, sides))
    known = any(formulas) and all(a or b for a, b in zip(formulas, elements, strict=True))
    return f"{match[1]} yields " if known else match[0]


def _isotope(match: re.Match[str]) -> str:
    number, symbol = match.groups()
    name = ELEMENTS.get(symbol)
    return f"{name} {pairs(number)}" if name else match[0]


def _isotope_name(text: str) -> str:
    symbol, number = text.rstrip("m").split("-")
    return f"{ELEMENTS[symbol]} {pairs(number)}"


_SOLUTES = set(
    "solution sodium potassium hydrochloric sulfuric nitric acetic acid glucose sucrose urea Tris EDTA "
    "ammonium calcium magnesium phosphate buffer HEPES in of SDS imidazole ethanol".split()
)


def _molar(match: re.Match[str]) -> str:
    """ "0.1 M HCl" is a concentration; "5M people" is not."""
    if not (is_formula(match[2]) or (match[2] in _SOLUTES and " M" in match[0])):
        return match[0]
    return f"{cardinal(match[1])} molar "


CHEMISTRY: tuple[Rule, ...] = (
    rule(r"(?<![\w.,])((?:\d{0,9}\.)?\d{1,9}) ?M (?=([\w()]+))", _molar, needs=("M ",)),
    rule(r"(?<![\w.,])(0?\.\d{1,9}) M\b", lambda m: f"{cardinal(m[1])} molar", needs=(" M",)),
    rule(
        r"\b(p|Sp|Pa|Fi|V|Hb)(O2|CO2|A1c)\b",
        lambda m: _spell_formula(m[1] + m[2]),
        needs=("A1c", "O2"),
    ),
    rule(r"(?<![\w^])\^(\d{1,3})m?([A-Z][a-z]?)(?![a-z])", _isotope, needs=("^",)),
    rule(
        r"(?<![\w-])(?:C(?=-1[1-4]\b)|U(?=-23\d)|P(?=-32\b)|He|Co|Sr|Cs|Tc|Ra|Rn|Po|Pu|Am|Xe|Ir)"
        r"-\d{1,3}m?\b",
        lambda m: _isotope_name(m[0]),
        needs=("-",),
    ),
    rule(
        r"(?<![\w/])(\S{2,30})\s(?:->|=>|\u2192|\u21cc)\s(?=(\S{2,30}))",
        _reaction,
        needs=("->", "=>", "→", "⇌"),
    ),
    rule(_FORMULA, _formula),
)

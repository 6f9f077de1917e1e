"""Typographic characters to ASCII, and symbols to words."""

import re
import unicodedata

SYMBOLS = {  # longer ones first
    "<=": " less than or equal to ",
    ">=": " greater than or equal to ",
    "!=": " not equal to ",
    "==": " equals ",
    "->": ", ",
    "=>": ", ",
    "&": " and ",
    "@": " at ",
    "+": " plus ",
    "=": " equals ",
    "%": " percent ",
    "\u2030": " per mille ",
    "\u00b0": " degrees ",
    "\u00d7": " times ",
    "\u00f7": " divided by ",
    "\u00b1": " plus or minus ",
    "\u2248": " about ",
    "\u2260": " not equal to ",
    "\u2264": " less than or equal to ",
    "\u2265": " greater than or equal to ",
    "<": " less than ",
    ">": " greater than ",
    "$": " dollar ",
    "\u20ac": " euro ",
    "\u00a3": " pound ",
    "\u00a5": " yen ",
    "\u20b9": " rupee ",
    "\u00a2": " cent ",
    "\u00a7": " section ",
    "\u00a9": " copyright ",
    "\u221a": " the square root of ",
    "\u221e": " infinity ",
    "\u2212": " minus ",
    "\u2192": ", ",
    "\u2190": ", ",
    "\u21d2": ", ",
}

PUNCTUATION = {
    "\u2018": "'",
    "\u2019": "'",
    "\u201a": "'",
    "\u201b": "'",
    "\u02bc": "'",
    "\u00b4": "'",
    "\u2032": "'",
    "\u2033": "''",
    "`": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u201e": '"',
    "\u201f": '"',
    "\u00ab": '"',
    "\u00bb": '"',
    "\u2039": '"',
    "\u203a": '"',
    "\u2010": "-",
    "\u2011": "-",
    "\u2012": "-",
    "\u2014": ", ",
    "\u2015": ", ",
    "\u2026": "...",
    "\u00bf": "",
    "\u00a1": "",
    "\u3002": ". ",
    "\u3001": ", ",
    "\uff0c": ", ",
    "\u060c": ", ",
    "\u061b": "; ",
    "\u061f": "? ",
    "\u2022": ", ",
    "\u00b7": ", ",
    "\u2044": "/",
    "\u2122": "",
    "\u00ae": "",
    "\u2120": "",
    "\u2116": "No. ",
    "\u00ba": "\u00b0",
    "\u00aa": "",
    "\u00b5": "\u03bc",
}

LETTERS_OF = {  # letters that Unicode does not take apart into a Latin letter and an accent
    "\u00df": "ss",
    "\u00e6": "ae",
    "\u00c6": "Ae",
    "\u0153": "oe",
    "\u0152": "Oe",
    "\u00f8": "o",
    "\u00d8": "O",
    "\u0142": "l",
    "\u0141": "L",
    "\u0111": "d",
    "\u0110": "D",
    "\u00f0": "th",
    "\u00d0": "Th",
    "\u00fe": "th",
    "\u00de": "Th",
    "\u0131": "i",
}
GREEK = {  # after the units, since "\u03bcm" is one
    "\u03b1": "alpha",
    "\u03b2": "beta",
    "\u03b3": "gamma",
    "\u03b4": "delta",
    "\u0394": "delta",
    "\u03b5": "epsilon",
    "\u03b8": "theta",
    "\u03bb": "lambda",
    "\u03bc": "mu",
    "\u03c0": "pi",
    "\u03c1": "rho",
    "\u03c3": "sigma",
    "\u03a3": "sigma",
    "\u03c4": "tau",
    "\u03c6": "phi",
    "\u03c7": "chi",
    "\u03c8": "psi",
    "\u03c9": "omega",
    "\u03a9": "omega",
}

_SIGNS = str.maketrans(PUNCTUATION | LETTERS_OF)
_VULGAR_FRACTION = re.compile("[\u00bc-\u00be\u2150-\u215e\u2189]")
_THIN_SPACE = re.compile(r"(?<=\d)(?:[\u00a0\u2009\u202f](?=\d{3}(?!\d))| (?=000(?!\d)))")
_NOTE = re.compile("(?<=[A-Za-z]{3})[\u00b9\u00b2\u00b3\u2070\u2074-\u2079]+")
_SUPERSCRIPT = re.compile("[\u00b9\u00b2\u00b3\u2070\u2074-\u2079\u207a\u207b]+")
_SYMBOL = re.compile("|".join(map(re.escape, SYMBOLS)))
_GREEK = str.maketrans({letter: f" {name} " for letter, name in GREEK.items()})


def plain_letters(text: str) -> str:
    """Typographic signs to ASCII ones, accents off, spaces single, a full stop for an empty line.

    Powers become "^2". Letters of foreign scripts stay, to be refused.
    """
    text = _THIN_SPACE.sub("", text)
    text = _VULGAR_FRACTION.sub(lambda m: " " + unicodedata.normalize("NFKD", m[0]), text)
    text = _NOTE.sub("", text)
    text = _SUPERSCRIPT.sub(lambda m: "^" + unicodedata.normalize("NFKD", m[0]), text)
    # Twice, since NFKD can reveal a sign of the table, and takes some of them apart.
    text = unicodedata.normalize("NFKD", text.translate(_SIGNS)).translate(_SIGNS)
    if not text.isascii():
        text = "".join(map(_plain, text))
    lines = "\n".join(" ".join(line.split()) for line in text.strip().splitlines())
    return re.sub(r"\n{2,}", ". ", lines).replace("\n", " ")


def _plain(character: str) -> str:
    category = unicodedata.category(character)
    if category in ("Mn", "Me", "Cf"):  # accents, marks of direction, joiners
        return ""
    return str(unicodedata.decimal(character)) if category == "Nd" else character


def spell_symbols(text: str) -> str:
    """Symbols and Greek letters as words."""
    return _SYMBOL.sub(lambda m: SYMBOLS[m[0]], text).translate(_GREEK)

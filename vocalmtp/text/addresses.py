"""E-mail and web addresses, files, handles and hashtags, dots and all."""

import re

from vocalmtp.text.figures import cardinal, digits
from vocalmtp.text.tables import DOMAINS, EXTENSIONS, IN_ADDRESS, LETTER_NAMES

# Lengths are bounded, or a long odd text would take for ever.
_HOST = r"[\w-]{1,63}(?:\.[\w-]{1,63}){0,9}"
_PORT = r"(?::\d{1,5})?"
_PATH = r"(?:[/?#][\w./?=&#%~:+-]*\w)?/?"
_ADDRESS = re.compile(
    rf"(?<![\w.+-])[\w.+-]{{1,64}}@{_HOST}"
    rf"|(?:https?|ftp)://({_HOST}{_PORT}{_PATH})|\bwww\.{_HOST}{_PORT}{_PATH}"
    rf"|(?<![\w.-]){_HOST}\.(?:{'|'.join(DOMAINS)})\b(?!\.\w){_PORT}{_PATH}"
)
_FILE = re.compile(rf"(?<![\w./@-]){_HOST}\.(?:{'|'.join(EXTENSIONS)})\b(?!\.?\w)")
_FOLDERS = re.compile(r"(?<![\w/.:<])(?:~|\.{1,2})?(?:/[\w.-]{0,63}\w){2,12}")
_HANDLE = re.compile(r"(?<![\w@.])@([A-Za-z]\w{0,99})")
_HASHTAG = re.compile(r"(?<![\w#&])#([A-Za-z]\w{0,99})")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])|_")
_PIECE = re.compile(r"[A-Za-z]+|\d+|[^A-Za-z\d]")


def spell_addresses(text: str) -> str:
    """`text` with every address in words."""
    text = _ADDRESS.sub(lambda m: _spoken(m[1] or m[0]), text)
    text = _FILE.sub(lambda m: _spoken(m[0]), text)
    text = _FOLDERS.sub(lambda m: _spoken(m[0]), text)
    text = _HASHTAG.sub(lambda m: f"hashtag {_HUMP.sub(' ', m[1])}", text)
    return _HANDLE.sub(lambda m: f"at {_spoken(m[1])}", text)


def _spoken(address: str) -> str:
    pieces = _PIECE.findall(address.rstrip("/"))
    words = [_piece(*pair) for pair in zip(pieces, ["", *pieces[:-1]], strict=True)]
    return " ".join(word for word in words if word)


def _piece(piece: str, before: str) -> str:
    if piece.isdecimal():
        return cardinal(piece) if len(piece) < 3 and piece[0] != "0" else digits(piece)
    if before == "." and piece in ("ai", "uk", "io", "eu", "de"):
        return " ".join(LETTER_NAMES[letter] for letter in piece)
    if before == "." and EXTENSIONS.get(piece):
        return EXTENSIONS[piece]
    if len(piece) == 1 and piece.isalpha():
        return LETTER_NAMES.get(piece.lower(), piece)
    return IN_ADDRESS.get(piece, piece)

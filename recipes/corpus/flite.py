"""The flite synthesizer, in process through ctypes: text in, samples and exact phone times out.

Only shared libraries of a Debian or Ubuntu system are needed (``apt install flite``). A voice's
library is loaded once a process; flite then keeps every rule and tree in memory, so a sentence
costs its vocoding and no more. None of this is thread safe: use one process per core.
"""

from __future__ import annotations

import ctypes
import zlib
from dataclasses import dataclass
from functools import cache

import numpy as np

RATE = 16000  # samples a second of every voice used here
VOICES = ("slt", "rms", "awb", "kal16")

# flite's feature tables keep the pointer to a name they are given and do not copy it, so the
# names must live as long as the process.
_PITCH = b"f0_shift"
_STRETCH = b"duration_stretch"


@dataclass(frozen=True)
class Word:
    """One word as flite read it: its spelling, its token's index, the phones [first, last)."""

    name: str
    token: int
    first: int
    last: int


@dataclass(frozen=True)
class Speech:
    """One synthesised text.

    ``samples`` are int16 at 16 kHz; ``phones`` are names and ``ends`` their end times in seconds;
    ``tokens`` are the space-separated pieces of the text without their punctuation.
    """

    samples: np.ndarray
    phones: list[str]
    ends: list[float]
    words: list[Word]
    tokens: list[str]


class _Wave(ctypes.Structure):
    """``cst_wave`` of flite's ``cst_wave.h``."""

    _fields_ = [
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    ]


class _Voice(ctypes.Structure):
    """The head of ``cst_voice`` of flite's ``cst_voice.h``: all that is read here."""

    _fields_ = [("name", ctypes.c_char_p), ("features", ctypes.c_void_p)]


_P, _S, _F = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float
_SIGNATURES = {
    "flite_synth_text": (_P, (_S, ctypes.POINTER(_Voice))),
    "delete_utterance": (None, (_P,)),
    "utt_wave": (ctypes.POINTER(_Wave), (_P,)),
    "utt_relation": (_P, (_P, _S)),
    "relation_head": (_P, (_P,)),
    "item_next": (_P, (_P,)),
    "item_parent": (_P, (_P,)),
    "item_as": (_P, (_P, _S)),
    "item_feat_float": (_F, (_P, _S)),
    "item_feat_string": (_S, (_P, _S)),
    "feat_set_float": (None, (_P, _S, _F)),
}


@cache
def _library() -> ctypes.CDLL:
    """Load flite and the two libraries that its English voices take their symbols from."""
    try:
        library = ctypes.CDLL("libflite.so.1", mode=ctypes.RTLD_GLOBAL)
        for name in ("usenglish", "cmulex"):
            ctypes.CDLL(f"libflite_{name}.so.1", mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise RuntimeError("flite is not installed; run: apt install flite") from error
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.flite_init()
    return library


@cache
def _libc() -> ctypes.CDLL:
    """The C library that flite shares with this process."""
    libc = ctypes.CDLL(None)
    libc.srand.restype, libc.srand.argtypes = None, (ctypes.c_uint,)
    return libc


@cache
def _voice(name: str):
    """Register a flite voice, once a process, and return its pointer."""
    _library()
    library = ctypes.CDLL(f"libflite_cmu_us_{name}.so.1")
    register = getattr(library, f"register_cmu_us_{name}")
    register.restype, register.argtypes = ctypes.POINTER(_Voice), (_S,)
    return register(None)


def synthesize(text: str, voice: str, pitch: float = 1.0, stretch: float = 1.0) -> Speech:
    """Speak ``text``; ``pitch`` multiplies the fundamental, ``stretch`` every duration.

    The diphone voice kal16 has its own intonation model and ignores ``pitch``.
    """
    flite, pointer = _library(), _voice(voice)
    features = pointer.contents.features
    flite.feat_set_float(features, _PITCH, pitch)
    flite.feat_set_float(features, _STRETCH, stretch)
    spelled = text.encode("ascii")
    # The noise of unvoiced sounds comes from C's rand(): without a seed of its own, a sentence
    # would sound otherwise after every other sentence.
    _libc().srand(zlib.crc32(spelled))
    utterance = flite.flite_synth_text(spelled, pointer)
    if not utterance:
        raise ValueError(f"flite could not synthesize {text!r}")
    try:
        wave = flite.utt_wave(utterance).contents
        if wave.sample_rate != RATE or wave.num_channels != 1:
            raise ValueError(f"voice {voice} is not {RATE} Hz mono")
        samples = np.ctypeslib.as_array(wave.samples, (wave.num_samples,)).astype(np.int16)
        return Speech(samples, *_phones(flite, utterance), _tokens(flite, utterance))
    finally:
        flite.delete_utterance(utterance)


def _items(flite: ctypes.CDLL, utterance: int, relation: bytes):
    """Yield the items of one of the utterance's relations, in order."""
    item = flite.relation_head(flite.utt_relation(utterance, relation))
    while item:
        yield item
        item = flite.item_next(item)


def _tokens(flite: ctypes.CDLL, utterance: int) -> list[str]:
    """The token names, that is the text's pieces without their outer punctuation."""
    items = _items(flite, utterance, b"Token")
    return [flite.item_feat_string(item, b"name").decode() for item in items]


def _phones(flite: ctypes.CDLL, utterance: int) -> tuple[list[str], list[float], list[Word]]:
    """Walk the segments up the tree: phone -> syllable -> word -> token."""
    token_index = {item: i for i, item in enumerate(_items(flite, utterance, b"Token"))}
    phones: list[str] = []
    ends: list[float] = []
    words: list[Word] = []
    current = None  # the address of the word that the last phone belongs to
    for segment in _items(flite, utterance, b"Segment"):
        phones.append(flite.item_feat_string(segment, b"name").decode())
        ends.append(flite.item_feat_float(segment, b"end"))
        in_tree = flite.item_as(segment, b"SylStructure")
        if not in_tree:  # a pause belongs to no word
            continue
        word = flite.item_parent(flite.item_parent(in_tree))
        if word != current:
            current = word
            name = flite.item_feat_string(word, b"name").decode()
            token = flite.item_parent(flite.item_as(word, b"Token"))
            words.append(Word(name, token_index[token], len(phones) - 1, len(phones)))
        else:
            words[-1] = Word(words[-1].name, words[-1].token, words[-1].first, len(phones))
    return phones, ends, words

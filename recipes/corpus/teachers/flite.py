"""The flite synthesizer, in process through ctypes, with exact phone times, in many voices.

Only shared libraries of a Debian or Ubuntu system are needed (``apt install flite``). A voice's
library is loaded once a process; flite then keeps every rule and tree in memory, so a sentence
costs its vocoding and no more. None of this is thread safe: use one process per core. Its speech
has 16 kHz and is resampled: it serves as breadth for encoders, not as a model of good speech.
"""

from __future__ import annotations

import ctypes
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import soxr
import yaml

from teachers import PAUSE, RATE, Misread, Speech, TeacherMissing, Word

FLITE_RATE = 16_000  # samples a second of flite's own speech
BASES = ("slt", "rms", "awb", "kal16")
CROWD = "crowd"
CROWD_SHARE = 0.25  # of the training items
HEAD, TAIL = 0.060, 0.120  # seconds of silence kept before the first phone and after the last
_CROWD_BASES = ("slt", "rms", "awb")
# The warps that the crowd never has, so that no neighbour of the held-out voice `iris` is trained.
_AVOIDED = {"awb": (1.14, 1.25)}
# The names of flite's dictionary entries for spellings that sound in more than one way.
HOMOGRAPHS = {"red": "read", "reed": "read", "led": "lead", "leed": "lead", "_a": "a"}

# flite's feature tables keep the pointer to a name they are given and do not copy it, so the
# names must live as long as the process.
_PITCH = b"f0_shift"
_STRETCH = b"duration_stretch"


@dataclass(frozen=True)
class FliteWord:
    """One word as flite read it: its spelling, its token's index, the phones ``[first, last)``."""

    name: str
    token: int
    first: int
    last: int


@dataclass(frozen=True)
class FliteSpeech:
    """One text as flite spoke it.

    ``samples`` are int16 at 16 kHz; ``phones`` are names and ``ends`` their end times in seconds;
    ``tokens`` are the space-separated pieces of the text without their punctuation.
    """

    samples: np.ndarray
    phones: list[str]
    ends: list[float]
    words: list[FliteWord]
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
        raise TeacherMissing("flite is not installed; run: apt install flite") from error
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
def _voice(name: str) -> Any:
    """Register a flite voice, once a process, and return its pointer."""
    _library()
    library = ctypes.CDLL(f"libflite_cmu_us_{name}.so.1")
    register = getattr(library, f"register_cmu_us_{name}")
    register.restype, register.argtypes = ctypes.POINTER(_Voice), (_S,)
    return register(None)


def synthesize(text: str, voice: str, pitch: float = 1.0, stretch: float = 1.0) -> FliteSpeech:
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
        if wave.sample_rate != FLITE_RATE or wave.num_channels != 1:
            raise ValueError(f"voice {voice} is not {FLITE_RATE} Hz mono")
        samples = np.ctypeslib.as_array(wave.samples, (wave.num_samples,)).astype(np.int16)
        return FliteSpeech(samples, *_phones(flite, utterance), _tokens(flite, utterance))
    finally:
        flite.delete_utterance(utterance)


def _items(flite: ctypes.CDLL, utterance: int, relation: bytes) -> Iterator[int]:
    """Yield the items of one of the utterance's relations, in order."""
    item = flite.relation_head(flite.utt_relation(utterance, relation))
    while item:
        yield item
        item = flite.item_next(item)


def _tokens(flite: ctypes.CDLL, utterance: int) -> list[str]:
    """The token names, that is the text's pieces without their outer punctuation."""
    items = _items(flite, utterance, b"Token")
    return [flite.item_feat_string(item, b"name").decode() for item in items]


def _phones(flite: ctypes.CDLL, utterance: int) -> tuple[list[str], list[float], list[FliteWord]]:
    """Walk the segments up the tree: phone -> syllable -> word -> token."""
    token_index = {item: i for i, item in enumerate(_items(flite, utterance, b"Token"))}
    phones: list[str] = []
    ends: list[float] = []
    words: list[FliteWord] = []
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
            words.append(FliteWord(name, token_index[token], len(phones) - 1, len(phones)))
        else:
            words[-1] = FliteWord(words[-1].name, words[-1].token, words[-1].first, len(phones))
    return phones, ends, words


@dataclass(frozen=True)
class FliteVoice:
    """A flite voice remade: see ``flite.yaml`` for the meaning and ranges of the fields."""

    name: str
    base: str
    warp: float = 1.0
    pitch: float = 1.0
    rate: float = 1.0
    share: float = 0.0
    origin: str = ""

    def __post_init__(self) -> None:
        if self.base not in BASES:
            raise ValueError(f"voice {self.name}: no base {self.base!r}; choose from {BASES}")
        if not 0.8 <= self.warp <= 1.25:
            raise ValueError(f"voice {self.name}: warp {self.warp} is not within 0.80..1.25")
        if self.base in ("rms", "kal16") and self.pitch != self.warp:
            raise ValueError(f"voice {self.name}: {self.base} takes no pitch other than its warp")

    @property
    def fields(self) -> Mapping[str, object]:
        """What tells two voices of the crowd apart."""
        if self.name != CROWD:
            return {}
        return {"base": self.base, "warp": self.warp, "pitch": self.pitch, "rate": self.rate}


class FliteTeacher:
    """See ``teachers.Teacher``."""

    name = "flite"
    lexicon = "cmulex"
    main_voices = ("slt", "rms", "awb")

    def __init__(self) -> None:
        _library()
        self.voices = load_voices()

    def draw(self, random: Random) -> FliteVoice:
        """One of the crowd, or a named voice by its share."""
        return draw(self.voices, random)

    def speak(self, text: str, voice: FliteVoice, speed: float = 1.0) -> Speech:
        """Read a text; the times are those of the warped samples.

        The samples are taken as ``16000 * warp`` a second and resampled: formants and fundamental
        rise by ``warp`` and all times shrink by it, which flite's own duration and pitch settings
        undo beforehand as far as the voice asks.
        """
        stretch = voice.warp / (voice.rate * speed)
        speech = synthesize(text, voice.base, pitch=voice.pitch / voice.warp, stretch=stretch)
        words = _words(text, speech)
        samples = speech.samples.astype(np.float32) / 32768
        samples = soxr.resample(samples, FLITE_RATE * voice.warp, RATE)
        ends = [end / voice.warp for end in speech.ends]
        return _trim(Speech(samples, tuple(speech.phones), tuple(ends), words))

    def pronounce(self, text: str) -> list[tuple[str, tuple[str, ...]]]:
        """Spelling and phones of every word.

        kal16 reads: it takes a millisecond a sentence, and every voice has the same dictionary.
        """
        speech = synthesize(text, "kal16")
        return [
            ("".join(text[p] for p in word.places), tuple(speech.phones[word.first : word.last]))
            for word in _words(text, speech)
        ]


def load() -> FliteTeacher:
    """Load the teacher. Raises ``TeacherMissing``."""
    return FliteTeacher()


def load_voices() -> dict[str, FliteVoice]:
    """The named voices of ``flite.yaml``; flite itself is not needed."""
    table = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
    return {name: FliteVoice(name=name, **fields) for name, fields in table.items()}


def draw(voices: dict[str, FliteVoice], random: Random) -> FliteVoice:
    """One of the crowd, or a named voice by its share."""
    if random.random() < CROWD_SHARE:
        return _stranger(random)
    named = list(voices.values())
    return random.choices(named, weights=[voice.share for voice in named])[0]


def _stranger(random: Random) -> FliteVoice:
    """A random voice of the crowd."""
    base = random.choice(_CROWD_BASES)
    low, high = _AVOIDED.get(base, (9.0, 9.0))
    while low <= (warp := round(random.uniform(0.80, 1.25), 3)) <= high:
        pass
    # Around the warp, because a smaller speaker has a higher voice; slt is a woman, awb a man.
    spread = random.uniform(0.65, 1.3) if base == "slt" else random.uniform(0.75, 1.6)
    pitch = warp if base == "rms" else round(warp * spread, 3)
    return FliteVoice(CROWD, base, warp, pitch, rate=round(random.uniform(0.85, 1.18), 3))


def _trim(speech: Speech) -> Speech:
    """Cut the pauses at both ends down to ``HEAD`` and ``TAIL`` and shift the times with them."""
    spoken = [i for i, phone in enumerate(speech.phones) if phone != PAUSE]
    first, last = spoken[0], spoken[-1]
    onset = speech.ends[first - 1] if first else 0.0
    start = max(0, round((onset - HEAD) * RATE))
    stop = min(len(speech.samples), round((speech.ends[last] + TAIL) * RATE))
    seconds = (stop - start) / RATE
    ends = [min(max(end - start / RATE, 0.0), seconds) for end in speech.ends]
    if speech.phones[-1] == PAUSE:
        ends[-1] = seconds
    return Speech(speech.samples[start:stop], speech.phones, tuple(ends), speech.words)


def _words(text: str, speech: FliteSpeech) -> tuple[Word, ...]:
    """The words that flite read, with the places of their letters in ``text``.

    Raises ``Misread`` unless flite read exactly the words of the text: each token's words, joined,
    must spell the token, and may begin only at its start, a hyphen or an apostrophe, so that
    expanded abbreviations and words spelled letter by letter are found out.
    """
    tokens = list(re.finditer(r"\S+", text))
    if len(tokens) != len(speech.tokens):
        raise Misread(f"flite split {text!r} into other tokens")
    words: list[Word] = []
    for index, token in enumerate(tokens):
        places = [i for i in range(*token.span()) if text[i].isalpha()]
        for word in speech.words:
            if word.token != index:
                continue
            name = word.name.replace("'", "")
            rest = "".join(text[i] for i in places)
            if not rest.startswith(name):
                name = HOMOGRAPHS.get(name, name)
            mine, places = places[: len(name)], places[len(name) :]
            cut_inside = mine and mine[0] > token.start() and text[mine[0] - 1] not in "-'"
            if not mine or cut_inside or not rest.startswith(name):
                raise Misread(f"flite read {word.name!r} in {token[0]!r}")
            words.append(Word(tuple(mine), word.first, word.last))
        if places:
            raise Misread(f"flite left out a part of {token[0]!r}")
    return tuple(words)

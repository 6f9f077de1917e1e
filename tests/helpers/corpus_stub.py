"""A stand-in for the teachers and the text packages of recipes/corpus."""

from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import numpy as np

HELD_OUT = "her opinion carries a lot of weight"  # of test.txt
UNSEEN = "armadillo"  # of unseen_words.txt
SILENT_WORDS = 2  # a text of so many words is misread by the stub


def write_share(share: Path) -> None:
    """Write sources in the layout of the Debian packages; one sentence and one word are held out."""
    (share / "wordnet").mkdir(parents=True)
    (share / "games/fortunes").mkdir(parents=True)
    (share / "dict").mkdir()
    words = [a + b for a in "bcdfgklm" for b in ("at", "in", "op", "ug", "ell", "ast")]
    names = [word.capitalize() + "son" for word in words]
    (share / "dict/american-english").write_text("\n".join([*words, UNSEEN, *names]) + "\n")
    for part in ("noun", "verb", "adj", "adv"):
        lines = [f'00 00 n 01 {w} 0 000 | a bat; "the {w} was not there"' for w in words]
        lines += [f'00 00 n 01 bat 0 000 | a bat; "{HELD_OUT}"; "the {UNSEEN}s slept"']
        (share / f"wordnet/data.{part}").write_text("\n".join(lines) + "\n")
    (share / "games/fortunes/prose").write_text("Nobody knows. It was never found.\n%\n")


@dataclass(frozen=True)
class StubVoice:
    name: str
    share: float = 1.0
    fields: dict = field(default_factory=dict)


class StubTeacher:
    """A tone of 20 ms a letter; `fail_at` is the number of the call that is interrupted."""

    name = "hibari"
    lexicon = "stub"
    main_voices = ("low",)

    def __init__(self, teachers: ModuleType, fail_at: int = -1) -> None:
        self._teachers, self._fail_at, self._calls = teachers, fail_at, 0
        self.voices = {"low": StubVoice("low"), "unheard": StubVoice("unheard", 0.0)}

    def draw(self, random):
        return self.voices["low"]

    def pronounce(self, text):
        return [
            (word, tuple(word))
            for word in text.translate(str.maketrans("", "", ".,?!'-;:")).split()
        ]

    def speak(self, text, voice, speed=1.0):
        self._calls += 1
        if self._calls == self._fail_at:
            raise KeyboardInterrupt
        if text.count(" ") + 1 == SILENT_WORDS:
            raise self._teachers.Misread(text)
        places = [i for i, character in enumerate(text) if character.isalpha()]
        words, first = [], 0
        for place, follower in zip(places, [*places[1:], None], strict=True):
            if follower is None or text[place + 1 : follower].strip("'"):
                last = places.index(place) + 1
                words.append(self._teachers.Word(tuple(places[first:last]), first, last))
                first = last
        times = np.arange(480 * len(places)) / 24_000
        samples = (0.5 * np.sin(2 * np.pi * 300 * times)).astype(np.float32)
        ends = tuple(0.02 * (i + 1) for i in range(len(places)))
        return self._teachers.Speech(samples, tuple(text[p] for p in places), ends, tuple(words))

"""Who answers, behind one interface, and through what an answer leaves."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vocalmtp.chat.events import Part, SpokenWord
from vocalmtp.chat.history import Message
from vocalmtp.tts import AnyVoice


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What to answer: `messages` end with the user's, which is `samples` as it was spoken."""

    messages: list[Message]
    voice: AnyVoice
    seed: int
    samples: np.ndarray | None = None  # float32 [N] at vad.SAMPLE_RATE; None if it was typed


class Cancelled(Exception):
    """The answer is not wanted any more: whoever makes it lets this pass, and ends."""


class AnswerError(Exception):
    """The answer cannot be given, or not to its end; the message is for the user.

    `apology` is what is said aloud.
    """

    def __init__(self, message: str, apology: str):
        super().__init__(message)
        self.apology = apology


class AnswerSink(Protocol):
    """The way out for one answer, from any thread; everything raises Cancelled when it is over."""

    longest: int  # letters of text; who writes more is to stop

    def text(self, delta: str) -> None:
        """Show the next piece of the answer's text."""

    def audio(self, samples: np.ndarray, sample_rate: int, words: list[SpokenWord]) -> None:
        """Play the next samples [N]; waits while enough is made ahead.

        The `words` are timed from the start of the answer's audio.
        """

    def failure(self, message: str) -> None:
        """Tell the user that something went wrong."""

    def mark(self, part: Part) -> None:
        """Note when a part of the way was done."""

    def on_cancel(self, action: Callable[[], object]) -> AbstractContextManager[None]:
        """Within the block, have `action` called as soon as the answer is not wanted any more."""


class Responder(Protocol):
    """Answers the user's turns; holds no conversation, so that any number can use one."""

    name: str
    hears: bool  # listens to `Turn.samples` itself, so that no ear is needed

    def answer(self, turn: Turn, out: AnswerSink) -> None:
        """Answer `turn`, text and audio, through `out`; returns when all of it is out."""

    def say(self, text: str, turn: Turn, out: AnswerSink) -> None:
        """Say a text that is given, in the voice of `turn`."""

    def count_tokens(self, text: str) -> int:
        """How many tokens of its model a text takes."""


class LLM(Protocol):
    """Answers in text only; `speaking.Spoken` says it."""

    name: str

    def write(self, messages: list[Message], out: AnswerSink) -> Iterator[str]:
        """The answer's text, in pieces as they are made.

        Raises AnswerError. Only `longest` and `on_cancel` of `out` are for it.
        """

    def count_tokens(self, text: str) -> int:
        """How many tokens of its model a text takes."""

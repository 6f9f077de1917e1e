"""A conversation with a recording in place of a microphone, as fast as it goes."""

from collections.abc import Iterator

import numpy as np

from vocalmtp.audio.vad import SAMPLE_RATE
from vocalmtp.chat.events import Event, Finished, SpeechEnded
from vocalmtp.chat.session import ChatSession
from vocalmtp.errors import InputError

PIECE = SAMPLE_RATE // 10  # samples fed at once
SETTINGS = {"ahead": None, "echo": "off"}  # of the ChatConfig: nothing sounds


def converse(session: ChatSession, samples: np.ndarray) -> Iterator[Event]:
    """The events of a conversation with `samples` [N] at SAMPLE_RATE.

    Every turn in it is answered whole before the recording goes on. Raises InputError if there is
    no turn in it.
    """
    turns = 0
    rest = np.zeros(round((session.config.silence + 0.5) * SAMPLE_RATE), np.float32)
    samples = np.concatenate([samples, rest])  # so that the last turn ends
    for start in range(0, len(samples), PIECE):
        session.feed(samples[start : start + PIECE])
        for event in session.events(timeout=0):
            yield event
            if isinstance(event, SpeechEnded):
                turns += 1
                yield from _answer(session)
    if not turns:
        raise InputError(
            "input: has no speech that was recognised as such; record a question", code="empty"
        )


def _answer(session: ChatSession) -> Iterator[Event]:
    """The events until a turn was answered, or not understood."""
    for event in session.events():
        yield event
        if isinstance(event, Finished):
            session.played(event.seconds)
            return
        if event.kind == "listening":
            return

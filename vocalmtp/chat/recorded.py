"""A conversation with a recording in place of a microphone, faster than real time."""

from collections.abc import Iterator

import numpy as np

from vocalmtp.audio.vad import SAMPLE_RATE
from vocalmtp.chat.events import Event, Finished, Listening, SpeechEnded
from vocalmtp.chat.session import ChatSession
from vocalmtp.errors import InputError

BLOCK = SAMPLE_RATE // 10  # samples that are fed at a time
SETTINGS = {"max_lead": None, "echo": "off"}  # of the ChatConfig, as no audio is played


def converse(session: ChatSession, samples: np.ndarray) -> Iterator[Event]:
    """Yield the events of a conversation in which every answer is complete before the next turn.

    Args:
        session: with the SETTINGS above.
        samples: the user's audio, float32 [N] at SAMPLE_RATE.

    Raises:
        InputError: the recording has no speech.

    """
    turns = 0
    silence = np.zeros(round((session.config.end_silence + 0.5) * SAMPLE_RATE), np.float32)
    samples = np.concatenate([samples, silence])  # ends the last turn
    for start in range(0, len(samples), BLOCK):
        session.feed(samples[start : start + BLOCK])
        for event in session.events(timeout=0):
            yield event
            if isinstance(event, SpeechEnded):
                turns += 1
                yield from _answer(session)
    if not turns:
        raise InputError("input: no speech was detected; record a question", code="empty")


def _answer(session: ChatSession) -> Iterator[Event]:
    """Yield the events until a turn was answered, or its transcript was empty."""
    for event in session.events():
        yield event
        if isinstance(event, Finished):
            session.report_playback(event.seconds)
            return
        if isinstance(event, Listening):
            return

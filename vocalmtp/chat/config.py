"""The settings of a conversation."""

from typing import Literal

from pydantic import Field

from vocalmtp.config import StrictModel

SYSTEM = (
    "You are a friendly voice assistant. What you write is read out: answer in one or two short "
    "sentences of plain English, without lists, markup or emoji."
)


class ChatConfig(StrictModel):
    """Settings of a `ChatSession`; durations are in seconds.

    A turn of the user begins with `onset` seconds of speech and ends with `end_silence` seconds of
    silence. Speech that is to interrupt an answer has to last for `barge_in` seconds. `echo` selects
    the echo suppression: "energy" accepts what is louder than the echo of the answer, "half-duplex"
    nothing while an answer plays, "off" everything. Audio is synthesized at most `max_lead` seconds
    ahead of playback, so that an interrupted answer wastes little work. Without `detect_turns`, turns
    end on request; without `answer_turns`, answers begin on request; without `interruptible`, speech
    does not interrupt an answer.
    """

    system: str = SYSTEM  # system prompt of the language model; empty for none
    history_tokens: int = Field(default=2048, ge=64)  # the oldest turns are dropped beyond it
    seed: int = Field(default=0, ge=0)

    vad_threshold: float = Field(default=0.5, gt=0, lt=1)  # probability of speech
    onset: float = Field(default=0.09, gt=0)  # speech that begins a turn
    barge_in: float = Field(default=0.16, gt=0)  # speech that interrupts an answer
    min_speech: float = Field(default=0.2, ge=0)  # a turn with less speech is dropped as noise
    max_turn: float = Field(default=30.0, gt=0)  # a longer turn is cut
    pause: float = Field(default=0.2, gt=0)  # silence after which the transcript is updated
    end_silence: float = Field(default=0.6, gt=0)  # silence that ends a turn
    pre_roll: float = Field(default=0.3, ge=0)  # audio before the onset that belongs to a turn
    detect_turns: bool = True
    answer_turns: bool = True
    interruptible: bool = True

    echo: Literal["energy", "half-duplex", "off"] = "energy"  # suppression, see EchoGate
    max_lead: float | None = Field(default=3.0, gt=0)  # audio ahead of playback; None: no limit
    max_answer_chars: int = Field(default=4000, ge=1)  # a longer answer is cut
    think_seconds: float | None = Field(default=None, ge=0)  # then thoughts are cut short
    show_thoughts: bool = False  # as text; they are never spoken
    filler: float | None = Field(default=None, gt=0)  # seconds without a clause until "Hmm."
    speed: float = Field(default=1.0, ge=0.5, le=2)  # of the speech of answers

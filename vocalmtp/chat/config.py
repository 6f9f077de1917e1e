"""How a conversation is held."""

from typing import Literal

from pydantic import Field

from vocalmtp.config import StrictModel

SYSTEM = (
    "You are a friendly voice assistant. What you write is read out: answer in one or two short "
    "sentences of plain English, without lists, markup or emoji."
)


class ChatConfig(StrictModel):
    """The settings of a `ChatSession`; times are seconds."""

    system: str = SYSTEM  # who the answerer is; empty for nobody in particular
    history_tokens: int = Field(2048, ge=64)  # older turns are forgotten beyond it
    seed: int = Field(0, ge=0)

    speech_probability: float = Field(0.5, gt=0, lt=1)  # of the voice detector, to begin a turn
    onset: float = Field(0.09, gt=0)  # speech that begins a turn
    barge_in: float = Field(0.16, gt=0)  # speech that interrupts an answer; less is a noise
    shortest: float = Field(0.2, ge=0)  # speech in all; less was a noise
    longest: float = Field(30.0, gt=0)  # a turn is cut there
    pause: float = Field(0.2, gt=0)  # silence after which the ear is asked what it has heard so far
    silence: float = Field(0.6, gt=0)  # silence that ends a turn
    lead_in: float = Field(0.3, ge=0)  # sound before the onset that belongs to a turn

    echo: Literal["energy", "half-duplex", "off"] = "energy"  # against hearing ourselves
    ahead: float | None = Field(3.0, gt=0)  # audio made before it is due; None: as fast as can be
    longest_answer: int = Field(4000, ge=1)  # letters; an answer is cut there

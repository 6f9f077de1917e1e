"""Prompts as lists of typed segments; data/collate.py turns them into batches.

Letters: Q streams of the layout, T frames, U characters, D_s size of the speaker vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

TextMode = Literal["prompt", "track", "both"]
# Every marker is one learned embedding; the order is part of saved models. A model that does not
# listen has the first one alone.
CONTROL_TOKENS = ("speech", "question", "answer")


@dataclass(frozen=True)
class Text:
    """Token ids of the backbone's own vocabulary."""

    ids: Sequence[int]
    supervised: bool = False


@dataclass(frozen=True)
class Speech:
    """Codes [Q, T], with the advances as stream 0 where the layout has a text track.

    `characters` are the ids [U] of the text that is spoken, for the track. `codes` is None for
    speech that is still to be made: only the characters are known.
    """

    codes: Tensor | None
    characters: Sequence[int] | None = None
    supervised: bool = True


@dataclass(frozen=True)
class Speaker:
    """The voice, as a vector [D_s]; None asks for no voice in particular."""

    vector: Tensor | None


@dataclass(frozen=True)
class ControlToken:
    """One of CONTROL_TOKENS: a learned embedding that says what follows."""

    name: str


@dataclass(frozen=True)
class AudioInput:
    """Speech of the user, as codes [Q, T] of the tokenizer's streams or as log-mels [C, T].

    `frame_characters` [T] are the ids of the characters that sound, in training and where they are known.
    """

    frames: Tensor
    frame_characters: Tensor | None = None


Segment = Text | Speech | Speaker | ControlToken | AudioInput


def tts_prompt(
    mode: TextMode,
    *,
    text_ids: Sequence[int] = (),
    characters: Sequence[int] = (),
    speaker: Tensor | None = None,
    codes: Tensor | None = None,
    advances: Tensor | None = None,
    context: Sequence[Segment] = (),
) -> list[Segment]:
    """Text to speech: [text] speaker, "speech", speech; `codes` [Q, T] only in training.

    `text_ids` serve the modes "prompt" and "both"; `characters` and `advances` [T] serve "track"
    and "both". An answer has the `context` of `dialogue_turn` after the speaker, which ends in its text:
    that is not repeated.
    """
    tracked = mode != "prompt"
    if codes is not None and tracked:
        codes = torch.cat([advances[None], codes])
    segments: list[Segment] = [] if mode == "track" or context else [Text(text_ids)]
    segments += [Speaker(speaker), *context, ControlToken("speech")]
    segments.append(Speech(codes, characters if tracked else None))
    return segments


def dialogue_turn(
    *,
    audio: AudioInput | None = None,
    question: Sequence[int] | None = None,
    answer: Sequence[int] | None = None,
) -> list[Segment]:
    """A turn of a conversation, as far as it is known: audio, "question", question, "answer", answer.

    `question` and `answer` are text ids, each with its end. A question that was heard is learned,
    one that was read is not; the answer always is.
    """
    segments: list[Segment] = [] if audio is None else [audio]
    segments.append(ControlToken("question"))
    if question is not None:
        segments += [Text(question, supervised=audio is not None)]
    if answer is not None:
        segments += [ControlToken("answer"), Text(answer, supervised=True)]
    return segments

"""Prompts as plain data, beside codes: training data of models whose prompts are their publishers'.

The codes of recordings precede those of the speech that follows, and the speaker vector is kept beside
them. Letters: Q streams, T frames, D_s size of the speaker vector.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from vocalmtp.config import StrictModel
from vocalmtp.errors import InputError
from vocalmtp.models.prompts import Context, ControlToken, Segment, Speaker, Speech, Text


class Part(StrictModel):
    """A segment of a prompt: that of the only attribute that is set, beside `added`.

    Attributes:
        text: token ids.
        context: token ids that a trunk reads first.
        control: name of a control token.
        speaker: whether there is a speaker vector in the place for one.
        recording: frames of a recording.
        along: text ids along the steps of the speech that the prompt is for.
        added: text id whose embedding is added to a control token or a speaker vector.

    """

    text: tuple[int, ...] | None = None
    context: tuple[int, ...] | None = None
    control: str | None = None
    speaker: bool | None = None
    recording: int | None = None
    along: tuple[int, ...] | None = None
    added: int | None = None


def prompt_parts(segments: Sequence[Segment], codes: Tensor) -> tuple[tuple[Part, ...], Tensor]:
    """Convert a prompt and the codes [Q, T] that followed it.

    Returns:
        The parts, and the codes with those of the prompt's recordings before them.

    Raises:
        InputError: the prompt has audio, or text that is a training target.

    """
    parts: list[Part] = []
    recordings: list[Tensor] = []
    for segment in segments:
        match segment:
            case Text(supervised=False):
                parts.append(Part(text=tuple(segment.ids)))
            case Context():
                parts.append(Part(context=tuple(segment.ids)))
            case ControlToken():
                parts.append(Part(control=segment.name, added=segment.added))
            case Speaker():
                parts.append(Part(speaker=segment.vector is not None, added=segment.added))
            case Speech():
                if segment.codes is not None:
                    parts.append(Part(recording=segment.codes.shape[1]))
                    recordings.append(segment.codes.to(codes.device))
                if segment.characters is not None:
                    parts.append(Part(along=tuple(segment.characters)))
            case _:
                raise InputError(
                    f"prompt: a {type(segment).__name__} in it cannot be kept as training data; "
                    "train another family",
                    code="unsupported",
                )
    return tuple(parts), torch.cat([*recordings, codes], 1)


def segments_of(
    parts: Sequence[Part], codes: Tensor, speaker: Tensor | None = None
) -> list[Segment]:
    """Convert parts to a prompt for training, with the speech as its target.

    A recording at the end is what the speech goes on after: both are one piece.

    Args:
        parts: of the prompt.
        codes: [Q, T] of its recordings and of the speech.
        speaker: speaker vector [D_s], if a part needs it.

    """
    before = list(parts)
    along = before.pop().along if before and before[-1].along is not None else None
    given = before.pop().recording or 0 if before and before[-1].recording is not None else 0
    segments: list[Segment] = []
    start = 0
    for part in before:
        if part.text is not None:
            segments.append(Text(part.text))
        elif part.context is not None:
            segments.append(Context(part.context))
        elif part.control is not None:
            segments.append(ControlToken(part.control, part.added))
        elif part.speaker is not None:
            segments.append(Speaker(speaker if part.speaker else None, part.added))
        elif part.recording is not None:
            end = start + part.recording
            segments.append(Speech(codes[:, start:end], supervised=False))
            start = end
    return [*segments, Speech(codes[:, start:], along, given=given)]

"""Prompts as plain lists, beside codes: training data of models whose prompts are their publishers'.

A part is the ids of a text, or a number of frames of a recording. The codes of recordings precede
those of the speech that follows. Letters: Q streams, T frames.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from vocalmtp.errors import InputError
from vocalmtp.models.prompts import Segment, Speech, Text

Part = tuple[int, ...] | int


def prompt_parts(segments: Sequence[Segment], codes: Tensor) -> tuple[tuple[Part, ...], Tensor]:
    """Convert a prompt and the codes [Q, T] that followed it.

    Returns:
        The parts, and the codes with those of the prompt's recordings before them.

    Raises:
        InputError: the prompt has segments of other kinds.

    """
    parts: list[Part] = []
    recordings: list[Tensor] = []
    for segment in segments:
        match segment:
            case Text(supervised=False):
                parts.append(tuple(segment.ids))
            case Speech(codes=None, characters=None):
                pass
            case Speech(characters=None) if segment.codes is not None:
                parts.append(segment.codes.shape[1])
                recordings.append(segment.codes.to(codes.device))
            case _:
                raise InputError(
                    f"prompt: a {type(segment).__name__} in it cannot be kept as training data; "
                    "train another family",
                    code="unsupported",
                )
    return tuple(parts), torch.cat([*recordings, codes], 1)


def segments_of(parts: Sequence[Part], codes: Tensor) -> list[Segment]:
    """Convert parts and codes [Q, T] to a prompt for training, with the speech as its target.

    A recording at the end is what the speech goes on after: both are one piece.
    """
    segments: list[Segment] = []
    start = given = 0
    for place, part in enumerate(parts):
        if not isinstance(part, int):
            segments.append(Text(part))
        elif place == len(parts) - 1:
            given = part
        else:
            recording = codes[:, start : start + part]
            segments.append(Speech(recording, supervised=False))
            start += part
    return [*segments, Speech(codes[:, start:], given=given)]

"""Prompts as lists of typed segments; data/collate.py turns them into batches.

Letters: Q streams of the layout, T frames, U characters, D_s size of the speaker vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

TextMode = Literal["prompt", "track", "both"]
MARKERS = ("speech",)  # every marker is one learned embedding; the order is part of saved models


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
class Marker:
    """One of MARKERS: a learned embedding that says what follows."""

    name: str


Segment = Text | Speech | Speaker | Marker


def tts(
    mode: TextMode,
    *,
    text_ids: Sequence[int] = (),
    characters: Sequence[int] = (),
    speaker: Tensor | None = None,
    codes: Tensor | None = None,
    advances: Tensor | None = None,
) -> list[Segment]:
    """Text to speech: [text] speaker, "speech", speech; `codes` [Q, T] only in training.

    `text_ids` serve the modes "prompt" and "both"; `characters` and `advances` [T] serve "track"
    and "both".
    """
    tracked = mode != "prompt"
    if codes is not None and tracked:
        codes = torch.cat([advances[None], codes])
    segments: list[Segment] = [] if mode == "track" else [Text(text_ids)]
    segments += [Speaker(speaker), Marker("speech")]
    segments.append(Speech(codes, characters if tracked else None))
    return segments

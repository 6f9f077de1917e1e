"""From text to voice: one model folder behind one object, and one path under all of its calls.

text -> normalize -> sentences -> prompts -> decoding.generate -> layout.unpack -> tokenizer -> Audio.
`stream`, the plain call and `batch` are consumers of that same generator.
Letters: B rows, S packed steps, K slots, Q streams, T codec frames, D_s size of the speaker vector.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vocalmtp import prompts
from vocalmtp.audio import Audio, Word, join
from vocalmtp.data.collate import Collator
from vocalmtp.decoding.generate import StepEvent, generate
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.errors import InputError, nearest
from vocalmtp.layout import TokenLayout
from vocalmtp.model.speech_lm import SpeechLM
from vocalmtp.text import char_ids, normalize, split_sentences
from vocalmtp.timestamps import word_times
from vocalmtp.tokenizers import SpeechTokenizer
from vocalmtp.voices import Voice, make_voice

PAUSES = {".": 0.25, "?": 0.25, "!": 0.25, ",": 0.1}  # seconds of silence after a sentence's last sign
CHUNKS = (1, 2, 4)  # steps in each streamed chunk: few for a fast start, then more for less work
SEED_STRIDE = 0x9E3779B97F4A7C15  # apart enough that two texts' sentences never share their noise
SAMPLING = ("temperature", "top_k", "top_p", "greedy")


@dataclass(frozen=True)
class Utterance:
    """One sentence to say: normalised text, the voice, and the seed of its noise."""

    text: str
    voice: Voice | None
    seed: int


class Progress:
    """What the rows of one generation have said so far."""

    def __init__(self, layout: TokenLayout):
        self.layout = layout
        self.tokens: list[Tensor] = []  # S times [B, K]
        self.lengths: Tensor | None = None  # [B] packed steps, of a row that is finished
        self.truncated: Tensor | None = None  # [B] bool

    def codes(self, row: int, *, whole: bool) -> Tensor:
        """Codes [Q, T] of the layout's streams; unless `whole`, only those no later step can change."""
        tokens = torch.stack([step[row] for step in self.tokens])[None]  # [1, S, K]
        return tokens


class TTS:
    """Speaks. `vocalmtp.load` makes one; its parts can also be given.

    `voices` are the built-in ones by name, `card` is the content of the model's card.json.
    """

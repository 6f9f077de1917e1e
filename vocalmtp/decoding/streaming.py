"""One sentence from decoded steps to audio, while the steps come."""

from itertools import chain, repeat

import numpy as np
import torch
from torch import Tensor

from vocalmtp.audio.io import Audio, later
from vocalmtp.audio.timestamps import word_times
from vocalmtp.decoding.generate import StepUnpacker
from vocalmtp.models.layout import ADVANCE, TokenLayout
from vocalmtp.tokenizers import SpeechTokenizer

CHUNKS = (1, 2, 4)  # steps in each chunk: few for a fast start, then more for less work


class SentenceStream:
    """Turns the steps of one utterance into chunks of audio; joined, they equal decoding it whole.

    `text` is what is said and `speaker` [1, D_s] the voice. `push` every step, then `finish`.
    """

    def __init__(
        self, text: str, layout: TokenLayout, tokenizer: SpeechTokenizer, speaker: Tensor | None
    ):
        self.text, self.layout, self.spec = text, layout, tokenizer.spec
        self.tracked = layout.streams[0].name == ADVANCE
        self.codec = tokenizer.stream(speaker)
        self.unpacker = StepUnpacker(layout)
        self.sizes = chain(CHUNKS, repeat(CHUNKS[-1]))
        self.due = next(self.sizes)  # whole steps of the next chunk
        self.waiting: list[Tensor] = []  # [Q, t] frames that are not decoded yet
        self.pointers = np.zeros(0, np.int64)  # [T] character of every frame so far
        self.begun = False  # the codec has frames
        self.ended = False  # the model said the end
        self.words_out = 0
        self.samples_out = 0

    def push(self, tokens: Tensor) -> Audio | None:
        """Take in a step [K]; the next chunk, if it is full."""
        self.ended |= int(tokens[0]) == self.layout.slots[0].end_id
        frames = self.unpacker.push(tokens)  # [Q, t]
        if frames.shape[1]:
            self.waiting.append(frames)
        if sum(f.shape[1] for f in self.waiting) < self.due * self.layout.frames_per_step:
            return None
        self.due = next(self.sizes)
        wav = self._decode()
        return self._chunk(wav, whole=False) if wav.shape[1] else None

    def finish(self) -> Audio:
        """The rest, after the last step; `truncated` if the model did not say the end."""
        self.waiting.append(self.unpacker.flush())
        wav = self._decode()
        if self.begun:
            wav = torch.cat([wav, self.codec.flush()], dim=-1)
        audio = self._chunk(wav, whole=True)
        audio.truncated = not self.ended
        return audio

    def _decode(self) -> Tensor:
        """The waiting frames as samples [1, n]."""
        codes = torch.cat(self.waiting, dim=1)  # [Q, t]
        self.waiting = []
        if self.tracked:
            moved = codes[0].cumsum(0).cpu().numpy()
            start = self.pointers[-1] if len(self.pointers) else 0
            pointers = np.minimum(start + moved, len(self.text) - 1)
            self.pointers = np.concatenate([self.pointers, pointers])
            codes = codes[1:]
        if not codes.shape[1]:
            return torch.zeros(1, 0)
        self.begun = True
        return self.codec.push(codes[None])

    def _chunk(self, wav: Tensor, whole: bool) -> Audio:
        words = []
        if self.tracked:
            words = word_times(self.text, self.pointers, self.spec.frame_rate, whole=whole)
            words = words[self.words_out :]
        self.words_out += len(words)
        samples = wav[0].float().cpu().numpy()
        rate = self.spec.sample_rate
        audio = Audio(samples, rate, later(words, -self.samples_out / rate))
        self.samples_out += len(samples)
        return audio

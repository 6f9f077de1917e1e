"""Hearing: codec codes of the user's speech as positions of the backbone.

Letters: B rows, L positions, Q streams, T frames, H heard positions, G frames of one, D width, A
characters of the alphabet, U characters of what was said.
"""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.config import StrictModel
from vocalmtp.data.collate import HEARD
from vocalmtp.layout import Stream, TokenLayout
from vocalmtp.model.embeddings import SlotEmbedding


class ListenConfig(StrictModel):
    """How a speech LM listens. `end_id` is the token of its text vocabulary that ends a text."""

    streams: tuple[str, ...] = ()  # of the codec, that are heard; all if empty
    frames_per_position: int = Field(default=2, ge=1)
    width: int = Field(default=256, ge=1)
    layers: int = Field(default=3, ge=0)
    kernel: int = Field(default=5, ge=1)
    letter_weight: float = Field(default=0.3, ge=0)  # of the letters' loss
    end_id: int = Field(ge=0)


class Hearing(nn.Module):
    """Codes through convolutions to G frames a position, as VocalNet joins frames (arXiv
    2504.04060, section 3.1); the backbone then reads them before the text.

    In training its hidden states there also have to spell what is said, by CTC (Graves et al.
    2006): text that is written afterwards then soon finds where to look (hybrid CTC/attention,
    arXiv 1609.06773). No times of letters are needed.
    """

    def __init__(self, config: ListenConfig, streams: list[Stream], alphabet: int, width: int):
        super().__init__()
        self.group, self.blank, self.width = config.frames_per_position, alphabet, width
        names = config.streams or tuple(stream.name for stream in streams)
        self.chosen = [place for place, stream in enumerate(streams) if stream.name in names]
        layout = TokenLayout(streams=tuple(streams[place] for place in self.chosen))
        self.embedding = SlotEmbedding(layout, config.width)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(config.width, config.width, config.kernel, padding="same")
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.output = nn.Linear(config.width * self.group, width)
        self.letters = nn.Linear(width, self.group * (alphabet + 1))

    def forward(self, codes: Tensor, lengths: Tensor) -> Tensor:
        """Codes [B, Q, T] of `lengths` [B] frames to [B, H, D]; padding never reaches a frame."""
        codes = F.pad(codes, (0, -codes.shape[2] % self.group))
        place = torch.arange(codes.shape[2], device=codes.device)
        inside = (place < lengths[:, None])[:, None]  # [B, 1, T]
        heard = codes[:, self.chosen].transpose(1, 2)  # [B, T, Q]
        x = self.embedding(heard).transpose(1, 2) * inside  # [B, width, T]
        for convolution in self.convolutions:
            x = x + F.gelu(convolution(x)) * inside
        x = self.norm(x.transpose(1, 2)) * inside.transpose(1, 2)
        return self.output(x.unflatten(1, (-1, self.group)).flatten(2))

    def rows(self, codes: Tensor, lengths: Tensor) -> Tensor:
        """As `forward`, row by row, so that a row is heard alike in any batch; some have nothing."""
        nothing = self.norm.weight.new_zeros(0, self.width)
        heard = [
            self(row[None, :, :length], length[None])[0] if length else nothing
            for row, length in zip(codes, lengths, strict=True)
        ]
        return nn.utils.rnn.pad_sequence(heard, batch_first=True)

    def spell(self, hidden: Tensor) -> Tensor:
        """Hidden states [.., H, D] of heard positions to log-probabilities [.., H * G, A + 1]."""
        logits = self.letters(hidden).unflatten(-1, (self.group, -1)).flatten(-3, -2)
        return logits.float().log_softmax(-1)

    def letter_loss(
        self, hidden: Tensor, kinds: Tensor, characters: Tensor, lengths: Tensor
    ) -> Tensor:
        """CTC of `characters` [B, U] of `lengths` [B] in the hidden states [B, L, D], a character.

        A row that has fewer frames than characters counts nothing.
        """
        here = kinds == HEARD  # [B, L]
        heard = hidden.new_zeros(len(hidden), int(here.sum(1).max()), hidden.shape[-1])
        rows, place = positions(here)
        heard[rows, place] = hidden[here]
        losses = F.ctc_loss(
            self.spell(heard).transpose(0, 1),  # [H * G, B, A + 1]
            characters,
            here.sum(1) * self.group,
            lengths,
            blank=self.blank,
            reduction="none",
            zero_infinity=True,
        )
        return losses.sum() / lengths.sum().clamp(min=1)


def positions(here: Tensor) -> tuple[Tensor, Tensor]:
    """Where `here` [B, L] is true: the rows [N], and how manieth of its row each is [N]."""
    rows, _ = here.nonzero(as_tuple=True)
    return rows, (here.cumsum(1) - 1)[here]


def place_heard(inputs: Tensor, kinds: Tensor, heard: Tensor) -> Tensor:
    """Inputs [B, L, D] with the heard positions [B, H, D] in their places."""
    here = kinds == HEARD
    rows, place = positions(here)
    return inputs.masked_scatter(here[..., None], heard[rows, place].to(inputs.dtype))

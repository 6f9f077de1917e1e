"""The text track: which character is being spoken at every codec frame.

A stream named "advance" says how many characters the pointer moves at each frame. It leads the
codec streams by one step, so the text of a step is known before its codes are predicted.
Letters: B batch, U characters, T frames, S steps, G frames per step, D width.
"""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.config import StrictModel
from vocalmtp.engines.linears import Make, ProductConvolution
from vocalmtp.models.layout import ADVANCE, Stream


class TrackConfig(StrictModel):
    """The text encoder of the track, and how far a pointer may move in one frame."""

    width: int = Field(default=256, ge=1)
    layers: int = Field(default=3, ge=0)
    kernel: int = Field(default=5, ge=1)
    max_advance: int = Field(default=5, ge=1)
    loss_weight: float = Field(default=0.3, ge=0)  # of the advances, beside the mean over the codec

    @property
    def stream(self) -> Stream:
        return Stream(name=ADVANCE, size=self.max_advance + 1, joint=True)


class TextTrack(nn.Module):
    """A convolutional encoder over characters, read at the pointers of a step's frames."""

    def __init__(self, config: TrackConfig, alphabet_size: int, width: int, num_frames: int):
        super().__init__()
        self.embedding = nn.Embedding(alphabet_size, config.width)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(config.width, config.width, config.kernel, padding="same")
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.output = nn.Linear(config.width, width)
        self.frame_proj = nn.ModuleList(
            nn.Linear(width, width, bias=False) for _ in range(num_frames - 1)
        )

    def encode(self, char_ids: Tensor, lengths: Tensor) -> Tensor:
        """Characters [B, U] of `lengths` [B] to [B, U, D]; padding never reaches a character."""
        place = torch.arange(char_ids.shape[1], device=char_ids.device)
        inside = (place < lengths[:, None])[:, None]  # [B, 1, U]
        x = self.embedding(char_ids).transpose(1, 2) * inside  # [B, width, U]
        for convolution in self.convolutions:
            x = x + F.gelu(convolution(x)) * inside
        return self.output(self.norm(x.transpose(1, 2)))

    def encode_rows(self, char_ids: Tensor, lengths: Tensor) -> Tensor:
        """As `encode`, row by row: a convolution rounds differently for other paddings, and a row
        should say the same in any batch."""
        rows = [
            self.encode(row[None, :length], length[None])[0]
            for row, length in zip(char_ids, lengths, strict=True)
        ]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True)

    def fuse(self, make: Make) -> None:
        """Convolutions as products, for inference; training and saving are over then."""
        self.convolutions = nn.ModuleList(ProductConvolution(c, make) for c in self.convolutions)

    def read(self, encoded: Tensor, pointers: Tensor) -> Tensor:
        """Text at `pointers` [B, .., G] of `encoded` [B, U, D], as [B, .., D]; G may be less than
        the track has frames.

        The first frame counts as it is, the others through a linear map each, summed.
        """
        rows = torch.arange(len(encoded), device=encoded.device)
        rows = rows.view(-1, *[1] * (pointers.dim() - 1))
        text = encoded[rows, pointers]  # [B, .., G, D]
        total = text[..., 0, :]
        for frame in range(1, pointers.shape[-1]):
            total = total + self.frame_proj[frame - 1](text[..., frame, :])
        return total


def frame_advances(
    char_ends: Tensor, num_frames: int, frame_rate: float, max_advance: int = 5
) -> Tensor:
    """How many characters the pointer moves at each frame, [T] int64 in 0..max_advance.

    `char_ends` [U] are the end times of the characters in seconds. The pointer, which starts at
    character 0, stands on the character that sounds at the frame's middle. What exceeds
    `max_advance` is carried to later frames, or begun earlier where the end would be missed: the
    last frame always stands on the last character, if the frames suffice.
    """
    frames = torch.arange(num_frames)
    last = len(char_ends) - 1
    middle = (frames + 0.5) / frame_rate
    ends = char_ends.float().cummax(0).values.contiguous()
    pointer = torch.searchsorted(ends, middle, right=True).clamp(max=last)
    least = last - max_advance * (num_frames - 1 - frames)
    pointer = torch.maximum(pointer, least)
    slack = (pointer - max_advance * (frames + 1)).clamp(max=0)
    pointer = slack.cummin(0).values + max_advance * (frames + 1)
    return torch.diff(pointer, prepend=pointer.new_zeros(1))

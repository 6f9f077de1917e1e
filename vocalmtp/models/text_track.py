"""The text track: which character is spoken at every codec frame.

A stream named "advance" holds how many characters a pointer into the text moves at each frame. It
leads the codec streams by one step, so the text of a step is known before its codes are predicted.
A character may have phones: up to three numbers of phones are the digits of its id after that of the
letter, see `vocalmtp.text.pronunciation.track_ids`.
Letters: B rows, U characters, T frames, G frames per step, D width.
"""

from typing import cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.config import StrictModel
from vocalmtp.engines.linears import LinearFactory, WindowedLinear
from vocalmtp.models.streams import ADVANCE, Stream
from vocalmtp.text.letter_phones import LONGEST


class TrackConfig(StrictModel):
    """Settings of the track's text encoder and of its advances."""

    width: int = Field(default=256, ge=1)
    layers: int = Field(default=3, ge=0)
    kernel: int = Field(default=5, ge=1)
    max_advance: int = Field(default=5, ge=1)  # characters in one frame
    loss_weight: float = Field(default=0.3, ge=0)  # of the advances, beside the mean over the codec

    @property
    def stream(self) -> Stream:
        """The stream of the advances, one symbol for all frames of a step."""
        return Stream(name=ADVANCE, size=self.max_advance + 1, joint=True)


class TextTrack(nn.Module):
    """A convolutional encoder over characters, read at the pointers of a step's frames.

    Args:
        config: settings.
        alphabet_size: number of different characters.
        width: D.
        num_frames: most frames of a step.
        num_phones: number of different phones; 0 if the track reads letters alone.

    """

    def __init__(
        self,
        config: TrackConfig,
        alphabet_size: int,
        width: int,
        num_frames: int,
        num_phones: int = 0,
    ):
        super().__init__()
        self.embedding = nn.Embedding(alphabet_size, config.width)
        self.phone_embeddings = nn.ModuleList(
            nn.Embedding(num_phones + 1, config.width, padding_idx=0)  # 0: no phone
            for _ in range(LONGEST if num_phones else 0)
        )
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
        """Encode characters [B, U] of `lengths` [B]: [B, U, D]. Padding has no influence."""
        place = torch.arange(char_ids.shape[1], device=char_ids.device)
        inside = (place < lengths[:, None])[:, None]  # [B, 1, U]
        x = self.embed(char_ids).transpose(1, 2) * inside  # [B, width, U]
        for convolution in self.convolutions:
            x = x + F.gelu(convolution(x)) * inside
        encoded: Tensor = self.output(self.norm(x.transpose(1, 2)))
        return encoded

    def embed(self, char_ids: Tensor) -> Tensor:
        """Embed characters [B, U], and the phones that they stand for: [B, U, width]."""
        x: Tensor = self.embedding(char_ids % self.embedding.num_embeddings)
        rest = char_ids // self.embedding.num_embeddings
        for embedding in self.phone_embeddings:
            layer = cast(nn.Embedding, embedding)
            x = x + layer(rest % layer.num_embeddings)
            rest = rest // layer.num_embeddings
        return x

    def encode_rows(self, char_ids: Tensor, lengths: Tensor) -> Tensor:
        """Encode as `encode`, but row by row: a row gets the same bits in any batch.

        Convolutions round differently for other paddings.
        """
        rows = [
            self.encode(row[None, :length], lengths[None, number])[0]
            for number, (row, length) in enumerate(zip(char_ids, lengths.tolist(), strict=True))
        ]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True)

    def read(self, encoded: Tensor, pointers: Tensor) -> Tensor:
        """Sum the text at the pointers of a step's frames, through a map for all but the first.

        Args:
            encoded: [B, U, D].
            pointers: [B, .., G], where G may be less than the track's most frames.

        Returns:
            [B, .., D].

        """
        text = read_at(encoded, pointers)  # [B, .., G, D]
        total = text[..., 0, :]
        for frame in range(1, pointers.shape[-1]):
            total = total + self.frame_proj[frame - 1](text[..., frame, :])
        return total

    def optimize_for_inference(self, convert: LinearFactory) -> None:
        """Turn convolutions into products in place; the track cannot be trained or saved then."""
        self.convolutions = nn.ModuleList(
            WindowedLinear(cast(nn.Conv1d, layer), convert) for layer in self.convolutions
        )


def read_at(encoded: Tensor, pointers: Tensor) -> Tensor:
    """Look up the text [B, U, D] at pointers [B, .., G]: [B, .., G, D]."""
    rows = torch.arange(len(encoded), device=encoded.device)
    return encoded[rows.view(-1, *[1] * (pointers.dim() - 1)), pointers]


def frame_advances(
    char_ends: Tensor, num_frames: int, frame_rate: float, max_advance: int = 5
) -> Tensor:
    """Compute how many characters the pointer moves at each frame, [T] int64 in 0..max_advance.

    The pointer starts at character 0 and is at the character that is spoken at the frame's middle.
    What exceeds `max_advance` moves to later frames, or to earlier ones where the end would be
    missed: the last frame is always at the last character, if there are enough frames.

    Args:
        char_ends: [U] end times of the characters in seconds.
        num_frames: T.
        frame_rate: frames per second.
        max_advance: most characters in one frame.

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

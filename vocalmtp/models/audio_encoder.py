"""Hearing: the user's speech, as codec codes or log-mels, as positions of the backbone.

Letters: B rows, L positions, N samples, Q streams, C numbers of a frame of log-mels, X either, T
frames, H heard positions, G frames of one, D width, A characters of the alphabet.
"""

from functools import cache
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.audio.mel import LogMel
from vocalmtp.config import StrictModel
from vocalmtp.data.collate import AUDIO
from vocalmtp.models.aligner import AcousticModel, AlignerConfig
from vocalmtp.models.embeddings import SlotEmbedding
from vocalmtp.models.layout import IGNORED, Stream, TokenLayout

ACOUSTICS = AlignerConfig()  # of ears that hear log-mels: they may start as the aligner's
SAMPLE_RATE, HOP, MELS = ACOUSTICS.sample_rate, ACOUSTICS.hop, ACOUSTICS.mels
FOLD = 4  # log-mels of a frame
MEL_RATE = SAMPLE_RATE / HOP / FOLD  # frames a second


class AudioInputConfig(StrictModel):
    """How a speech LM listens. `end_id` is the token of its text vocabulary that ends a text.

    "codes" are those of the model's own tokenizer, which hears well what it was trained on; "mels"
    are the spectrum itself, which training can warp and bury in noise to serve anyone.
    """

    source: Literal["codes", "mels"] = "codes"
    streams: tuple[str, ...] = ()  # of the codes, that are heard; all if empty
    frames_per_position: int = Field(default=2, ge=1)
    width: int = Field(default=256, ge=1)
    layers: int = Field(default=3, ge=0)
    kernel: int = Field(default=5, ge=1)
    character_loss_weight: float = Field(default=0.3, ge=0)  # of the letters' loss
    end_id: int = Field(ge=0)


@cache
def _spectrum() -> LogMel:
    return LogMel(SAMPLE_RATE, ACOUSTICS.window, HOP, MELS)


def log_mels(wav: Tensor) -> Tensor:
    """A recording [N] at SAMPLE_RATE as log-mels [FOLD * T, MELS]; silence fills the last frame."""
    wav = F.pad(wav, (0, -len(wav) % (HOP * FOLD)))
    lengths = torch.tensor([len(wav)], device=wav.device)
    return _spectrum()(wav[None], lengths)[0][0]


def mel_frames(mel: Tensor) -> Tensor:
    """Log-mels [FOLD * T, MELS] as the frames [C, T] that are heard, MEL_RATE a second."""
    return mel.unflatten(0, (-1, FOLD)).flatten(1).T


class CodeEmbedding(nn.Module):
    """Codes [B, Q, T] to [B, T, width]; the streams that are not `names` are not heard."""

    def __init__(self, names: tuple[str, ...], streams: list[Stream], width: int):
        super().__init__()
        names = names or tuple(stream.name for stream in streams)
        self.chosen = [place for place, stream in enumerate(streams) if stream.name in names]
        layout = TokenLayout(streams=tuple(streams[place] for place in self.chosen))
        self.slots = SlotEmbedding(layout, width)

    def forward(self, codes: Tensor, inside: Tensor) -> Tensor:
        return self.slots(codes[:, self.chosen].transpose(1, 2))


class MelEmbedding(nn.Module):
    """Log-mels [B, C, T] through an acoustic model to [B, T, width]."""

    def __init__(self, width: int):
        super().__init__()
        self.acoustics = AcousticModel(ACOUSTICS)
        self.output = nn.Linear(FOLD * ACOUSTICS.dim, width)

    def forward(self, mels: Tensor, inside: Tensor) -> Tensor:
        """`inside` [B, 1, T] is false where a row has no more frames."""
        mels = mels.to(self.output.weight.dtype).transpose(1, 2)  # [B, T, FOLD * MELS]
        mels = mels.unflatten(2, (FOLD, MELS)).flatten(1, 2)  # [B, FOLD * T, MELS]
        mask = inside.transpose(1, 2).repeat_interleave(FOLD, dim=1)  # [B, FOLD * T, 1]
        hidden = self.acoustics.hidden(mels, mask.to(mels.dtype))
        return self.output(hidden.unflatten(1, (-1, FOLD)).flatten(2))


class AudioEncoder(nn.Module):
    """Frames through convolutions to G frames a position, as VocalNet joins frames (arXiv
    2504.04060, section 3.1); the backbone then reads them before the text.

    In training its hidden states there also have to tell which letter sounds at every frame: the
    text track, the other way round. Text that is written afterwards then soon finds where to look.
    """

    def __init__(self, config: AudioInputConfig, streams: list[Stream], alphabet: int, width: int):
        super().__init__()
        self.group, self.width = config.frames_per_position, width
        self.embedding = (
            MelEmbedding(config.width)
            if config.source == "mels"
            else CodeEmbedding(config.streams, streams, config.width)
        )
        self.convolutions = nn.ModuleList(
            nn.Conv1d(config.width, config.width, config.kernel, padding="same")
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.output = nn.Linear(config.width * self.group, width)
        self.character_output = nn.Linear(width, self.group * alphabet)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Codes [B, Q, T] or log-mels [B, C, T] of `lengths` [B] frames to [B, H, D]; padding never
        reaches a frame.
        """
        frames = F.pad(frames, (0, -frames.shape[2] % self.group))
        place = torch.arange(frames.shape[2], device=frames.device)
        inside = (place < lengths[:, None])[:, None]  # [B, 1, T]
        x = self.embedding(frames, inside).transpose(1, 2) * inside  # [B, width, T]
        for convolution in self.convolutions:
            x = x + F.gelu(convolution(x)) * inside
        x = self.norm(x.transpose(1, 2)) * inside.transpose(1, 2)
        return self.output(x.unflatten(1, (-1, self.group)).flatten(2))

    def take_over(self, before: "AudioEncoder") -> None:
        """Begin with the weights of other ears, where there are such and they fit."""
        own = self.state_dict()
        for name, weight in before.state_dict().items():
            if name in own and own[name].shape == weight.shape:
                own[name].copy_(weight)

    def rows(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """As `forward`, row by row: one is heard alike in any batch. Some have nothing."""
        nothing = self.norm.weight.new_zeros(0, self.width)
        heard = [
            self(row[None, :, :length], length[None])[0] if length else nothing
            for row, length in zip(frames, lengths, strict=True)
        ]
        return nn.utils.rnn.pad_sequence(heard, batch_first=True)

    def character_loss(self, hidden: Tensor, kinds: Tensor, letters: Tensor) -> Tensor:
        """Cross-entropy of the `letters` [B, T] that sound at the heard frames (-100 = not known),
        in the hidden states [B, L, D].
        """
        here = kinds == AUDIO  # [B, L]
        rows, place = positions(here)
        letters = F.pad(letters, (0, -letters.shape[1] % self.group), value=IGNORED)
        wanted = letters.unflatten(1, (-1, self.group))[rows, place]  # [N, G]
        logits = self.character_output(hidden[here]).unflatten(-1, (self.group, -1))  # [N, G, A]
        known = (wanted != IGNORED).sum().clamp(min=1)
        logits, wanted = logits.flatten(0, 1).float(), wanted.flatten()
        return F.cross_entropy(logits, wanted, ignore_index=IGNORED, reduction="sum") / known


def positions(here: Tensor) -> tuple[Tensor, Tensor]:
    """Where `here` [B, L] is true: the rows [N], and how manieth of its row each is [N]."""
    rows, _ = here.nonzero(as_tuple=True)
    return rows, (here.cumsum(1) - 1)[here]


def place_heard(inputs: Tensor, kinds: Tensor, heard: Tensor) -> Tensor:
    """Inputs [B, L, D] with the heard positions [B, H, D] in their places."""
    here = kinds == AUDIO
    rows, place = positions(here)
    return inputs.masked_scatter(here[..., None], heard[rows, place].to(inputs.dtype))

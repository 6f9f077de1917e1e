"""Audio input: the user's speech, as codec codes or log-mels, at positions of the backbone.

Letters: B rows, L positions, N samples, Q streams, C numbers of a log-mel frame, X streams or C, T
frames, H audio positions, G frames of an audio position, D width, A characters of the alphabet.
"""

from functools import cache
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.audio.mel import LogMel
from vocalmtp.config import StrictModel
from vocalmtp.models.aligner import AcousticModel, AlignerConfig
from vocalmtp.models.batch import PositionKind
from vocalmtp.models.embeddings import SlotEmbedding
from vocalmtp.models.layout import IGNORED, TokenLayout
from vocalmtp.models.streams import Stream

ACOUSTICS = AlignerConfig()  # the encoder of log-mels may start with the aligner's weights
SAMPLE_RATE, HOP, MELS = ACOUSTICS.sample_rate, ACOUSTICS.hop, ACOUSTICS.mels
FOLD = 4  # log-mels that are joined into one frame
MEL_RATE = SAMPLE_RATE / HOP / FOLD  # frames per second


class AudioInputConfig(StrictModel):
    """Settings of the audio encoder.

    With the source "codes", the input are codes of the model's own tokenizer, which represents well
    what it was trained on; with "mels", log-mels, which training can augment with noise and rooms.
    """

    source: Literal["codes", "mels"] = "codes"
    streams: tuple[str, ...] = ()  # of the codes; all if empty
    frames_per_position: int = Field(default=2, ge=1)
    width: int = Field(default=256, ge=1)
    layers: int = Field(default=3, ge=0)
    kernel: int = Field(default=5, ge=1)
    character_loss_weight: float = Field(default=0.3, ge=0)
    end_id: int = Field(ge=0)  # token of the backbone's vocabulary that ends a text


@cache
def _spectrum() -> LogMel:
    return LogMel(SAMPLE_RATE, ACOUSTICS.window, HOP, MELS)


def log_mels(wav: Tensor) -> Tensor:
    """Log-mels [FOLD * T, MELS] of a recording [N] at SAMPLE_RATE; silence fills the last frame."""
    wav = F.pad(wav, (0, -len(wav) % (HOP * FOLD)))
    lengths = torch.tensor([len(wav)], device=wav.device)
    mels: Tensor = _spectrum()(wav[None], lengths)[0][0]
    return mels


def mel_frames(mel: Tensor) -> Tensor:
    """Join log-mels [FOLD * T, MELS] into frames [C, T], MEL_RATE per second."""
    return mel.unflatten(0, (-1, FOLD)).flatten(1).T


class CodeEmbedding(nn.Module):
    """Embeds codes [B, Q, T] as [B, T, width].

    Args:
        names: the streams that are used; all if empty.
        streams: all streams of the tokenizer.
        width: of the vectors.

    """

    def __init__(self, names: tuple[str, ...], streams: list[Stream], width: int):
        super().__init__()
        names = names or tuple(stream.name for stream in streams)
        self.chosen = [place for place, stream in enumerate(streams) if stream.name in names]
        layout = TokenLayout(streams=tuple(streams[place] for place in self.chosen))
        self.slots = SlotEmbedding(layout, width)

    def forward(self, codes: Tensor, inside: Tensor) -> Tensor:
        """Codes [B, Q, T] to [B, T, width]; `inside` is not used."""
        vectors: Tensor = self.slots(codes[:, self.chosen].transpose(1, 2))
        return vectors


class MelEmbedding(nn.Module):
    """Encodes log-mels [B, C, T] with an acoustic model as [B, T, width]."""

    def __init__(self, width: int):
        super().__init__()
        self.acoustics = AcousticModel(ACOUSTICS)
        self.output = nn.Linear(FOLD * ACOUSTICS.dim, width)

    def forward(self, mels: Tensor, inside: Tensor) -> Tensor:
        """Log-mels [B, C, T] to [B, T, width]; `inside` [B, 1, T] is false beyond a row's end."""
        mels = mels.to(self.output.weight.dtype).transpose(1, 2)  # [B, T, FOLD * MELS]
        mels = mels.unflatten(2, (FOLD, MELS)).flatten(1, 2)  # [B, FOLD * T, MELS]
        mask = inside.transpose(1, 2).repeat_interleave(FOLD, dim=1)  # [B, FOLD * T, 1]
        hidden = self.acoustics.hidden(mels, mask.to(mels.dtype))
        vectors: Tensor = self.output(hidden.unflatten(1, (-1, FOLD)).flatten(2))
        return vectors


class AudioEncoder(nn.Module):
    """Encodes frames with convolutions, and joins G of them into a position of the backbone.

    Frames are joined as in VocalNet (arXiv 2504.04060, section 3.1); audio precedes its text.
    An auxiliary loss predicts the character spoken at every frame from the backbone's hidden states
    there: the text track in reverse. Text that is written afterwards then soon aligns with them.

    Args:
        config: settings.
        streams: the tokenizer's streams.
        alphabet: A.
        width: D.

    """

    def __init__(self, config: AudioInputConfig, streams: list[Stream], alphabet: int, width: int):
        super().__init__()
        self.group, self.width = config.frames_per_position, width
        self.embedding: CodeEmbedding | MelEmbedding
        if config.source == "mels":
            self.embedding = MelEmbedding(config.width)
        else:
            self.embedding = CodeEmbedding(config.streams, streams, config.width)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(config.width, config.width, config.kernel, padding="same")
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.output = nn.Linear(config.width * self.group, width)
        self.character_output = nn.Linear(width, self.group * alphabet)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Encode codes or log-mels [B, X, T] of `lengths` [B] frames: [B, H, D].

        Padding does not influence the frames of a row.
        """
        frames = F.pad(frames, (0, -frames.shape[2] % self.group))
        place = torch.arange(frames.shape[2], device=frames.device)
        inside = (place < lengths[:, None])[:, None]  # [B, 1, T]
        x = self.embedding(frames, inside).transpose(1, 2) * inside  # [B, width, T]
        for convolution in self.convolutions:
            x = x + F.gelu(convolution(x)) * inside
        x = self.norm(x.transpose(1, 2)) * inside.transpose(1, 2)
        encoded: Tensor = self.output(x.unflatten(1, (-1, self.group)).flatten(2))
        return encoded

    def encode_rows(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Encode as `forward`, but row by row: a row gets the same bits in any batch."""
        nothing = self.norm.weight.new_zeros(0, self.width)
        encoded = [
            self(row[None, :, :length], lengths[None, number])[0] if length else nothing
            for number, (row, length) in enumerate(zip(frames, lengths.tolist(), strict=True))
        ]
        return nn.utils.rnn.pad_sequence(encoded, batch_first=True)

    def load_fitting(self, other: "AudioEncoder") -> None:
        """Copy the weights of another encoder that have the same name and shape here."""
        own = self.state_dict()
        for name, weight in other.state_dict().items():
            if name in own and own[name].shape == weight.shape:
                own[name].copy_(weight)

    def character_loss(self, hidden: Tensor, kinds: Tensor, characters: Tensor) -> Tensor:
        """Compute the cross-entropy [] of the characters that are spoken at the frames.

        Args:
            hidden: hidden states of the backbone [B, L, D].
            kinds: [B, L] PositionKind.
            characters: [B, T], -100 = unknown.

        """
        here = kinds == PositionKind.AUDIO  # [B, L]
        rows, place = places_in_row(here)
        padding = -characters.shape[1] % self.group
        characters = F.pad(characters, (0, padding), value=IGNORED)
        wanted = characters.unflatten(1, (-1, self.group))[rows, place]  # [N, G]
        logits = self.character_output(hidden[here]).unflatten(-1, (self.group, -1))  # [N, G, A]
        known = (wanted != IGNORED).sum().clamp(min=1)
        logits, wanted = logits.flatten(0, 1).float(), wanted.flatten()
        return F.cross_entropy(logits, wanted, ignore_index=IGNORED, reduction="sum") / known


def places_in_row(here: Tensor) -> tuple[Tensor, Tensor]:
    """Where `here` [B, L] is true: the rows [N], and how many in the row come before, [N]."""
    rows, _ = here.nonzero(as_tuple=True)
    return rows, (here.cumsum(1) - 1)[here]


def place_audio(inputs: Tensor, kinds: Tensor, encoded: Tensor) -> Tensor:
    """Put encoded audio [B, H, D] at its positions in `inputs` [B, L, D]: [B, L, D]."""
    here = kinds == PositionKind.AUDIO
    rows, place = places_in_row(here)
    return inputs.masked_scatter(here[..., None], encoded[rows, place].to(inputs.dtype))

"""What every speech tokenizer is: a spec, codes from a waveform, and a waveform from codes.

Letters: B batch, N samples, T codec frames, Q streams, D_s size of the speaker vector.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from vocalmtp.errors import InputError

Kind = Literal["coupled", "semi_decoupled", "decoupled"]
Role = Literal["content", "prosody", "acoustic", "semantic"]


class StreamSpec(BaseModel):
    """One stream of codes: `size` entries, made of FSQ digits `levels` where it has them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    size: int = Field(ge=1)
    role: Role
    levels: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _levels_make_size(self) -> "StreamSpec":
        if self.levels and math.prod(self.levels) != self.size:
            raise ValueError(
                f"levels {self.levels} multiply to {math.prod(self.levels)}, not {self.size}"
            )
        return self


class TokenizerSpec(BaseModel):
    """The facts about a tokenizer that a speech LM, a code shard and a person need."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    sample_rate: int = Field(ge=1)
    frame_rate: float = Field(gt=0, allow_inf_nan=False)  # codec frames per second
    streams: tuple[StreamSpec, ...] = Field(min_length=1)
    codes: str = ""  # which encoder's: training one anew makes other codes of the same shape
    speaker_dim: int = Field(default=0, ge=0)  # size of the timbre vector, 0 = none
    lookahead: float | None = None  # seconds of future that decoding needs; None = cannot stream
    licence: str = "Apache-2.0"

    @property
    def hop(self) -> int:
        """Samples per codec frame."""
        return round(self.sample_rate / self.frame_rate)

    @property
    def bits_per_second(self) -> float:
        return self.frame_rate * sum(math.log2(stream.size) for stream in self.streams)

    @property
    def hash(self) -> str:
        """Short digest, stamped on shards and models, so that codes never meet a wrong decoder."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass
class SpeechCodes:
    """Codes of a batch of utterances."""

    codes: Tensor  # [B, Q, T] int64
    lengths: Tensor  # [B] int64, frames
    speaker: Tensor | None = None  # [B, D_s] float32


class CodecStream(Protocol):
    """Incremental decoding of one batch of utterances; owns all of its state."""

    def push(self, codes: Tensor) -> Tensor:
        """`codes` [B, Q, t] to as many new samples [B, n] as are final (n may be 0)."""
        ...

    def flush(self) -> Tensor:
        """The samples [B, n] that waited for look-ahead; the stream is over."""
        ...


class SpeechTokenizer(nn.Module):
    """Waveform to codes and back. Subclasses set `spec` and implement the four methods below."""

    spec: TokenizerSpec

    def encode(self, wav: Tensor, lengths: Tensor | None = None) -> SpeechCodes:
        """`wav` [B, N] float32 in [-1, 1], true `lengths` [B] in samples, to codes."""
        raise NotImplementedError

    def decode(
        self, codes: Tensor, speaker: Tensor | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        """`codes` [B, Q, T] of `lengths` [B] frames and `speaker` [B, D_s] to wav [B, T * hop]."""
        raise NotImplementedError

    def embed_speaker(self, wav: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The timbre vector [B, D_s] of `wav` [B, N]; raises InputError if the kind has none."""
        raise InputError(
            f"tokenizer '{self.spec.name}': keeps the voice in its streams, not in a vector; "
            "use a decoupled one, such as 'mini'",
            code="unsupported",
        )

    def stream(self, speaker: Tensor | None = None) -> CodecStream:
        """A new incremental decoder; its chunks, joined, equal `decode`.

        Raises InputError if the spec has no look-ahead: the decoder needs whole utterances.
        """
        raise InputError(
            f"tokenizer '{self.spec.name}': cannot stream, it decodes whole utterances; use decode",
            code="unsupported",
        )

    def optimize_for_inference(self) -> None:  # noqa: B027 (not every tokenizer can be made faster)
        """Change the decoder, in place, so that this machine runs it faster; it is final then."""

    def save_pretrained(self, folder: Path | str) -> None:
        """Write the tokenizer to `folder`; `load_tokenizer(folder)` reads it."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device


def check_wav(spec: TokenizerSpec, wav: Tensor, lengths: Tensor | None = None) -> Tensor:
    """The lengths [B] in samples of `wav` [B, N]: all N, unless they are given.

    Raises InputError if `wav` is not a batch of mono float audio, empty, or not finite, or the
    lengths do not fit it.
    """
    what = f"audio for tokenizer '{spec.name}'"
    if wav.dim() != 2 or not wav.is_floating_point():
        raise InputError(
            f"{what}: is {str(wav.dtype).removeprefix('torch.')} {list(wav.shape)}; "
            f"give mono float samples [batch, samples] at {spec.sample_rate} Hz",
            code="invalid_value",
        )
    if not wav.shape[1] or not len(wav):
        raise InputError(f"{what}: has no samples; give one or more", code="empty")
    if lengths is None:
        lengths = torch.full((len(wav),), wav.shape[1], device=wav.device)
    if lengths.shape != wav.shape[:1] or lengths.min() < 1 or lengths.max() > wav.shape[1]:
        raise InputError(
            f"{what}: lengths are {lengths.tolist()[:8]}; give one a row, from 1 to {wav.shape[1]}",
            code="invalid_value",
        )
    if not bool(wav.isfinite().all()):
        raise InputError(f"{what}: has samples that are not finite; make it again", code="damaged")
    return lengths


def check_codes(spec: TokenizerSpec, codes: Tensor) -> None:
    """Raise InputError unless `codes` are [B, Q, T] integers that the streams of `spec` have."""
    what = f"codes for tokenizer '{spec.name}'"
    if codes.dim() != 3 or codes.shape[1] != len(spec.streams) or codes.is_floating_point():
        raise InputError(
            f"{what}: are {str(codes.dtype).removeprefix('torch.')} {list(codes.shape)}; "
            f"give integers [batch, {len(spec.streams)}, frames]",
            code="invalid_value",
        )
    sizes = torch.tensor([stream.size for stream in spec.streams], device=codes.device)[:, None]
    wrong = (codes < 0) | (codes >= sizes)
    if bool(wrong.any()):
        stream = spec.streams[int(wrong.any(-1).any(0).int().argmax())]
        code = int(codes[wrong][0])
        raise InputError(
            f"{what}: has code {code}; stream '{stream.name}' has codes 0 to {stream.size - 1}",
            code="out_of_range",
        )

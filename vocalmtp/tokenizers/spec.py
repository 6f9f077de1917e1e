"""What describes a speech tokenizer and its streams, and how decoded audio begins and ends.

Nothing here needs torch.
"""

import hashlib
import json
import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

from vocalmtp.arrays import Array, as_float, namespace

# Seconds at both ends of an utterance that are silent, and over which the sound fades: without a
# past, the decoder's first frames are a click, and so are the last ones, without a future.
QUIET, FADE = 0.02, 0.03

Kind = Literal["coupled", "semi_decoupled", "decoupled"]
Role = Literal["content", "prosody", "acoustic", "semantic"]


class StreamSpec(BaseModel):
    """One stream of codes: codebook `size`, and the FSQ `levels` whose product it is, if any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    size: int = Field(ge=1)
    role: Role
    levels: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _levels_make_size(self) -> Self:
        if self.levels and math.prod(self.levels) != self.size:
            raise ValueError(
                f"levels {self.levels} multiply to {math.prod(self.levels)}, not {self.size}"
            )
        return self


class TokenizerSpec(BaseModel):
    """Description of a tokenizer with its weights, saved beside codes and models made with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    sample_rate: int = Field(ge=1)  # of decoded audio
    frame_rate: float = Field(gt=0, allow_inf_nan=False)  # codec frames per second
    streams: tuple[StreamSpec, ...] = Field(min_length=1)
    codes: str = ""  # digest of the encoder's weights: retraining it changes what codes mean
    speaker_dim: int = Field(default=0, ge=0)  # size of the speaker vector, 0 = none
    lookahead: float | None = None  # seconds of future that decoding needs; None = cannot stream
    licence: str = "Apache-2.0"
    encoder_sample_rate: int | None = Field(default=None, ge=1)  # None = sample_rate

    @property
    def hop(self) -> int:
        """Samples of decoded audio per codec frame."""
        return round(self.sample_rate / self.frame_rate)

    @property
    def input_rate(self) -> int:
        """Sample rate of the audio to encode."""
        return self.encoder_sample_rate or self.sample_rate

    @property
    def input_hop(self) -> int:
        """Samples of the audio to encode per codec frame."""
        return round(self.input_rate / self.frame_rate)

    @property
    def noncommercial(self) -> bool:
        """Whether the licence of the weights excludes commercial use."""
        return "NC" in self.licence.split("-")

    @property
    def bits_per_second(self) -> float:
        """Bit rate of all streams together."""
        return self.frame_rate * sum(math.log2(stream.size) for stream in self.streams)

    @property
    def hash(self) -> str:
        """Short digest, saved with codes and models: codes of another digest are refused."""
        data = self.model_dump(mode="json")
        if self.encoder_sample_rate is None:  # specs from before this field keep their digest
            del data["encoder_sample_rate"]
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]

    def reference(self) -> dict[str, Any]:
        """What the configuration of a speech LM says of its tokenizer."""
        return {"name": self.name, "hash": self.hash, "frame_rate": self.frame_rate}


def edge_gain(distance: Array, sample_rate: int) -> Array:
    """Return the gain of samples at an integer `distance` from an end; 0 beyond the end."""
    share = (as_float(distance) / sample_rate - QUIET) / FADE
    return 0.5 - 0.5 * namespace(share).cos(math.pi * share.clip(0, 1))

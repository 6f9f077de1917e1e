"""Networks of the trainable tokenizer: an encoder with quantisers, and a source-filter decoder.

Encoder (not causal): log-mels -> content; F0 and energy contours -> prosody; both are quantised as
the kind of tokenizer says. Log-mels and F0 statistics -> one speaker vector per utterance.
Decoder (causal, one codec frame of look-ahead): quantised values -> spectral filters; those of
prosody -> F0 -> pulses.

- decoupled: content and prosody are quantised separately and decoded with the speaker vector, so
  that pitch depends on prosody and the vector alone.
- semi_decoupled, coupled: all latent dimensions are quantised jointly and the decoder has no
  speaker vector, so that the codes hold everything. The vector is for a speech LM alone.

Shapes: B batch, T codec frames, F = T * FOLD frames of 10 ms, Q streams, W FSQ digits of all streams.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import Self

from vocalmtp.config import StrictModel
from vocalmtp.tokenizers.neural.features import (
    FOLD,
    FRAMES_PER_SECOND,
    MIDDLE_PITCH,
    Features,
    fold,
)
from vocalmtp.tokenizers.neural.layers import (
    ConvNeXtStack,
    FixedDtypeLinear,
    FixedDtypeStack,
    as_float64,
)
from vocalmtp.tokenizers.neural.quantizers import Quantised, ResidualQuantizer, SplitQuantizer
from vocalmtp.tokenizers.neural.vocoder import SourceFilterVocoder, VocoderState
from vocalmtp.tokenizers.spec import Kind, Role, StreamSpec, TokenizerSpec

LOOKAHEAD = 1  # codec frames that decoding waits for
LOWEST_PITCH, HIGHEST_PITCH = 3.9, 6.3  # natural log of 50 and 540 Hz, of the pulses
EXCITATION_LEAD = 2  # 10 ms frames: the vocoder needs F0 this much earlier than the filters

Width = Annotated[int, Field(ge=1, le=4096)]
Layers = Annotated[int, Field(ge=1, le=64)]
Levels = Annotated[
    tuple[Annotated[int, Field(ge=2, le=64)], ...], Field(min_length=1, max_length=12)
]


class NeuralTokenizerConfig(StrictModel):
    """Sizes of the trainable tokenizer; everything else is fixed by the design."""

    name: str = "mini"
    kind: Kind = "decoupled"
    codes: str = ""  # set by training, see TokenizerSpec
    sample_rate: int = Field(default=16_000, ge=8_000, le=192_000, multiple_of=200)
    content_streams: int = Field(default=3, ge=1, le=64)
    levels: Levels = (4, 4, 4, 4, 4)
    prosody_levels: Levels | None = None  # of a decoupled tokenizer; None: `levels`
    pitch_range: tuple[PositiveFloat, PositiveFloat] = (60.0, 420.0)  # Hz, of the F0 tracker
    speaker_dim: Width = 64
    mels: Width = 80
    encoder_dim: Width = 256
    encoder_layers: Layers = 5
    decoder_dim: Width = 320
    decoder_layers: Layers = 4
    frame_dim: Width = 256
    frame_layers: Layers = 4

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.prosody_levels is not None and self.kind != "decoupled":
            raise ValueError(f"prosody_levels: a {self.kind} tokenizer has no prosody stream")
        if self.pitch_range[0] >= self.pitch_range[1]:
            raise ValueError("pitch_range: give the lowest F0 and then the highest, in Hz")
        return self

    @property
    def all_levels(self) -> list[tuple[int, ...]]:
        """The levels of every stream."""
        return [*[self.levels] * self.content_streams, self.prosody_levels or self.levels]

    @property
    def latent_size(self) -> int:
        """W, the number of digits of all streams."""
        return sum(map(len, self.all_levels))

    @property
    def pitch_limits(self) -> tuple[float, float]:
        """Lowest and highest natural log of the F0 of the pulses."""
        return LOWEST_PITCH, max(HIGHEST_PITCH, math.log(1.2 * self.pitch_range[1]))

    def spec(self) -> TokenizerSpec:
        """Return the spec of a tokenizer of this configuration."""
        hop = self.sample_rate // FRAMES_PER_SECOND
        frame_rate = self.sample_rate / (hop * FOLD)
        vocoder_delay = 1.5 * hop / self.sample_rate
        return TokenizerSpec(
            name=self.name,
            codes=self.codes,
            kind=self.kind,
            sample_rate=self.sample_rate,
            frame_rate=frame_rate,
            streams=self.stream_specs(),
            speaker_dim=self.speaker_dim,
            lookahead=LOOKAHEAD / frame_rate + vocoder_delay,
        )

    def stream_specs(self) -> tuple[StreamSpec, ...]:
        """Return the streams: of every kind equally many and large, with other roles."""
        acoustic: list[Role] = ["acoustic"] * self.content_streams
        content: list[Role] = ["content"] * self.content_streams
        roles: dict[Kind, list[Role]] = {
            "coupled": ["acoustic", *acoustic],
            "semi_decoupled": ["semantic", *acoustic],
            "decoupled": [*content, "prosody"],
        }
        unnumbered = ("semantic", "prosody")
        specs: list[StreamSpec] = []
        for role, levels in zip(roles[self.kind], self.all_levels, strict=True):
            number = sum(spec.role == role for spec in specs) + 1
            name = role if role in unnumbered else f"{role}{number}"
            specs.append(StreamSpec(name=name, size=math.prod(levels), role=role, levels=levels))
        return tuple(specs)


class Encoder(nn.Module):
    """Features to the quantised values of content and prosody, and the speaker vector."""

    def __init__(self, config: NeuralTokenizerConfig):
        super().__init__()
        dim, *content, prosody = config.encoder_dim, *map(len, config.all_levels)
        self.content_in = nn.Linear(config.mels * FOLD, dim)
        self.content = ConvNeXtStack(dim, config.encoder_layers, 7, 4, causal=False)
        self.content_out = nn.Linear(dim, sum(content))
        self.prosody_in = nn.Linear(3 * FOLD, 96)
        self.prosody = ConvNeXtStack(96, 2, 5, 3, causal=False)
        self.prosody_out = nn.Linear(96, prosody)
        self.timbre_in = nn.Linear(config.mels * FOLD, 192)
        self.timbre = ConvNeXtStack(192, 2, 5, 3, causal=False)
        self.timbre_out = nn.Linear(2 * 192 + 1, config.speaker_dim)
        self.decoupled = config.kind == "decoupled"
        self.quantizer = (
            SplitQuantizer(config.all_levels)
            if self.decoupled
            else ResidualQuantizer(config.content_streams + 1, config.levels)
        )

    def forward(self, features: Features) -> Quantised:
        """Quantise an utterance: codes [B, T, Q] and their values."""
        dtype = self.content_in.weight.dtype
        mask = features.codec_mask.to(dtype)
        content, _ = self.content(self.content_in(fold(features.mel).to(dtype)), mask=mask)
        contours = features.prosody if self.decoupled else features.absolute_prosody
        prosody, _ = self.prosody(self.prosody_in(fold(contours).to(dtype)), mask=mask)
        latent = [self.content_out(content), self.prosody_out(prosody)]
        return self.quantizer(torch.cat(latent, dim=-1))

    @property
    def speaker_layers(self) -> tuple[nn.Module, ...]:
        """The modules that compute the speaker vector, and nothing else."""
        return self.timbre_in, self.timbre, self.timbre_out

    def speaker(self, features: Features) -> Tensor:
        """Compute the speaker vector [B, D_s], of unit length, from statistics and mean pitch."""
        dtype = self.timbre_in.weight.dtype
        weight = features.codec_mask.to(dtype)  # [B, T, 1]
        x, _ = self.timbre(self.timbre_in(fold(features.mel).to(dtype)), mask=weight)  # [B, T, 192]
        count = weight.sum(1).clamp(min=1)
        mean = (x * weight).sum(1) / count
        spread = ((x - mean[:, None]).square() * weight).sum(1).div(count).add(1e-6).sqrt()
        pitch = (features.pitch_mean - MIDDLE_PITCH).to(dtype)
        timbre = self.timbre_out(torch.cat([mean, spread, pitch], dim=-1))
        return F.normalize(timbre.float(), dim=-1)


@dataclass
class DecoderState:
    """Everything that one streamed decoding carries from call to call."""

    pitch: list[Tensor | None] | None = None
    slow: list[Tensor | None] | None = None
    fast: list[Tensor | None] | None = None
    vocoder: VocoderState | None = None
    waiting: int = LOOKAHEAD  # codec frames of output before the first one, still to drop
    trim: int = 0  # samples of output before the first one, still to drop


class Decoder(nn.Module):
    """Quantised values and the speaker vector to samples; strictly causal on its delayed input.

    Kinds whose codes hold the voice are decoded with zeros as the speaker vector.
    """

    def __init__(self, config: NeuralTokenizerConfig):
        super().__init__()
        dim, speaker_dim = config.decoder_dim, config.speaker_dim
        self.digits = digits = len(config.all_levels[-1])  # of the last stream
        self.decoupled = config.kind == "decoupled"
        self.pitch_limits = config.pitch_limits
        # Pitch is computed in float64: pulses accumulate phase, so a rounding error of F0 would
        # grow with time, and streamed audio would drift from offline audio.
        self.pitch_in = as_float64(FixedDtypeLinear(digits, 64))
        self.pitch = as_float64(FixedDtypeStack(64, 2, 3, 2, causal=True))
        self.pitch_out = as_float64(FixedDtypeLinear(64, FOLD))
        self.pitch_speaker = as_float64(FixedDtypeLinear(speaker_dim, 1))
        self.slow_in = nn.Sequential(
            nn.Linear(config.latent_size, dim), nn.GELU(), nn.Linear(dim, dim)
        )
        self.slow = ConvNeXtStack(
            dim, config.decoder_layers, 5, 3, causal=True, condition=speaker_dim
        )
        self.fast_in = nn.Linear(dim, FOLD * config.frame_dim)
        self.pitch_embedding = nn.Linear(2, config.frame_dim)
        self.fast = ConvNeXtStack(
            config.frame_dim, config.frame_layers, 7, 3, causal=True, condition=speaker_dim
        )
        self.norm = nn.LayerNorm(config.frame_dim)
        self.vocoder = SourceFilterVocoder(config.sample_rate)
        self.out = nn.Linear(config.frame_dim, 3 * self.vocoder.bins)
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.zeros_(self.out.bias)
        nn.init.constant_(self.pitch_speaker.bias, MIDDLE_PITCH)
        bias = self.out.bias.data.view(3, -1)
        bias[0], bias[2] = -2.0, -4.0

    def forward(
        self,
        values: Tensor,
        speaker: Tensor,
        state: DecoderState,
        excitation: Tensor | None = None,
        alive: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, DecoderState]:
        """Decode values; the caller appends the look-ahead.

        Args:
            values: [B, T, W].
            speaker: [B, D_s].
            state: of the calls before.
            excitation: [B, F] log F0 of the pulses in the place of the predicted one, in training.
            alive: [B, F] bool; frames where it is False are silent.

        Returns:
            The samples [B, n] that became final, the predicted log F0 [B, F], and the new state.

        """
        speaker = speaker if self.decoupled else torch.zeros_like(speaker)
        prosody = values[..., -self.digits :].double()
        x, pitch_past = self.pitch(self.pitch_in(prosody), None, state.pitch)
        relative = self.pitch_out(x).flatten(1) / 4  # [B, T * FOLD]
        log_f0 = (self.pitch_speaker(speaker.double()) + relative).clamp(*self.pitch_limits)
        dtype = self.fast_in.weight.dtype
        speaker = speaker.to(dtype)
        x, slow_past = self.slow(self.slow_in(values.to(dtype)), speaker, state.slow)
        x = self.fast_in(x).unflatten(-1, (FOLD, -1)).flatten(1, 2)  # [B, T * FOLD, D]
        drop = min(state.waiting, values.shape[1]) * FOLD
        x, log_f0 = x[:, drop:], log_f0[:, drop:]
        waiting = state.waiting - drop // FOLD
        if x.shape[1] == 0:
            new = DecoderState(
                pitch_past, slow_past, state.fast, state.vocoder, waiting, state.trim
            )
            no_samples = torch.zeros(len(values), 0, dtype=torch.float32, device=values.device)
            return no_samples, log_f0, new
        source = log_f0 if excitation is None else excitation
        height = source.detach().float() - MIDDLE_PITCH
        x = x + self.pitch_embedding(torch.stack([height, height.square()], dim=-1).to(dtype))
        x, fast_past = self.fast(x, speaker, state.fast)
        filters = self.out(self.norm(x))
        wav, vocoder = self.vocoder(filters, source, state.vocoder, alive)
        trim = min(state.trim, wav.shape[-1])
        new = DecoderState(pitch_past, slow_past, fast_past, vocoder, waiting, state.trim - trim)
        return wav[:, trim:], log_f0, new

"""Our trainable speech tokenizer, in three kinds of the same nets, bit rate and decoder.

Encoder (sees the whole utterance): log-mels -> content numbers; F0 and energy contours -> prosody
numbers; both quantised as the kind says. Log-mels and F0 statistics -> one vector of the voice.
Decoder (causal, one frame of look-ahead): the quantised numbers -> filters; those of prosody -> F0
-> pulses.

decoupled: content and prosody are quantised apart and decoded with the vector, so that pitch can
only come from prosody and vector. semi_decoupled, coupled: all numbers are quantised jointly, the
decoder gets zeros for the vector, and everything has to be in the codes; the vector is there for a
speech LM alone.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.config import StrictModel, parse
from vocalmtp.engines.linears import Bf16Linear, has_bf16
from vocalmtp.io.atomic import atomic_folder
from vocalmtp.io.read import FORMAT, check_format, fill, read_object
from vocalmtp.tokenizers.base import (
    Kind,
    Role,
    SpeechCodes,
    SpeechTokenizer,
    StreamSpec,
    TokenizerSpec,
    check_codes,
    check_wav,
)
from vocalmtp.tokenizers.features import FOLD, MIDDLE_PITCH, FeatureExtractor, Features, fold
from vocalmtp.tokenizers.layers import ConvNeXtStack
from vocalmtp.tokenizers.quantizers import Quantised, ResidualQuantizer, SplitQuantizer
from vocalmtp.tokenizers.vocoder import SourceFilterVocoder, VocoderState

LOOKAHEAD = 1  # codec frames that decoding waits for
EXCITATION_LEAD = 2  # the vocoder wants F0 this many 10 ms frames early
# Seconds at both ends that are silent, and over which the sound comes and goes: without a past the
# decoder's first frames are a click, and so are the last ones before a future that is not there.
QUIET, FADE = 0.02, 0.03


Width = Annotated[int, Field(ge=1, le=4096)]
Layers = Annotated[int, Field(ge=1, le=64)]


class NeuralTokenizerConfig(StrictModel):
    """Sizes of the trainable tokenizer; what is not here is fixed by the design."""

    name: str = "mini"
    kind: Kind = "decoupled"
    codes: str = ""  # set by training, see TokenizerSpec
    sample_rate: int = Field(default=16_000, ge=8_000, le=192_000)
    content_streams: int = Field(default=3, ge=1, le=64)
    levels: tuple[Annotated[int, Field(ge=2, le=64)], ...] = Field(
        default=(4, 4, 4, 4, 4), min_length=1, max_length=12
    )
    speaker_dim: Width = 64
    mels: Width = 80
    encoder_dim: Width = 256
    encoder_layers: Layers = 5
    decoder_dim: Width = 320
    decoder_layers: Layers = 4
    frame_dim: Width = 256
    frame_layers: Layers = 4

    def spec(self) -> TokenizerSpec:
        frame_rate = self.sample_rate / (160 * FOLD)
        vocoder_delay = 240 / self.sample_rate
        return TokenizerSpec(
            name=self.name,
            codes=self.codes,
            kind=self.kind,
            sample_rate=self.sample_rate,
            frame_rate=frame_rate,
            streams=self.streams(),
            speaker_dim=self.speaker_dim,
            lookahead=LOOKAHEAD / frame_rate + vocoder_delay,
        )

    def streams(self) -> tuple[StreamSpec, ...]:
        """As many streams of as many codes for every kind; the kind says what is in them."""
        roles: dict[Kind, list[Role]] = {
            "coupled": ["acoustic"] * (self.content_streams + 1),
            "semi_decoupled": ["semantic"] + ["acoustic"] * self.content_streams,
            "decoupled": ["content"] * self.content_streams + ["prosody"],
        }
        size, alone = math.prod(self.levels), ("semantic", "prosody")
        specs: list[StreamSpec] = []
        for role in roles[self.kind]:
            place = sum(spec.role == role for spec in specs) + 1
            name = role if role in alone else f"{role}{place}"
            specs.append(StreamSpec(name=name, size=size, role=role, levels=self.levels))
        return tuple(specs)


class Encoder(nn.Module):
    """Features to the quantised numbers of content and prosody, and the vector of the voice."""

    def __init__(self, config: NeuralTokenizerConfig):
        super().__init__()
        digits, dim = len(config.levels), config.encoder_dim
        self.content_in = nn.Linear(config.mels * FOLD, dim)
        self.content = ConvNeXtStack(dim, config.encoder_layers, 7, 4, causal=False)
        self.content_out = nn.Linear(dim, config.content_streams * digits)
        self.prosody_in = nn.Linear(3 * FOLD, 96)
        self.prosody = ConvNeXtStack(96, 2, 5, 3, causal=False)
        self.prosody_out = nn.Linear(96, digits)
        self.timbre_in = nn.Linear(config.mels * FOLD, 192)
        self.timbre = ConvNeXtStack(192, 2, 5, 3, causal=False)
        self.timbre_out = nn.Linear(2 * 192 + 1, config.speaker_dim)
        self.apart = config.kind == "decoupled"
        quantizer = SplitQuantizer if self.apart else ResidualQuantizer
        self.quantizer = quantizer(config.content_streams + 1, config.levels)

    def forward(self, features: Features) -> Quantised:
        """All that the codes say, [B, T, Q] of them."""
        mask = features.codec_mask
        content, _ = self.content(self.content_in(fold(features.mel)), mask=mask)
        contours = features.prosody if self.apart else features.absolute_prosody
        prosody, _ = self.prosody(self.prosody_in(fold(contours)), mask=mask)
        latent = [self.content_out(content), self.prosody_out(prosody)]
        return self.quantizer(torch.cat(latent, dim=-1))

    @property
    def voice_parts(self) -> tuple[nn.Module, ...]:
        """What makes the vector of the voice, and nothing else."""
        return self.timbre_in, self.timbre, self.timbre_out

    def speaker(self, features: Features) -> Tensor:
        """The voice [B, D_s], unit length: statistics over the true frames and the mean pitch."""
        weight = features.codec_mask
        x, _ = self.timbre(self.timbre_in(fold(features.mel)), mask=weight)  # [B, T, 192]
        count = weight.sum(1).clamp(min=1)
        mean = (x * weight).sum(1) / count
        spread = ((x - mean[:, None]).square() * weight).sum(1).div(count).add(1e-6).sqrt()
        pitch = features.pitch_mean - MIDDLE_PITCH
        timbre = self.timbre_out(torch.cat([mean, spread, pitch], dim=-1))
        return F.normalize(timbre.float(), dim=-1)


@dataclass
class DecoderState:
    """Everything that one streamed decoding carries from push to push."""

    pitch: list[Tensor | None] | None = None
    slow: list[Tensor | None] | None = None
    fast: list[Tensor | None] | None = None
    vocoder: VocoderState | None = None
    waiting: int = LOOKAHEAD  # frames still to drop: outputs that stand before the first one
    trim: int = 0  # samples still to drop at the very start


class Decoder(nn.Module):
    """Quantised numbers and the voice to samples; strictly causal on its (delayed) input.

    Where the codes hold the voice, zeros stand for the vector.
    """

    def __init__(self, config: NeuralTokenizerConfig):
        super().__init__()
        digits, dim, spk = len(config.levels), config.decoder_dim, config.speaker_dim
        self.digits, self.apart = digits, config.kind == "decoupled"
        # In float64: pulses accumulate phase, so a rounding error of F0 would grow with time and
        # streamed audio would drift from offline audio.
        self.pitch_in = nn.Linear(digits, 64).double()
        self.pitch = ConvNeXtStack(64, 2, 3, 2, causal=True).double()
        self.pitch_out = nn.Linear(64, FOLD).double()
        self.pitch_speaker = nn.Linear(spk, 1).double()
        width = (config.content_streams + 1) * digits
        self.slow_in = nn.Sequential(nn.Linear(width, dim), nn.GELU(), nn.Linear(dim, dim))
        self.slow = ConvNeXtStack(dim, config.decoder_layers, 5, 3, causal=True, condition=spk)
        self.fast_in = nn.Linear(dim, FOLD * config.frame_dim)
        self.pitch_embedding = nn.Linear(2, config.frame_dim)
        self.fast = ConvNeXtStack(
            config.frame_dim, config.frame_layers, 7, 3, causal=True, condition=spk
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
        """Values [B, T, Q * d] to samples and predicted log F0 [B, F]; the caller adds look-ahead.

        `excitation` [B, F] replaces the predicted log F0 as the pitch of the pulses (in training);
        frames where `alive` [B, F] is False stay silent.
        """
        speaker = speaker if self.apart else torch.zeros_like(speaker)
        prosody = values[..., -self.digits :].double()
        x, pitch_past = self.pitch(self.pitch_in(prosody), None, state.pitch)
        relative = self.pitch_out(x).flatten(1) / 4  # [B, T * FOLD]
        log_f0 = (self.pitch_speaker(speaker.double()) + relative).clamp(3.9, 6.3)  # 50 to 540 Hz
        x, slow_past = self.slow(self.slow_in(values), speaker, state.slow)
        x = self.fast_in(x).unflatten(-1, (FOLD, -1)).flatten(1, 2)  # [B, T * FOLD, D]
        drop = min(state.waiting, values.shape[1]) * FOLD
        x, log_f0 = x[:, drop:], log_f0[:, drop:]
        waiting = state.waiting - drop // FOLD
        if x.shape[1] == 0:
            empty = DecoderState(
                pitch_past, slow_past, state.fast, state.vocoder, waiting, state.trim
            )
            return values.new_zeros(values.shape[0], 0), log_f0, empty
        source = log_f0 if excitation is None else excitation
        height = source.detach().float() - MIDDLE_PITCH
        hint = torch.stack([height, height.square()], dim=-1)  # [B, F, 2]
        x = x + self.pitch_embedding(hint)
        x, fast_past = self.fast(x, speaker, state.fast)
        filters = self.out(self.norm(x))
        wav, vocoder = self.vocoder(filters, source, state.vocoder, alive)
        trim = min(state.trim, wav.shape[-1])
        new = DecoderState(pitch_past, slow_past, fast_past, vocoder, waiting, state.trim - trim)
        return wav[:, trim:], log_f0, new


class NeuralTokenizer(SpeechTokenizer):
    """The trainable tokenizer behind the `SpeechTokenizer` contract."""

    def __init__(self, config: NeuralTokenizerConfig | None = None):
        super().__init__()
        self.config = config or NeuralTokenizerConfig()
        self.spec = self.config.spec()
        self.features = FeatureExtractor(self.config.sample_rate, self.config.mels)
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config)

    @torch.inference_mode()
    def encode(self, wav: Tensor, lengths: Tensor | None = None) -> SpeechCodes:
        features = self.features(wav, check_wav(self.spec, wav, lengths))
        codes = self.encoder(features).codes.transpose(1, 2)  # [B, Q, T]
        speaker = self.encoder.speaker(features)
        return SpeechCodes(codes, features.mask[:, ::FOLD].sum(-1), speaker)

    @torch.inference_mode()
    def embed_speaker(self, wav: Tensor, lengths: Tensor | None = None) -> Tensor:
        return self.encoder.speaker(self.features(wav, lengths))

    @torch.inference_mode()
    def decode(
        self, codes: Tensor, speaker: Tensor | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        check_codes(self.spec, codes)
        if lengths is None:
            lengths = torch.full((codes.shape[0],), codes.shape[-1], device=codes.device)
        here = torch.arange(codes.shape[-1], device=codes.device) < lengths[:, None]  # [B, T]
        stream = self.stream(speaker)
        values = F.pad(self.values(codes) * here[..., None], (0, 0, 0, LOOKAHEAD))
        alive = here.repeat_interleave(FOLD, dim=1)
        wav = torch.cat([stream.decode(values, alive), stream.tail()], dim=-1)
        left = (lengths * self.spec.hop)[:, None] - torch.arange(wav.shape[-1], device=wav.device)
        return wav * edge_gain(left - 1, self.spec.sample_rate)

    def stream(self, speaker: Tensor | None = None) -> "NeuralStream":
        if speaker is None and self.decoder.apart:
            raise TypeError(
                f"tokenizer '{self.spec.name}' needs a speaker vector to decode; pass one"
            )
        if speaker is None:
            speaker = torch.zeros(1, self.config.speaker_dim, device=self.device)
        return NeuralStream(self, speaker)

    def values(self, codes: Tensor) -> Tensor:
        """`codes` [B, Q, T] -> the values [B, T, Q * d] that the decoder takes."""
        return self.encoder.quantizer.values(codes.transpose(1, 2))

    def optimize_for_inference(self) -> None:
        """Products of the decoder's blocks in bfloat16, on CPUs that have them.

        Filters and pitch stay float32 and float64: they are exponentiated and integrated.
        """
        if self.device.type == "cpu" and has_bf16():
            for part in (self.decoder.slow, self.decoder.fast):
                for block in part.blocks:
                    block.up, block.down = Bf16Linear(block.up), Bf16Linear(block.down)

    def save_pretrained(self, folder: Path | str, dtype: torch.dtype = torch.float32) -> None:
        tensors = {name: t.to(dtype).contiguous() for name, t in self.state_dict().items()}
        data = {"type": "neural", "format": FORMAT, **self.config.model_dump(mode="json")}
        with atomic_folder(folder) as partial:
            save_file(tensors, partial / "model.safetensors")
            (partial / "tokenizer.json").write_text(json.dumps(data, indent=2) + "\n")

    @classmethod
    def from_pretrained(cls, folder: Path | str) -> "NeuralTokenizer":
        """Raises InputError if the folder is not whole, damaged, or of a later version."""
        folder, what = Path(folder), f"tokenizer '{folder}'"
        data = check_format(read_object(folder / "tokenizer.json", what), what)
        data.pop("type", None)
        model = cls(parse(NeuralTokenizerConfig, data, f"{what}: tokenizer.json"))
        fill(model, folder / "model.safetensors", what)
        return model.eval()


class NeuralStream:
    """Incremental decoding: look-ahead is the only wait; chunks joined equal `decode`."""

    def __init__(self, tokenizer: NeuralTokenizer, speaker: Tensor):
        self.tokenizer, self.speaker = tokenizer, speaker
        self.state = DecoderState(trim=tokenizer.decoder.vocoder.delay)
        self.made = 0  # samples so far

    @torch.inference_mode()
    def push(self, codes: Tensor) -> Tensor:
        """`codes` [B, Q, t] -> the samples [B, n] that are final with them."""
        return self.decode(self.tokenizer.values(codes))

    @torch.inference_mode()
    def flush(self) -> Tensor:
        """The samples [B, n] that waited for the look-ahead, which is silence now."""
        config = self.tokenizer.config
        width = (config.content_streams + 1) * len(config.levels)
        wav = self.decode(self.speaker.new_zeros(len(self.speaker), LOOKAHEAD, width))
        wav = torch.cat([wav, self.tail()], dim=-1)
        left = torch.arange(wav.shape[-1] - 1, -1, -1, device=wav.device)
        return wav * edge_gain(left, config.sample_rate)

    def decode(self, values: Tensor, alive: Tensor | None = None) -> Tensor:
        """Values [B, t, Q * d] to samples; see `Decoder.forward`."""
        self.speaker = self.speaker.expand(len(values), -1)  # of one row: the voice of all
        wav, _, self.state = self.tokenizer.decoder(values, self.speaker, self.state, alive=alive)
        place = torch.arange(self.made, self.made + wav.shape[-1], device=wav.device)
        self.made += wav.shape[-1]
        return wav * edge_gain(place, self.tokenizer.config.sample_rate)

    def tail(self) -> Tensor:
        """The end [B, n] of the last frame's window, which nothing will overlap any more."""
        if self.state.vocoder is None:
            return self.speaker.new_zeros(len(self.speaker), 0)
        return self.state.vocoder.tail[:, : self.tokenizer.decoder.vocoder.delay]


def edge_gain(distance: Tensor, sample_rate: int) -> Tensor:
    """Gain of samples that are so many samples away from an end; 0 beyond it."""
    share = (distance / sample_rate - QUIET) / FADE
    return 0.5 - 0.5 * (math.pi * share.clamp(0, 1)).cos()

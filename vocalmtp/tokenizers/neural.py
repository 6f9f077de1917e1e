"""Our trainable speech tokenizer: content, prosody and timbre apart, decoded by source and filter.

Encoder (sees the whole utterance): log-mels -> content streams; F0 and energy contours, relative to
the utterance -> prosody stream; log-mels and F0 statistics -> one timbre vector.
Decoder (causal, one frame of look-ahead): content + prosody codes, modulated by timbre -> filters;
prosody + timbre -> F0 -> pulses. Pitch can only come from prosody and timbre, by construction.
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
from vocalmtp.linears import Bf16Linear, has_bf16
from vocalmtp.pitch import fill_unvoiced, track_pitch
from vocalmtp.reading import FORMAT, check_format, fill, read_object
from vocalmtp.tokenizers.base import (
    SpeechCodes,
    SpeechTokenizer,
    StreamSpec,
    TokenizerCard,
    check_codes,
    check_wav,
)
from vocalmtp.tokenizers.layers import ConvNeXtStack, FiniteScalarQuantizer
from vocalmtp.tokenizers.vocoder import SourceFilterVocoder, VocoderState
from vocalmtp.writing import atomic_folder

FOLD = 4  # 10 ms frames per codec frame
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
    codes: str = ""  # set by training, see TokenizerCard
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

    def card(self) -> TokenizerCard:
        size = math.prod(self.levels)
        content = [
            StreamSpec(name=f"content{i + 1}", size=size, role="content", levels=self.levels)
            for i in range(self.content_streams)
        ]
        prosody = StreamSpec(name="prosody", size=size, role="prosody", levels=self.levels)
        frame_rate = self.sample_rate / (160 * FOLD)
        vocoder_delay = 240 / self.sample_rate
        return TokenizerCard(
            name=self.name,
            codes=self.codes,
            kind="decoupled",
            sample_rate=self.sample_rate,
            frame_rate=frame_rate,
            streams=(*content, prosody),
            speaker_dim=self.speaker_dim,
            lookahead=LOOKAHEAD / frame_rate + vocoder_delay,
        )


@dataclass
class Features:
    """What the encoder hears, 100 frames a second; T codec frames hold FOLD * T of them."""

    mel: Tensor  # [B, F, mels] log-mel, utterance level removed
    prosody: Tensor  # [B, F, 3] log F0 relative to the utterance, voicing, relative energy
    log_f0: Tensor  # [B, F] natural log of Hz, bridged over unvoiced frames
    voiced: Tensor  # [B, F] bool
    pitch_mean: Tensor  # [B, 1] mean log F0 of the voiced frames
    mask: Tensor  # [B, F] bool, true frames

    @property
    def codec_mask(self) -> Tensor:
        """True codec frames as 0 or 1: [B, T, 1]."""
        return self.mask[:, ::FOLD, None].float()


class FeatureExtractor(nn.Module):
    """Waveform [B, N] to Features; N is padded to whole codec frames."""

    def __init__(self, sample_rate: int, mels: int, window: int = 640, hop: int = 160):
        super().__init__()
        self.sample_rate, self.window, self.hop = sample_rate, window, hop
        self.register_buffer("hann", torch.hann_window(window), persistent=False)
        self.register_buffer("bank", mel_filters(sample_rate, window, mels), persistent=False)

    @torch.no_grad()
    def forward(self, wav: Tensor, lengths: Tensor | None = None) -> Features:
        if lengths is None:
            lengths = torch.full((wav.shape[0],), wav.shape[-1], device=wav.device)
        wav = F.pad(wav, (0, -wav.shape[-1] % (self.hop * FOLD)))
        frames = wav.shape[-1] // self.hop
        mask = torch.arange(frames, device=wav.device) * self.hop < lengths[:, None]  # [B, F]
        side = (self.window - self.hop) // 2
        blocks = F.pad(wav, (side, side)).unfold(-1, self.window, self.hop) * self.hann
        power = torch.fft.rfft(blocks).abs().square()  # [B, F, bins]
        mel = (power @ self.bank + 1e-5).log()
        f0 = track_pitch(wav, sample_rate=self.sample_rate, hop=self.hop) * mask
        voiced = f0 > 0
        log_f0 = fill_unvoiced(f0)
        energy = power.sum(-1).add(1e-5).log()
        pitch_mean = _masked_mean(log_f0, voiced)
        loud = energy - _masked_mean(energy, mask & voiced)
        relative = (log_f0 - pitch_mean) * 4
        prosody = torch.stack([relative, voiced.float(), loud / 4], dim=-1)  # [B, F, 3]
        level = _masked_mean(energy, mask & voiced)
        mel = (mel - level[..., None]) * mask[..., None] / 4
        return Features(mel, prosody * mask[..., None], log_f0, voiced, pitch_mean, mask)


class Encoder(nn.Module):
    """Features to quantised content and prosody values and the timbre vector."""

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
        self.quantizer = FiniteScalarQuantizer(config.levels)
        self.digits = digits

    def content_values(self, mel: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """[B, F, mels], codec mask [B, T, 1] -> values [B, T, Q_c * d], codes [B, T, Q_c]."""
        x, _ = self.content(self.content_in(_fold(mel)), mask=mask)
        x = self.content_out(x).unflatten(-1, (-1, self.digits))
        values, codes = self.quantizer(x)
        return values.flatten(2), codes

    def prosody_values(self, prosody: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """[B, F, 3], codec mask [B, T, 1] -> values [B, T, d] and codes [B, T]."""
        x, _ = self.prosody(self.prosody_in(_fold(prosody)), mask=mask)
        return self.quantizer(self.prosody_out(x))

    def speaker(self, features: Features) -> Tensor:
        """Timbre [B, D_s], unit length: statistics over the true frames and the mean pitch."""
        weight = features.codec_mask
        x, _ = self.timbre(self.timbre_in(_fold(features.mel)), mask=weight)  # [B, T, 192]
        count = weight.sum(1).clamp(min=1)
        mean = (x * weight).sum(1) / count
        spread = ((x - mean[:, None]).square() * weight).sum(1).div(count).add(1e-6).sqrt()
        pitch = features.pitch_mean - 5.0
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
    """Quantised values and timbre to samples; strictly causal on its (delayed) input."""

    def __init__(self, config: NeuralTokenizerConfig):
        super().__init__()
        digits, dim, spk = len(config.levels), config.decoder_dim, config.speaker_dim
        # In float64: pulses accumulate phase, so a rounding error of F0 would grow with time and
        # streamed audio would drift from offline audio.
        self.pitch_in = nn.Linear(digits, 64).double()
        self.pitch = ConvNeXtStack(64, 2, 3, 2, causal=True).double()
        self.pitch_out = nn.Linear(64, FOLD).double()
        self.pitch_speaker = nn.Linear(spk, 1).double()
        values = (config.content_streams + 1) * digits
        self.slow_in = nn.Sequential(nn.Linear(values, dim), nn.GELU(), nn.Linear(dim, dim))
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
        nn.init.constant_(self.pitch_speaker.bias, 5.0)
        bias = self.out.bias.data.view(3, -1)
        bias[0], bias[2] = -2.0, -4.0

    def forward(
        self,
        content: Tensor,
        prosody: Tensor,
        speaker: Tensor,
        state: DecoderState,
        excitation: Tensor | None = None,
        alive: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, DecoderState]:
        """Values [B, T, .] to samples and predicted log F0 [B, F]; the caller adds look-ahead.

        `excitation` [B, F] replaces the predicted log F0 as the pitch of the pulses (in training);
        frames where `alive` [B, F] is False stay silent.
        """
        x, pitch_past = self.pitch(self.pitch_in(prosody.double()), None, state.pitch)
        relative = self.pitch_out(x).flatten(1) / 4  # [B, T * FOLD]
        log_f0 = (self.pitch_speaker(speaker.double()) + relative).clamp(3.9, 6.3)  # 50 to 540 Hz
        x = self.slow_in(torch.cat([content, prosody], dim=-1))
        x, slow_past = self.slow(x, speaker, state.slow)
        x = self.fast_in(x).unflatten(-1, (FOLD, -1)).flatten(1, 2)  # [B, T * FOLD, D]
        drop = min(state.waiting, content.shape[1]) * FOLD
        x, log_f0 = x[:, drop:], log_f0[:, drop:]
        waiting = state.waiting - drop // FOLD
        if x.shape[1] == 0:
            empty = DecoderState(
                pitch_past, slow_past, state.fast, state.vocoder, waiting, state.trim
            )
            return content.new_zeros(content.shape[0], 0), log_f0, empty
        source = log_f0 if excitation is None else excitation
        height = source.detach().float() - 5.0
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
        self.card = self.config.card()
        self.features = FeatureExtractor(self.config.sample_rate, self.config.mels)
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config)

    @torch.inference_mode()
    def encode(self, wav: Tensor, lengths: Tensor | None = None) -> SpeechCodes:
        features = self.features(wav, check_wav(self.card, wav, lengths))
        _, content = self.encoder.content_values(features.mel, features.codec_mask)
        _, prosody = self.encoder.prosody_values(features.prosody, features.codec_mask)
        codes = torch.cat([content, prosody[..., None]], dim=-1).transpose(1, 2)  # [B, Q, T]
        speaker = self.encoder.speaker(features)
        return SpeechCodes(codes, features.mask[:, ::FOLD].sum(-1), speaker)

    @torch.inference_mode()
    def embed_speaker(self, wav: Tensor, lengths: Tensor | None = None) -> Tensor:
        return self.encoder.speaker(self.features(wav, lengths))

    @torch.inference_mode()
    def decode(
        self, codes: Tensor, speaker: Tensor | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        check_codes(self.card, codes)
        if lengths is None:
            lengths = torch.full((codes.shape[0],), codes.shape[-1], device=codes.device)
        here = torch.arange(codes.shape[-1], device=codes.device) < lengths[:, None]  # [B, T]
        stream = self.stream(speaker)
        content, prosody = (v * here[..., None] for v in self.values(codes))
        silence = (0, 0, 0, LOOKAHEAD)
        content, prosody = F.pad(content, silence), F.pad(prosody, silence)
        alive = here.repeat_interleave(FOLD, dim=1)
        wav = torch.cat([stream.decode(content, prosody, alive), stream.tail()], dim=-1)
        left = (lengths * self.card.hop)[:, None] - torch.arange(wav.shape[-1], device=wav.device)
        return wav * edge_gain(left - 1, self.card.sample_rate)

    def stream(self, speaker: Tensor | None = None) -> "NeuralStream":
        if speaker is None:
            raise TypeError(
                f"tokenizer '{self.card.name}' needs a speaker vector to decode; pass one"
            )
        return NeuralStream(self, speaker)

    def values(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """`codes` [B, Q, T] -> content values [B, T, Q_c * d] and prosody values [B, T, d]."""
        values = self.encoder.quantizer.values(codes.transpose(1, 2))  # [B, T, Q, d]
        return values[:, :, :-1].flatten(2), values[:, :, -1]

    def make_fast(self) -> None:
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
        return self.decode(*self.tokenizer.values(codes))

    @torch.inference_mode()
    def flush(self) -> Tensor:
        """The samples [B, n] that waited for the look-ahead, which is silence now."""
        config, batch = self.tokenizer.config, len(self.speaker)
        prosody = self.speaker.new_zeros(batch, LOOKAHEAD, len(config.levels))
        wav = self.decode(prosody.repeat(1, 1, config.content_streams), prosody)
        wav = torch.cat([wav, self.tail()], dim=-1)
        left = torch.arange(wav.shape[-1] - 1, -1, -1, device=wav.device)
        return wav * edge_gain(left, config.sample_rate)

    def decode(self, content: Tensor, prosody: Tensor, alive: Tensor | None = None) -> Tensor:
        """Values [B, t, .] to samples; see `Decoder.forward`."""
        wav, _, self.state = self.tokenizer.decoder(
            content, prosody, self.speaker, self.state, alive=alive
        )
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


def mel_filters(sample_rate: int, window: int, mels: int) -> Tensor:
    """Triangular mel filters (HTK scale, 0 Hz to Nyquist): [bins, mels]."""
    top = 2595 * math.log10(1 + sample_rate / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, mels + 2) / 2595) - 1)
    bins = torch.linspace(0, sample_rate / 2, window // 2 + 1)[:, None]
    rise = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.minimum(rise, fall).clamp(min=0)


def _fold(x: Tensor) -> Tensor:
    """[B, T * FOLD, C] -> [B, T, FOLD * C]."""
    return x.unflatten(1, (-1, FOLD)).flatten(2)


def _masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of `x` [B, F] where `mask`: [B, 1]; 0 where nothing is."""
    weight = mask.float()
    return (x * weight).sum(-1, keepdim=True) / weight.sum(-1, keepdim=True).clamp(min=1)

"""Input features of the trainable tokenizer: log-mels, F0, voicing and energy at 100 Hz.

Shapes: B batch, T codec frames, F = T * FOLD frames of 10 ms.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from vocalmtp.audio.mel import mel_filters
from vocalmtp.audio.pitch import fill_unvoiced, track_pitch
from vocalmtp.tokenizers.base import FixedDtype, inside

FRAMES_PER_SECOND = 100  # of features and of the vocoder
FOLD = 4  # of these per codec frame
MIDDLE_PITCH = 5.0  # natural log of 148 Hz
PITCH_SCALE = 4  # of log F0, so that it varies about as much as the other contours


@dataclass
class Features:
    """Features of a batch of utterances."""

    mel: Tensor  # [B, F, mels] log-mel relative to the utterance's mean energy
    prosody: Tensor  # [B, F, 3] log F0 relative to the utterance, voicing, relative energy
    log_f0: Tensor  # [B, F] natural log of Hz, interpolated over unvoiced frames
    voiced: Tensor  # [B, F] bool
    pitch_mean: Tensor  # [B, 1] mean log F0 of the voiced frames
    mask: Tensor  # [B, F] bool, frames that are not padding

    @property
    def codec_mask(self) -> Tensor:
        """1 for codec frames that are not padding, else 0: [B, T, 1]."""
        return self.mask[:, ::FOLD, None].float()

    @property
    def absolute_prosody(self) -> Tensor:
        """`prosody` with F0 relative to 148 Hz instead, for kinds without a vector: [B, F, 3]."""
        known = (self.pitch_mean > 0) & self.mask  # [B, F]
        shift = PITCH_SCALE * (self.pitch_mean - MIDDLE_PITCH) * known
        return torch.cat([self.prosody[..., :1] + shift[..., None], self.prosody[..., 1:]], dim=-1)


class FeatureExtractor(FixedDtype):
    """Waveform [B, N] to `Features` in float32; N is padded to whole codec frames.

    Args:
        sample_rate: in Hz.
        mels: number of mel bands.
        pitch_range: lowest and highest F0 that is tracked, in Hz.

    """

    hann: Tensor
    bank: Tensor

    def __init__(self, sample_rate: int, mels: int, pitch_range: tuple[float, float]):
        super().__init__()
        self.sample_rate, self.pitch_range = sample_rate, pitch_range
        self.hop = hop = sample_rate // FRAMES_PER_SECOND
        self.window = window = 4 * hop
        self.register_buffer("hann", torch.hann_window(window), persistent=False)
        self.register_buffer("bank", mel_filters(sample_rate, window, mels), persistent=False)

    @torch.no_grad()
    def forward(self, wav: Tensor, lengths: Tensor | None = None) -> Features:
        """Extract the features of `wav` [B, N], of which `lengths` [B] samples are not padding."""
        if lengths is None:
            lengths = torch.full((wav.shape[0],), wav.shape[-1], device=wav.device)
        wav = F.pad(wav.to(self.hann.dtype), (0, -wav.shape[-1] % (self.hop * FOLD)))
        mask = inside(-(-lengths // self.hop), wav.shape[-1] // self.hop)  # [B, F]
        side = (self.window - self.hop) // 2
        blocks = F.pad(wav, (side, side)).unfold(-1, self.window, self.hop) * self.hann
        power = torch.fft.rfft(blocks).abs().square()  # [B, F, bins]
        mel = (power @ self.bank + 1e-5).log()
        low, high = self.pitch_range
        f0 = track_pitch(wav, sample_rate=self.sample_rate, hop=self.hop, low=low, high=high) * mask
        voiced = f0 > 0
        log_f0 = fill_unvoiced(f0)
        energy = power.sum(-1).add(1e-5).log()
        pitch_mean = _masked_mean(log_f0, voiced)
        level = _masked_mean(energy, mask & voiced)
        relative = (log_f0 - pitch_mean) * PITCH_SCALE
        prosody = torch.stack([relative, voiced.float(), (energy - level) / 4], dim=-1)  # [B, F, 3]
        mel = (mel - level[..., None]) * mask[..., None] / 4
        return Features(mel, prosody * mask[..., None], log_f0, voiced, pitch_mean, mask)


def fold(x: Tensor) -> Tensor:
    """Join the frames of a codec frame: [B, T * FOLD, C] -> [B, T, FOLD * C]."""
    return x.unflatten(1, (-1, FOLD)).flatten(2)


def _masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of `x` [B, F] where `mask`: [B, 1]; 0 where there is nothing."""
    weight = mask.float()
    return (x * weight).sum(-1, keepdim=True) / weight.sum(-1, keepdim=True).clamp(min=1)

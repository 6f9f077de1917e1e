"""Mel filters, Kaldi's filter bank and overlap-add, as published tokenizers compute them."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vocalmtp.tokenizers.base import FixedDtype


def slaney_mel_filters(sample_rate: int, fft_size: int, mels: int) -> Tensor:
    """Return mel filters in Slaney's scale and norm, from 0 Hz to Nyquist: [mels, bins]."""
    from transformers.audio_utils import mel_filter_bank

    bank = mel_filter_bank(
        fft_size // 2 + 1,
        mels,
        0,
        sample_rate / 2,
        sample_rate,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(bank).float().T.contiguous()


def kaldi_mel_filters(sample_rate: int, fft_size: int, mels: int, low: float = 20.0) -> Tensor:
    """Return triangular filters in the mel scale, from `low` Hz to Nyquist: [bins, mels]."""
    bins = np.arange(fft_size // 2 + 1) * sample_rate / fft_size
    position = 1127 * np.log(1 + bins[:, None] / 700)
    bottom, top = (1127 * math.log(1 + frequency / 700) for frequency in (low, sample_rate / 2))
    edges = np.linspace(bottom, top, mels + 2)
    rise = (position - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - position) / (edges[2:] - edges[1:-1])
    return torch.from_numpy(np.minimum(rise, fall).clip(min=0))


class KaldiLogMel(FixedDtype):
    """Kaldi's log-mel filter bank: frames of 25 ms every 10 ms, computed in float64.

    Args:
        sample_rate: in Hz.
        mels: number of mel bands, M.
        scale: full scale of the audio, of which the floor of the logarithm is not a share.

    """

    window: Tensor
    filters: Tensor

    def __init__(self, sample_rate: int, mels: int, scale: float = 1.0):
        super().__init__()
        self.size, self.hop, self.scale = sample_rate // 40, sample_rate // 100, scale
        self.fft_size = 1 << (self.size - 1).bit_length()
        hann = torch.hann_window(self.size, periodic=False, dtype=torch.float64)
        self.register_buffer("window", hann**0.85, persistent=False)  # Povey's
        bank = kaldi_mel_filters(sample_rate, self.fft_size, mels)
        self.register_buffer("filters", bank, persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        """Map `wav` [B, N] in [-1, 1] to log-mels [B, F, M] in float64."""
        frames = (wav.double() * self.scale).unfold(-1, self.size, self.hop)  # [B, F, size]
        frames = frames - frames.mean(-1, keepdim=True)
        previous = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
        frames = (frames - 0.97 * previous) * self.window
        power = torch.fft.rfft(frames, n=self.fft_size).abs().square()
        return (power @ self.filters).clamp(min=torch.finfo(torch.float32).eps).log()


def overlap_add(frames: Tensor, hop: int) -> Tensor:
    """Sum `frames` [B, size, T], a hop apart: [B, (T - 1) * hop + size]."""
    size = frames.shape[1]
    total = (frames.shape[-1] - 1) * hop + size
    return F.fold(frames, (1, total), (1, size), stride=(1, hop))[:, 0, 0]


def inverse_stft(spectra: Tensor, window: Tensor, hop: int) -> Tensor:
    """Return the signal of windowed spectra, with the window's envelope divided out.

    Args:
        spectra: complex, [B, size / 2 + 1, T].
        window: [size], of the analysis and of the synthesis.
        hop: samples from frame to frame.

    Returns:
        wav: [B, (T - 1) * hop + size], both edges included.

    """
    frames = torch.fft.irfft(spectra, len(window), dim=1)  # [B, size, T]
    windows = window[None, :, None].expand(1, -1, spectra.shape[-1])
    return overlap_add(frames * windows, hop) / overlap_add(windows.square(), hop).clamp(min=1e-11)

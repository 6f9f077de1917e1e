"""Log-mel spectrograms of recordings, for the aligner and for audio input.

Letters: B batch, N samples, F frames, M mel bands.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FLOOR = 1e-5  # relative to the mean power: anything quieter counts as silence
SCALE = 4  # natural logarithms per unit
SILENT = math.log(FLOOR) / SCALE + 1


class LogMel(nn.Module):
    """Waveforms to log-mels relative to each one's mean power, so that its level has no effect.

    Args:
        sample_rate: in Hz.
        window: length of a frame in samples.
        hop: distance of two frames in samples.
        mels: number of mel bands, M.

    """

    bank: Tensor
    hann: Tensor

    def __init__(self, sample_rate: int, window: int, hop: int, mels: int):
        super().__init__()
        self.window, self.hop, self.mels = window, hop, mels
        self.register_buffer("bank", mel_filters(sample_rate, window, mels), persistent=False)
        hann = torch.hann_window(window, dtype=torch.float32)
        self.register_buffer("hann", hann, persistent=False)

    @torch.no_grad()
    def forward(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Convert `wav` [B, N] of `lengths` [B] samples to log-mels [B, F, M] and masks [B, F, 1]."""
        frames = -(-wav.shape[-1] // self.hop)
        wav = F.pad(wav, (0, frames * self.hop - wav.shape[-1]))
        place = torch.arange(frames, device=wav.device)
        mask = (place * self.hop < lengths[:, None])[..., None]
        side = (self.window - self.hop) // 2
        blocks = F.pad(wav, (side, side)).unfold(-1, self.window, self.hop) * self.hann
        mel = torch.fft.rfft(blocks).abs().square() @ self.bank  # [B, F, M]
        mean = (mel * mask).sum((1, 2)) / (mask.sum((1, 2)).clamp(min=1) * self.mels)
        mel = (mel / mean.clamp(min=1e-12)[:, None, None] + FLOOR).log() / SCALE + 1
        return mel * mask, mask.float()


def mel_filters(sample_rate: int, window: int, mels: int) -> Tensor:
    """Triangular mel filters (HTK scale, 0 Hz to Nyquist), [bins, mels]."""
    top = 2595 * math.log10(1 + sample_rate / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, mels + 2, dtype=torch.float32) / 2595) - 1)
    bins = torch.linspace(0, sample_rate / 2, window // 2 + 1, dtype=torch.float32)[:, None]
    rise = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.minimum(rise, fall).clamp(min=0)

"""Augmentation of speech and its log-mels: rooms, noise, microphones and speakers.

Shape letters: B batch, N samples, F frames, M mel bands.
"""

import math
import random

import torch
from torch import Tensor
from torch.nn import functional as F

from vocalmtp.audio.mel import SCALE, SILENT

REVERB_SECONDS = 0.25
EQUALIZER_POINTS = 6  # of a gain curve over the mel bands
LONGEST_MASK = 20  # frames of log-mels, 10 ms each


def warp_mels(mel: Tensor, amount: float) -> Tensor:
    """Stretch the mel axis by a random factor per row, and tilt the spectrum (VTLP).

    Args:
        mel: [B, F, M] log-mels.
        amount: largest relative stretch.

    """
    rows, bins = mel.shape[0], mel.shape[-1]
    factor = 1 + amount * (2 * torch.rand(rows, 1) - 1)  # drawn alike for every device
    place = (torch.arange(bins) * factor).clamp(max=bins - 1.001).to(mel.device)  # [B, M]
    low = place.floor().long()[:, None].expand_as(mel)
    part = (place - place.floor())[:, None]
    warped = mel.gather(2, low) * (1 - part) + mel.gather(2, low + 1) * part
    tilt = 0.1 * torch.randn(rows, 1, 1) * torch.linspace(-1, 1, bins)
    return warped + tilt.to(mel.device)


def equalize_mels(mel: Tensor, decibels: float, draws: random.Random) -> Tensor:
    """Apply a random smooth gain curve, as of another microphone; the mean power is kept.

    Args:
        mel: [F, M] log-mels.
        decibels: standard deviation of the gains.
        draws: random numbers.

    """
    if not decibels:
        return mel
    gains = torch.tensor([draws.gauss(0, decibels) for _ in range(EQUALIZER_POINTS)])
    gains = gains * (math.log(10) / 10 / SCALE)
    curve = F.interpolate(gains[None, None], mel.shape[1], mode="linear", align_corners=True)[0]
    louder = mel + curve  # [F, M]
    more = ((SCALE * louder).exp().mean() / (SCALE * mel).exp().mean()).log() / SCALE
    return (louder - more).clamp(min=SILENT)


def mask_mels(mel: Tensor, count: int, draws: random.Random) -> Tensor:
    """Replace random bands and time spans by the mean (SpecAugment, arXiv 1904.08779).

    Args:
        mel: [F, M] log-mels.
        count: number of masks in frequency, each of up to a sixth of the bands, and of masks in
            time, each of up to a tenth of the frames or 0.2 s.
        draws: random numbers.

    """
    frames, bins = mel.shape
    masked, mean = mel.clone(), mel.mean()
    for _ in range(count):
        width = draws.randint(0, bins // 6)
        low = draws.randint(0, bins - width)
        masked[:, low : low + width] = mean
        width = draws.randint(0, min(frames // 10, LONGEST_MASK))
        first = draws.randint(0, frames - width)
        masked[first : first + width] = mean
    return masked


def add_reverb(wav: Tensor, sample_rate: int, draws: random.Random) -> Tensor:
    """Convolve `wav` [N] with a random decaying impulse response."""
    time = torch.arange(round(REVERB_SECONDS * sample_rate)) / sample_rate
    response = torch.randn(len(time)) * (-time / draws.uniform(0.01, 0.06)).exp()
    response = response * draws.uniform(0.02, 0.15)
    response[0] = 1.0
    return convolve(wav, response)


def add_noise(wav: Tensor, snr: tuple[float, float], draws: random.Random) -> Tensor:
    """Add noise of a random colour to `wav` [N], at a signal-to-noise ratio in the range `snr`, dB."""
    colour = torch.tensor([1.0, draws.uniform(-0.95, 0.5)])
    noise = convolve(torch.randn(len(wav)), colour)
    level = wav.square().mean() / noise.square().mean()
    return wav + noise * (level * 10 ** (-draws.uniform(*snr) / 10)).sqrt()


def convolve(wav: Tensor, kernel: Tensor) -> Tensor:
    """Filter `wav` [N] with a kernel [n]; the result has N samples."""
    size = 1 << (len(wav) + len(kernel) - 1).bit_length()  # the transform is fastest then
    spectrum = torch.fft.rfft(wav, size) * torch.fft.rfft(kernel, size)
    return torch.fft.irfft(spectrum, size)[: len(wav)]

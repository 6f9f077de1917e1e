"""Speech as other rooms, microphones and speakers would have it, for what has to understand anyone.

Letters: B batch, N samples, F frames, M mel bands.
"""

import math
import random

import torch
from torch import Tensor
from torch.nn import functional as F

from vocalmtp.audio.mel import SCALE, SILENT

ROOM = 0.25  # seconds of an echo
CURVE = 6  # points of a microphone's curve
MASKED = 20  # frames of log-mels, 10 ms each


def warp_mels(mel: Tensor, amount: float) -> Tensor:
    """Stretch the mel axis of `mel` [B, F, M] by a random factor a row, and tilt it a little."""
    rows, bins = mel.shape[0], mel.shape[-1]
    factor = 1 + amount * (2 * torch.rand(rows, 1) - 1)  # drawn alike for every device
    place = (torch.arange(bins) * factor).clamp(max=bins - 1.001).to(mel.device)  # [B, M]
    low = place.floor().long()[:, None].expand_as(mel)
    part = (place - place.floor())[:, None]
    warped = mel.gather(2, low) * (1 - part) + mel.gather(2, low + 1) * part
    tilt = 0.1 * torch.randn(rows, 1, 1) * torch.linspace(-1, 1, bins)
    return warped + tilt.to(mel.device)


def equalize_mels(mel: Tensor, decibels: float, draws: random.Random) -> Tensor:
    """`mel` [F, M] through another microphone: gains that differ by some `decibels` (standard
    deviation), smoothly from band to band. Its mean power, and the floor of silence, stay.
    """
    if not decibels:
        return mel
    gains = torch.tensor([draws.gauss(0, decibels) for _ in range(CURVE)])
    gains = gains * (math.log(10) / 10 / SCALE)
    curve = F.interpolate(gains[None, None], mel.shape[1], mode="linear", align_corners=True)[0]
    louder = mel + curve  # [F, M]
    more = ((SCALE * louder).exp().mean() / (SCALE * mel).exp().mean()).log() / SCALE
    return (louder - more).clamp(min=SILENT)


def mask_mels(mel: Tensor, count: int, draws: random.Random) -> Tensor:
    """`mel` [F, M] with `count` bands and as many moments hidden behind its mean (SpecAugment,
    arXiv 1904.08779): up to a sixth of the bands, and up to a tenth of the time or 0.2 s.
    """
    frames, bins = mel.shape
    masked, mean = mel.clone(), mel.mean()
    for _ in range(count):
        width = draws.randint(0, bins // 6)
        low = draws.randint(0, bins - width)
        masked[:, low : low + width] = mean
        width = draws.randint(0, min(frames // 10, MASKED))
        first = draws.randint(0, frames - width)
        masked[first : first + width] = mean
    return masked


def put_in_room(wav: Tensor, sample_rate: int, draws: random.Random) -> Tensor:
    """`wav` [N] with a random echo."""
    tail = torch.arange(round(ROOM * sample_rate)) / sample_rate
    room = torch.randn(len(tail)) * (-tail / draws.uniform(0.01, 0.06)).exp()
    room = room * draws.uniform(0.02, 0.15)
    room[0] = 1.0
    return convolve(wav, room)


def add_noise(wav: Tensor, snr: tuple[float, float], draws: random.Random) -> Tensor:
    """`wav` [N] with noise of a random colour, at a ratio between the two of `snr`, in dB."""
    colour = torch.tensor([1.0, draws.uniform(-0.95, 0.5)])
    noise = convolve(torch.randn(len(wav)), colour)
    level = wav.square().mean() / noise.square().mean()
    return wav + noise * (level * 10 ** (-draws.uniform(*snr) / 10)).sqrt()


def convolve(wav: Tensor, kernel: Tensor) -> Tensor:
    """`wav` [N] through a filter [n], cut to [N]."""
    size = len(wav) + len(kernel)
    spectrum = torch.fft.rfft(wav, size) * torch.fft.rfft(kernel, size)
    return torch.fft.irfft(spectrum, size)[: len(wav)]

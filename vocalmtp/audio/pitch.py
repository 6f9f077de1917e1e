"""Fundamental frequency of speech: a batched YIN tracker in torch.

Source: de Cheveigné and Kawahara, "YIN, a fundamental frequency estimator", JASA 111(4), 2002.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW_SECONDS = 0.032
DIP_THRESHOLD = 0.15  # the first dip below this is chosen (YIN, step 4)
VOICED_THRESHOLD = 0.35  # the chosen dip of a voiced frame is below this
SILENCE_RMS = 1e-3


def track_pitch(
    wav: Tensor,
    *,
    sample_rate: int = 16_000,
    hop: int = 160,
    low: float = 60.0,
    high: float = 420.0,
) -> Tensor:
    """Track the fundamental frequency.

    Args:
        wav: [B, N].
        sample_rate: in Hz.
        hop: samples per frame.
        low: lowest frequency in Hz.
        high: highest frequency in Hz.

    Returns:
        F0 in Hz at the middle of every frame, [B, F] with F = N // hop; 0 where unvoiced.

    """
    window = round(WINDOW_SECONDS * sample_rate)
    longest, shortest = round(sample_rate / low), round(sample_rate / high)
    span = window + longest
    frames = wav.shape[-1] // hop
    left = (span - hop) // 2
    padded = F.pad(wav, (left, span))
    blocks = padded.unfold(-1, span, hop)[:, :frames]  # [B, F, W + L]
    dips = _normalised_difference(blocks, window, longest)  # [B, F, L]

    # The first local minimum below the threshold, else the deepest one.
    inner = dips[..., shortest:-1]
    is_dip = (inner <= dips[..., shortest - 1 : -2]) & (inner <= dips[..., shortest + 1 :])
    good = is_dip & (inner < DIP_THRESHOLD)
    first = good.float().argmax(-1)
    deepest = inner.argmin(-1)
    lag = torch.where(good.any(-1), first, deepest) + shortest  # [B, F]

    depth, shift = _parabola(dips, lag)
    loud = blocks[..., :window].square().mean(-1).sqrt() > SILENCE_RMS
    voiced = (depth < VOICED_THRESHOLD) & loud
    f0 = torch.where(voiced, sample_rate / (lag + shift), torch.zeros_like(depth))
    # In frames: the two windows of a short lag end before the block does.
    early = (longest - lag).to(f0.dtype) / (2 * hop)
    return _median(_later(f0, early))


def fill_unvoiced(f0: Tensor) -> Tensor:
    """Natural log of `f0` [B, F], interpolated over unvoiced frames; 0 if all are unvoiced."""
    frames = torch.arange(f0.shape[-1], device=f0.device).expand_as(f0)
    voiced = f0 > 0
    log_f0 = torch.where(voiced, f0, torch.ones_like(f0)).log()
    last = frames.shape[-1] - 1
    before = torch.where(voiced, frames, -torch.ones_like(frames)).cummax(-1).values
    after = last - torch.where(voiced.flip(-1), frames, -torch.ones_like(frames)).cummax(
        -1
    ).values.flip(-1)
    before_ok, after_ok = before >= 0, after <= last
    left = log_f0.gather(-1, before.clamp(min=0))
    right = log_f0.gather(-1, after.clamp(max=last))
    weight = (frames - before).to(f0.dtype) / (after - before).clamp(min=1)
    between = left + (right - left) * weight
    bridged = torch.where(before_ok & after_ok, between, torch.where(before_ok, left, right))
    return torch.where(voiced.any(-1, keepdim=True), bridged, torch.zeros_like(bridged))


def _normalised_difference(blocks: Tensor, window: int, longest: int) -> Tensor:
    """YIN's cumulative-mean-normalised difference of `blocks` [B, F, W + L]: [B, F, L]."""
    size = 1 << (blocks.shape[-1] + window - 1).bit_length()
    head = torch.fft.rfft(blocks[..., :window], n=size)
    spectrum = torch.fft.rfft(blocks, n=size)
    cross = torch.fft.irfft(head.conj() * spectrum, n=size)[..., :longest]  # [B, F, L]
    energy = F.pad(blocks.square().cumsum(-1), (1, 0))
    moving = energy[..., window : window + longest] - energy[..., :longest]
    difference = (moving[..., :1] + moving - 2 * cross).clamp(min=0)
    lags = torch.arange(1, longest, device=blocks.device)
    mean = difference[..., 1:].cumsum(-1) / lags
    return F.pad(difference[..., 1:] / mean.clamp(min=1e-9), (1, 0), value=1.0)


def _parabola(dips: Tensor, lag: Tensor) -> tuple[Tensor, Tensor]:
    """Depth [B, F] at `lag`, and the shift in samples of the parabola's minimum around it."""
    here = dips.gather(-1, lag[..., None])[..., 0]
    before = dips.gather(-1, (lag - 1).clamp(min=0)[..., None])[..., 0]
    after = dips.gather(-1, (lag + 1).clamp(max=dips.shape[-1] - 1)[..., None])[..., 0]
    curve = before + after - 2 * here
    shift = torch.where(curve > 1e-6, (before - after) / (2 * curve).clamp(min=1e-6), 0 * here)
    return here, shift.clamp(-1, 1)


def _later(f0: Tensor, early: Tensor) -> Tensor:
    """Interpolate `f0` [B, F], whose frames are `early` [B, F] frames before their time."""
    following, following_early = (torch.cat([x[:, 1:], x[:, -1:]], dim=1) for x in (f0, early))
    # Frame i is at i - early[i]; where frame i + 1 has about the same lag, i is between the two.
    weight = (early / (1 + early - following_early).clamp(min=0.5)).clamp(max=1)
    both = (f0 > 0) & (following > 0)
    return torch.where(both, f0 + weight * (following - f0), f0)


def _median(f0: Tensor, width: int = 5) -> Tensor:
    """Median over `width` frames: removes isolated octave errors and voicing errors."""
    padded = F.pad(f0[:, None], (width // 2, width // 2), mode="replicate")[:, 0]
    return padded.unfold(-1, width, 1).median(-1).values

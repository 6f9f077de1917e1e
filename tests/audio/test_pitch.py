"""Pitch tracking: harmonics, noise, silence, and interpolation."""

import math

import pytest
import torch

from vocalmtp.audio.pitch import fill_unvoiced, track_pitch


@pytest.mark.parametrize("hz", [70.0, 110.0, 205.0, 330.0])
def test_pitch_of_harmonics(hz):
    time = torch.arange(16_000) / 16_000
    wav = sum(torch.sin(2 * math.pi * hz * h * time) / h for h in range(1, 6))[None] * 0.1
    f0 = track_pitch(wav)
    assert f0.shape == (1, 100)
    assert ((f0[0, 10:90] / hz - 1).abs() < 0.01).all()


def test_noise_and_silence_are_unvoiced():
    torch.manual_seed(0)
    noise = track_pitch(torch.randn(1, 16_000) * 0.1)
    assert (noise > 0).float().mean() < 0.1
    assert (track_pitch(torch.zeros(1, 16_000)) == 0).all()


def test_unvoiced_frames_are_interpolated():
    f0 = torch.tensor([[0.0, 100.0, 0.0, 0.0, 200.0, 0.0], [0.0] * 6])
    bridged = fill_unvoiced(f0)
    low, high = math.log(100), math.log(200)
    want = [low, low, low + (high - low) / 3, low + 2 * (high - low) / 3, high, high]
    assert torch.allclose(bridged[0], torch.tensor(want))
    assert (bridged[1] == 0).all()


@pytest.mark.parametrize(("hz", "slope"), [(180.0, 300.0), (250.0, -400.0)])
def test_pitch_of_a_glide_is_that_of_the_middle_of_the_frame(hz, slope):
    rate, hop = 24_000, 240
    f0 = hz + slope * (torch.arange(rate // 2) / rate - 0.25)
    phase = 2 * math.pi * (f0.double().cumsum(0) / rate)
    wav = sum(torch.sin(h * phase) / h for h in range(1, 20)).float()[None] * 0.1
    tracked = track_pitch(wav, sample_rate=rate, hop=hop, high=600.0)[0]
    error = tracked - f0[hop // 2 :: hop]
    assert error[10:40].mean().abs() < 0.001 * abs(slope)  # a millisecond

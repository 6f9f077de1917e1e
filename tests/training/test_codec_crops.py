"""Crops of the tokenizer's training: sample rate, labels and augmentation."""

import random
from pathlib import Path

import numpy as np
import pytest
import soundfile

from vocalmtp.data.manifest import Utterance
from vocalmtp.training.codec_crops import NO_PHONE, CropDataset
from vocalmtp.training.recipe import TokenizerRecipe

RATE, HOP = 16_000, 640


@pytest.fixture
def row(tmp_path: Path) -> Utterance:
    """Two seconds at 24 kHz, a tone of 200 Hz and then one of 400 Hz."""
    time = np.arange(24_000) / 24_000
    wav = np.concatenate([np.sin(2 * np.pi * f * time) for f in (200, 400)])
    soundfile.write(tmp_path / "a.wav", 0.5 * wav, 24_000)
    phones = (("low", 1.0), ("tone", 2.0))
    return Utterance(id="a", audio=tmp_path / "a.wav", text="a", phones=phones)


def crops(row: Utterance, **options: object) -> CropDataset:
    recipe = TokenizerRecipe.model_validate(
        {"output": "runs", "corpus": "corpus", "batch_size": 8, "crop_seconds": 0.48, **options}
    )
    return CropDataset([row], recipe, RATE, HOP, random.Random(0))


def pitch(wav: np.ndarray) -> float:
    """Frequency of the loudest tone in Hz."""
    return float(np.abs(np.fft.rfft(wav, 16 * RATE)).argmax() / 16)


@pytest.mark.parametrize("speed", [1.0, 0.8, 1.25])
def test_frequency_and_labels_follow_the_speed(row: Utterance, speed: float) -> None:
    data = crops(row, resample_prob=1.0, resample=(speed, speed))
    batch = data.batch()
    checked = set()
    for wav, phones, start in zip(batch.wav, batch.phones, batch.starts.tolist(), strict=True):
        first, end = start * speed / RATE, (start + len(wav)) * speed / RATE
        if first < 1 < end:
            continue
        name = "low" if end <= 1 else "tone"
        known = phones[phones != NO_PHONE]
        assert {data.phones[index] for index in known} == {name} and len(known) >= 11
        assert pitch(wav.numpy()) == pytest.approx(speed * (200 if name == "low" else 400), abs=4)
        checked.add(name)
    assert checked == {"low", "tone"}


def test_noise_is_in_the_input_of_the_encoder_alone(row: Utterance) -> None:
    quiet = crops(row).batch()
    noisy = crops(row, noise_prob=0.5, reverb_prob=0.2).batch()
    assert quiet.noisy is None and noisy.noisy is not None
    assert noisy.noisy.shape == noisy.wav.shape
    changed = (noisy.noisy != noisy.wav).any(dim=1)
    assert 0 < changed.sum() < len(changed)

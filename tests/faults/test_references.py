"""Recordings that no voice can be made of."""

import os
import resource
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.damage import tear
from helpers.sounds import buzz

from vocalmtp.audio.io import read_audio
from vocalmtp.errors import InputError

RATE = 16_000

YES = "--i-have-consent"


def write(name: str, samples: np.ndarray, rate: int = RATE, **options: str) -> Path:
    soundfile.write(name, samples, rate, **options)
    return Path(name)


REFERENCES = {
    "nobytes.wav": (lambda name: Path(name).touch(), "unusable: "),
    "empty.wav": (lambda name: write(name, np.zeros(0)), "empty: "),
    "text.wav": (lambda name: Path(name).write_text("I am no sound."), "unusable: "),
    "bytes.mp3": (lambda name: Path(name).write_bytes(bytes(range(256)) * 40), "unusable: "),
    "samples.raw": (lambda name: Path(name).write_bytes(bytes(9000)), "unusable: "),
    "folder.wav": (lambda name: Path(name).mkdir(), "not_found: "),
    "silent.wav": (lambda name: write(name, np.zeros(3 * RATE)), "empty: "),
    "short.wav": (lambda name: write(name, buzz(0.4)), "wrong_length: 1"),
    "long.flac": (lambda name: write(name, buzz(40.0)), "wrong_length: 40.0"),
    "noise.wav": (
        lambda name: write(name, np.random.default_rng(0).normal(0, 0.1, 3 * RATE)),
        "empty: ",
    ),
    "cut.wav": (lambda name: tear(write(name, buzz(4.0))), "damaged: "),
    "cut.flac": (lambda name: tear(write(name, buzz(4.0))), "unusable: "),
    "cut.ogg": (lambda name: tear(write(name, buzz(4.0))), ""),
    "nan.wav": (
        lambda name: write(name, np.where(np.arange(32_000) == 9, np.nan, 0.1), subtype="FLOAT"),
        "damaged: ",
    ),
    "infinite.wav": (
        lambda name: write(name, np.full(32_000, np.inf), subtype="DOUBLE"),
        "damaged: ",
    ),
    "slow.wav": (lambda name: write(name, buzz(2.0), rate=10), "out_of_range: 10"),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_references_that_will_not_do(refused, whole_model, name):
    make, says = REFERENCES[name]
    make(name)
    said = refused("voices", "make", name, "-o", "v.safetensors", "-m", whole_model, YES, says=says)
    assert f"'{name}': " in said
    assert refused("tts", "Hi.", "-o", "a.wav", "-v", name, "-m", whole_model) == said


def test_a_cut_mp3_is_read_as_far_as_it_goes(run, whole_model):
    tear(write("cut.mp3", buzz(6.0)))
    assert run("voices", "make", "cut.mp3", "-o", "v.safetensors", "-m", whole_model, YES) == 0


def test_an_hour_is_refused_by_its_header(refused, whole_model, monkeypatch):
    with soundfile.SoundFile("hour.flac", "w", RATE, 1) as sound:
        for _ in range(60):
            sound.write(np.zeros(60 * RATE, np.float32))
    monkeypatch.setattr(soundfile.SoundFile, "read", None)  # it is not even begun
    says = "wrong_length: 'hour.flac'"
    refused("voices", "make", "hour.flac", "-o", "v.safetensors", "-m", whole_model, YES, says=says)


def test_a_header_that_tells_more_than_memory_holds(tmp_path):
    """FLAC's header has 36 bits for the number of samples."""
    path = tmp_path / "a.flac"
    soundfile.write(path, buzz(3.0), RATE)
    data = bytearray(path.read_bytes())
    data[21] |= 0x0F  # the highest bits of the count
    path.write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError) as error:
        read_audio(path, RATE)
    assert error.value.code in ("damaged", "unusable")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_a_pipe_is_no_recording(refused, whole_model):
    os.mkfifo("a.wav")
    refused("tts", "Hi.", "-v", "a.wav", "-m", whole_model, says="not_found: 'a.wav'")

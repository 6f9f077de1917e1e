"""Voices: made from recordings, saved, loaded, and never given to another tokenizer."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from helpers.toy_model import tokenizer_config
from safetensors.numpy import save_file

from vocalmtp.errors import InputError
from vocalmtp.tokenizers.neural import NeuralTokenizer
from vocalmtp.voices import (
    NO_CONSENT,
    Voice,
    load_voices,
    make_voice,
    mean_vector,
    state_consent,
)


@pytest.fixture(scope="module")
def tokenizer() -> NeuralTokenizer:
    torch.manual_seed(0)
    return NeuralTokenizer(tokenizer_config()).eval()


def record(path: Path, seconds: float = 2.0, pitch: float = 120.0, rate: int = 22_050) -> Path:
    """A buzz of harmonics with silence before and after it."""
    time = np.arange(round(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * pitch * h * time) / h for h in range(1, 9)) * 0.1
    soundfile.write(path, np.concatenate([np.zeros(rate), buzz, np.zeros(rate)]), rate)
    return path


def test_a_voice_survives_its_file(tmp_path, tokenizer):
    made = make_voice(record(tmp_path / "me.wav"), tokenizer)
    assert made.name == "me" and made.origin == "made from me.wav"
    assert made.vector.shape == (tokenizer.spec.speaker_dim,)
    assert np.linalg.norm(made.vector) == pytest.approx(1, abs=1e-5)
    (tmp_path / "usual").touch()
    path = made.save(tmp_path / "mine.safetensors")
    assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode
    back = Voice.load(path)
    assert np.array_equal(back.vector, made.vector)
    assert (back.name, back.origin) == (made.name, made.origin)
    assert back.check(tokenizer.spec) is back
    assert list(load_voices(tmp_path)) == ["me"]


def test_silence_around_a_recording_does_not_count(tmp_path, tokenizer):
    path = record(tmp_path / "a.wav")
    samples, rate = soundfile.read(path)
    soundfile.write(tmp_path / "b.wav", np.concatenate([samples, np.zeros(40 * rate)]), rate)
    alike = make_voice(path, tokenizer).vector @ make_voice(tmp_path / "b.wav", tokenizer).vector
    assert alike > 0.999


def test_several_recordings_are_averaged(tmp_path, tokenizer):
    paths = [record(tmp_path / f"{pitch}.wav", pitch=pitch) for pitch in (90, 250)]
    both = make_voice(paths, tokenizer, name="both").vector
    singles = [make_voice(path, tokenizer).vector for path in paths]
    mean = np.mean(singles, axis=0)
    assert np.allclose(both, mean / np.linalg.norm(mean), atol=1e-5)


@pytest.mark.parametrize(
    ("seconds", "message"), [(0.5, "give 1 to 30 s"), (32.0, "give 1 to 30 s"), (0.0, "is silent")]
)
def test_references_that_will_not_do(tmp_path, tokenizer, seconds, message):
    with pytest.raises(InputError, match=message):
        make_voice(record(tmp_path / "a.wav", seconds), tokenizer)


def test_a_voice_of_another_tokenizer_is_refused(tmp_path, tokenizer):
    made = make_voice(record(tmp_path / "me.wav"), tokenizer)
    with pytest.raises(InputError, match="made for tokenizer 'toy'"):
        made.check(tokenizer.spec.model_copy(update={"codes": "other"}))


def test_files_that_are_no_voice_are_refused(tmp_path, tokenizer):
    (tmp_path / "text.safetensors").write_text("no voice")
    save_file({"vector": np.zeros(3, np.float32)}, tmp_path / "bare.safetensors")
    for name, message in [
        ("none", "no such file"),
        ("text", "not a voice file"),
        ("bare", "not a voice file"),
    ]:
        with pytest.raises(InputError, match=message):
            Voice.load(tmp_path / f"{name}.safetensors")
    made = make_voice(record(tmp_path / "me.wav"), tokenizer)
    with pytest.raises(InputError, match="name it v.safetensors"):
        made.save(tmp_path / "v.bin")


def test_a_damaged_vector_is_refused(tmp_path):
    broken = Voice("x", np.full(4, np.nan, np.float32), "", "toy", "0")
    with pytest.raises(InputError, match="damaged"):
        Voice.load(broken.save(tmp_path / "x.safetensors"))


def test_consent_is_asked_for_and_goes_with_the_voice(tmp_path, tokenizer):
    with pytest.raises(InputError, match="add --i-have-consent"):
        state_consent(False)
    line = state_consent(True, date(2026, 1, 31))
    assert line == "stated by who made it, on 2026-01-31"
    file = record(tmp_path / "me.wav")
    assert make_voice(file, tokenizer).consent == "not stated"
    path = make_voice(file, tokenizer, consent=line).save(tmp_path / "me.safetensors")
    assert Voice.load(path).consent == line


def test_a_voice_file_of_before_consent_was_asked_for(tmp_path):
    metadata = {"name": "a", "origin": "o", "tokenizer": "toy", "tokenizer_hash": "0"}
    save_file({"vector": np.ones(4, np.float32)}, tmp_path / "a.safetensors", metadata)
    assert Voice.load(tmp_path / "a.safetensors").consent == NO_CONSENT
    metadata |= {"origin": "synthetic; a tone"}  # nobody's
    save_file({"vector": np.ones(4, np.float32)}, tmp_path / "b.safetensors", metadata)
    assert Voice.load(tmp_path / "b.safetensors").consent == ""


def test_the_mean_of_voices_has_length_one():
    vectors = (np.array([1.0, 0.0], np.float32), np.array([0.0, 1.0], np.float32))
    voices = [Voice("x", vector, "", "toy", "0") for vector in vectors]
    assert np.allclose(mean_vector(voices, 2), 0.5**0.5)
    assert np.array_equal(mean_vector([], 3), np.zeros(3))

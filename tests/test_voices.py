"""Voices: made from recordings, saved, loaded, found by name, and bound to one tokenizer."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from helpers.errors import raises_input_error
from helpers.toy_model import tokenizer_config
from safetensors.numpy import save_file

from vocalmtp.errors import ErrorCode
from vocalmtp.tokenizers.neural import NeuralTokenizer
from vocalmtp.voices import (
    NO_CONSENT,
    Voice,
    consent_note,
    find_voice,
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
    """Write harmonics of `pitch` Hz with silence before and after them."""
    time = np.arange(round(seconds * rate)) / rate
    tone = sum(np.sin(2 * np.pi * pitch * h * time) / h for h in range(1, 9)) * 0.1
    soundfile.write(path, np.concatenate([np.zeros(rate), tone, np.zeros(rate)]), rate)
    return path


def voice_of(tokenizer: NeuralTokenizer, name: str) -> Voice:
    """A built-in voice of a tokenizer."""
    vector = np.full(tokenizer.spec.speaker_dim, 0.1, np.float32)
    return Voice(name, vector, "", tokenizer.spec.name, tokenizer.spec.hash)


# -- files ---------------------------------------------------------------------------------------


def test_voice_file_round_trip(tmp_path: Path, tokenizer: NeuralTokenizer) -> None:
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


def test_files_that_are_no_voice(tmp_path: Path, tokenizer: NeuralTokenizer) -> None:
    (tmp_path / "text.safetensors").write_text("no voice")
    save_file({"vector": np.zeros(3, np.float32)}, tmp_path / "bare.safetensors")
    codes: dict[str, ErrorCode] = {
        "none": "not_found",
        "text": "damaged",
        "bare": "damaged",
    }
    for name, code in codes.items():
        with raises_input_error(code, key="voice", names=name):
            Voice.load(tmp_path / f"{name}.safetensors")
    made = make_voice(record(tmp_path / "me.wav"), tokenizer)
    with raises_input_error("invalid_value", key="output"):
        made.save(tmp_path / "v.bin")


def test_damaged_vector(tmp_path: Path) -> None:
    broken = Voice("x", np.full(4, np.nan, np.float32), "", "toy", "0")
    with raises_input_error("damaged", key="voice"):
        Voice.load(broken.save(tmp_path / "x.safetensors"))


def test_voice_of_another_tokenizer(tmp_path: Path, tokenizer: NeuralTokenizer) -> None:
    made = make_voice(record(tmp_path / "me.wav"), tokenizer)
    with raises_input_error("mismatch", key="voice", names="me"):
        made.check(tokenizer.spec.model_copy(update={"codes": "other"}))


# -- recordings ----------------------------------------------------------------------------------


def test_silence_around_a_recording_has_no_effect(
    tmp_path: Path, tokenizer: NeuralTokenizer
) -> None:
    path = record(tmp_path / "a.wav")
    samples, rate = soundfile.read(path)
    soundfile.write(tmp_path / "b.wav", np.concatenate([samples, np.zeros(40 * rate)]), rate)
    alike = make_voice(path, tokenizer).vector @ make_voice(tmp_path / "b.wav", tokenizer).vector
    assert alike > 0.999


def test_several_recordings_are_averaged(tmp_path: Path, tokenizer: NeuralTokenizer) -> None:
    paths = [record(tmp_path / f"{pitch}.wav", pitch=pitch) for pitch in (90, 250)]
    both = make_voice(paths, tokenizer, name="both").vector
    mean = np.mean([make_voice(path, tokenizer).vector for path in paths], axis=0)
    assert np.allclose(both, mean / np.linalg.norm(mean), atol=1e-5)


@pytest.mark.parametrize(
    ("seconds", "code"), [(0.5, "wrong_length"), (32.0, "wrong_length"), (0.0, "empty")]
)
def test_unsuitable_recordings(
    tmp_path: Path, tokenizer: NeuralTokenizer, seconds: float, code: ErrorCode
) -> None:
    with raises_input_error(code, key="reference"):
        make_voice(record(tmp_path / "a.wav", seconds), tokenizer)


def test_recordings_of_noise_and_none_at_all(tmp_path: Path, tokenizer: NeuralTokenizer) -> None:
    noise = np.random.default_rng(0).standard_normal(32_000) * 0.1
    soundfile.write(tmp_path / "noise.wav", noise, 16_000)
    with raises_input_error("empty", key="reference"):
        make_voice(tmp_path / "noise.wav", tokenizer)
    with raises_input_error("missing", key="reference"):
        make_voice([], tokenizer)
    with raises_input_error("unsupported", key="audio", names="https://x.org/a.wav"):
        make_voice("https://x.org/a.wav", tokenizer)


# -- names ---------------------------------------------------------------------------------------


def test_voice_names_match_without_case(tokenizer: NeuralTokenizer) -> None:
    slt, upper = voice_of(tokenizer, "slt"), voice_of(tokenizer, "SLT")
    for name in ("slt", "SLT", "Slt"):
        assert find_voice(name, {"slt": slt}, None, tokenizer) is slt
    both = {"slt": slt, "SLT": upper}
    assert find_voice("SLT", both, None, tokenizer) is upper
    with raises_input_error("not_found", key="voice", names="Slt"):  # which of the two?
        find_voice("Slt", both, None, tokenizer)


def test_default_voice(tokenizer: NeuralTokenizer) -> None:
    voices = {"a": voice_of(tokenizer, "a"), "b": voice_of(tokenizer, "b")}
    assert find_voice(None, voices, "b", tokenizer) is voices["b"]
    with raises_input_error("missing", key="voice"):
        find_voice(None, {}, None, tokenizer)


def test_mean_of_voices_has_length_one() -> None:
    vectors = (np.array([1.0, 0.0], np.float32), np.array([0.0, 1.0], np.float32))
    voices = [Voice("x", vector, "", "toy", "0") for vector in vectors]
    assert np.allclose(mean_vector(voices, 2), 0.5**0.5)
    assert np.array_equal(mean_vector([], 3), np.zeros(3))


# -- consent -------------------------------------------------------------------------------------


def test_consent_is_required_and_saved(tmp_path: Path, tokenizer: NeuralTokenizer) -> None:
    with raises_input_error("consent_missing", key="consent"):
        state_consent(False)
    line = state_consent(True, date(2026, 1, 31))
    assert line.endswith("2026-01-31")
    file = record(tmp_path / "me.wav")
    assert make_voice(file, tokenizer).consent == NO_CONSENT
    path = make_voice(file, tokenizer, consent=line).save(tmp_path / "me.safetensors")
    assert Voice.load(path).consent == line


def test_voice_file_without_consent_metadata(tmp_path: Path) -> None:
    metadata = {"name": "a", "origin": "o", "tokenizer": "toy", "tokenizer_hash": "0"}
    save_file({"vector": np.ones(4, np.float32)}, tmp_path / "a.safetensors", metadata)
    person = Voice.load(tmp_path / "a.safetensors")
    assert person.consent == NO_CONSENT and consent_note(person) is not None
    metadata |= {"origin": "synthetic; a tone"}
    save_file({"vector": np.ones(4, np.float32)}, tmp_path / "b.safetensors", metadata)
    synthetic = Voice.load(tmp_path / "b.safetensors")
    assert synthetic.consent == "" and consent_note(synthetic) is None

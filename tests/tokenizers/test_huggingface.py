"""What is added to codecs of Transformers: padding, filter banks, resampling, derived models."""

import inspect

import pytest
import torch
import transformers
from helpers.errors import raises_input_error
from helpers.published_weights import buzz
from helpers.tiny_codecs import make_model, make_tiny

from vocalmtp.tokenizers import find_card
from vocalmtp.tokenizers.huggingface.dac import resample
from vocalmtp.tokenizers.huggingface.xcodec2 import FilterBank


def test_the_filter_bank_equals_that_of_transformers():
    """Which is computed in numpy, and on the CPU alone."""
    theirs = transformers.SeamlessM4TFeatureExtractor(feature_size=80, num_mel_bins=80)
    wav = buzz(6400)
    expected = theirs(list(wav.numpy()), sampling_rate=16_000, return_tensors="pt")
    found = FilterBank(16_000, 80)(wav)
    assert found.dtype == torch.float64
    assert (found - expected["input_features"]).abs().max() < 1e-4


@pytest.mark.parametrize("samples", [3200, 3201])
def test_resampling_keeps_a_tone_and_drops_what_is_above_nyquist(samples):
    time = torch.arange(samples, dtype=torch.float64) / 24_000
    tone, high = (torch.sin(2 * torch.pi * f * time)[None].float() for f in (1_000, 11_000))
    found = resample(tone + high, 24_000, 16_000)
    assert found.shape == (1, -(-samples * 2 // 3))
    place = torch.arange(found.shape[1], dtype=torch.float64) / 16_000
    expected = torch.sin(2 * torch.pi * 1_000 * place)[None].float()
    assert (found - expected)[:, 20:-20].abs().max() < 0.02


@pytest.mark.parametrize("name", ["xcodec2", "neucodec"])
def test_whole_frames_are_encoded_with_a_following_zero_sample(name):
    """As in the published preparation, which normalises features over the additional frame."""
    tokenizer = make_tiny(name)
    wav = buzz(320 * 12)
    padded = torch.nn.functional.pad(wav, (0, 320))
    with torch.inference_mode():
        expected = tokenizer.encode_frames(padded)[..., :12]
    codes = tokenizer.encode(wav).codes
    assert codes.shape == (1, 1, 12) and torch.equal(codes, expected)


def test_rows_with_and_without_whole_frames_have_the_codes_of_the_single_calls():
    tokenizer = make_tiny("xcodec2")
    wav, lengths = buzz(320 * 12).repeat(3, 1), torch.tensor([320 * 12, 320 * 11 + 5, 320 * 11])
    codes = tokenizer.encode(wav, lengths)
    assert codes.lengths.tolist() == [12, 12, 11]
    for row, (length, frames) in enumerate(zip(lengths, codes.lengths, strict=True)):
        alone = tokenizer.encode(wav[row : row + 1, :length])
        assert torch.equal(codes.codes[row, :, :frames], alone.codes[0])


def test_the_model_of_higgs_audio_has_the_configuration_of_transformers(tmp_path):
    tokenizer = make_tiny("higgs-audio-v2")
    tokenizer.save_pretrained(tmp_path)
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    assert isinstance(config, transformers.HiggsAudioV2TokenizerConfig)
    assert config.architectures == ["HiggsAudioV2TokenizerModel"]
    names = tokenizer.model.state_dict()
    assert "quantizer.quantizers.7.project_in.weight" in names
    assert "quantizer.quantizers.7.codebook.embed" in names


@pytest.mark.parametrize("name", ["dac-16khz", "higgs-audio-v2", "mimi-8", "neucodec", "xcodec2"])
def test_the_weights_of_a_card_are_those_that_transformers_names(name):
    config = make_model(name).config
    assert f'"{find_card(name).weights}"' in inspect.getsource(inspect.getmodule(type(config)))


def test_a_model_that_transformers_does_not_have_is_not_installed(monkeypatch, tmp_path):
    tokenizer = make_tiny("mimi-8")
    tokenizer.save_pretrained(tmp_path)
    monkeypatch.setattr(type(tokenizer), "model_name", "MimiModelOfTomorrow")
    with raises_input_error("not_installed", key="tokenizer"):
        type(tokenizer).from_pretrained(tmp_path)

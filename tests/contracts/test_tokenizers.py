"""Every speech tokenizer keeps the same promises."""

import pytest
import torch

from vocalmtp.tokenizers import SpeechTokenizer, load_tokenizer
from vocalmtp.tokenizers.neural import NeuralTokenizer, NeuralTokenizerConfig

TINY = NeuralTokenizerConfig(
    name="tiny",
    encoder_dim=16,
    encoder_layers=1,
    decoder_dim=16,
    decoder_layers=2,
    frame_dim=16,
    frame_layers=2,
)


def make_neural() -> NeuralTokenizer:
    torch.manual_seed(0)
    return NeuralTokenizer(TINY).eval()


@pytest.fixture(params=[make_neural], ids=["neural"])
def tokenizer(request) -> SpeechTokenizer:
    return request.param()


def speech(batch: int, samples: int, seed: int = 0) -> torch.Tensor:
    """A buzz with a gliding pitch: loud, voiced and cheap."""
    time = torch.arange(samples) / 16_000
    glide = 120 + 40 * torch.sin(2 * torch.pi * (time + seed))
    phase = 2 * torch.pi * (glide / 16_000).cumsum(0)
    wav = sum(torch.sin(h * phase) / h for h in range(1, 9)) * 0.1
    return wav.repeat(batch, 1)


def test_round_trip_has_the_cards_shapes(tokenizer):
    card = tokenizer.card
    wav = speech(2, 20_000)
    made = tokenizer.encode(wav, torch.tensor([20_000, 11_000]))
    frames = -(-20_000 // card.hop)
    assert made.codes.shape == (2, len(card.streams), frames)
    assert made.lengths.tolist() == [frames, -(-11_000 // card.hop)]
    assert made.speaker.shape == (2, card.speaker_dim)
    out = tokenizer.decode(made.codes, made.speaker, made.lengths)
    assert out.shape == (2, frames * card.hop)
    assert out.isfinite().all()
    assert (out[1, made.lengths[1] * card.hop :] == 0).all()


def test_codes_are_in_range(tokenizer):
    codes = tokenizer.encode(speech(1, 32_000)).codes
    for stream, spec in enumerate(tokenizer.card.streams):
        assert codes[:, stream].min() >= 0 and codes[:, stream].max() < spec.size


@pytest.mark.parametrize("chunk", [1, 2, 3, 7])
def test_streamed_decode_equals_offline(tokenizer, chunk):
    made = tokenizer.encode(speech(2, 32_000))
    whole = tokenizer.decode(made.codes, made.speaker)
    stream = tokenizer.stream(made.speaker)
    frames = made.codes.shape[-1]
    parts = [stream.push(made.codes[..., at : at + chunk]) for at in range(0, frames, chunk)]
    joined = torch.cat([*parts, stream.flush()], dim=-1)
    assert joined.shape == whole.shape
    assert (joined - whole).abs().max() < 1e-4


def test_streams_wait_no_longer_than_the_card_says(tokenizer):
    made = tokenizer.encode(speech(1, 32_000))
    stream = tokenizer.stream(made.speaker)
    heard = sum(stream.push(made.codes[..., at : at + 1]).shape[-1] for at in range(10))
    waits = 10 * tokenizer.card.hop - heard
    assert waits <= round(tokenizer.card.lookahead * tokenizer.card.sample_rate)
    assert tokenizer.card.lookahead <= 0.080


def test_a_batch_row_equals_the_single_call(tokenizer):
    wav = speech(2, 24_000)
    wav[1, 13_000:] = 0
    lengths = torch.tensor([24_000, 13_000])
    made = tokenizer.encode(wav, lengths)
    rows = tokenizer.decode(made.codes, made.speaker, made.lengths)
    frames = made.lengths[1]
    alone = tokenizer.decode(made.codes[1:, :, :frames], made.speaker[1:])
    assert (rows[1, : alone.shape[-1]] - alone[0]).abs().max() < 1e-4


def test_two_streams_do_not_mix(tokenizer):
    made = tokenizer.encode(speech(1, 32_000))
    other = made.codes.flip(-1)
    one, two = tokenizer.stream(made.speaker), tokenizer.stream(made.speaker)
    mixed = []
    for at in range(made.codes.shape[-1]):
        mixed.append(one.push(made.codes[..., at : at + 1]))
        two.push(other[..., at : at + 1])
    mixed.append(one.flush())
    alone = tokenizer.decode(made.codes, made.speaker)
    assert (torch.cat(mixed, dim=-1) - alone).abs().max() < 1e-4


def test_save_and_load_keep_codes_and_audio(tokenizer, tmp_path):
    wav = speech(1, 16_000)
    made = tokenizer.encode(wav)
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.card == tokenizer.card and again.card.hash == tokenizer.card.hash
    assert torch.equal(again.encode(wav).codes, made.codes)
    assert torch.equal(
        again.decode(made.codes, made.speaker), tokenizer.decode(made.codes, made.speaker)
    )


@pytest.mark.parametrize("samples", [1, 639, 641])
def test_odd_and_silent_inputs(tokenizer, samples):
    made = tokenizer.encode(torch.zeros(1, samples))
    wav = tokenizer.decode(made.codes, made.speaker)
    assert wav.shape[-1] >= samples and wav.isfinite().all()


def test_decoding_needs_a_speaker_where_the_card_has_one(tokenizer):
    codes = tokenizer.encode(speech(1, 6_400)).codes
    with pytest.raises(TypeError, match="speaker vector"):
        tokenizer.decode(codes)

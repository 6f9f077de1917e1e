"""Our keys and shapes are those of the published files, and our numbers those of the authors'.

The tables of keys, and the numbers below, come from the authors' implementations of the
architectures, run with the weights of `published_weights.set_weights`.
"""

import re

import pytest
import torch
from published_weights import buzz, published_keys, set_weights

from vocalmtp.errors import InputError
from vocalmtp.tokenizers import find_entry, load_tokenizer
from vocalmtp.tokenizers.convert import CONVERTIBLE, config_of
from vocalmtp.tokenizers.facodec import FACodec, FACodecConfig
from vocalmtp.tokenizers.published import PublishedTokenizer
from vocalmtp.tokenizers.speechtokenizer import SpeechTokenizerConfig, SpeechTokenizerModel

SMALL = {
    "facodec": FACodecConfig(
        width=4, dim=16, decoder_width=32, codebook_size=32, timbre_layers=2, timbre_hidden=32
    ),
    "speechtokenizer": SpeechTokenizerConfig(width=4, dim=16, codebook_size=32),
}
GOLDEN_CODES = {  # of buzz(samples), frame by frame
    "facodec": (400, [[22, 12, 26, 26, 25, 12], [13, 27, 21, 22, 27, 31]]),
    "speechtokenizer": (
        321,
        [[3, 2, 14, 30, 24, 16, 21, 14], [3, 2, 15, 12, 16, 26, 11, 21]],
    ),
}
GOLDEN_WAV = {  # samples of these codes: the slice, its values, the standard deviation of all
    "facodec": (
        slice(50, 400, 80),
        [-0.147671, -0.078278, -0.070398, -0.072977, -0.05368],
        0.048291,
    ),
    "speechtokenizer": (
        slice(100, 600, 100),
        [0.206713, 0.044028, 0.194078, 0.030699, 0.187523],
        0.084640,
    ),
}


@pytest.fixture(params=list(CONVERTIBLE))
def small(request) -> PublishedTokenizer:
    return set_weights(CONVERTIBLE[request.param](SMALL[request.param]))


@pytest.mark.parametrize("name", list(CONVERTIBLE))
def test_keys_and_shapes_are_the_published_ones(name):
    with torch.device("meta"):
        model = CONVERTIBLE[name]()
    ours = {model.published_key(key): tuple(t.shape) for key, t in model.state_dict().items()}
    rows = list(published_keys(name))
    assert ours == {key: shape for _, key, shape, training in rows if not training}
    for file, key, _, training in rows:
        assert file in model.FILES
        assert bool(re.fullmatch(model.TRAINING_ONLY, key)) == training


@pytest.mark.parametrize("name", ["facodec", "facodec-3", "speechtokenizer"])
def test_the_card_of_the_catalogue_is_the_tokenizers(name):
    entry = find_entry(name)
    assert config_of(entry).card() == entry.card()
    assert entry.type != name or config_of(entry) == CONVERTIBLE[entry.type].Config()


def test_codes_are_the_authors(small):
    samples, codes = GOLDEN_CODES[small.TYPE]
    made = small.encode(buzz(samples))
    assert made.codes[0].T.tolist() == codes


def test_audio_is_the_authors(small):
    samples, codes = GOLDEN_CODES[small.TYPE]
    where, values, spread = GOLDEN_WAV[small.TYPE]
    wav = small.decode(torch.tensor(codes).T[None], small.encode(buzz(samples)).speaker)
    assert wav.shape == (1, 2 * small.card.hop)
    assert wav[0, where] == pytest.approx(values, abs=2e-5)
    assert wav.std().item() == pytest.approx(spread, abs=2e-5)


def test_timbre_is_the_authors_and_converts_voices():
    model = set_weights(FACodec(SMALL["facodec"]))
    made = model.encode(buzz(400))
    assert made.speaker[0, :4] == pytest.approx([-0.964365, 0.658763, 0.481291, 0.587338], abs=1e-4)
    other = model.embed_speaker(buzz(8000).flip(-1) * 0.7)
    wav = model.decode(made.codes[:, :3], other)
    expected = [-0.335539, 0.045078, -0.083111, -0.123557, -0.03257]
    assert wav[0, 50:400:80] == pytest.approx(expected, abs=2e-5)
    assert (wav - model.decode(made.codes[:, :3], made.speaker)).abs().max() > 0.1


def test_a_row_is_what_it_is_alone(small):
    wav = torch.cat([buzz(3000), buzz(3000).flip(-1)])
    made = small.encode(wav, torch.tensor([3000, 1234]))
    frames = -(-1234 // small.card.hop)
    alone = small.encode(wav[1:, :1234])
    assert made.lengths.tolist() == [-(-3000 // small.card.hop), frames]
    assert torch.equal(made.codes[1:, :, :frames], alone.codes)
    assert (made.codes[1, :, frames:] == 0).all()
    rows = small.decode(made.codes, made.speaker, made.lengths)
    one = small.decode(alone.codes, alone.speaker)
    assert torch.equal(rows[1, : one.shape[-1]], one[0])
    assert (rows[1, one.shape[-1] :] == 0).all()
    if small.card.speaker_dim:
        assert torch.equal(made.speaker[1:], alone.speaker)


@pytest.mark.parametrize("samples", [1, 7, 319, 321])
def test_short_and_silent_audio(small, samples):
    made = small.encode(torch.zeros(1, samples))
    wav = small.decode(made.codes, made.speaker)
    assert wav.shape == (1, -(-samples // small.card.hop) * small.card.hop)
    assert wav.isfinite().all()


@pytest.mark.parametrize(("name", "streams"), [("facodec", 3), ("speechtokenizer", 1)])
def test_the_leading_streams_alone(name, streams):
    whole = set_weights(CONVERTIBLE[name](SMALL[name]))
    part = CONVERTIBLE[name](SMALL[name].model_copy(update={"streams": streams}))
    part.load_state_dict(whole.state_dict())
    assert part.card.streams == whole.card.streams[:streams]
    assert part.card.hash != whole.card.hash
    made = part.eval().encode(buzz(1000))
    assert torch.equal(made.codes, whole.encode(buzz(1000)).codes[:, :streams])
    wav = part.decode(made.codes, made.speaker)
    assert torch.equal(wav, whole.decode(made.codes, made.speaker))
    assert not torch.equal(wav, whole.decode(whole.encode(buzz(1000)).codes, made.speaker))


def test_save_and_load(small, tmp_path):
    small.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.card == small.card and type(again) is type(small)
    made, remade = small.encode(buzz(1000)), again.encode(buzz(1000))
    assert torch.equal(made.codes, remade.codes)
    wav = small.decode(made.codes, made.speaker)
    assert torch.equal(wav, again.decode(made.codes, remade.speaker))


def test_what_cannot_be_decoded_is_said(small):
    made = small.encode(buzz(1000))
    with pytest.raises(InputError, match=r"are int64 \[1, 9, 2\]; give integers \[batch, [68],"):
        small.decode(torch.zeros(1, 9, 2, dtype=torch.long), made.speaker)
    with pytest.raises(InputError, match="has code 32; stream .* has codes 0 to 31"):
        small.decode(made.codes * 0 + 32, made.speaker)
    with pytest.raises(InputError, match="cannot stream"):
        small.stream(made.speaker)


def test_a_voice_is_where_the_kind_has_it():
    coupled = set_weights(SpeechTokenizerModel(SMALL["speechtokenizer"]))
    assert coupled.encode(buzz(400)).speaker is None
    with pytest.raises(InputError, match="in its streams"):
        coupled.embed_speaker(buzz(400))
    model = set_weights(FACodec(SMALL["facodec"]))
    with pytest.raises(TypeError, match="speaker vector"):
        model.decode(model.encode(buzz(400)).codes)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CONVERTIBLE))
def test_full_size(name):
    model = CONVERTIBLE[name]().eval()
    made = model.encode(buzz(4000))
    frames = -(-4000 // model.card.hop)
    assert made.codes.shape == (1, len(model.card.streams), frames)
    assert model.decode(made.codes, made.speaker).shape == (1, frames * model.card.hop)
    assert (model.card.speaker_dim, model.card.streams[0].size) == (
        256 if name == "facodec" else 0,
        1024,
    )

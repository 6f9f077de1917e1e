"""Keys and shapes equal those of the published files, and outputs those of the authors' code.

The tables of keys, and the numbers below, come from the authors' implementations of the
architectures, run with the weights of `published_weights.set_weights`.
"""

import re
from pathlib import Path

import pytest
import torch
from helpers.errors import raises_input_error
from helpers.published_weights import KEYS, buzz, published_keys, set_weights

from vocalmtp.tokenizers import TOKENIZERS, find_card, list_cards, load_tokenizer
from vocalmtp.tokenizers.base import registered_type
from vocalmtp.tokenizers.convert import published_types
from vocalmtp.tokenizers.published.base import PublishedTokenizer
from vocalmtp.tokenizers.published.bigcodec import BigCodecConfig
from vocalmtp.tokenizers.published.campplus import CAMPPlusConfig
from vocalmtp.tokenizers.published.cosyvoice2 import CosyVoice2, CosyVoice2Config
from vocalmtp.tokenizers.published.facodec import FACodec, FACodecConfig
from vocalmtp.tokenizers.published.flow_matching import AHEAD, FlowConfig
from vocalmtp.tokenizers.published.kanade import KanadeConfig
from vocalmtp.tokenizers.published.mimo import MimoConfig
from vocalmtp.tokenizers.published.moss import MossConfig
from vocalmtp.tokenizers.published.qwen3_tts import Qwen3TTSConfig
from vocalmtp.tokenizers.published.s3 import S3Config
from vocalmtp.tokenizers.published.snac import SnacConfig
from vocalmtp.tokenizers.published.speechtokenizer import (
    SpeechTokenizerConfig,
)
from vocalmtp.tokenizers.published.wavtokenizer import WavTokenizerConfig

TABLES = sorted(path.stem for path in KEYS.glob("*.tsv"))
SMALL = {
    "bigcodec": BigCodecConfig(width=4, dim=16, decoder_width=32, codebook_size=32),
    "cosyvoice2": CosyVoice2Config(
        s3=S3Config(heads=2, layers=2),
        speaker=CAMPPlusConfig(planes=4, width=8, growth=4, layers=(2, 2, 1)),
        flow=FlowConfig(
            width=16,
            heads=2,
            hidden=32,
            layers=2,
            channels=16,
            channel_heads=2,
            head_dim=8,
            blocks=2,
            block_layers=2,
        ),
        vocoder_width=32,
        pitch_width=16,
    ),
    "facodec": FACodecConfig(
        width=4, dim=16, decoder_width=32, codebook_size=32, timbre_layers=2, timbre_hidden=32
    ),
    "kanade": KanadeConfig(
        ssl_width=16,
        ssl_heads=2,
        ssl_hidden=16,
        ssl_filters=8,
        ssl_positions=(16, 2),
        heads=2,
        hidden=48,
        layers=2,
        voice_width=8,
        voice_hidden=16,
        voice_layers=2,
        voice_attention=8,
        post_width=8,
        vocoder_width=32,
        pitch_width=16,
    ),
    "mimo_audio_tokenizer": MimoConfig(
        mels=10,
        width=16,
        hidden=24,
        heads=2,
        layers=3,
        skipped=2,
        vocoder_width=12,
        vocoder_hidden=20,
        vocoder_heads=2,
        vocoder_layers=2,
        before=6,
        after=2,
        codebook_size=32,
        small_codebook_size=8,
    ),
    "moss_audio_tokenizer": MossConfig(
        width=16,
        hidden=32,
        heads=2,
        layers=1,
        slow_width=24,
        slow_hidden=48,
        slow_heads=3,
        slow_layers=2,
        between=8,
        latent=16,
        residual=12,
        seconds=0.4,
        streams=6,
        codebook_size=32,
        codebook_dim=4,
    ),
    "qwen3_tts_12hz": Qwen3TTSConfig(
        encoder_filters=2,
        encoder_width=16,
        encoder_hidden=16,
        encoder_layers=2,
        encoder_heads=2,
        codebook_size=64,
        codebook_dim=8,
        latent=16,
        width=8,
        hidden=16,
        layers=2,
        heads=2,
        head_dim=6,
        window=7,
        decoder_width=64,
    ),
    "s3": S3Config(heads=2, layers=2),
    "snac": SnacConfig(width=4, decoder_width=32, codebook_size=32),
    "speechtokenizer": SpeechTokenizerConfig(width=4, dim=16, codebook_size=32),
    "wavtokenizer": WavTokenizerConfig(
        width=4, dim=16, codebook_size=32, decoder_width=64, decoder_hidden=32, decoder_layers=2
    ),
}
DECODING = [name for name in SMALL if name != "s3"]
GOLDEN_CODES = {  # of buzz(samples), frame by frame
    "bigcodec": (600, [[4], [24], [16]]),  # without the padding of the script
    "cosyvoice2": (1920, [[4073], [3860], [3887]]),
    "facodec": (400, [[22, 12, 26, 26, 25, 12], [13, 27, 21, 22, 27, 31]]),
    "kanade": (1920, [[4113], [9105], [6226]]),
    "mimo_audio_tokenizer": (  # with a filter bank of Transformers in place of torchaudio's
        3900,
        [
            [10, 27, 0, 0, 3, 6, 3, 1],
            [26, 27, 7, 0, 3, 2, 4, 6],
            [26, 27, 7, 0, 3, 2, 4, 6],
            [26, 27, 7, 0, 3, 2, 4, 0],
            [0, 2, 6, 0, 7, 3, 6, 2],
        ],
    ),
    "moss_audio_tokenizer": (
        5760,
        [[26, 3, 30, 19, 4, 19], [26, 5, 26, 15, 4, 27], [2, 11, 3, 14, 26, 3]],
    ),
    "qwen3_tts_12hz": (
        3840,
        [
            [61, 2, 13, 31, 25, 57, 44, 61, 51, 38, 1, 34, 5, 13, 27, 47],
            [41, 2, 25, 42, 17, 47, 3, 19, 2, 46, 2, 0, 32, 1, 48, 38],
        ],
    ),
    "s3": (1920, [[3079], [948], [3837]]),
    "snac": (4096, [[18, 13, 13, 8, 12, 4, 4], [12, 26, 26, 12, 12, 12, 12]]),
    "speechtokenizer": (
        321,
        [[3, 2, 14, 30, 24, 16, 21, 14], [3, 2, 15, 12, 16, 26, 11, 21]],
    ),
    "wavtokenizer": (960, [[19], [2], [2]]),
}
GOLDEN_WAV = {  # samples of these codes: the slice, its values, the standard deviation of all
    "bigcodec": (
        slice(50, 600, 130),
        [0.344151, 0.326946, -0.508349, -0.054606, -0.288571],
        0.385234,
    ),
    "cosyvoice2": (  # with the noise drawn here
        slice(100, 2800, 600),
        [-0.027992, -0.038862, -0.031897, -0.047282, -0.036861],
        0.053959,
    ),
    "facodec": (
        slice(50, 400, 80),
        [-0.147671, -0.078278, -0.070398, -0.072977, -0.05368],
        0.048291,
    ),
    "kanade": (  # with the noise drawn here
        slice(100, 2800, 600),
        [0.049888, 0.046458, 0.038776, 0.058993, 0.057086],
        0.034120,
    ),
    "mimo_audio_tokenizer": (
        slice(100, 4700, 900),
        [0.107969, -0.006974, -0.007677, -0.026387, 0.082242, -0.066106],
        0.058387,
    ),
    "moss_audio_tokenizer": (
        slice(100, 5700, 1100),
        [-0.355246, -0.085829, 0.062485, 0.225984, -0.095203, 0.284931],
        0.367577,
    ),
    "qwen3_tts_12hz": (
        slice(100, 3800, 750),
        [-0.222588, 0.059999, -0.248491, 0.222817, -0.216697],
        0.179513,
    ),
    "snac": (  # with the noise drawn here
        slice(300, 4000, 900),
        [0.039884, 0.094911, 0.069824, 0.043481, 0.011744],
        0.029789,
    ),
    "speechtokenizer": (
        slice(100, 600, 100),
        [0.206713, 0.044028, 0.194078, 0.030699, 0.187523],
        0.084640,
    ),
    "wavtokenizer": (
        slice(100, 900, 190),
        [0.050567, 0.027028, -0.043222, -0.036396, -0.063838],
        0.066439,
    ),
}


@pytest.fixture(params=list(SMALL))
def small(request) -> PublishedTokenizer:
    return set_weights(TOKENIZERS[request.param](SMALL[request.param]))


decoding = pytest.mark.parametrize("small", DECODING, indirect=True)


def test_every_published_type_has_a_table_of_keys_and_golden_numbers():
    assert {find_card(name).type for name in TABLES} == set(published_types()) == set(SMALL)


@pytest.mark.parametrize("name", TABLES)
def test_keys_and_shapes_are_the_published_ones(name):
    card = find_card(name)
    kind = TOKENIZERS[card.type]
    with torch.device("meta"):
        model = kind(kind.Config.of(card))
    ours = {model.published_key(key): tuple(t.shape) for key, t in model.state_dict().items()}
    rows = [
        (file, kind.checkpoint_key(Path(file).stem, key), shape, spare)
        for file, key, shape, spare in published_keys(name)
    ]
    assert ours == {
        key.removeprefix(kind.PREFIX): shape for _, key, shape, spare in rows if not spare
    }
    for file, key, _, spare in rows:
        assert file in card.files and key.startswith(kind.PREFIX)
        assert bool(re.fullmatch(kind.UNUSED, key.removeprefix(kind.PREFIX))) == spare


@pytest.mark.parametrize(
    "name", [name for name, card in list_cards().items() if card.type in published_types()]
)
def test_the_configuration_of_a_card_has_its_spec(name):
    card = find_card(name)
    kind = TOKENIZERS[card.type]
    assert kind.Config.of(card).spec() == card.spec()
    assert kind.Config().name in list_cards()


# -- outputs of the authors' code ------------------------------------------------------------------


def test_codes_equal_the_authors(small):
    samples, codes = GOLDEN_CODES[registered_type(small)]
    if registered_type(small) == "bigcodec":
        latent = small.encoder(buzz(samples)[:, None]).transpose(1, 2)
        found = small.decoder.quantizer.codes(latent)[0]
    else:
        found = small.encode(buzz(samples)).codes
    assert found[0].T.tolist() == codes


def test_moss_attends_to_its_last_seconds_alone():
    """The codes of a frame behind the windows of all transformers are those of the authors' code."""
    model = set_weights(TOKENIZERS["moss_audio_tokenizer"](SMALL["moss_audio_tokenizer"]))
    assert model.encode(buzz(1920 * 9)).codes[0, :, 8].tolist() == [26, 11, 18, 6, 26, 29]


@decoding
def test_audio_equals_the_authors(small):
    samples, codes = GOLDEN_CODES[registered_type(small)]
    where, values, spread = GOLDEN_WAV[registered_type(small)]
    wav = small.decode(torch.tensor(codes).T[None], small.encode(buzz(samples)).speaker)
    assert wav.shape == (1, len(codes) * small.spec.hop)
    assert wav[0, where] == pytest.approx(values, abs=2e-5)
    assert wav.std().item() == pytest.approx(spread, abs=2e-5)


def test_timbre_equals_the_authors_and_converts_voices():
    model = set_weights(FACodec(SMALL["facodec"]))
    codes = model.encode(buzz(400))
    expected = [-0.964365, 0.658763, 0.481291, 0.587338]
    assert codes.speaker[0, :4] == pytest.approx(expected, abs=1e-4)
    other = model.embed_speaker(buzz(8000).flip(-1) * 0.7)
    wav = model.decode(codes.codes[:, :3], other)
    expected = [-0.335539, 0.045078, -0.083111, -0.123557, -0.03257]
    assert wav[0, 50:400:80] == pytest.approx(expected, abs=2e-5)
    assert (wav - model.decode(codes.codes[:, :3], codes.speaker)).abs().max() > 0.1


def test_kanade_converts_voices_by_the_vector_of_the_authors():
    model = set_weights(TOKENIZERS["kanade"](SMALL["kanade"]))
    codes, other = model.encode(buzz(1920)), model.embed_speaker(buzz(8000).flip(-1) * 0.7)
    assert codes.speaker[0, :4] == pytest.approx([2.5339, 0.04063, -0.362, 0.09428], abs=1e-4)
    converted, own = (model.decode(codes.codes, voice) for voice in (other, codes.speaker))
    assert (converted - own).abs().max() > 1e-3


def test_facodec_version_2_equals_the_authors():
    """Whose streams have prosody before content."""
    config = FACodecConfig(name="facodec-v2", version=2, decoder_width=32)
    model = set_weights(FACodec(config))
    codes = model.encode(buzz(600))
    published = [[233, 138, 646, 102, 744, 820], [392, 431, 37, 985, 743, 173]]
    published += [[716, 323, 163, 848, 848, 921]]
    assert codes.codes[0, [2, 0, 1, 3, 4, 5]].T.tolist() == published
    assert [stream.role for stream in model.spec.streams[:3]] == ["content", "content", "prosody"]
    expected = [0.011413, 0.181099, -1.366765, 0.506748]
    assert codes.speaker[0, :4] == pytest.approx(expected, abs=1e-4)
    wav = model.decode(codes.codes, codes.speaker)
    expected = [-0.202787, -0.01386, 0.191346, -0.05391, -0.083506]
    assert wav[0, 50:600:130] == pytest.approx(expected, abs=2e-5)
    assert wav.std().item() == pytest.approx(0.087614, abs=2e-5)


def test_qwen3_tts_encodes_with_all_of_the_past():
    """The codes after 12 s are those of the authors' code, which ignores a configured window."""
    model = set_weights(TOKENIZERS["qwen3_tts_12hz"](SMALL["qwen3_tts_12hz"]))
    codes = model.encode(buzz(1920 * 150)).codes
    assert codes[0, :, 130:].sum(0).tolist() == [
        535,
        466,
        421,
        390,
        599,
        439,
        642,
        555,
        568,
        578,
        520,
        528,
        646,
        432,
        423,
        620,
        700,
        626,
        606,
        643,
    ]


@pytest.fixture
def cosyvoice2() -> CosyVoice2:
    return set_weights(CosyVoice2(SMALL["cosyvoice2"]))


SIXTY_CODES = torch.arange(60)[None] * 997 % 6561


def test_speaker_vectors_of_cam_plus_plus_equal_the_authors(cosyvoice2):
    """Whose features are those of the package kaldi-native-fbank."""
    vector = cosyvoice2.embed_speaker(buzz(30_000))
    assert vector.shape == (1, 192) and vector.std().item() == pytest.approx(0.154827, abs=1e-5)
    assert vector[0, ::48] == pytest.approx([0.14251, 0.07062, 0.2084, 0.35442], abs=2e-5)


@pytest.mark.parametrize(
    ("count", "chunk", "ahead", "values", "spread"),
    [
        (60, 0, 0, [-1.91173, 1.01858, 0.3242, 0.1875], 1.40842),
        (60, 25, 0, [-1.90832, 1.06678, 0.18886, 0.1719], 1.42707),
        (50, 25, AHEAD, [-1.90832, 1.06678, 0.18886, 0.1719], 1.41922),
    ],
    ids=["whole", "chunks", "ahead"],
)
@torch.inference_mode()
def test_the_flow_of_cosyvoice_2_equals_the_authors(
    cosyvoice2, count, chunk, ahead, values, spread
):
    """As a whole, and with streaming masks at the end and before it."""
    speaker = cosyvoice2.embed_speaker(buzz(30_000))
    mel = cosyvoice2.flow(SIXTY_CODES[:, : count + ahead], speaker, chunk, ahead)
    assert mel.shape == (1, 80, 2 * count)
    assert mel[0, ::20, 60] == pytest.approx(values, abs=3e-5)
    assert mel.std().item() == pytest.approx(spread, abs=3e-5)


@torch.inference_mode()
def test_voiced_frames_of_hift_equal_the_authors(cosyvoice2):
    codes = cosyvoice2.encode(buzz(1920))
    mel = cosyvoice2.flow(codes.codes[:, 0], codes.speaker)
    cosyvoice2.mel2wav.f0_predictor.classifier.weight.mul_(200)
    cosyvoice2.mel2wav.f0_predictor.classifier.bias.add_(100)
    f0 = cosyvoice2.mel2wav.f0_predictor(mel)
    assert f0[0] == pytest.approx([69.9383, 72.4661, 76.6282, 74.5701, 71.9209, 69.9379], abs=1e-3)
    wav = cosyvoice2.mel2wav(mel)
    expected = [-0.028136, -0.073553, -0.026277, -0.049166, -0.003537]
    assert wav[0, 100:2800:600] == pytest.approx(expected, abs=2e-5)


def test_cosyvoice_2_streams_only_in_chunks(cosyvoice2):
    with raises_input_error("unsupported", key="tokenizer"):
        cosyvoice2.stream(torch.ones(1, 192))
    with raises_input_error("missing", key="speaker"):
        chunked_cosyvoice2().stream()


def chunked_cosyvoice2() -> CosyVoice2:
    return set_weights(CosyVoice2(SMALL["cosyvoice2"].model_copy(update={"chunk": 25})))


def test_a_stream_of_cosyvoice_2_in_many_chunks_equals_decode():
    model, speaker, codes = chunked_cosyvoice2(), buzz(192), SIXTY_CODES[:, None]
    stream, counts, parts = model.stream(speaker), [], []
    for piece in codes.split(4, dim=-1):
        parts.append(stream.push(piece))
        counts.append(parts[-1].shape[-1])
    parts.append(stream.flush())
    assert [count for count in counts if count] == [(50 - 22) * 480, 50 * 480]
    joined, whole = torch.cat(parts, dim=-1), model.decode(codes, speaker)
    assert joined.shape == whole.shape and (joined - whole).abs().max() < 1e-4


def test_s3_version_3_has_more_layers_and_another_norm():
    kind = TOKENIZERS["s3"]
    configs = [kind.Config.of(find_card(name)) for name in ("s3-v2", "s3-v3")]
    assert [(c.layers, c.norm_eps) for c in configs] == [(6, 1e-6), (12, 1e-5)]
    with torch.device("meta"):
        assert len(kind(configs[1]).state_dict()) == 198  # as published
    small = [SMALL["s3"].model_copy(update={"norm_eps": c.norm_eps}) for c in configs]
    models = [set_weights(kind(config)) for config in small]
    hidden = [model.encoder(model.log_mel(buzz(1920))) for model in models]
    assert not torch.equal(*hidden) and torch.allclose(*hidden, atol=1e-2)


def test_bigcodec_pads_whole_frames_by_one_more_and_drops_its_code():
    """The published script pads 600 samples to 800, and 599 to 600."""
    model = set_weights(TOKENIZERS["bigcodec"](SMALL["bigcodec"]))
    wav = torch.cat([buzz(600), torch.zeros(1, 1)], dim=-1)
    codes = model.encode(wav).codes
    assert codes.shape[-1] == 4
    assert torch.equal(model.encode(wav[:, :600]).codes, codes[..., :3])


def test_wavtokenizer_pads_an_incomplete_frame_by_reflection():
    model = set_weights(TOKENIZERS["wavtokenizer"](SMALL["wavtokenizer"]))
    wav = buzz(3 * 320 + 100)
    codes, _ = model.encode_row(wav)
    assert codes.shape[-1] == 4
    zeros = torch.nn.functional.pad(wav, (0, 220))
    hidden = [model.encoder(audio[:, None]) for audio in (wav, zeros)]
    assert hidden[0].shape == hidden[1].shape and not torch.allclose(*hidden, atol=1e-3)


# -- rows, lengths, streams ------------------------------------------------------------------------


def test_a_row_of_a_batch_has_the_codes_of_the_single_call(small):
    wav = torch.cat([buzz(3000), buzz(3000).flip(-1)])
    codes = small.encode(wav, torch.tensor([3000, 1234]))
    frames = -(-1234 // small.spec.input_hop)
    alone = small.encode(wav[1:, :1234])
    assert codes.lengths.tolist() == [-(-3000 // small.spec.input_hop), frames]
    assert torch.equal(codes.codes[1:, :, :frames], alone.codes)
    assert (codes.codes[1, :, frames:] == 0).all()
    if small.spec.speaker_dim:
        assert torch.equal(codes.speaker[1:], alone.speaker)


@decoding
def test_a_row_of_a_batch_has_the_audio_of_the_single_call(small):
    wav = torch.cat([buzz(3000), buzz(3000).flip(-1)])
    codes, alone = small.encode(wav, torch.tensor([3000, 1234])), small.encode(wav[1:, :1234])
    rows = small.decode(codes.codes, codes.speaker, codes.lengths)
    one = small.decode(alone.codes, alone.speaker)
    assert torch.equal(rows[1, : one.shape[-1]], one[0])
    assert (rows[1, one.shape[-1] :] == 0).all()


@decoding
@pytest.mark.parametrize("samples", [1, 7, 319, 321])
def test_short_and_silent_audio(small, samples):
    codes = small.encode(torch.zeros(1, samples))
    wav = small.decode(codes.codes, codes.speaker)
    assert wav.shape == (1, -(-samples // small.spec.input_hop) * small.spec.hop)
    assert wav.isfinite().all()


@pytest.mark.parametrize(("name", "streams"), [("facodec", 3), ("speechtokenizer", 1)])
def test_the_leading_streams_are_decoded_alone(name, streams):
    whole = set_weights(TOKENIZERS[name](SMALL[name]))
    part = TOKENIZERS[name](SMALL[name].model_copy(update={"streams": streams}))
    part.load_state_dict(whole.state_dict())
    assert part.spec.streams == whole.spec.streams[:streams]
    assert part.spec.hash != whole.spec.hash
    codes = part.eval().encode(buzz(1000))
    assert torch.equal(codes.codes, whole.encode(buzz(1000)).codes[:, :streams])
    wav = part.decode(codes.codes, codes.speaker)
    assert torch.equal(wav, whole.decode(codes.codes, codes.speaker))
    assert not torch.equal(wav, whole.decode(whole.encode(buzz(1000)).codes, codes.speaker))


def test_a_saved_tokenizer_is_read_again(small, tmp_path):
    small.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.spec == small.spec and type(again) is type(small)
    codes, repeated = small.encode(buzz(1000)), again.encode(buzz(1000))
    assert torch.equal(codes.codes, repeated.codes)
    if registered_type(small) in DECODING:
        wav = small.decode(codes.codes, codes.speaker)
        assert torch.equal(wav, again.decode(codes.codes, repeated.speaker))


@decoding
def test_other_numbers_of_streams_are_refused(small):
    speaker = small.encode(buzz(1000)).speaker
    with raises_input_error("invalid_value", key="codes"):
        small.decode(torch.zeros(1, 9, 2, dtype=torch.long), speaker)


FULL_SIZES = ["cosyvoice2", "facodec", "kanade", "qwen3_tts_12hz", "snac", "speechtokenizer"]


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL_SIZES)
def test_full_size(name):
    model = TOKENIZERS[name]().eval()
    codes = model.encode(buzz(4000))
    frames = -(-4000 // model.spec.input_hop)
    assert codes.codes.shape == (1, len(model.spec.streams), frames)
    assert model.decode(codes.codes, codes.speaker).shape == (1, frames * model.spec.hop)

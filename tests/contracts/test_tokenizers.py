"""The contract of `SpeechTokenizer`, tested on tiny random models of every card or codec."""

from collections.abc import Iterable, Iterator

import pytest
import torch
from helpers.errors import raises_input_error
from helpers.tiny_codecs import make_tiny

from vocalmtp.tokenizers import SpeechTokenizer, list_cards, load_tokenizer
from vocalmtp.tokenizers.neural import NeuralTokenizer
from vocalmtp.tokenizers.published.base import PublishedTokenizer


def one_of_each() -> list[str]:
    """The first card of every type, kind and capability; other cards differ in numbers only."""
    first: dict[tuple, str] = {}
    for name, card in list_cards().items():
        streams = card.lookahead is not None
        first.setdefault((card.type, card.kind, card.chunks, card.decodes, streams), name)
    return list(first.values())


CODECS = one_of_each()
NEURAL = [name for name in CODECS if list_cards()[name].type == "neural"]
DECODING = [name for name in CODECS if list_cards()[name].decodes]
STREAMING = [name for name in CODECS if list_cards()[name].lookahead is not None]
tokenizers: dict[str, SpeechTokenizer] = {}


def tiny(name: str) -> SpeechTokenizer:
    """The tiny tokenizer of card `name`, made once."""
    if name not in tokenizers:
        tokenizers[name] = make_tiny(name)
    return tokenizers[name]


@pytest.fixture
def tokenizer(request) -> SpeechTokenizer:
    return tiny(request.param)


def every(names: Iterable[str]):
    return pytest.mark.parametrize("tokenizer", list(names), indirect=True)


def voiced_sound(tokenizer: SpeechTokenizer, batch: int, frames: float) -> torch.Tensor:
    """Harmonics of a gliding pitch [batch, N] for `frames` codec frames."""
    rate = tokenizer.spec.input_rate
    time = torch.arange(round(frames * tokenizer.spec.input_hop), dtype=torch.float32) / rate
    phase = 2 * torch.pi * ((120 + 40 * torch.sin(2 * torch.pi * time)) / rate).cumsum(0)
    wav = torch.stack([torch.sin(h * phase) / h for h in range(1, 9)]).sum(0) * 0.1
    return wav.repeat(batch, 1)


def two_rows(tokenizer: SpeechTokenizer) -> tuple[torch.Tensor, torch.Tensor]:
    """A long and a short utterance [2, N], and their lengths."""
    hop = tokenizer.spec.input_hop
    wav = voiced_sound(tokenizer, 2, 20)
    length = 11 * hop + hop // 3
    wav[1, length:] = 0
    return wav, torch.tensor([wav.shape[1], length])


def largest_difference(one: torch.Tensor, two: torch.Tensor) -> float:
    """The largest difference, relative to the level of `two` if that is above 1."""
    return float((one - two).abs().max() / two.abs().max().clamp(min=1))


# -- shapes and the spec ---------------------------------------------------------------------------


@every(list_cards())
def test_codes_have_the_shape_and_range_of_the_spec(tokenizer):
    spec, hop = tokenizer.spec, tokenizer.spec.input_hop
    wav = voiced_sound(tokenizer, 2, 11.3)
    codes = tokenizer.encode(wav, torch.tensor([wav.shape[1], 5 * hop + 1]))
    assert codes.codes.shape == (2, len(spec.streams), 12) and codes.codes.dtype == torch.int64
    assert codes.lengths.tolist() == [12, 6]
    assert (codes.codes[1, :, 6:] == 0).all()
    assert (codes.speaker is None) == (spec.speaker_dim == 0)
    for index, stream in enumerate(spec.streams):
        assert codes.codes[:, index].min() >= 0 and codes.codes[:, index].max() < stream.size
    assert len(codes.codes[0].unique()) > 1


@every(name for name, card in list_cards().items() if card.decodes)
def test_audio_has_the_shape_of_the_spec(tokenizer):
    hop = tokenizer.spec.hop
    wav = voiced_sound(tokenizer, 2, 11.3)
    lengths = torch.tensor([wav.shape[1], 5 * tokenizer.spec.input_hop + 1])
    codes = tokenizer.encode(wav, lengths)
    out = tokenizer.decode(codes.codes, codes.speaker, codes.lengths)
    assert out.shape == (2, 12 * hop) and out.dtype == torch.float32
    assert out.isfinite().all() and out[0].abs().max() > 0
    assert (out[1, 6 * hop :] == 0).all()


@every(list_cards())
def test_the_spec_is_that_of_the_card(tokenizer):
    card = list_cards()[tokenizer.spec.name]
    ours, theirs = tokenizer.spec, card.spec(tokenizer.spec.codes)
    assert ours.model_copy(update={"speaker_dim": theirs.speaker_dim}) == theirs  # tiny ones differ
    assert ours.hop * card.frame_rate == pytest.approx(card.sample_rate)
    assert ours.input_hop * card.frame_rate == pytest.approx(ours.input_rate)


@pytest.mark.parametrize("samples", [1, 639, 641])
@every(CODECS)
def test_odd_lengths_and_silence(tokenizer, samples):
    codes = tokenizer.encode(torch.zeros(1, samples))
    frames = -(-samples // tokenizer.spec.input_hop)
    assert codes.codes.shape == (1, len(tokenizer.spec.streams), frames)
    if tokenizer.spec.name in DECODING:
        wav = tokenizer.decode(codes.codes, codes.speaker)
        assert wav.shape[-1] == frames * tokenizer.spec.hop and wav.isfinite().all()


# -- streams ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 3, 7])
@every(STREAMING)
def test_streamed_decoding_equals_offline(tokenizer, chunk):
    codes = tokenizer.encode(voiced_sound(tokenizer, 2, 25))
    whole = tokenizer.decode(codes.codes, codes.speaker)
    stream = tokenizer.stream(codes.speaker)
    parts = [stream.push(piece) for piece in codes.codes.split(chunk, dim=-1)]
    joined = torch.cat([*parts, stream.flush()], dim=-1)
    assert joined.shape == whole.shape
    assert largest_difference(joined, whole) < 1e-4


@every(STREAMING)
def test_a_stream_of_one_frame_equals_offline(tokenizer):
    codes = tokenizer.encode(voiced_sound(tokenizer, 2, 1))
    stream = tokenizer.stream(codes.speaker)
    joined = torch.cat([stream.push(codes.codes), stream.flush()], dim=-1)
    assert torch.allclose(joined, tokenizer.decode(codes.codes, codes.speaker), atol=1e-4)


@every(STREAMING)
def test_a_stream_waits_no_longer_than_the_lookahead(tokenizer):
    codes = tokenizer.encode(voiced_sound(tokenizer, 1, 30))
    stream = tokenizer.stream(codes.speaker)
    done = sum(stream.push(piece).shape[-1] for piece in codes.codes.split(1, dim=-1))
    waiting = 30 * tokenizer.spec.hop - done
    assert waiting <= round(tokenizer.spec.lookahead * tokenizer.spec.sample_rate) + 1


@every(STREAMING)
def test_two_streams_do_not_share_state(tokenizer):
    codes = tokenizer.encode(voiced_sound(tokenizer, 1, 15))
    one, two = tokenizer.stream(codes.speaker), tokenizer.stream(codes.speaker)
    parts = []
    for at in range(15):
        parts.append(one.push(codes.codes[..., at : at + 1]))
        two.push(codes.codes.flip(-1)[..., at : at + 1])
    parts.append(one.flush())
    alone = tokenizer.decode(codes.codes, codes.speaker)
    assert largest_difference(torch.cat(parts, dim=-1), alone) < 1e-4


@every(name for name in CODECS if name not in STREAMING)
def test_streaming_is_unsupported_without_a_lookahead(tokenizer):
    with raises_input_error("unsupported", key="tokenizer", names=tokenizer.spec.name):
        tokenizer.stream()


# -- batches ---------------------------------------------------------------------------------------


@every(name for name in CODECS if name not in NEURAL)  # whose values may round to another code
def test_a_row_of_a_batch_has_the_codes_of_the_single_call(tokenizer):
    wav, lengths = two_rows(tokenizer)
    codes, single = tokenizer.encode(wav, lengths), tokenizer.encode(wav[1:, : lengths[1]])
    assert torch.equal(codes.codes[1:, :, : codes.lengths[1]], single.codes)


@every(DECODING)
def test_a_row_of_a_batch_has_the_audio_of_the_single_call(tokenizer):
    codes = tokenizer.encode(*two_rows(tokenizer))
    frames = codes.lengths[1]
    rows = tokenizer.decode(codes.codes, codes.speaker, codes.lengths)
    speaker = None if codes.speaker is None else codes.speaker[1:]
    alone = tokenizer.decode(codes.codes[1:, :, :frames], speaker)
    assert largest_difference(rows[1, : alone.shape[-1]], alone[0]) < 1e-4


@every(name for name in CODECS if list_cards()[name].chunks)
def test_long_audio_in_chunks_has_the_codes_of_the_whole(tokenizer, monkeypatch):
    wav = voiced_sound(tokenizer, 1, 64.5)
    whole = tokenizer.encode(wav)
    audio = tokenizer.decode(whole.codes)
    monkeypatch.setattr(type(tokenizer), "block", 16)
    assert torch.equal(tokenizer.encode(wav).codes, whole.codes)
    assert torch.allclose(tokenizer.decode(whole.codes), audio, atol=1e-4, rtol=1e-4)


# -- saving, determinism, dtypes, devices ----------------------------------------------------------


def assert_same(one: SpeechTokenizer, two: SpeechTokenizer, frames: int) -> None:
    """Both encode to the same codes and, where they can, decode to the same audio."""
    wav = voiced_sound(one, 1, frames)
    codes, again = one.encode(wav), two.encode(wav)
    assert torch.equal(codes.codes, again.codes)
    if one.spec.name in DECODING:
        audio = one.decode(codes.codes, codes.speaker)
        assert torch.equal(audio, two.decode(again.codes, again.speaker))


@every(CODECS)
def test_a_saved_tokenizer_keeps_spec_codes_and_audio(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path, torch.float32)
    again = load_tokenizer(tmp_path)
    assert again.spec == tokenizer.spec and again.spec.hash == tokenizer.spec.hash
    assert_same(tokenizer, again, 8)


@every(CODECS)
def test_the_same_input_gives_the_same_output(tokenizer):
    assert_same(tokenizer, tokenizer, 9)


@every(CODECS)
def test_conversion_to_float64_and_back_changes_nothing(tokenizer):
    wav = voiced_sound(tokenizer, 1, 9)
    before = tokenizer.encode(wav)
    wide = tokenizer.to(torch.float64).encode(wav.double())
    assert wide.codes.dtype == torch.int64
    assert (wide.codes == before.codes).float().mean() > 0.9  # rounding decides on the others
    if tokenizer.spec.name in DECODING:
        audio = tokenizer.decode(before.codes, before.speaker)
        assert audio.dtype == torch.float32
    tokenizer.to(torch.float32)
    assert torch.equal(tokenizer.encode(wav).codes, before.codes)
    if tokenizer.spec.name in DECODING:
        expected = tokenizer.decode(before.codes, before.speaker)
        assert torch.allclose(audio, expected, atol=1e-3, rtol=1e-3)


@every(CODECS)
def test_a_tokenizer_in_bfloat16_encodes_and_decodes(tokenizer):
    small = make_tiny(tokenizer.spec.name).to(torch.bfloat16)
    wav = voiced_sound(tokenizer, 1, 9)
    codes = small.encode(wav)
    assert codes.codes.shape == tokenizer.encode(wav).codes.shape
    if tokenizer.spec.name in DECODING:
        out = small.decode(codes.codes, codes.speaker)
        assert out.dtype == torch.float32 and out.isfinite().all()
    if tokenizer.spec.name in STREAMING:
        stream = small.stream(codes.speaker)
        parts = [stream.push(piece) for piece in codes.codes.split(4, dim=-1)]
        assert torch.cat([*parts, stream.flush()], dim=-1).shape == out.shape


@pytest.fixture
def other_defaults() -> Iterator[None]:
    """Defaults of torch that fail wherever a dtype or a device is not given."""
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)


@every(CODECS)
def test_defaults_of_torch_change_nothing(tokenizer, tmp_path, request):
    wav, lengths = two_rows(tokenizer)
    codes = tokenizer.encode(wav, lengths)
    decodes, streams = tokenizer.spec.name in DECODING, tokenizer.spec.name in STREAMING
    audio = tokenizer.decode(codes.codes, codes.speaker) if decodes else None
    tokenizer.save_pretrained(tmp_path)
    request.getfixturevalue("other_defaults")
    again = load_tokenizer(tmp_path)
    for model in (tokenizer, again):
        found = model.encode(wav, lengths)
        assert torch.equal(found.codes, codes.codes)
        if audio is not None:
            assert torch.equal(model.decode(codes.codes, codes.speaker), audio)
        if streams:
            stream = model.stream(codes.speaker)
            out = torch.cat([stream.push(codes.codes), stream.flush()], dim=-1)
            assert out.dtype == torch.float32 and largest_difference(out, audio) < 1e-4


def tensors_of(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor that a module or a part of it refers to, registered or not."""
    yield from module.named_parameters()
    yield from module.named_buffers()
    for name, part in module.named_modules():
        for key, value in vars(part).items():
            if isinstance(value, torch.Tensor):
                yield f"{name}.{key}", value


@every(CODECS)
def test_moving_moves_every_tensor(tokenizer):
    moved = make_tiny(tokenizer.spec.name)
    moved.encode(voiced_sound(moved, 1, 3))  # what is cached outside of buffers is cached now
    moved.to("meta")
    tensors = ((name, tensor) for name, tensor in tensors_of(moved) if tensor.dim())
    left = [name for name, tensor in tensors if tensor.device.type != "meta"]
    assert not left and moved.device.type == "meta"


@every(
    name for name in CODECS if list_cards()[name].type not in ("encodec", "mimi", "qwen3_tts_12hz")
)
def test_networks_run_on_another_device(tokenizer):
    """The device "meta" computes shapes, and refuses tensors that were left on the CPU.

    Transformers' EnCodec and Mimi read sizes from tensors, which "meta" does not have.
    """
    moved = make_tiny(tokenizer.spec.name).to("meta")
    spec = moved.spec
    wav = torch.zeros(1, 12 * spec.input_hop, device="meta")
    codes = torch.zeros(1, len(spec.streams), 12, dtype=torch.int64, device="meta")
    speaker = torch.zeros(1, max(1, spec.speaker_dim), device="meta")
    with torch.inference_mode():
        if isinstance(moved, NeuralTokenizer):
            features = moved.features(wav, torch.full((1,), wav.shape[1], device="meta"))
            found = moved.encoder(features).codes.transpose(1, 2)
            out = moved.stream(speaker).decode(moved.values(codes))
        elif isinstance(moved, PublishedTokenizer):
            found, _ = moved.encode_row(wav)
            out = moved.decode_row(codes, speaker) if spec.name in DECODING else None
        else:
            found, out = moved.encode_frames(wav), moved.decode_frames(codes)
    assert found.device.type == "meta" and found.shape[-1] >= 12
    assert out is None or out.device.type == "meta"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@every(CODECS)
def test_codes_and_audio_on_cuda_equal_those_on_the_cpu(tokenizer):
    wav, lengths = two_rows(tokenizer)
    codes = tokenizer.encode(wav, lengths)
    cuda = make_tiny(tokenizer.spec.name).to("cuda")
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False, deterministic=True):
        found = cuda.encode(wav, lengths)  # inputs are moved
        assert found.codes.device.type == "cuda"
        equal = (found.codes.cpu() == codes.codes).float().mean()
        assert equal >= (0.98 if tokenizer.spec.name in NEURAL else 1)
        if tokenizer.spec.name in DECODING:
            audio = tokenizer.decode(codes.codes, codes.speaker, codes.lengths)
            out = cuda.decode(codes.codes, codes.speaker, codes.lengths)
            assert out.device.type == "cuda" and largest_difference(out.cpu(), audio) < 1e-3
        if tokenizer.spec.name in STREAMING:
            stream = cuda.stream(codes.speaker)
            parts = [stream.push(piece) for piece in codes.codes.split(5, dim=-1)]
            streamed = torch.cat([*parts, stream.flush()], dim=-1)
            whole = cuda.decode(codes.codes, codes.speaker)
            assert largest_difference(streamed, whole) < 1e-3


# -- user errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wav", "code"),
    [
        (torch.full((1, 2000), torch.nan), "damaged"),
        (torch.zeros(1, 2, 2000), "invalid_value"),
        (torch.zeros(2000), "invalid_value"),
        (torch.zeros(1, 2000, dtype=torch.int16), "invalid_value"),
        (torch.zeros(1, 0), "empty"),
    ],
    ids=["nan", "stereo", "no-batch", "integers", "empty"],
)
@every(CODECS)
def test_audio_that_is_not_mono_and_finite_is_refused(tokenizer, wav, code):
    with raises_input_error(code, key="audio", names=tokenizer.spec.name):
        tokenizer.encode(wav)


@every(["mini", "mimi-8", "facodec"])
def test_lengths_that_do_not_fit_the_audio_are_refused(tokenizer):
    for lengths in ([2001], [0], [100, 100]):
        with raises_input_error("invalid_value", key="lengths"):
            tokenizer.encode(torch.zeros(1, 2000), torch.tensor(lengths))


@every(DECODING)
def test_codes_that_the_spec_does_not_have_are_refused(tokenizer):
    stream = tokenizer.spec.streams[-1]
    codes = torch.zeros(1, len(tokenizer.spec.streams), 4, dtype=torch.int64)
    speaker = torch.zeros(1, max(1, tokenizer.spec.speaker_dim))
    codes[0, -1, 2] = stream.size
    with raises_input_error("out_of_range", key="codes", names=stream.name):
        tokenizer.decode(codes, speaker)
    with raises_input_error("invalid_value", key="codes"):
        tokenizer.decode(codes.repeat(1, 2, 1), speaker)


@every(name for name in CODECS if name not in DECODING)
def test_decoding_without_a_decoder_is_unsupported(tokenizer):
    codes = tokenizer.encode(voiced_sound(tokenizer, 1, 4)).codes
    with raises_input_error("unsupported", key="tokenizer", names=tokenizer.spec.name):
        tokenizer.decode(codes)


@every(["mini", "facodec"])
def test_decoding_without_the_speaker_vector_is_refused(tokenizer):
    codes = tokenizer.encode(voiced_sound(tokenizer, 1, 10)).codes
    with raises_input_error("missing", key="speaker"):
        tokenizer.decode(codes)


@every(["mini", "facodec"])
def test_a_speaker_vector_of_another_size_is_refused(tokenizer):
    codes = torch.zeros(1, len(tokenizer.spec.streams), 2, dtype=torch.long)
    for shape in ((1, tokenizer.spec.speaker_dim + 1), (tokenizer.spec.speaker_dim,)):
        with raises_input_error("invalid_value", key="speaker"):
            tokenizer.decode(codes, torch.zeros(shape))


@every(["dac-16khz", "speechtokenizer"])
def test_a_speaker_vector_is_unsupported_where_the_streams_hold_the_voice(tokenizer):
    with raises_input_error("unsupported", key="tokenizer", names=tokenizer.spec.name):
        tokenizer.embed_speaker(voiced_sound(tokenizer, 1, 4))

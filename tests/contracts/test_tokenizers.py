"""Every speech tokenizer keeps the same promises."""

import pytest
import torch
from helpers.tiny_codecs import make_tiny

from vocalmtp.errors import InputError
from vocalmtp.tokenizers import SpeechTokenizer, huggingface, list_cards, load_tokenizer

# One card of every family; cards of a family differ in numbers only.
FAMILIES = ["mini", "dac-16khz", "encodec-24khz-8", "encodec-32khz", "mimi-8", "xcodec-hubert"]
FAMILIES += ["xcodec2", "facodec", "speechtokenizer", "s3-v2", "snac-24khz", "wavtokenizer-75"]
FAMILIES += ["bigcodec", "mini-coupled", "mini-semi-decoupled"]
OURS = [name for name in FAMILIES if list_cards()[name].type == "neural"]
DECODING = [name for name in FAMILIES if list_cards()[name].decodes]
STREAMING = [name for name in FAMILIES if list_cards()[name].lookahead is not None]
made: dict[str, SpeechTokenizer] = {}


def tiny(name: str) -> SpeechTokenizer:
    if name not in made:
        made[name] = make_tiny(name)
    return made[name]


@pytest.fixture
def tokenizer(request) -> SpeechTokenizer:
    return tiny(request.param)


def every(names):
    return pytest.mark.parametrize("tokenizer", list(names), indirect=True)


def speech(tokenizer: SpeechTokenizer, batch: int, frames: float) -> torch.Tensor:
    """A buzz with a gliding pitch: loud, voiced and cheap."""
    rate = tokenizer.spec.sample_rate
    time = torch.arange(round(frames * tokenizer.spec.hop)) / rate
    phase = 2 * torch.pi * ((120 + 40 * torch.sin(2 * torch.pi * time)) / rate).cumsum(0)
    wav = sum(torch.sin(h * phase) / h for h in range(1, 9)) * 0.1
    return wav.repeat(batch, 1)


@every(list_cards())
def test_codes_have_the_cards_shapes(tokenizer):
    card, hop = tokenizer.spec, tokenizer.spec.hop
    wav = speech(tokenizer, 2, 11.3)
    lengths = torch.tensor([wav.shape[1], 5 * hop + 1])
    made = tokenizer.encode(wav, lengths)
    assert made.codes.shape == (2, len(card.streams), 12) and made.codes.dtype == torch.int64
    assert made.lengths.tolist() == [12, 6]
    assert (made.speaker is None) == (card.speaker_dim == 0)


@every(name for name, card in list_cards().items() if card.decodes)
def test_audio_has_the_cards_shapes(tokenizer):
    hop = tokenizer.spec.hop
    wav = speech(tokenizer, 2, 11.3)
    made = tokenizer.encode(wav, torch.tensor([wav.shape[1], 5 * hop + 1]))
    out = tokenizer.decode(made.codes, made.speaker, made.lengths)
    assert out.shape == (2, 12 * hop) and out.dtype == torch.float32
    assert out.isfinite().all() and out[0].abs().max() > 0
    assert (out[1, 6 * hop :] == 0).all()


@every(list_cards())
def test_codes_are_in_range_and_of_more_than_one_value(tokenizer):
    codes = tokenizer.encode(speech(tokenizer, 1, 12)).codes
    for stream, spec in enumerate(tokenizer.spec.streams):
        assert codes[:, stream].min() >= 0 and codes[:, stream].max() < spec.size
    assert len(codes.unique()) > 1


@every(list_cards())
def test_the_card_is_that_of_the_catalogue(tokenizer):
    card = list_cards()[tokenizer.spec.name]
    ours, theirs = tokenizer.spec, card.spec(tokenizer.spec.codes)
    assert ours.model_copy(update={"speaker_dim": theirs.speaker_dim}) == theirs  # tiny ones differ
    assert ours.hop * card.frame_rate == pytest.approx(card.sample_rate)


@pytest.mark.parametrize("chunk", [1, 3, 7])
@every(STREAMING)
def test_streamed_decode_equals_offline(tokenizer, chunk):
    made = tokenizer.encode(speech(tokenizer, 2, 25))
    whole = tokenizer.decode(made.codes, made.speaker)
    stream = tokenizer.stream(made.speaker)
    parts = [stream.push(piece) for piece in made.codes.split(chunk, dim=-1)]
    joined = torch.cat([*parts, stream.flush()], dim=-1)
    assert joined.shape == whole.shape
    assert (joined - whole).abs().max() < 1e-4 * max(1, whole.abs().max())


@every(STREAMING)
def test_a_stream_of_one_frame_equals_offline(tokenizer):
    made = tokenizer.encode(speech(tokenizer, 2, 1))
    stream = tokenizer.stream(made.speaker)
    joined = torch.cat([stream.push(made.codes), stream.flush()], dim=-1)
    assert torch.allclose(joined, tokenizer.decode(made.codes, made.speaker), atol=1e-4)


@every(STREAMING)
def test_streams_wait_no_longer_than_the_card_says(tokenizer):
    made = tokenizer.encode(speech(tokenizer, 1, 30))
    stream = tokenizer.stream(made.speaker)
    heard = sum(stream.push(piece).shape[-1] for piece in made.codes.split(1, dim=-1))
    waits = 30 * tokenizer.spec.hop - heard
    assert waits <= round(tokenizer.spec.lookahead * tokenizer.spec.sample_rate) + 1


@every(name for name in FAMILIES if name not in STREAMING)
def test_what_cannot_stream_says_so(tokenizer):
    with pytest.raises(InputError, match="cannot stream|has no decoder") as caught:
        tokenizer.stream()
    assert tokenizer.spec.name in str(caught.value)


@every(name for name in FAMILIES if name not in DECODING)
def test_what_has_no_decoder_says_so_in_one_line(tokenizer):
    codes = tokenizer.encode(speech(tokenizer, 1, 4)).codes
    with pytest.raises(
        InputError, match=f"'{tokenizer.spec.name}': has no decoder.*; take"
    ) as caught:
        tokenizer.decode(codes)
    assert "\n" not in str(caught.value)


def two_rows(tokenizer: SpeechTokenizer) -> tuple[torch.Tensor, torch.Tensor]:
    """A long and a short utterance [2, N], and their lengths."""
    hop = tokenizer.spec.hop
    wav = speech(tokenizer, 2, 20)
    length = 11 * hop + hop // 3
    wav[1, length:] = 0
    return wav, torch.tensor([wav.shape[1], length])


@every(name for name in FAMILIES if name not in OURS)  # whose values may round to another code
def test_a_batch_row_has_the_codes_of_the_single_call(tokenizer):
    wav, lengths = two_rows(tokenizer)
    made, single = tokenizer.encode(wav, lengths), tokenizer.encode(wav[1:, : lengths[1]])
    assert torch.equal(made.codes[1:, :, : made.lengths[1]], single.codes)


@every(DECODING)
def test_a_batch_row_has_the_audio_of_the_single_call(tokenizer):
    made = tokenizer.encode(*two_rows(tokenizer))
    frames = made.lengths[1]
    rows = tokenizer.decode(made.codes, made.speaker, made.lengths)
    alone = tokenizer.decode(
        made.codes[1:, :, :frames], None if made.speaker is None else made.speaker[1:]
    )
    bound = 1e-4 * max(1, alone.abs().max())
    assert (rows[1, : alone.shape[-1]] - alone[0]).abs().max() < bound


@every(STREAMING)
def test_two_streams_do_not_mix(tokenizer):
    made = tokenizer.encode(speech(tokenizer, 1, 15))
    one, two = tokenizer.stream(made.speaker), tokenizer.stream(made.speaker)
    mixed = []
    for at in range(15):
        mixed.append(one.push(made.codes[..., at : at + 1]))
        two.push(made.codes.flip(-1)[..., at : at + 1])
    mixed.append(one.flush())
    alone = tokenizer.decode(made.codes, made.speaker)
    assert (torch.cat(mixed, dim=-1) - alone).abs().max() < 1e-4 * max(1, alone.abs().max())


def assert_same(one: SpeechTokenizer, two: SpeechTokenizer, frames: int) -> None:
    """Both make the same codes of speech and, where they can, the same audio of the codes."""
    wav = speech(one, 1, frames)
    made, again = one.encode(wav), two.encode(wav)
    assert torch.equal(made.codes, again.codes)
    if list_cards()[one.spec.name].decodes:
        audio = one.decode(made.codes, made.speaker)
        assert torch.equal(audio, two.decode(again.codes, again.speaker))


@every(FAMILIES)
def test_save_and_load_keep_card_codes_and_audio(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.spec == tokenizer.spec and again.spec.hash == tokenizer.spec.hash
    assert_same(tokenizer, again, 8)


@every(FAMILIES)
def test_the_same_input_gives_the_same(tokenizer):
    assert_same(tokenizer, tokenizer, 9)


@every([name for name in FAMILIES if name not in DECODING])
def test_codes_in_another_dtype_are_codes(tokenizer):
    wav = speech(tokenizer, 1, 9)
    before = tokenizer.encode(wav).codes
    wide = tokenizer.to(torch.float64).encode(wav.double()).codes
    assert wide.dtype == torch.int64 and torch.equal(wide, before)
    assert torch.equal(tokenizer.to(torch.float32).encode(wav).codes, before)


@every(name for name in DECODING if name not in OURS)
def test_another_dtype_and_back_changes_nothing(tokenizer):
    wav = speech(tokenizer, 1, 9)
    made = tokenizer.encode(wav)
    before, speaker = made.codes, made.speaker
    expected = tokenizer.decode(before, speaker)
    wide = tokenizer.to(torch.float64).decode(before, speaker)
    assert wide.dtype == torch.float32 and torch.allclose(wide, expected, atol=1e-3, rtol=1e-3)
    tokenizer.to(torch.float32)
    assert torch.equal(tokenizer.encode(wav).codes, before)
    assert torch.equal(tokenizer.decode(before, speaker), expected)


@pytest.mark.parametrize("samples", [1, 639, 641])
@every(FAMILIES)
def test_odd_and_silent_inputs(tokenizer, samples):
    made = tokenizer.encode(torch.zeros(1, samples))
    frames = -(-samples // tokenizer.spec.hop)
    assert made.codes.shape == (1, len(tokenizer.spec.streams), frames)
    if tokenizer.spec.name in DECODING:
        wav = tokenizer.decode(made.codes, made.speaker)
        assert wav.shape[-1] == frames * tokenizer.spec.hop and wav.isfinite().all()


@every(name for name in FAMILIES if list_cards()[name].chunks)
def test_long_audio_in_pieces_gives_the_same(tokenizer, monkeypatch):
    wav = speech(tokenizer, 1, 64.5)
    whole = tokenizer.encode(wav)
    audio = tokenizer.decode(whole.codes)
    monkeypatch.setattr(huggingface, "BLOCK", 16)
    monkeypatch.setattr(f"{type(tokenizer).__module__}.BLOCK", 16)
    pieces = tokenizer.encode(wav)
    assert torch.equal(pieces.codes, whole.codes)
    assert torch.allclose(tokenizer.decode(whole.codes), audio, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("wav", "problem"),
    [
        (torch.full((1, 2000), torch.nan), "not finite"),
        (torch.zeros(1, 2, 2000), r"float32 \[1, 2, 2000\]; give mono"),
        (torch.zeros(2000), "give mono"),
        (torch.zeros(1, 2000, dtype=torch.int16), "int16"),
        (torch.zeros(1, 0), "no samples"),
    ],
    ids=["nan", "stereo", "no-batch", "integers", "empty"],
)
@every(FAMILIES)
def test_what_is_no_mono_audio_is_one_line(tokenizer, wav, problem):
    with pytest.raises(InputError, match=problem) as caught:
        tokenizer.encode(wav)
    assert "\n" not in str(caught.value) and tokenizer.spec.name in str(caught.value)


@every(DECODING)
def test_codes_that_the_card_has_not_are_one_line(tokenizer):
    spec = tokenizer.spec.streams[-1]
    codes = torch.zeros(1, len(tokenizer.spec.streams), 4, dtype=torch.int64)
    speaker = torch.zeros(1, max(1, tokenizer.spec.speaker_dim))
    codes[0, -1, 2] = spec.size
    with pytest.raises(InputError, match=f"code {spec.size}; stream '{spec.name}' has codes 0 to"):
        tokenizer.decode(codes, speaker)
    with pytest.raises(InputError, match="give integers"):
        tokenizer.decode(codes.repeat(1, 2, 1), speaker)


def test_decoding_needs_a_speaker_where_the_card_has_one():
    tokenizer = tiny("mini")
    codes = tokenizer.encode(speech(tokenizer, 1, 10)).codes
    with pytest.raises(TypeError, match="speaker vector"):
        tokenizer.decode(codes)

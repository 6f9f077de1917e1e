"""Layouts: codes survive the round trip, and every special id is where the rules say."""

import pytest
import torch
from helpers.errors import raises_input_error
from hypothesis import given, settings
from hypothesis import strategies as st

from vocalmtp.decoding.generate import StepUnpacker
from vocalmtp.errors import ErrorCode
from vocalmtp.models.layout import IGNORED, TokenLayout
from vocalmtp.models.packing import hold
from vocalmtp.models.streams import Stream


@st.composite
def layouts(draw: st.DrawFn) -> TokenLayout:
    flat = draw(st.booleans())
    num_joint = draw(st.integers(0, 2))
    streams = [
        Stream(
            name=f"s{q}",
            size=draw(st.integers(1, 6)),
            delay=draw(st.integers(0, 3)),
            joint=q < num_joint,
        )
        for q in range(num_joint + draw(st.integers(1, 3)))
    ]
    group = 1 if flat else draw(st.integers(1, 4))
    kinds = ["first"]
    if not flat and not num_joint:
        kinds += ["own"] if any(stream.delay for stream in streams) else ["own", "text"]
    return TokenLayout(
        streams=tuple(streams),
        frames_per_step=group,
        flat=flat,
        end_slots=draw(st.sampled_from(kinds)),
    )


def random_codes(layout: TokenLayout, lengths: list[int], seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.zeros(len(lengths), len(layout.streams), max(lengths), dtype=torch.long)
    for b, length in enumerate(lengths):
        for q, stream in enumerate(layout.streams):
            codes[b, q, :length] = torch.randint(0, stream.size, (length,), generator=generator)
    return codes


@settings(max_examples=150, deadline=None)
@given(layouts(), st.lists(st.integers(1, 11), min_size=1, max_size=3), st.integers(0, 99))
def test_unpack_inverts_pack(layout: TokenLayout, lengths: list[int], seed: int) -> None:
    codes = random_codes(layout, lengths, seed)
    steps = layout.pack(codes, torch.tensor(lengths))
    for k, slot in enumerate(layout.slots):
        assert steps.tokens[..., k].min() >= 0
        assert steps.tokens[..., k].max() < slot.vocab_size
        ends = (steps.tokens[..., k] == slot.end_id).sum(1)
        assert ends.tolist() == [int(k == 0)] * len(lengths)  # only the leading slot, only once
    for given_lengths in (steps.lengths, None):
        back, back_lengths = layout.unpack(steps.tokens, given_lengths)
        assert back_lengths.tolist() == lengths
        assert torch.equal(back, codes)


@settings(max_examples=60, deadline=None)
@given(layouts(), st.lists(st.integers(1, 9), min_size=2, max_size=3), st.integers(0, 99))
def test_row_packs_the_same_in_any_batch(
    layout: TokenLayout, lengths: list[int], seed: int
) -> None:
    codes = random_codes(layout, lengths, seed)
    steps = layout.pack(codes, torch.tensor(lengths))
    for b, length in enumerate(lengths):
        alone = layout.pack(codes[b : b + 1, :, :length])
        assert int(alone.lengths) == int(steps.lengths[b]) == alone.tokens.shape[1]
        assert torch.equal(alone.tokens[0], steps.tokens[b, : alone.tokens.shape[1]])


def track_layout(frames_per_step: int = 2, flat: bool = False) -> TokenLayout:
    advance = Stream(name="advance", size=6, joint=True)
    codec = [Stream(name=name, size=10, delay=1) for name in ("a", "b")]
    return TokenLayout(streams=(advance, *codec), frames_per_step=frames_per_step, flat=flat)


def test_text_track_leads_by_one_step() -> None:
    layout = track_layout()
    codes = torch.tensor([[[1, 2, 3], [4, 5, 6], [7, 8, 9]]])  # three frames: a ragged last step
    tokens = layout.pack(codes).tokens[0]
    assert [slot.name for slot in layout.slots] == ["advance", "a.0", "b.0", "a.1", "b.1"]
    pad, end = 11, 36
    assert tokens.tolist() == [
        [1 + 6 * 2, pad, pad, pad, pad],
        [3, 4, 7, 5, 8],
        [end, 6, 9, pad, pad],
    ]
    assert layout.advances(tokens[None])[0].tolist() == [[1, 2], [3, 0], [0, 0]]


def test_end_of_its_own_comes_with_the_last_frame_of_the_first_stream() -> None:
    streams = tuple(Stream(name=str(q), size=9, delay=q) for q in range(3))
    layout = TokenLayout(streams=streams, end_slots="own")
    codes = torch.tensor([[1, 2], [3, 4], [5, 6]])
    goes_on, reference, end, none, pad = 0, 1, 2, 3, 10
    tokens = layout.pack(codes[None]).tokens[0]
    expected = [
        [goes_on, 1, pad, pad],
        [end, 2, 3, pad],
        [none, pad, 4, 5],
        [none, pad, pad, 6],
    ]
    assert tokens.tolist() == expected
    assert layout.targets(tokens)[2].tolist() == [IGNORED, IGNORED, 4, 5]
    assert layout.steps_after_end == 2
    beginning = layout.pack_beginning(codes)
    assert beginning.tolist() == [expected[0], [goes_on, *expected[1][1:]]]
    example = layout.pack_reference(codes)
    assert torch.equal(example[:, 1:], tokens[:, 1:]) and set(example[:, 0].tolist()) == {reference}


def test_rows_cut_off_before_the_delays_of_their_end_keep_complete_frames() -> None:
    streams = tuple(Stream(name=str(q), size=9, delay=q) for q in range(3))
    layout = TokenLayout(streams=streams, end_slots="own")
    codes = torch.tensor([[[1, 2, 3], [4, 5, 6], [7, 8, 1]]])
    tokens = layout.pack(codes).tokens
    assert tokens.shape[1] == 5
    for steps, frames in ((5, 3), (4, 2), (3, 1), (2, 0)):
        found, lengths = layout.unpack(tokens[:, :steps])
        assert lengths.tolist() == [frames] and torch.equal(found, codes[..., :frames])


def test_steps_of_text_are_left_out() -> None:
    streams = tuple(Stream(name=str(q), size=9) for q in range(2))
    layout = TokenLayout(streams=streams, frames_per_step=2, end_slots="text")
    codes = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    first, second, end = layout.pack(codes[None]).tokens[0]
    assert first.tolist() == [0, 1, 5, 2, 6] and end.tolist() == [2, 10, 10, 10, 10]
    text = torch.tensor([1, 10, 10, 10, 10])
    rows = [torch.stack([text, first, text, text, second, end, text]), torch.stack([first] * 7)]
    found, lengths = layout.unpack(torch.stack(rows), torch.tensor([7, 1]))
    assert lengths.tolist() == [4, 2] and torch.equal(found[0], codes)
    assert torch.equal(found[1, :, :2], codes[:, :2])
    assert torch.equal(layout.pack_reference(codes[:, :3]), first[None])
    unpacker = StepUnpacker(layout)
    parts = [unpacker.push(step) for step in rows[0]] + [unpacker.flush()]
    assert torch.equal(torch.cat(parts, 1), codes)


def test_steps_of_text_exclude_delays() -> None:
    with raises_input_error("conflict", "end_slots", "text"):
        TokenLayout(streams=(Stream(name="a", size=9, delay=1),), end_slots="text")


def test_forced_padding_is_not_a_target() -> None:
    layout = track_layout()
    tokens = layout.pack(torch.tensor([[[1, 2, 3], [4, 5, 6], [7, 8, 9]]])).tokens[0]
    assert layout.targets(tokens).tolist() == [
        [13, IGNORED, IGNORED, IGNORED, IGNORED],
        [3, 4, 7, 5, 8],
        [36, 6, 9, 11, 11],  # the ragged tail is learned
    ]


def test_flat_layout_has_id_ranges_per_stream() -> None:
    layout = track_layout(1, flat=True)
    codes = torch.tensor([[[1, 2], [4, 5], [7, 8]]])
    tokens = layout.pack(codes).tokens[0, :, 0]
    assert tokens.tolist() == [1, 6 + 4, 16 + 7, 2, 6 + 5, 16 + 8, 26]
    legal = layout.legal(torch.arange(6))  # [6, V]
    assert legal.gather(1, tokens[:-1, None]).all()
    assert legal.sum(1).tolist() == [stream.size for stream in layout.streams] * 2
    assert layout.advances(tokens[None, :, None])[0, :, 0].tolist() == [1, 0, 0, 2, 0, 0, 0]


def test_row_without_end_keeps_complete_frames() -> None:
    layout = track_layout()
    codes = torch.randint(0, 6, (1, 3, 8))
    tokens = layout.pack(codes).tokens[:, :3]
    back, lengths = layout.unpack(tokens)
    assert lengths.tolist() == [4]
    assert torch.equal(back, codes[..., :4])


def test_padding_within_speech_repeats_frame() -> None:
    layout = TokenLayout(
        streams=(Stream(name="a", size=9), Stream(name="b", size=9)), frames_per_step=2
    )
    tokens = layout.pack(torch.tensor([[[1, 2, 3, 4], [5, 6, 7, 8]]])).tokens
    tokens[0, 0, 2] = 10  # stream a of the second frame
    back, lengths = layout.unpack(tokens)
    assert lengths.tolist() == [4]
    assert back[0, 0].tolist() == [1, 1, 3, 4]


def test_hold_repeats_last_code() -> None:
    assert hold(torch.tensor([[[-1, 3, -1, -1, 2]]])).tolist() == [[[0, 3, 3, 3, 2]]]


@pytest.mark.parametrize(
    ("streams", "extra", "code", "key"),
    [
        ((), {}, "invalid_value", "streams"),
        ((Stream(name="a", size=2, joint=True),), {}, "invalid_value", "streams"),
        (
            (Stream(name="a", size=2), Stream(name="b", size=2, joint=True)),
            {},
            "invalid_value",
            "streams",
        ),
        ((Stream(name="a", size=2),), {"frames_per_step": 0}, "out_of_range", "frames_per_step"),
        (
            (Stream(name="a", size=2),),
            {"frames_per_step": 2, "flat": True},
            "out_of_range",
            "frames_per_step",
        ),
        ((Stream(name="a", size=0),), {}, "out_of_range", "stream"),
        ((Stream(name="a", size=8, levels=(2, 3)),), {}, "invalid_value", "stream"),
        (
            (Stream(name="a", size=99, joint=True), Stream(name="b", size=2)),
            {"frames_per_step": 4},
            "out_of_range",
            "stream",
        ),
    ],
)
def test_invalid_layouts_are_refused(
    streams: tuple, extra: dict, code: ErrorCode, key: str
) -> None:
    with raises_input_error(code, key):
        TokenLayout(streams=streams, **extra)


def test_moves_of_a_joint_advance_are_sums_over_its_frames() -> None:
    layout = track_layout()
    assert layout.joint_advance == (0,)
    symbols = layout.pack(torch.tensor([[[3, 1], [4, 5], [7, 8]]])).tokens[0, 0, 0]
    assert layout.joint_moves[2 * symbols : 2 * symbols + 2] == (3, 4)
    assert TokenLayout(streams=(Stream(name="a", size=2),)).joint_advance is None


def test_advances_of_missing_stream_are_refused() -> None:
    layout = TokenLayout(streams=(Stream(name="a", size=2),))
    with raises_input_error("unknown_name", "stream", "advance"):
        layout.advances(torch.zeros(1, 1, 1, dtype=torch.long))

"""Slot embeddings and projections: what they sum, what they share, what the digits add."""

import torch

from vocalmtp.models.embeddings import SlotEmbedding, SlotProjection, centred_digits, digits_of
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.streams import Stream

STREAMS = (
    Stream(name="advance", size=3, joint=True),
    Stream(name="a", size=8, delay=1, levels=(2, 4)),
    Stream(name="b", size=5, delay=1),
)


def layout(frames: int = 2, flat: bool = False) -> TokenLayout:
    return TokenLayout(streams=STREAMS, frames_per_step=frames, flat=flat)


def test_digits_are_mixed_radix_least_first() -> None:
    digits = digits_of(STREAMS[1])
    assert (digits @ torch.tensor([1, 2])).tolist() == list(range(8))


def test_special_ids_have_no_digits() -> None:
    table = centred_digits(layout(), [[1], [2]])
    assert table.shape == (8 + 2 + 5 + 2, 2)
    assert table[:8].abs().max() == 1
    assert table[8:].abs().max() == 0


def test_slot_embedding_is_scaled_sum_of_its_parts() -> None:
    embedding = SlotEmbedding(layout(), 6)
    tokens = torch.tensor([[4, 7, 2, 1, 6]])  # advance, a.0, b.0, a.1, b.1
    table = embedding.table
    starts = {"advance": 0, "a": 11, "b": 21}
    frames = []
    for a, b in ((7, 2), (1, 6)):
        digits = torch.tensor([2 * (a % 2) - 1, 2 * (a // 2) / 3 - 1])
        summed = table[starts["a"] + a] + table[starts["b"] + b]
        frames.append(summed + embedding.digit_map(digits))
    want = (table[4] + frames[0] + embedding.frame_proj[0](frames[1])) / 5**0.5
    torch.testing.assert_close(embedding(tokens)[0], want)


def test_mean_of_the_embeddings_of_all_slots() -> None:
    streams = (Stream(name="a", size=8), Stream(name="b", size=5))
    embedding = SlotEmbedding(TokenLayout(streams=streams, frames_per_step=2), 6, joined="mean")
    tokens = torch.tensor([[7, 2, 1, 6]])  # a.0, b.0, a.1, b.1
    expected = embedding.table[[7, 10 + 2, 1, 10 + 6]].mean(0)
    torch.testing.assert_close(embedding(tokens)[0], expected)


def test_slot_embedding_distinguishes_frames() -> None:
    embedding = SlotEmbedding(layout(), 6)
    tokens = torch.tensor([[0, 7, 2, 1, 3]])
    swapped = torch.tensor([[0, 1, 3, 7, 2]])
    assert not torch.allclose(embedding(tokens), embedding(swapped))


def test_projection_adds_digit_logits_and_shares_frames() -> None:
    projection = SlotProjection(layout(), 6)
    hidden = torch.randn(3, 6)
    torch.testing.assert_close(projection(hidden, 1), projection(hidden, 3))  # a.0 and a.1
    free, digit = projection.free["1"](hidden), projection.digit["1"](hidden)
    want = free.clone()
    for code in range(8):
        want[:, code] += digit[:, code % 2] + digit[:, 2 + code // 2]
    torch.testing.assert_close(projection(hidden, 1), want)
    assert projection(hidden[None], 2).shape == (1, 3, 7)  # no levels: free logits only


def test_unshared_projection_has_weights_per_slot() -> None:
    projection = SlotProjection(layout(), 6, shared=False)
    hidden = torch.randn(3, 6)
    assert not torch.allclose(projection(hidden, 1), projection(hidden, 3))


def test_flat_layout_joins_all_vocabularies() -> None:
    flat = layout(1, flat=True)
    hidden = torch.randn(3, 6)
    assert SlotProjection(flat, 6)(hidden, 0).shape == (3, 3 + 8 + 5 + 2)
    assert SlotEmbedding(flat, 6)(torch.tensor([[[17]], [[3]]])).shape == (2, 1, 6)

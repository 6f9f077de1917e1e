"""The text track: pointers follow the times, never jump too far, and always reach the end."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vocalmtp.models.text_track import TextTrack, TrackConfig, frame_advances


def test_pointer_is_at_spoken_character() -> None:
    ends = torch.tensor([0.1, 0.1, 0.25, 0.4])  # the second character takes no time
    advances = frame_advances(ends, 4, 10.0)  # frame middles .05 .15 .25 .35
    assert advances.cumsum(0).tolist() == [0, 2, 3, 3]


def test_excess_advances_move_to_later_frames() -> None:
    ends = torch.tensor([0.1] + [0.11] * 7 + [0.5])
    assert frame_advances(ends, 5, 10.0, max_advance=3).tolist() == [0, 3, 3, 2, 0]


def test_late_last_character_is_reached() -> None:
    ends = torch.tensor([0.2, 0.4, 0.4, 0.4])
    assert frame_advances(ends, 4, 10.0, max_advance=1).cumsum(0).tolist() == [0, 1, 2, 3]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(0, 0.3, allow_subnormal=False), min_size=1, max_size=30),
    st.integers(1, 40),
    st.integers(1, 5),
)
def test_advances_are_in_range_and_reach_the_end(
    durations: list[float], num_frames: int, most: int
) -> None:
    ends = torch.tensor(durations).cumsum(0)
    advances = frame_advances(ends, num_frames, 10.0, most)
    assert advances.shape == (num_frames,)
    assert advances.min() >= 0
    assert advances.max() <= most
    total = int(advances.sum())
    assert total == min(len(durations) - 1, most * num_frames)


def test_encoding_does_not_depend_on_padding() -> None:
    track = TextTrack(TrackConfig(width=8, layers=2, kernel=5), 10, 12, 2)
    ids = torch.randint(0, 10, (1, 6))
    alone = track.encode(ids, torch.tensor([6]))
    padded = torch.cat([ids, torch.randint(0, 10, (1, 4))], 1)
    together = track.encode(padded, torch.tensor([6]))
    torch.testing.assert_close(alone, together[:, :6])


def test_text_of_a_step_depends_on_frame_order() -> None:
    track = TextTrack(TrackConfig(width=8, layers=1, kernel=3), 10, 12, 2)
    encoded = track.encode(torch.tensor([[1, 2, 3]]), torch.tensor([3]))
    one = track.read(encoded, torch.tensor([[[0, 2]]]))
    other = track.read(encoded, torch.tensor([[[2, 0]]]))
    assert one.shape == (1, 1, 12)
    assert not torch.allclose(one, other)
    torch.testing.assert_close(one[0, 0], encoded[0, 0] + track.frame_proj[0](encoded[0, 2]))


def test_phones_are_digits_of_the_ids() -> None:
    track = TextTrack(TrackConfig(width=8, layers=1, kernel=3), 10, 12, 2, num_phones=5)
    letters, length = torch.tensor([[1, 2, 3]]), torch.tensor([3])
    first, second = letters + 10 * 4, letters + 10 * (4 + 6 * 2)  # phone 4; phones 4 and 2
    embedded = track.embed(second) - track.embed(first)
    torch.testing.assert_close(embedded, track.phone_embeddings[1].weight[2].expand(1, 3, 8))
    torch.testing.assert_close(track.embed(letters), track.embedding(letters))
    assert not torch.allclose(track.encode(first, length), track.encode(second, length))

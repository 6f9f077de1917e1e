"""Token layouts: how codec codes map to the steps of a speech LM, and back. They have no weights.

A *grouped* layout puts G frames of every stream into one step (frame-parallel is G = 1). A *flat*
layout puts one token into each step, frame by frame in stream order: next-token prediction.
Letters: B rows, Q streams, T codec frames, G frames per step, S speech steps, n data steps, K slots
per step, V vocabulary of a slot.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from vocalmtp.arrays import (
    Array,
    constant,
    cummax,
    full,
    namespace,
    pad_end,
    range_like,
    take_along,
)
from vocalmtp.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

MAX_FRAMES = 64  # of a step
MAX_IDS = 1 << 24  # of a slot: a joint stream has `size` to the power of the frames
ADVANCE = "advance"  # the stream that moves the pointer of the text track (text_track.py)
IGNORED = -100  # target that is not learned, as in torch's cross-entropy


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One stream of codes.

    Attributes:
        name: of the stream.
        size: number of codes.
        delay: steps by which it follows the first stream.
        joint: whether the G frames of a step have one symbol instead of G.
        levels: numbers of values of a code's digits, least significant first, for finite scalar
            quantization.

    """

    name: str
    size: int
    delay: int = 0
    joint: bool = False
    levels: tuple[int, ...] = ()


@dataclass(frozen=True)
class Slot:
    """One of the K places of a step. Its ids are the codes, then `end_id`, then `pad_id`."""

    name: str
    stream: int  # index of the stream; of the first one for the single slot of a flat layout
    frame: int  # frame within the step
    size: int  # number of codes
    delay: int = 0
    joint: bool = False

    @property
    def end_id(self) -> int:
        """Id that ends the speech; only the leading slot has it, unless all slots end."""
        return self.size

    @property
    def pad_id(self) -> int:
        """Id of a slot that has no code in a step."""
        return self.size + 1

    @property
    def vocab_size(self) -> int:
        """V, the number of ids."""
        return self.size + 2


@dataclass
class Steps:
    """Codes packed into steps."""

    tokens: "Tensor"  # [B, S, K] int64, ids of each slot
    lengths: "Tensor"  # [B] int64, steps of each row


@dataclass(frozen=True, kw_only=True)
class TokenLayout:
    """Which codes make up a step, where the end is, and which ids are legal where.

    The *leading* slot (the first) has its `end_id` after the last data step. Other slots have `pad_id`
    where they have no code, and there too, unless all slots learn the end.

    Args:
        streams: joint ones first.
        frames_per_step: G.
        flat: whether a step is one token.
        flat_order: the streams in the order in which a flat layout has the codes of a frame; empty:
            as they are listed.
        end_slots: which slots have the end: "first", or "all", where any one that predicts it ends
            the speech (the release of arXiv 2506.12537).

    Raises:
        InputError: the streams cannot be laid out so.

    """

    streams: tuple[Stream, ...]
    frames_per_step: int = 1
    flat: bool = False
    flat_order: tuple[int, ...] = ()
    end_slots: Literal["first", "all"] = "first"

    def __post_init__(self) -> None:
        joint = [stream.joint for stream in self.streams]
        if all(joint):
            raise InputError(
                "streams: all are joint (or none is given); add one that is not",
                code="invalid_value",
            )
        if joint != sorted(joint, reverse=True):
            raise InputError(
                "streams: joint streams come first; move them to the front", code="invalid_value"
            )
        if not 1 <= self.frames_per_step <= (1 if self.flat else MAX_FRAMES):
            raise InputError(
                f"frames_per_step '{self.frames_per_step}': 1 in a flat layout, else 1 to "
                f"{MAX_FRAMES}",
                code="out_of_range",
            )
        if self.flat_order and (
            not self.flat or sorted(self.flat_order) != list(range(len(self.streams)))
        ):
            raise InputError(
                f"flat_order '{list(self.flat_order)}': is for flat layouts, and has each of the "
                f"{len(self.streams)} streams once",
                code="invalid_value",
            )
        if self.all_end and any(stream.joint or stream.delay for stream in self.streams):
            raise InputError(
                "end_slots 'all': needs streams without delays and no text track; leave it out",
                code="conflict",
            )
        for stream in self.streams:
            if stream.size < 1 or stream.delay < 0:
                raise InputError(
                    f"stream '{stream.name}': size must be 1 or more and delay 0 or more, "
                    f"not {stream.size} and {stream.delay}",
                    code="out_of_range",
                )
            if stream.size ** (self.frames_per_step if stream.joint else 1) > MAX_IDS:
                most = int(math.log(MAX_IDS, stream.size)) if stream.joint else 0
                count = most * sum(not each.joint for each in self.streams)
                fewer = f"; take {most} frames a step at most, {count} tokens" if most else ""
                raise InputError(
                    f"stream '{stream.name}': size {stream.size} in {self.frames_per_step} frames "
                    f"makes more than {MAX_IDS:,} ids{fewer}",
                    code="out_of_range",
                )
            if stream.levels and math.prod(stream.levels) != stream.size:
                raise InputError(
                    f"stream '{stream.name}': levels {stream.levels} must multiply to "
                    f"{stream.size}",
                    code="invalid_value",
                )

    # -- shape ---------------------------------------------------------------------------------

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The K slots: joint streams first, then frame by frame in stream order."""
        if self.flat:
            return (Slot("flat", 0, 0, sum(stream.size for stream in self.streams)),)
        slots = [
            Slot(stream.name, q, 0, stream.size**self.frames_per_step, stream.delay, True)
            for q, stream in enumerate(self.streams)
            if stream.joint
        ]
        for frame in range(self.frames_per_step):
            slots += [
                Slot(f"{stream.name}.{frame}", q, frame, stream.size, stream.delay)
                for q, stream in enumerate(self.streams)
                if not stream.joint
            ]
        return tuple(slots)

    @property
    def tokens_per_step(self) -> int:
        """K, the number of slots."""
        return len(self.slots)

    @property
    def codec_tokens(self) -> int:
        """Number of slots that are not joint, which is what `--tokens-per-step` counts."""
        return sum(not slot.joint for slot in self.slots)

    @property
    def leading_delay(self) -> int:
        """Delay of the leading slot in steps."""
        return self.slots[0].delay

    @property
    def all_end(self) -> bool:
        """Whether all of several slots learn the end, and any one may vote it."""
        return self.end_slots == "all" and not self.flat

    def ends(self, leading: Array) -> Array:
        """Where tokens [..] of the leading slot are the end, [..] bool."""
        return leading == self.slots[0].end_id

    @property
    def max_delay(self) -> int:
        """Largest delay of a slot in steps."""
        return max(slot.delay for slot in self.slots)

    @property
    def steps_after_end(self) -> int:
        """Steps after the end in the leading slot until every stream is complete."""
        return max(0, self.max_delay - self.leading_delay - 1)

    @property
    def order(self) -> tuple[int, ...]:
        """The streams in the order of their ids and of their steps in a flat layout."""
        return self.flat_order or tuple(range(len(self.streams)))

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """First id of every stream in the union vocabulary of a flat layout."""
        first, starts = 0, {}
        for q in self.order:
            starts[q], first = first, first + self.streams[q].size
        return tuple(starts[q] for q in range(len(self.streams)))

    @cached_property
    def id_offsets(self) -> tuple[int, ...]:
        """First id of every slot where the ids of all streams are numbered in turn, [K]."""
        starts: dict[int, int] = {}
        end = 0
        for slot in self.slots:
            if slot.stream not in starts:
                starts[slot.stream], end = end, end + slot.vocab_size
        return tuple(starts[slot.stream] for slot in self.slots)

    @property
    def num_ids(self) -> int:
        """How many ids all streams have, see `id_offsets`."""
        return max(
            start + slot.vocab_size for start, slot in zip(self.id_offsets, self.slots, strict=True)
        )

    def legal(self, positions: Array) -> Array:
        """Which codes are legal at `positions` [..] of a flat layout, [.., number of codes] bool."""
        starts, ends = (
            constant(positions, [first + size * extent for first, size in self._extents])
            for extent in (0, 1)
        )
        place = positions % len(self.streams)
        codes = range_like(positions, sum(stream.size for stream in self.streams))
        return (codes >= starts[place][..., None]) & (codes < ends[place][..., None])

    @cached_property
    def _extents(self) -> tuple[tuple[int, int], ...]:
        """First id and number of ids of each stream of a flat layout, in the order of steps."""
        return tuple((self.offsets[q], self.streams[q].size) for q in self.order)

    @property
    def steps_per_frame(self) -> float:
        """Steps per codec frame, in long speech."""
        return self.num_steps(1000) / 1000

    def num_steps(self, frames: int) -> int:
        """Count the data steps of so many frames, without the end and delays."""
        return frames * len(self.streams) if self.flat else -(-frames // self.frames_per_step)

    # -- codes -> steps ------------------------------------------------------------------------

    def pack(self, codes: "Tensor", lengths: "Tensor | None" = None) -> Steps:
        """Pack codes into steps.

        A row of n data steps takes max(n + leading delay + 1, n + max_delay) steps.

        Args:
            codes: [B, Q, T].
            lengths: [B] frames of each row; None for all.

        """
        batch, _, frames = codes.shape
        if lengths is None:
            lengths = codes.new_full((batch,), frames)
        return self._pack_flat(codes, lengths) if self.flat else self._pack_grouped(codes, lengths)

    def _pack_grouped(self, codes: "Tensor", lengths: "Tensor") -> Steps:
        import torch

        batch, group = codes.shape[0], self.frames_per_step
        num = (lengths + group - 1) // group  # [B] data steps
        longest = int(num.max())
        packed = num + max(self.leading_delay + 1, self.max_delay)
        padded = codes.new_zeros(batch, len(self.streams), longest * group)
        width = min(codes.shape[2], longest * group)
        padded[..., :width] = codes[..., :width]
        frame_index = torch.arange(longest * group, device=codes.device)
        valid = (frame_index < lengths[:, None]).unflatten(1, (longest, group))  # [B, n, G]
        grouped = padded.unflatten(2, (longest, group))  # [B, Q, n, G]
        tokens = codes.new_empty(batch, int(packed.max()), self.tokens_per_step)
        for k, slot in enumerate(self.slots):
            tokens[..., k] = slot.pad_id
            if slot.joint:
                base = self.streams[slot.stream].size
                weights = base ** torch.arange(group, device=codes.device)
                data = torch.where(valid, grouped[:, slot.stream], 0) @ weights  # [B, n]
                present = valid[..., 0]
            else:
                data, present = grouped[:, slot.stream, :, slot.frame], valid[..., slot.frame]
            steps = slice(slot.delay, slot.delay + longest)
            tokens[:, steps, k] = torch.where(present, data, slot.pad_id)
        end = (num + self.leading_delay)[:, None]
        for k, slot in enumerate(self.slots[: None if self.all_end else 1]):
            tokens[..., k] = tokens[..., k].scatter(1, end, slot.end_id)
        return Steps(tokens, packed)

    def _pack_flat(self, codes: "Tensor", lengths: "Tensor") -> Steps:
        import torch

        slot, num = self.slots[0], lengths * len(self.streams)
        offsets = torch.tensor(self.offsets, device=codes.device)[:, None]
        ordered = (codes + offsets)[:, list(self.order)]
        flat = ordered.transpose(1, 2).flatten(1)[:, : int(num.max())]  # [B, T * Q]
        tokens = torch.nn.functional.pad(flat, (0, 1), value=slot.pad_id)
        place = torch.arange(tokens.shape[1], device=codes.device)
        tokens = torch.where(place < num[:, None], tokens, slot.pad_id)
        tokens = tokens.scatter(1, num[:, None], slot.end_id)
        return Steps(tokens[..., None], num + 1)

    def targets(self, tokens: "Tensor") -> "Tensor":
        """Make training targets of steps [.., K]: padding that the layout forces becomes -100.

        Padding is learned only where it ends the speech within a step.
        """
        import torch

        targets = tokens.clone()
        first = {slot.stream: k for k, slot in enumerate(self.slots) if slot.frame == 0}
        for k, slot in enumerate(self.slots):
            lead = first[slot.stream]
            forced = tokens[..., lead] >= self.slots[lead].size
            if k == 0:
                forced = tokens[..., 0] == slot.pad_id
            elif self.all_end:
                forced = forced & (tokens[..., k] != slot.end_id)
            targets[..., k] = torch.where(forced, IGNORED, tokens[..., k])
        return targets

    def vote_end(self, tokens: Array) -> Array:
        """End the steps [B, K] in which any slot has the end: the first one has it, others padding."""
        ends, pads = (
            constant(tokens, [getattr(slot, name) for slot in self.slots])
            for name in ("end_id", "pad_id")
        )
        xp = namespace(tokens)
        over = (tokens == ends).any(-1)[:, None]  # [B, 1]
        is_first = range_like(tokens, len(self.slots)) == 0
        return xp.where(over, xp.where(is_first, ends, pads), tokens)

    # -- steps -> codes ------------------------------------------------------------------------

    def unpack(self, tokens: Array, lengths: Array | None = None) -> tuple[Array, Array]:
        """Unpack steps into codes.

        The leading slot decides the end; a row without one (cut off by a limit) keeps complete
        frames. Padding in the middle of speech repeats the frame before it.

        Args:
            tokens: [B, S, K].
            lengths: [B] steps of each row; None for all.

        Returns:
            Codes [B, Q, T], and the frames of each row [B].

        """
        batch, total, _ = tokens.shape
        xp = namespace(tokens)
        if lengths is None:
            lengths = full(tokens, (batch,), total)
        place = range_like(tokens, total)
        ended = (tokens[..., 0] == self.slots[0].end_id) & (place < lengths[:, None])
        found = ended.any(1)
        end = xp.where(found, (ended * 1).argmax(1), lengths)  # [B]
        if self.flat:
            return self._unpack_flat(tokens, end // len(self.streams))
        num = xp.where(found, end - self.leading_delay, lengths - self.max_delay).clip(min=0)
        return self._unpack_grouped(tokens, num)

    def _unpack_grouped(self, tokens: Array, num: Array) -> tuple[Array, Array]:
        xp, streams = namespace(tokens), len(self.streams)
        batch, group, longest = tokens.shape[0], self.frames_per_step, int(num.max())
        tokens = pad_end(tokens, longest + self.max_delay, axis=1)
        codes = full(tokens, (batch, streams, longest, group), 0)
        absent = full(tokens, (batch, longest, group), True)
        for k, slot in enumerate(self.slots):
            data = tokens[:, slot.delay : slot.delay + longest, k]  # [B, n]
            if slot.joint:
                codes[:, slot.stream] = self.split_joint(slot, data)
            else:
                codes[:, slot.stream, :, slot.frame] = xp.where(data < slot.size, data, -1)
                absent[..., slot.frame] &= data == slot.pad_id
        step = range_like(tokens, longest)[:, None]
        tail = absent & (step == (num - 1)[:, None, None])  # [B, n, G]
        tail[..., 0] = False  # a step has at least one frame
        lengths = num * group - cummax(tail * 1, -1).sum((1, 2))
        codes = codes.reshape(batch, streams, -1)[..., : int(lengths.max())]  # [B, Q, T]
        inside = range_like(codes, codes.shape[2]) < lengths[:, None]
        return xp.where(inside[:, None], hold(codes), 0), lengths

    def _unpack_flat(self, tokens: Array, lengths: Array) -> tuple[Array, Array]:
        frames, width = int(lengths.max()), len(self.streams)
        codes = tokens[:, : frames * width, 0].reshape(len(tokens), frames, width)  # [B, T, Q]
        places = [self.order.index(q) for q in range(width)]
        codes = codes[..., constant(tokens, places)] - constant(tokens, self.offsets)
        inside = range_like(tokens, frames) < lengths[:, None]
        return namespace(tokens).where(inside[..., None], codes, 0).swapaxes(1, 2), lengths

    def split_joint(self, slot: Slot, data: Array) -> Array:
        """Split symbols [..] of a joint slot into the values of G frames [.., G]; specials are 0."""
        base = self.streams[slot.stream].size
        weights = constant(data, [base**frame for frame in range(self.frames_per_step)])
        return namespace(data).where(data < slot.size, data, 0)[..., None] // weights % base

    def advances(self, tokens: Array, name: str = "advance") -> Array:
        """Select the values of one stream.

        Args:
            tokens: steps [.., K].
            name: of the stream.

        Returns:
            The values of every frame [.., G]; 0 where there is none.

        Raises:
            InputError: the layout has no such stream.

        """
        names = [stream.name for stream in self.streams]
        if name not in names:
            raise InputError(
                f"stream '{name}': this layout has {', '.join(names)}", code="unknown_name"
            )
        q = names.index(name)
        if self.flat:
            value, size = tokens - self.offsets[q], self.streams[q].size
            return namespace(tokens).where((value >= 0) & (value < size), value, 0)  # [B, S, 1]
        places = [k for k, slot in enumerate(self.slots) if slot.stream == q]
        slot, data = self.slots[places[0]], tokens[..., constant(tokens, places)]
        if slot.joint:
            return self.split_joint(slot, data[..., 0])
        return namespace(tokens).where(data < slot.size, data, 0)


def hold(codes: Array) -> Array:
    """Repeat the last valid code over the -1 of [B, Q, T]; leading ones become 0."""
    place = range_like(codes, codes.shape[2])
    last = cummax(namespace(codes).where(codes >= 0, place, 0), 2)
    return take_along(codes, last, 2).clip(min=0)

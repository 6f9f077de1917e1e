"""Packing of codec codes into the steps of a speech LM, and back: grouped and flat.

Letters: B rows, Q streams, T codec frames, G frames per step, S speech steps, n data steps, K slots
per step.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

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
from vocalmtp.models.streams import NO_STREAM, Slot, Stream

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Steps:
    """Codes packed into steps."""

    tokens: "Tensor"  # [B, S, K] int64, ids of each slot
    lengths: "Tensor"  # [B] int64, steps of each row


class Packing(Protocol):
    """Turns codes into steps and back."""

    def pack(self, codes: "Tensor", lengths: "Tensor") -> Steps:
        """Pack codes [B, Q, T] with so many frames [B] in each row."""

    def unpack(self, tokens: Array, num: Array) -> tuple[Array, Array]:
        """Unpack steps [B, S, K] with `num` [B] data steps: codes [B, Q, T] and their frames [B]."""


@dataclass(frozen=True)
class GroupedPacking:
    """G frames of every stream in a step, each stream after its delay.

    Attributes:
        streams: of the codes.
        slots: of a step.
        frames_per_step: G.
        all_end: whether all slots have the end, and not the leading one alone.

    """

    streams: tuple[Stream, ...]
    slots: tuple[Slot, ...]
    frames_per_step: int
    all_end: bool

    @property
    def max_delay(self) -> int:
        """Largest delay of a slot in steps."""
        return max(slot.delay for slot in self.slots)

    def pack(self, codes: "Tensor", lengths: "Tensor") -> Steps:
        """See Packing."""
        import torch

        batch, group, leading = codes.shape[0], self.frames_per_step, self.slots[0].delay
        num = (lengths + group - 1) // group  # [B] data steps
        longest = int(num.max())
        packed = num + max(leading + 1, self.max_delay)
        padded = codes.new_zeros(batch, len(self.streams), longest * group)
        width = min(codes.shape[2], longest * group)
        padded[..., :width] = codes[..., :width]
        frame_index = torch.arange(longest * group, device=codes.device)
        valid = (frame_index < lengths[:, None]).unflatten(1, (longest, group))  # [B, n, G]
        grouped = padded.unflatten(2, (longest, group))  # [B, Q, n, G]
        tokens = codes.new_empty(batch, int(packed.max()), len(self.slots))
        for k, slot in enumerate(self.slots):
            tokens[..., k] = slot.pad_id
            if slot.stream == NO_STREAM:
                data, present = torch.zeros_like(valid[..., 0], dtype=codes.dtype), valid[..., 0]
                data, present = data[:, -slot.delay :], present[:, -slot.delay :]
            elif slot.joint:
                base = self.streams[slot.stream].size
                weights = base ** torch.arange(group, device=codes.device)
                data = torch.where(valid, grouped[:, slot.stream], 0) @ weights  # [B, n]
                present = valid[..., 0]
            else:
                data, present = grouped[:, slot.stream, :, slot.frame], valid[..., slot.frame]
            start = max(slot.delay, 0)
            steps = slice(start, start + data.shape[1])
            tokens[:, steps, k] = torch.where(present, data, slot.pad_id)
        end = (num + leading).clamp(min=0)[:, None]
        for k, slot in enumerate(self.slots[: None if self.all_end else 1]):
            tokens[..., k] = tokens[..., k].scatter(1, end, slot.end_id)
        return Steps(tokens, packed)

    def unpack(self, tokens: Array, num: Array) -> tuple[Array, Array]:
        """See Packing."""
        xp, streams = namespace(tokens), len(self.streams)
        batch, group, longest = tokens.shape[0], self.frames_per_step, int(num.max())
        tokens = pad_end(tokens, longest + self.max_delay, axis=1)
        codes = full(tokens, (batch, streams, longest, group), 0)
        absent = full(tokens, (batch, longest, group), True)
        for k, slot in enumerate(self.slots):
            if slot.stream == NO_STREAM:
                continue
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

    def split_joint(self, slot: Slot, data: Array) -> Array:
        """Split symbols [..] of a joint slot into the values of G frames [.., G]; specials are 0."""
        base = self.streams[slot.stream].size
        weights = constant(data, [base**frame for frame in range(self.frames_per_step)])
        return namespace(data).where(data < slot.size, data, 0)[..., None] // weights % base


@dataclass(frozen=True)
class FlatPacking:
    """One code in a step, frame by frame.

    Attributes:
        slot: the one of a step.
        order: the streams in the order of their steps.
        offsets: first id of every stream.

    """

    slot: Slot
    order: tuple[int, ...]
    offsets: tuple[int, ...]

    def pack(self, codes: "Tensor", lengths: "Tensor") -> Steps:
        """See Packing."""
        import torch

        num = lengths * len(self.order)
        offsets = torch.tensor(self.offsets, device=codes.device)[:, None]
        ordered = (codes + offsets)[:, list(self.order)]
        flat = ordered.transpose(1, 2).flatten(1)[:, : int(num.max())]  # [B, T * Q]
        tokens = torch.nn.functional.pad(flat, (0, 1), value=self.slot.pad_id)
        place = torch.arange(tokens.shape[1], device=codes.device)
        tokens = torch.where(place < num[:, None], tokens, self.slot.pad_id)
        tokens = tokens.scatter(1, num[:, None], self.slot.end_id)
        return Steps(tokens[..., None], num + 1)

    def unpack(self, tokens: Array, num: Array) -> tuple[Array, Array]:
        """See Packing."""
        width = len(self.order)
        lengths = num // width
        frames = int(lengths.max())
        codes = tokens[:, : frames * width, 0].reshape(len(tokens), frames, width)  # [B, T, Q]
        places = [self.order.index(q) for q in range(width)]
        codes = codes[..., constant(tokens, places)] - constant(tokens, self.offsets)
        inside = range_like(tokens, frames) < lengths[:, None]
        return namespace(tokens).where(inside[..., None], codes, 0).swapaxes(1, 2), lengths


def hold(codes: Array) -> Array:
    """Repeat the last valid code over the -1 of [B, Q, T]; leading ones become 0."""
    place = range_like(codes, codes.shape[2])
    last = cummax(namespace(codes).where(codes >= 0, place, 0), 2)
    return take_along(codes, last, 2).clip(min=0)

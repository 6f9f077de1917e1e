"""Token layouts: how codec codes map to the steps of a speech LM, and back. They have no weights.

A *grouped* layout puts G frames of every stream into one step (frame-parallel is G = 1). A *flat*
layout puts one token into each step, frame by frame in stream order: next-token prediction.
Letters: B rows, Q streams, T codec frames, G frames per step, S speech steps, n data steps, K slots
per step, V vocabulary of a slot.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from vocalmtp.arrays import Array, constant, full, namespace, range_like
from vocalmtp.errors import InputError
from vocalmtp.models.packing import FlatPacking, GroupedPacking, Packing, Steps
from vocalmtp.models.streams import (
    ADVANCE,
    END_SLOT,
    REFERENCE,
    TEXT_ALONE,
    TEXT_SLOT,
    Slot,
    Stream,
    check_streams,
    grouped_slots,
)

if TYPE_CHECKING:
    from torch import Tensor

MAX_FRAMES = 64  # of a step
IGNORED = -100  # target that is not learned, as in torch's cross-entropy
EndSlots = Literal["first", "all", "own", "text"]
LEADING = {"own": END_SLOT, "text": TEXT_SLOT}  # slots before those of the streams


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
        end_slots: which slots have the end: "first"; or "all", where any one that predicts it ends
            the speech (the release of arXiv 2506.12537); or "own", a slot of its own before those of
            the streams, which has the end with the last frame of the first stream (MOSS-TTS); or
            "text", such a slot, by which a step has frames, has text alone, or is the end, after the
            last frames (MiMo-Audio); steps of text are not packed, and are left out of the codes.

    Raises:
        InputError: the streams cannot be laid out so.

    """

    streams: tuple[Stream, ...]
    frames_per_step: int = 1
    flat: bool = False
    flat_order: tuple[int, ...] = ()
    end_slots: EndSlots = "first"

    def __post_init__(self) -> None:
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
        if self.end_slots in LEADING and (
            self.flat or any(stream.joint for stream in self.streams)
        ):
            raise InputError(
                f"end_slots '{self.end_slots}': needs a grouped layout without a text track; leave it "
                "out",
                code="conflict",
            )
        if self.has_text_steps and any(stream.delay for stream in self.streams):
            raise InputError(
                "end_slots 'text': needs streams without delays between steps; leave it out",
                code="conflict",
            )
        check_streams(self.streams, self.frames_per_step)

    # -- shape ---------------------------------------------------------------------------------

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The K slots: joint streams first, then frame by frame in stream order."""
        if self.flat:
            return (Slot("flat", 0, 0, sum(stream.size for stream in self.streams)),)
        leading = LEADING.get(self.end_slots)
        return grouped_slots(self.streams, self.frames_per_step, leading)

    @cached_property
    def runs(self) -> tuple[tuple[int, ...], ...]:
        """Numbers of the slots that are sampled together: those of one vocabulary.

        The leading slot is a run of its own, and the first.
        """
        keys = [(k > 0, slot.vocab_size) for k, slot in enumerate(self.slots)]
        return tuple(
            tuple(k for k, own in enumerate(keys) if own == key) for key in dict.fromkeys(keys)
        )

    @cached_property
    def run_places(self) -> tuple[int, ...]:
        """The place of every slot where the slots of all runs follow each other, [K]."""
        order = [k for run in self.runs for k in run]
        return tuple(order.index(k) for k in range(len(order)))

    def stack_runs(self, logits: Sequence[Array]) -> list[Array]:
        """Stack logits [B, V_k] of all slots by runs: [B, n, V] each."""
        xp = namespace(logits[0])
        return [xp.stack(tuple(logits[k] for k in run), 1) for run in self.runs]

    @cached_property
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

    @property
    def own_end(self) -> bool:
        """Whether the end has a slot of its own, and comes with the last frame."""
        return self.end_slots == "own"

    @property
    def has_text_steps(self) -> bool:
        """Whether steps may have text alone."""
        return self.end_slots == "text"

    def has_frames(self, leading: Array) -> Array:
        """Where tokens [..] of the leading slot are not those of steps of text, [..] bool."""
        return leading != TEXT_ALONE if self.has_text_steps else full(leading, leading.shape, True)

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

    @cached_property
    def _packing(self) -> Packing:
        if self.flat:
            return FlatPacking(self.slots[0], self.order, self.offsets)
        return GroupedPacking(self.streams, self.slots, self.frames_per_step, self.all_end)

    # -- codes -> steps ------------------------------------------------------------------------

    def pack(self, codes: "Tensor", lengths: "Tensor | None" = None) -> Steps:
        """Pack codes into steps.

        A row of n data steps takes max(n + leading delay + 1, n + max_delay) steps.

        Args:
            codes: [B, Q, T].
            lengths: [B] frames of each row; None for all.

        """
        if lengths is None:
            lengths = codes.new_full((len(codes),), codes.shape[2])
        return self._packing.pack(codes, lengths)

    def pack_beginning(self, codes: "Tensor") -> "Tensor":
        """Pack the whole steps of codes [Q, T] that speech goes on after: [S, K], without an end."""
        whole = codes.shape[1] - codes.shape[1] % self.frames_per_step
        tokens = self.pack(codes[None, :, :whole]).tokens[0, : self.num_steps(whole)]
        if self.own_end:
            tokens[:, 0] = 0
        return tokens

    def pack_reference(self, codes: "Tensor") -> "Tensor":
        """Pack codes [Q, T] that are an example of a voice: [S, K], with an end if a stream has it."""
        if self.has_text_steps:
            return self.pack_beginning(codes)
        tokens = self.pack(codes[None]).tokens[0]
        if self.own_end:
            tokens[:, 0] = REFERENCE
        return tokens

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

        The leading slot decides the end; a row that was cut off by a limit keeps complete frames.
        Padding in the middle of speech repeats the frame before it.

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
        num = end
        if not self.flat:
            whole = lengths - self.max_delay  # also of a row that was cut off after its end
            num = xp.where(found, xp.minimum(end - self.leading_delay, whole), whole).clip(min=0)
        if self.has_text_steps:
            framed = self.has_frames(tokens[..., 0])
            first = xp.where(framed, place, place + total).argsort(
                1
            )  # steps with frames come first
            num = (framed & (place < num[:, None])).sum(1)
            tokens = tokens[range_like(tokens, batch)[:, None], first]
        return self._packing.unpack(tokens, num)

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
        if name not in self._slots_of:
            raise InputError(
                f"stream '{name}': this layout has {', '.join(self._slots_of)}",
                code="unknown_name",
            )
        q, places = self._slots_of[name]
        if self.flat:
            value, size = tokens - self.offsets[q], self.streams[q].size
            return namespace(tokens).where((value >= 0) & (value < size), value, 0)  # [B, S, 1]
        slot = self.slots[places[0]]
        if slot.joint:
            assert isinstance(self._packing, GroupedPacking)
            return self._packing.split_joint(slot, tokens[..., places[0]])
        data = tokens[..., constant(tokens, places)]
        return namespace(tokens).where(data < slot.size, data, 0)

    @cached_property
    def joint_advance(self) -> tuple[int, ...] | None:
        """The slot of the advance of all frames of a step, alone in a tuple; None: there is none."""
        _, places = self._slots_of.get(ADVANCE, (0, ()))
        return places if places and self.slots[places[0]].joint else None

    @cached_property
    def joint_moves(self) -> tuple[int, ...]:
        """How far each symbol of a joint advance moves the pointer by each frame, [size * G]."""
        assert self.joint_advance is not None and isinstance(self._packing, GroupedPacking)
        slot = self.slots[self.joint_advance[0]]
        moves = self._packing.split_joint(slot, np.arange(slot.size)).cumsum(1)  # [size, G]
        return tuple(moves.ravel().tolist())

    @cached_property
    def _slots_of(self) -> dict[str, tuple[int, tuple[int, ...]]]:
        """By stream: its number, and the slots of its codes if the layout is not flat."""
        return {
            stream.name: (q, tuple(k for k, slot in enumerate(self.slots) if slot.stream == q))
            for q, stream in enumerate(self.streams)
        }

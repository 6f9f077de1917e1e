"""The mutable state of one generation, passed to the model and returned by it.

Letters: B rows, S speech steps, U characters, D width.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from vocalmtp.arrays import (
    Array,
    constant,
    full,
    integers,
    namespace,
    pad_end,
    range_like,
    take_along,
)
from vocalmtp.models.noise import RowNoise

if TYPE_CHECKING:
    from vocalmtp.decoding.sampling import RowSamplers
    from vocalmtp.models.backbone import KVCache
    from vocalmtp.models.layout import TokenLayout

ROW_TENSORS = (  # fields of DecodeState with an entry for every row
    "steps",
    "speaker",
    "encoded_text",
    "character_lengths",
    "text_alone",
    "pointers",
    "pointer_history",
    "ended",
    "limits",
    "seen",
    "written",
    "writing",
    "hidden",
)
NO_LIMIT = 2**63 - 1  # steps
HISTORY_CHUNK = 64  # steps by which the pointer history grows


@dataclass
class DecodeState:
    """Caches and positions of a batch, whose rows come and go. Generations share no state.

    `start` makes a state; the model sets the second group of fields, the decode loop the third, and
    its strategy the last.
    """

    cache: "KVCache"
    steps: Array  # [B] speech steps that the backbone has
    ended: Array  # [B] step at which the leading slot had the end id, -1 = not yet
    limits: Array  # [B] most steps of the row

    speaker: Array | None = None  # [B, D] projected, for models that add it to every step
    encoded_text: Array | None = None  # [B, U, D] text of the track
    character_lengths: Array | None = None  # [B]
    text_alone: Array | None = None  # [B, U] the steps that have text and no frames
    pointers: Array | None = None  # [B] character at the last frame of each row
    pointer_history: Array | None = None  # [B, room] the pointers after 0, 1, .. steps
    history_steps: int = 0  # an upper bound of `steps`, on the host
    most_steps: int = 0  # how many more steps a row may have, on the host

    noise: RowNoise | None = None
    samplers: "RowSamplers | None" = None
    seen: Array | None = None  # [B, ids of all streams] first step with an id, for penalties

    hidden: Array | None = None  # [B, D] of the last position, which predicts the next step
    written: Array | None = None  # [B] text tokens of an interleaved answer so far
    writing: Array | None = None  # [B] whether more of them follow
    draft: Any = None  # DraftState of a strategy that drafts (decoding/draft_state.py)

    @classmethod
    def start(cls, cache: "KVCache", steps: Array) -> "DecodeState":
        """Return the state of rows [B] that have `steps` [B] steps and no limit."""
        limits = namespace(steps).full_like(steps, NO_LIMIT)
        return cls(cache, steps, namespace(steps).full_like(steps, -1), limits)

    def start_text(self, encoded_text: Array, character_lengths: Array, tracked: bool) -> None:
        """Set the text [B, U, D] of `character_lengths` [B], at whose start all rows are.

        With a text track (`tracked`) every row has a pointer into it; else each step has the next
        token of it, and the last one once it is over.
        """
        self.encoded_text, self.character_lengths = encoded_text, character_lengths
        if not tracked:
            return
        self.pointers = namespace(self.steps).zeros_like(self.steps)
        self.pointer_history = self.pointers[:, None]

    def advance_pointers(self, pointers: Array) -> None:
        """Set the pointers [B] after the next step, and keep them for `rewind`."""
        assert self.pointer_history is not None
        self.history_steps += 1
        if self.pointer_history.shape[1] <= self.history_steps:
            self.pointer_history = pad_end(self.pointer_history, HISTORY_CHUNK, axis=1)
        rows = range_like(pointers, len(pointers))
        self.pointer_history[rows, self.steps + 1] = pointers
        self.pointers = pointers

    def move_pointers(self, layout: "TokenLayout", tokens: Array) -> Array | None:
        """Move the pointers by a step of tokens [B, K].

        Returns:
            Where the step's frames are in the text [B, G]; None without text along the speech.

        """
        if self.character_lengths is None:
            return None
        last = (self.character_lengths - 1)[:, None]
        if self.pointers is None:
            return namespace(last).minimum(self.steps[:, None], last)
        moves = layout.advances(tokens)  # [B, G]
        reached = self.pointers[:, None] + moves.cumsum(1)
        pointers = namespace(reached).minimum(reached, last)
        self.advance_pointers(pointers[:, -1])
        return pointers

    def is_text_alone(self) -> Array:
        """Where the next step has text and no frames, [B] bool."""
        if self.text_alone is None or self.character_lengths is None:
            return full(self.steps, self.steps.shape, False)
        last = self.character_lengths - 1  # a step with frames, as are all later ones
        place = namespace(last).minimum(self.steps, last)
        return take_along(self.text_alone, place[:, None], 1)[:, 0]

    def text_is_over(self) -> Array:
        """Where no step of text follows or has just been, [B] bool."""
        if self.text_alone is None or self.character_lengths is None:
            return full(self.steps, self.steps.shape, True)
        place = range_like(self.steps, self.text_alone.shape[1])
        later = (place >= self.steps[:, None] - 1) & (place < self.character_lengths[:, None])
        return ~(self.text_alone & later).any(1)

    def note_step(self, layout: "TokenLayout", tokens: Array) -> None:
        """Record the ids of the leading k slots of the next step [B, k], if ids are recorded."""
        if self.seen is not None and self.samplers is not None and self.samplers.penalizes:
            self.note_ids(layout, tokens, range_like(self.steps, len(self.steps)), self.steps)

    def note_ids(self, layout: "TokenLayout", tokens: Array, rows: Array, steps: Array) -> None:
        """Record the ids of tokens [n, k] of the `rows` [n] as those of their `steps` [n]."""
        assert self.seen is not None
        offsets = constant(tokens, layout.id_offsets[: tokens.shape[1]])
        place = rows[:, None], tokens + offsets
        self.seen[place] = namespace(steps).minimum(self.seen[place], steps[:, None])

    def match_record(self, other: "DecodeState") -> None:
        """Begin a record of ids in the one of two states that has none, if the other has one."""
        for state, like in ((self, other.seen), (other, self.seen)):
            if state.seen is None and like is not None:
                state.seen = full(like, (len(state.steps), like.shape[1]), NO_LIMIT)

    def rewind(self, steps: Array | int) -> "DecodeState":
        """Remove the last speech steps of every row: one number, or [B] for each row its own.

        The noise is not rewound.
        """
        self.cache.crop(steps)
        self.steps = self.steps - steps
        if self.pointer_history is not None:
            self.pointers = take_along(self.pointer_history, self.steps[:, None], 1)[:, 0]
        where = namespace(self.steps).where
        self.ended = where(self.ended < self.steps, self.ended, -1)
        if self.seen is not None:
            self.seen = where(self.seen < self.steps[:, None], self.seen, NO_LIMIT)
        return self

    def advance(self, counts: Array, pointers: Array | None) -> None:
        """Count `counts` [B] more steps of each row, after which the pointers are [B, n] in turn."""
        if pointers is None or self.pointers is None:
            self.steps = self.steps + counts
            return
        for step in range(pointers.shape[1]):
            counted, after = step < counts, pointers[:, step]
            self.advance_pointers(namespace(counts).where(counted, after, self.pointers))
            self.steps = self.steps + counted

    def settle(self, steps: int, positions: int) -> None:
        """Set upper bounds of `steps` and of the cache's lengths, once they are known on the host.

        The state counts on from them, so that no pass has to wait for the device.
        """
        self.history_steps = steps
        self.cache.longest = positions
        if self.draft is not None:
            self.draft.settle(positions)

    def without_cache(self, rows: Array) -> "DecodeState":
        """Copy the rows [n], which may repeat, for constraints and `embed_step` alone.

        The copy has no cache, no noise and no drafts.
        """
        tensors = {name: getattr(self, name) for name in ROW_TENSORS}
        return replace(
            self,
            cache=cast("KVCache", None),  # to fail at once where it is used
            draft=None,
            noise=None,
            samplers=None if self.samplers is None else self.samplers.at(rows),
            **{name: value[rows] for name, value in tensors.items() if value is not None},
        )

    def select(self, rows: list[int]) -> "DecodeState":
        """Keep only these rows, in this order."""
        index = integers(self.steps, rows)
        self.cache.select(index)
        for name in ROW_TENSORS:
            value = getattr(self, name)
            if value is not None:
                setattr(self, name, value[index])
        if self.character_lengths is not None:
            longest = int(self.character_lengths.max())
            for name in ("encoded_text", "text_alone"):
                value = getattr(self, name)
                if value is not None:
                    setattr(self, name, value[:, :longest])
        if self.pointer_history is not None:
            self.history_steps = int(self.steps.max())
            self.pointer_history = self.pointer_history[:, : self.history_steps + 1]
        if self.draft is not None:
            self.draft.select(index)
        if self.noise is not None and self.samplers is not None:
            self.noise.select(index, rows)
            self.samplers.select(index, rows)
        return self

    def join(self, other: "DecodeState") -> "DecodeState":
        """Append the rows of another state."""
        self.cache.join(other.cache)
        self.match_record(other)  # rows without penalties have none
        for name in ROW_TENSORS:
            own, added = getattr(self, name), getattr(other, name)
            if own is not None:
                setattr(self, name, _concatenate(own, added))
        self.history_steps = max(self.history_steps, other.history_steps)
        self.most_steps = max(self.most_steps, other.most_steps)
        if self.draft is not None:
            self.draft.join(other.draft)
        if self.noise is not None and self.samplers is not None:
            assert other.noise is not None and other.samplers is not None
            self.noise.join(other.noise)
            self.samplers.join(other.samplers)
        return self


def _concatenate(one: Array, other: Array) -> Array:
    """Rows [B, ..] and [B', ..] to [B + B', ..]; the second dimension is padded to the longer."""
    if one.ndim > 1:
        longest = max(one.shape[1], other.shape[1])
        one, other = (pad_end(x, longest - x.shape[1], axis=1) for x in (one, other))
    return namespace(one).concatenate([one, other])

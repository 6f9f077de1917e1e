"""The mutable state of one generation, passed to the model and returned by it.

Letters: B rows, S speech steps, U characters, D width.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from vocalmtp.models.backbone import KVCache

if TYPE_CHECKING:
    from vocalmtp.decoding.sampling import Sampler

ROW_TENSORS = (  # fields of DecodeState with an entry for every row
    "steps",
    "speaker",
    "encoded_text",
    "character_lengths",
    "pointers",
    "pointer_history",
    "ended",
    "limits",
    "hidden",
)
HISTORY_CHUNK = 64  # steps by which the pointer history grows


@dataclass
class DecodeState:
    """Caches and positions of a batch, whose rows come and go. Generations share no state.

    The model sets `cache`, `steps` and the second group of fields, the decode loop `limits` and the
    third group, its strategy the fourth.
    """

    cache: KVCache
    steps: Tensor  # [B] speech steps that the backbone has
    ended: Tensor  # [B] step at which the leading slot had the end id, -1 = not yet
    limits: Tensor  # [B] most steps of the row

    speaker: Tensor | None = None  # [B, D] projected, for models that add it to every step
    encoded_text: Tensor | None = None  # [B, U, D] text of the track
    character_lengths: Tensor | None = None  # [B]
    pointers: Tensor | None = None  # [B] character at the last frame of each row
    pointer_history: Tensor | None = None  # [B, room] the pointers after 0, 1, .. steps
    history_steps: int = 0  # an upper bound of `steps`, on the host

    generators: tuple[torch.Generator, ...] = ()  # noise of every row
    samplers: "tuple[Sampler, ...]" = ()

    hidden: Tensor | None = None  # [B, D] of the last position, which predicts the next step
    draft: Any = None  # DraftState of a strategy that drafts (decoding/draft_state.py)

    @classmethod
    def start(cls, cache: KVCache, steps: Tensor) -> "DecodeState":
        """Return the state of rows whose prompts have been run, with `steps` [B] steps so far."""
        return cls(cache, steps, ended=torch.full_like(steps, -1), limits=torch.zeros_like(steps))

    def start_pointers(self, encoded_text: Tensor, character_lengths: Tensor) -> None:
        """Point every row at the first character of its text [B, U, D] of `character_lengths` [B]."""
        self.encoded_text, self.character_lengths = encoded_text, character_lengths
        self.pointers = torch.zeros_like(self.steps)
        self.pointer_history = self.pointers[:, None]

    def advance_pointers(self, pointers: Tensor) -> None:
        """Set the pointers [B] after the next step, and keep them for `rewind`."""
        assert self.pointer_history is not None
        self.history_steps += 1
        if self.pointer_history.shape[1] <= self.history_steps:
            self.pointer_history = F.pad(self.pointer_history, (0, HISTORY_CHUNK))
        rows = torch.arange(len(pointers), device=pointers.device)
        self.pointer_history[rows, self.steps + 1] = pointers
        self.pointers = pointers

    def rewind(self, steps: Tensor | int) -> "DecodeState":
        """Remove the last speech steps of every row: one number, or [B] for each row its own.

        The noise is not rewound.
        """
        self.cache.crop(steps)
        self.steps = self.steps - steps
        if self.pointer_history is not None:
            self.history_steps = int(self.steps.max())
            self.pointers = self.pointer_history.gather(1, self.steps[:, None])[:, 0]
        self.ended = torch.where(self.ended < self.steps, self.ended, -1)
        return self

    def advance(self, counts: Tensor, pointers: Tensor | None) -> None:
        """Count `counts` [B] more steps of each row, after which the pointers are [B, n] in turn."""
        if pointers is None or self.pointers is None:
            self.steps = self.steps + counts
            return
        for step, after in enumerate(pointers.unbind(1)):
            counted = step < counts
            self.advance_pointers(torch.where(counted, after, self.pointers))
            self.steps = self.steps + counted
        self.history_steps = int(self.steps.max())

    def without_cache(self, rows: list[int]) -> "DecodeState":
        """Copy these rows, which may repeat, for constraints and `embed_step` alone.

        The copy has no cache, no noise and no drafts.
        """
        tensors = {name: getattr(self, name) for name in ROW_TENSORS}
        return replace(
            self,
            cache=cast(KVCache, None),  # to fail at once where it is used
            draft=None,
            generators=(),
            samplers=tuple(self.samplers[row] for row in rows),
            **{name: value[rows] for name, value in tensors.items() if value is not None},
        )

    def select(self, rows: list[int]) -> "DecodeState":
        """Keep only these rows, in this order."""
        index = torch.tensor(rows, device=self.steps.device)
        self.cache.select(index)
        for name in ROW_TENSORS:
            value = getattr(self, name)
            if value is not None:
                setattr(self, name, value[index])
        if self.encoded_text is not None:
            assert self.character_lengths is not None and self.pointer_history is not None
            self.history_steps = int(self.steps.max())
            self.encoded_text = self.encoded_text[:, : int(self.character_lengths.max())]
            self.pointer_history = self.pointer_history[:, : self.history_steps + 1]
        if self.draft is not None:
            self.draft.select(index)
        self.generators = tuple(self.generators[row] for row in rows if self.generators)
        self.samplers = tuple(self.samplers[row] for row in rows if self.samplers)
        return self

    def join(self, other: "DecodeState") -> "DecodeState":
        """Append the rows of another state."""
        self.cache.join(other.cache)
        for name in ROW_TENSORS:
            own, added = getattr(self, name), getattr(other, name)
            if own is not None:
                setattr(self, name, _concatenate(own, added))
        self.history_steps = max(self.history_steps, other.history_steps)
        if self.draft is not None:
            self.draft.join(other.draft)
        self.generators += other.generators
        self.samplers += other.samplers
        return self


def _concatenate(one: Tensor, other: Tensor) -> Tensor:
    """Rows [B, ..] and [B', ..] to [B + B', ..]; the second dimension is padded to the longer."""
    if one.dim() > 1:
        longest = max(one.shape[1], other.shape[1])
        one, other = (
            F.pad(x, (0, 0) * (x.dim() - 2) + (0, longest - x.shape[1])) for x in (one, other)
        )
    return torch.cat([one, other])

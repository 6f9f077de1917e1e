"""Everything mutable of one generation, passed to the model and returned by it.

Letters: B rows, S speech steps, U characters, D width.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vocalmtp.models.backbone import Cache

if TYPE_CHECKING:
    from vocalmtp.decoding.sampling import Sampler

BY_ROW = (
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

TRAIL = 64  # steps that the trail grows by


@dataclass
class DecodeState:
    """Caches and pointers of a batch, whose rows come and go; two states on one model never mix.

    The model sets the first block, the decode loop the second, its strategy the third.
    """

    cache: Cache
    steps: Tensor  # [B] speech steps taken in
    speaker: Tensor | None = None  # [B, D] projected, for models that add it to every step
    encoded_text: Tensor | None = None  # [B, U, D] text of the track
    character_lengths: Tensor | None = None  # [B]
    pointers: Tensor | None = None  # [B] the character that each row's last frame stands on
    pointer_history: Tensor | None = None  # [B, room] the pointers after 0, 1, .. steps

    ended: Tensor | None = None  # [B] step at which the leading slot said the end, -1 = not yet
    limits: Tensor | None = None  # [B] most steps of the row
    generators: tuple[torch.Generator, ...] = ()  # noise of every row
    samplers: "tuple[Sampler, ...]" = ()

    hidden: Tensor | None = None  # [B, D] of the last position, which predicts the next step
    draft: Any = None  # DraftState of a strategy that drafts (decoding/draft_state.py)

    def advance_pointers(self, pointers: Tensor) -> None:
        """Move on to `pointers` [B] with the next step, so that it can be rewound."""
        if self.pointer_history.shape[1] <= int(self.steps.max()) + 1:
            self.pointer_history = F.pad(self.pointer_history, (0, TRAIL))
        rows = torch.arange(len(pointers), device=pointers.device)
        self.pointer_history[rows, self.steps + 1] = pointers
        self.pointers = pointers

    def rewind(self, steps: Tensor | int) -> "DecodeState":
        """Forget the last so many speech steps of every row, or as many as [B] says of each.

        The noise is not rewound.
        """
        self.cache.crop(steps)
        self.steps = self.steps - steps
        if self.pointer_history is not None:
            self.pointers = self.pointer_history.gather(1, self.steps[:, None])[:, 0]
        if self.ended is not None:
            self.ended = torch.where(self.ended < self.steps, self.ended, -1)
        return self

    def advance(self, counts: Tensor, pointers: Tensor | None) -> None:
        """Move on by `counts` [B] steps of up to n, after which the pointers are [B, n] in turn."""
        if pointers is None:
            self.steps = self.steps + counts
            return
        for step, after in enumerate(pointers.unbind(1)):
            going = step < counts
            self.advance_pointers(torch.where(going, after, self.pointers))
            self.steps = self.steps + going

    def without_cache(self, rows: list[int]) -> "DecodeState":
        """These rows, some maybe several times, with which the rules and `SpeechLM.enter` do as
        with this state; it has no cache and no noise.
        """
        kept = {name: getattr(self, name) for name in BY_ROW}
        return replace(
            self,
            cache=None,
            draft=None,
            generators=(),
            samplers=tuple(self.samplers[row] for row in rows),
            **{name: value[rows] for name, value in kept.items() if value is not None},
        )

    def select(self, rows: list[int]) -> "DecodeState":
        """Keep only these rows, in this order."""
        index = torch.tensor(rows, device=self.steps.device)
        self.cache.select(index)
        for name in BY_ROW:
            value = getattr(self, name)
            if value is not None:
                setattr(self, name, value[index])
        if self.encoded_text is not None:
            self.encoded_text = self.encoded_text[:, : int(self.character_lengths.max())]
            self.pointer_history = self.pointer_history[:, : int(self.steps.max()) + 1]
        if self.draft is not None:
            self.draft.select(index)
        self.generators = tuple(self.generators[row] for row in rows if self.generators)
        self.samplers = tuple(self.samplers[row] for row in rows if self.samplers)
        return self

    def join(self, other: "DecodeState") -> "DecodeState":
        """Take in the rows of another state, after those here."""
        self.cache.join(other.cache)
        for name in BY_ROW:
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine is not None:
                setattr(self, name, _stack(mine, theirs))
        if self.draft is not None:
            self.draft.join(other.draft)
        self.generators += other.generators
        self.samplers += other.samplers
        return self


def _stack(one: Tensor, other: Tensor) -> Tensor:
    """Rows [B, ..] and [B', ..] to [B + B', ..]; the second dimension is padded to the longer."""
    if one.dim() > 1:
        longest = max(one.shape[1], other.shape[1])
        one, other = (
            F.pad(x, (0, 0) * (x.dim() - 2) + (0, longest - x.shape[1])) for x in (one, other)
        )
    return torch.cat([one, other])

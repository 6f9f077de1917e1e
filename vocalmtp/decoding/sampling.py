"""Sampling of token ids from logits, with noise that belongs to one row.

Letters: B rows, V vocabulary.
"""

import math
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

from vocalmtp.arrays import (
    Array,
    as_float,
    descending,
    integers,
    namespace,
    range_like,
    softmax,
    take_along,
)
from vocalmtp.errors import ErrorCode, InputError


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Temperature, top-k, top-p (nucleus, arXiv 1904.09751) and min-p (arXiv 2407.01082) sampling.

    Or greedy decoding; either with a repetition penalty (arXiv 1909.05858).

    Attributes:
        temperature: divisor of the logits; 0 means greedy.
        top_k: sample from the k most probable ids only; None: from all.
        top_p: sample from the fewest ids whose probabilities add up to this share; None: from all.
        min_p: sample from the ids that have this share of the largest probability at least; None:
            from all.
        repetition_penalty: divisor of the positive logits, and factor of the negative ones, of ids
            that the stream has had; 1: none.
        greedy: take the most probable id; of advances along a text track, the expected one.

    Raises:
        InputError: a value is out of range or of the wrong type.

    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    greedy: bool = False

    def __post_init__(self) -> None:
        self._check("temperature", _is_number(self.temperature, float), "must be a number")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            self._check("temperature", False, "must be a number of 0 or more", "out_of_range")
        if self.top_k is not None:
            self._check("top_k", _is_number(self.top_k, int), "must be a whole number")
            self._check("top_k", self.top_k >= 1, "must be 1 or more", "out_of_range")
        for name in ("top_p", "min_p"):
            share = getattr(self, name)
            if share is not None:
                self._check(name, _is_number(share, float), "must be a number")
                self._check(name, 0 < share <= 1, "must be above 0 and at most 1", "out_of_range")
        penalty = self.repetition_penalty
        self._check("repetition_penalty", _is_number(penalty, float), "must be a number")
        positive = math.isfinite(penalty) and penalty > 0
        self._check("repetition_penalty", positive, "must be a number above 0", "out_of_range")
        self._check("greedy", isinstance(self.greedy, bool), "must be true or false")

    def _check(
        self, name: str, valid: bool, problem: str, code: ErrorCode = "invalid_value"
    ) -> None:
        if not valid:
            raise InputError(f"{name} '{getattr(self, name)}': {problem}", code=code)

    @property
    def is_greedy(self) -> bool:
        """Whether the most probable id is always taken, so that the noise has no effect."""
        return self.greedy or self.temperature == 0 or self.top_k == 1

    def penalize(self, logits: Array, seen: Array) -> Array:
        """Apply the repetition penalty to logits [..] of the ids that were `seen` [..]."""
        if self.repetition_penalty == 1:
            return logits
        where, penalty = namespace(logits).where, self.repetition_penalty
        lower = where(logits > 0, logits / penalty, logits * penalty)
        return where(seen, lower, logits)

    def keep_expected(self, logits: Array, values: Array) -> Array:
        """If greedy, leave only the id nearest to the expectation, for ids that stand for values.

        The most probable of such ids is a poor choice where probability is spread over many: the
        pointer of a text track then moves less than it is expected to, and speech is drawn out.

        Args:
            logits: [B, V]; rows whose most probable id has no values keep theirs.
            values: [v, G] float32 of the first v of the V ids.

        Returns:
            Logits [B, V].

        """
        if not self.is_greedy:
            return logits
        where, size = namespace(logits).where, len(values)
        probs = softmax(logits[:, :size])
        expected = (probs[:, None] * values.T).sum(-1)  # [B, G]; a product of matrices mixes rows
        distances = ((expected[:, None] - values) ** 2).sum(-1)  # [B, v]
        ids = range_like(logits, logits.shape[-1])
        others = distances.argmin(-1)[:, None] != ids
        return where(others & (logits.argmax(-1) < size)[:, None], -math.inf, logits)

    def sample(self, logits: Array, noise: Array | None) -> Array:
        """Sample one id per row.

        Args:
            logits: [B, V]; an id of logit -inf is never sampled.
            noise: [B], uniform in [0, 1), which a row depends on alone, with its own logits; None if
                it has no effect.

        Returns:
            Ids [B].

        """
        if self.is_greedy:
            return logits.argmax(-1)
        assert noise is not None
        return inverse_cdf(softmax(self._filter(as_float(logits) / self.temperature)), noise)

    def probabilities(self, logits: Array) -> Array:
        """Distribution that `sample` draws from, [B, V] to [B, V]; one-hot if greedy."""
        if self.is_greedy:
            ids = range_like(logits, logits.shape[-1])
            return as_float(logits.argmax(-1)[..., None] == ids)
        return softmax(self._filter(as_float(logits) / self.temperature))

    def _filter(self, logits: Array) -> Array:
        """Set the logits that top-k, top-p and min-p exclude to -inf."""
        where, size = namespace(logits).where, logits.shape[-1]
        if self.top_k is not None and self.top_k < size:
            least = descending(logits, self.top_k)[:, -1:]
            logits = where(logits < least, -math.inf, logits)
        if self.top_p is not None and self.top_p < 1:
            ordered = descending(logits, size)
            probs = softmax(ordered)
            before = probs.cumsum(-1) - probs  # mass of the more probable ids
            inside = (before < self.top_p).sum(-1)[:, None]
            least = take_along(ordered, (inside - 1).clip(min=0), 1)
            logits = where(logits < least, -math.inf, logits)
        if self.min_p is not None:
            least = descending(logits, 1) + math.log(self.min_p)
            logits = where(logits < least, -math.inf, logits)
        return logits


class RowSamplers:
    """The sampler of every row of a batch; rows of several samplers are sampled without branches.

    Args:
        like: an array of the library and on the device that `index` is to have.
        samplers: one for each row.

    Attributes:
        kinds: the different samplers.
        index: [B] which of them a row has.

    """

    def __init__(self, like: Array, samplers: Sequence[Sampler]):
        self.kinds = tuple(dict.fromkeys(samplers))
        self.numbers = [self.kinds.index(sampler) for sampler in samplers]  # `index` on the host
        self.index = integers(like, self.numbers)

    @property
    def ignore_noise(self) -> bool:
        """Whether no row's tokens depend on noise."""
        return all(kind.is_greedy for kind in self.kinds)

    def at(self, rows: Array) -> "RowSamplers":
        """Return the samplers of the rows [n], which may repeat; they neither join nor leave."""
        view = copy(self)
        view.index = self.index[rows]
        return view

    def select(self, rows: Array, numbers: Sequence[int]) -> None:
        """Keep only the rows of these `numbers`, in this order; `rows` [B'] has them as an array."""
        self.index, self.numbers = self.index[rows], [self.numbers[row] for row in numbers]

    def join(self, other: "RowSamplers") -> None:
        """Append the rows of another."""
        both = [each.kinds[number] for each in (self, other) for number in each.numbers]
        joined = RowSamplers(self.index, both)
        self.kinds, self.numbers, self.index = joined.kinds, joined.numbers, joined.index

    @property
    def penalizes(self) -> bool:
        """Whether any row has a repetition penalty."""
        return any(kind.repetition_penalty != 1 for kind in self.kinds)

    def penalize(self, logits: Array, seen: Array) -> Array:
        """Apply every row's repetition penalty to logits [B, n, V] of ids `seen` [B, n, V]."""
        return self._of_rows([kind.penalize(logits, seen) for kind in self.kinds], logits.shape)

    def keep_expected(self, logits: Array, values: Array) -> Array:
        """Leave greedy rows of logits [B, n, V] the id nearest to its expected `values` [v, G]."""
        flat = logits.reshape(-1, logits.shape[-1])
        return self._of_rows(
            [kind.keep_expected(flat, values) for kind in self.kinds], logits.shape
        )

    def sample(self, logits: Array, noise: Array | None) -> Array:
        """Sample ids [B, n] from logits [B, n, V] with noise [B, n], None if it has no effect."""
        rows, shape = logits.reshape(-1, logits.shape[-1]), logits.shape[:-1]
        flat = None if noise is None else noise.reshape(-1)
        return self._of_rows([sampler.sample(rows, flat) for sampler in self.kinds], shape)

    def probabilities(self, logits: Array) -> Array:
        """Distributions that `sample` draws from, [B, n, V] to [B, n, V]."""
        flat = logits.reshape(-1, logits.shape[-1])
        return self._of_rows([kind.probabilities(flat) for kind in self.kinds], logits.shape)

    def _of_rows(self, by_kind: Sequence[Array], shape: Sequence[int]) -> Array:
        """What each row has with its own sampler, in `shape` [B, ..], of what all have with each."""
        chosen = by_kind[0].reshape(shape)
        for number, other in enumerate(by_kind[1:], start=1):
            own = (self.index == number).reshape(-1, *[1] * (len(shape) - 1))
            chosen = namespace(own).where(own, other.reshape(shape), chosen)
        return chosen


def _is_number(value: object, kind: type[int] | type[float]) -> bool:
    accepted = (int, float) if kind is float else int
    return isinstance(value, accepted) and not isinstance(value, bool)


def inverse_cdf(weights: Array, noise: Array) -> Array:
    """Sample ids in proportion to `weights` [B, V] by uniform numbers [B] in [0, 1): [B]."""
    cumulative = weights.cumsum(-1)  # [B, V]
    total = cumulative[:, -1:]
    last = (cumulative < total).sum(-1)  # the last id with any probability
    return namespace(weights).minimum((cumulative <= noise[:, None] * total).sum(-1), last)

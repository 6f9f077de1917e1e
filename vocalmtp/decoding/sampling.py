"""Sampling of token ids from logits, with noise that belongs to one row.

Letters: B rows, V vocabulary.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from vocalmtp.arrays import (
    Array,
    as_float,
    descending,
    log_softmax,
    namespace,
    range_like,
    softmax,
    take_along,
)
from vocalmtp.errors import ErrorCode, InputError


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Temperature, top-k and top-p (nucleus, arXiv 1904.09751) sampling, or greedy decoding.

    Attributes:
        temperature: divisor of the logits; 0 means greedy.
        top_k: sample from the k most probable ids only; None: from all.
        top_p: sample from the fewest ids whose probabilities add up to this share; None: from all.
        greedy: take the most probable id.

    Raises:
        InputError: a value is out of range or of the wrong type.

    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    greedy: bool = False

    def __post_init__(self) -> None:
        self._check("temperature", _is_number(self.temperature, float), "must be a number")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            self._check("temperature", False, "must be a number of 0 or more", "out_of_range")
        if self.top_k is not None:
            self._check("top_k", _is_number(self.top_k, int), "must be a whole number")
            self._check("top_k", self.top_k >= 1, "must be 1 or more", "out_of_range")
        if self.top_p is not None:
            self._check("top_p", _is_number(self.top_p, float), "must be a number")
            inside = 0 < self.top_p <= 1
            self._check("top_p", inside, "must be above 0 and at most 1", "out_of_range")
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

    def sample(self, logits: Array, noise: Array) -> tuple[Array, Array]:
        """Sample one id per row.

        Args:
            logits: [B, V]; an id of logit -inf is never sampled.
            noise: [B], uniform in [0, 1). A row depends on its own logits and number alone.

        Returns:
            Ids [B] and their log-probabilities [B].

        """
        if self.greedy or self.temperature == 0:
            tokens = logits.argmax(-1)
        else:
            logits = self._filter(as_float(logits) / self.temperature)
            tokens = inverse_cdf(softmax(logits), noise)
        return tokens, take_along(log_softmax(logits), tokens[:, None], 1)[:, 0]

    def probabilities(self, logits: Array) -> Array:
        """Distribution that `sample` draws from, [B, V] to [B, V]; one-hot if greedy."""
        if self.greedy or self.temperature == 0:
            ids = range_like(logits, logits.shape[-1])
            return as_float(logits.argmax(-1)[..., None] == ids)
        return softmax(self._filter(as_float(logits) / self.temperature))

    def _filter(self, logits: Array) -> Array:
        """Set the logits that top-k and top-p exclude to -inf."""
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
        return logits


def _is_number(value: object, kind: type[int] | type[float]) -> bool:
    accepted = (int, float) if kind is float else int
    return isinstance(value, accepted) and not isinstance(value, bool)


def inverse_cdf(weights: Array, noise: Array) -> Array:
    """Sample ids in proportion to `weights` [B, V] by uniform numbers [B] in [0, 1): [B]."""
    cumulative = weights.cumsum(-1)  # [B, V]
    total = cumulative[:, -1:]
    last = (cumulative < total).sum(-1)  # the last id with any probability
    return namespace(weights).minimum((cumulative <= noise[:, None] * total).sum(-1), last)


def noise_source(like: Array, seed: int) -> Any:
    """Return a source of noise for `uniform` that draws arrays of the library of `like`.

    The numbers of a seed do not depend on the library: torch's generator on the CPU is a Mersenne
    twister whose seed is the lower half of the one given.
    """
    if isinstance(like, np.ndarray):
        return np.random.RandomState(seed & 0xFFFFFFFF)
    return namespace(like).Generator("cpu").manual_seed(seed)


def uniform(source: Any, *shape: int) -> Array:
    """Draw float32 numbers in [0, 1) on the CPU, the same whatever torch's defaults are."""
    if isinstance(source, np.random.RandomState):
        bits = source.randint(0, 1 << 32, shape, np.uint32) & 0xFFFFFF
        return bits.astype(np.float32) * np.float32(2**-24)
    import torch

    return torch.rand(shape, generator=source, dtype=torch.float32, device="cpu")

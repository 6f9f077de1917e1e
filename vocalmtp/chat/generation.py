"""Tokens of a causal LM after a prompt, of which the part that was run before is not run again.

Letters: L positions, D width.
"""

import threading
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vocalmtp.decoding.sampling import Sampler
from vocalmtp.engines.weight_only import WeightOnlyLinear, quantized_runner
from vocalmtp.models.backbone import KVCache, Runner, TransformersRunner

KEPT = 4  # conversations whose caches are kept
LOOP_PERIODS = range(1, 65)  # tokens of a repeated passage
LOOP_TOKENS, LOOP_TIMES = 24, 3  # a passage counts as a loop at so many tokens and repetitions


@dataclass(eq=False)
class CachedPrompt:
    """Token ids and the keys and values of their positions.

    Attributes:
        pinned: kept for every conversation, such as a system prompt.

    """

    ids: list[int]
    cache: KVCache
    pinned: bool = False


@dataclass
class PromptCache:
    """Caches of earlier prompts; the most recently used ones are kept."""

    _entries: list[CachedPrompt] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, ids: list[int]) -> CachedPrompt | None:
        """Return the entry with the longest common prefix with `ids`, cropped to that prefix.

        It belongs to the caller: a pinned one is copied, another one is removed. At least the last
        of `ids` is left to be run. None if no entry has a common prefix.
        """
        with self._lock:
            best = max(self._entries, key=lambda e: common_prefix(e.ids, ids), default=None)
            length = min(common_prefix(best.ids, ids), len(ids) - 1) if best else 0
            if best is None or not length:
                return None
            if best.pinned:
                best = CachedPrompt(list(best.ids), deepcopy(best.cache))
            else:
                self._entries.remove(best)
        best.cache.crop(len(best.ids) - length)
        return CachedPrompt(best.ids[:length], best.cache)

    def put(self, entry: CachedPrompt) -> None:
        """Keep an entry, and drop the oldest beyond KEPT of its kind."""
        with self._lock:
            self._entries.append(entry)
            alike = [each for each in self._entries if each.pinned == entry.pinned]
            for old in alike[:-KEPT]:
                self._entries.remove(old)


def common_prefix(first: list[int], second: list[int]) -> int:
    """Return the number of equal tokens at the beginning of both."""
    pairs = zip(first, second, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


class LocalGenerator:
    """Generates tokens with a causal LM of Transformers, for any number of threads.

    On a CPU, Llamas and Qwen2s in float32 run with fused operations and 8-bit weights.

    Args:
        model: the causal LM, on its device; it cannot run by itself afterwards.

    """

    def __init__(self, model: Any):
        from vocalmtp.engines.llama import LlamaRunner

        self.config, self.device = model.config, model.device
        settings = model.generation_config
        self._embed = model.get_input_embeddings()
        self._output: Any = model.get_output_embeddings()
        self._penalty: float = getattr(settings, "repetition_penalty", None) or 1.0
        self._sampler = Sampler(greedy=True)
        if settings.do_sample:
            given = {name: getattr(settings, name) for name in ("temperature", "top_k", "top_p")}
            self._sampler = Sampler(**{name: x for name, x in given.items() if x})
        self._runner: Runner = TransformersRunner(model)
        if self.device.type == "cpu" and LlamaRunner.supports(model):
            self._output = WeightOnlyLinear(self._output)
            self._runner = quantized_runner(model)
        self._prompts = PromptCache()

    @torch.inference_mode()
    def prepare(self, ids: list[int]) -> None:
        """Run a prompt and keep its cache for every prompt that begins alike."""
        self._prompts.put(CachedPrompt(ids, self._prefill(ids)[1], pinned=True))

    def tokens(self, ids: list[int], ends: set[int], limit: int) -> Iterator[int]:
        """Yield the tokens after `ids`, at most `limit`, without the one of `ends` that ends them.

        A passage that repeats over and over ends them too.
        """
        hidden, entry = self._start(ids)
        made: list[int] = []
        try:
            while len(made) < limit:
                token = self._choose(hidden, ids + made)
                if token in ends or is_loop([*made, token]):
                    return
                made.append(token)
                yield token
                hidden = self._step(entry, token)
        finally:
            self._prompts.put(entry)

    @torch.inference_mode()
    def _start(self, ids: list[int]) -> tuple[Tensor, CachedPrompt]:
        """Run a prompt, or what of it was not run before: the last hidden state [1, D]."""
        entry = self._prompts.take(ids)
        if entry is None:
            hidden, cache = self._prefill(ids)
            return hidden, CachedPrompt(list(ids), cache)
        rest = torch.tensor([ids[len(entry.ids) :]], device=self.device)  # [1, L]
        hidden = self._runner.steps(self._embed(rest), entry.cache)[:, -1]
        return hidden, CachedPrompt(list(ids), entry.cache)

    def _prefill(self, ids: list[int]) -> tuple[Tensor, KVCache]:
        inputs = torch.tensor([ids], device=self.device)  # [1, L]
        hidden, cache = self._runner.prefill(self._embed(inputs), torch.ones_like(inputs))
        return hidden[:, -1], cache

    @torch.inference_mode()
    def _step(self, entry: CachedPrompt, token: int) -> Tensor:
        entry.ids.append(token)
        return self._runner.step(
            self._embed(torch.tensor([token], device=self.device)), entry.cache
        )

    @torch.inference_mode()
    def _choose(self, hidden: Tensor, before: list[int]) -> int:
        """Sample the next token from a hidden state [1, D]."""
        logits = final_logits(self.config, self._output(hidden).float())  # [1, V]
        if self._penalty != 1.0:
            seen = torch.tensor(sorted(set(before)), device=logits.device)
            values = logits[:, seen]
            factor = torch.where(values > 0, 1 / self._penalty, self._penalty)
            logits[:, seen] = values * factor
        noise = torch.rand(1, device=logits.device)
        return int(self._sampler.sample(logits, noise)[0])


def final_logits(config: Any, logits: Tensor) -> Tensor:
    """Apply what some architectures do to the logits behind their output layer."""
    if cap := getattr(config, "final_logit_softcapping", None):  # Gemma 2
        logits = torch.tanh(logits / cap) * cap
    logits = logits * (getattr(config, "logit_scale", None) or 1.0)  # Cohere
    return logits / (getattr(config, "logits_scaling", None) or 1.0)  # Granite


def is_loop(ids: list[int]) -> bool:
    """Return whether the last tokens are one passage that repeats."""
    for period in LOOP_PERIODS:
        count = max(period * LOOP_TIMES, LOOP_TOKENS)
        tail = ids[-count:]
        if len(tail) == count and tail[period:] == tail[:-period]:
            return True
    return False

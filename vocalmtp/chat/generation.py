"""Tokens of a causal LM after a prompt, of which the part that was run before is not run again.

With a draft head, a pass of the model verifies several drafted tokens (arXiv 2211.17192). A draft
is kept if it is what the model samples, so that answers are distributed as without drafts, and greedy
ones are the same.
Letters: L positions, D width, n drafts.
"""

import threading
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vocalmtp.decoding.sampling import Sampler
from vocalmtp.engines.llama import LlamaRunner
from vocalmtp.engines.weight_only import fused_runner, llm_linear
from vocalmtp.models.backbone import KVCache, Runner, TransformersRunner

if TYPE_CHECKING:
    from vocalmtp.chat.drafting import Drafter, Drafts

KEPT = 4  # conversations whose caches are kept
LOOP_PERIODS = range(1, 65)  # tokens of a repeated passage
LOOP_TOKENS, LOOP_TIMES = 24, 3  # a passage counts as a loop at so many tokens and repetitions


@dataclass(eq=False)
class CachedPrompt:
    """Token ids, and the keys, values and hidden states of their positions.

    Attributes:
        hidden: [1, L, D] each, of the positions in turn.
        pinned: kept for every conversation, such as a system prompt.

    """

    ids: list[int]
    cache: KVCache
    hidden: list[Tensor]
    pinned: bool = False

    @property
    def last(self) -> Tensor:
        """The hidden state [1, D] of the last position."""
        return self.hidden[-1][:, -1]

    def copied(self) -> "CachedPrompt":
        """Return a copy whose positions can be changed."""
        return CachedPrompt(list(self.ids), deepcopy(self.cache), list(self.hidden))

    def crop(self, length: int) -> None:
        """Keep the first `length` positions."""
        self.cache.crop(len(self.ids) - length)
        self.ids = self.ids[:length]
        self.hidden = [torch.cat(self.hidden, 1)[:, :length]]


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
                best = best.copied()
            else:
                self._entries.remove(best)
        best.crop(length)
        return best

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

    On a CPU, Llamas and Qwen2s in float32 run with fused operations and weights of 8 or 16 bits.

    Args:
        model: the causal LM, on its device; it cannot run by itself afterwards.
        drafter: drafts tokens for this model; None: no drafts.
        half: whether 16 bits are as good as the weights of the model.

    """

    def __init__(self, model: Any, drafter: "Drafter | None" = None, half: bool = False):
        self.config, self.device, self.drafter = model.config, model.device, drafter
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
            convert = llm_linear(model, half)
            self._output = convert(self._output)
            self._runner = fused_runner(model, convert)
            if drafter is not None:
                drafter.optimize_for_inference(convert)
        self._prompts = PromptCache()

    @torch.inference_mode()
    def prepare(self, ids: list[int]) -> None:
        """Run a prompt and keep its cache for every prompt that begins alike."""
        entry = self._prefill(ids)
        entry.pinned = True
        self._prompts.put(entry)

    def tokens(self, ids: list[int], ends: set[int], limit: int) -> Iterator[int]:
        """Yield the tokens after `ids`, at most `limit`, without the one of `ends` that ends them.

        A passage that repeats over and over ends them too.
        """
        entry = self._start(ids)
        drafts = self._begin_drafts(entry)
        made: list[int] = []
        ahead: list[int] = []  # drafted tokens after the last of `made`, which the entry has
        try:
            while len(made) < limit:
                # of the position before the drafts that are not verified yet
                token = self._choose(entry.hidden[-1][:, -1 - len(ahead)], ids + made)
                if token in ends or is_loop([*made, token]):
                    return
                made.append(token)
                yield token
                if ahead and token == ahead[0]:
                    del ahead[0]
                    continue
                self._drop(entry, len(ahead))
                ahead = self._draft(drafts, entry, token)[: limit - len(made)]
                self._run(entry, [token, *ahead])
        finally:
            self._drop(entry, len(ahead))
            self._prompts.put(entry)

    @torch.inference_mode()
    def _begin_drafts(self, entry: CachedPrompt) -> "Drafts | None":
        return None if self.drafter is None else self.drafter.begin(entry)

    @torch.inference_mode()
    def _draft(self, drafts: "Drafts | None", entry: CachedPrompt, token: int) -> list[int]:
        return [] if drafts is None else drafts.draft(entry, token)

    def _inputs(self, ids: list[int]) -> Tensor:
        """The model's inputs [1, L, D] for tokens."""
        inputs: Tensor = self._embed(torch.tensor([ids], device=self.device))
        return inputs

    @torch.inference_mode()
    def _start(self, ids: list[int]) -> CachedPrompt:
        """Run a prompt, or what of it was not run before."""
        entry = self._prompts.take(ids)
        if entry is None:
            return self._prefill(ids)
        self._run(entry, ids[len(entry.ids) :])
        return entry

    def _prefill(self, ids: list[int]) -> CachedPrompt:
        inputs = self._inputs(ids)
        mask = torch.ones(inputs.shape[:2], dtype=torch.long, device=self.device)
        hidden, cache = self._runner.prefill(inputs, mask)
        return CachedPrompt(list(ids), cache, [hidden])

    @torch.inference_mode()
    def _run(self, entry: CachedPrompt, ids: list[int]) -> None:
        """Run more tokens after those of an entry."""
        inputs = self._inputs(ids)
        if len(ids) == 1:
            hidden = self._runner.step(inputs[:, 0], entry.cache)[:, None]
        else:
            hidden = self._runner.steps(inputs, entry.cache)
        entry.ids += ids
        entry.hidden.append(hidden)

    def _drop(self, entry: CachedPrompt, count: int) -> None:
        """Remove the last tokens of an entry, which are of its last run."""
        if count:
            entry.cache.crop(count)
            del entry.ids[-count:]
            entry.hidden[-1] = entry.hidden[-1][:, :-count]

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
        return int(self._sampler.sample(logits, noise))


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

"""A speech LM as ONNX graphs, for the decode loop: a GenerativeModel over numpy arrays.

Letters: B rows, L positions, P positions in the cache, U characters, K slots, D width, J key-value
heads, d size of a head, V vocabulary of all slots.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

from vocalmtp.engines.pages import Area, use_huge_pages
from vocalmtp.errors import InputError
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.prompts import (
    CONTROL_TOKENS,
    ControlToken,
    Segment,
    Speaker,
    Speech,
    Text,
    longest_speech,
)
from vocalmtp.models.state import DecodeState
from vocalmtp.onnx.manifest import EXACT, OnnxManifest, graph_end, open_session, run_once
from vocalmtp.optional import ONNX, require

Prompt = Sequence[Segment]
MANY_PASSES = 300  # of the backbone, some 30 s of speech
ROOM = 64  # positions by which a cache grows
QUANTIZED = ("step", "lm")  # graphs with weights of 8 bits


class OnnxCache:
    """Keys and values of every layer, [B, J, P, d] each; every row is in the first of P positions."""

    def __init__(self, key_values: list[np.ndarray], lengths: np.ndarray):
        self.key_values, self.lengths = key_values, lengths
        self.bound: BoundPass | None = None  # to these arrays

    def select(self, rows: np.ndarray) -> None:
        """Keep only the rows [B'], in that order."""
        self.lengths = self.lengths[rows]
        self._replace([x[rows] for x in self.key_values])

    def join(self, other: "OnnxCache") -> None:
        """Append the rows of another cache."""
        both = join_caches([self, other])
        self.lengths = both.lengths
        self._replace(both.key_values)

    def grow(self, positions: int) -> None:
        """Make room for more positions of every row."""
        needed = int(self.lengths.max()) + positions
        if needed > self.key_values[0].shape[2]:
            room = -(-needed // ROOM) * ROOM
            self._replace([_with_room(x, room) for x in self.key_values])

    def _replace(self, key_values: list[np.ndarray]) -> None:
        self.key_values, self.bound = key_values, None

    def crop(self, positions: Any) -> None:
        """Only drafts are removed again, and there is no draft head."""
        raise NotImplementedError

    def keep_path(self, drafted: Any, path: Any, counts: Any) -> None:
        """There are no draft trees."""
        raise NotImplementedError


def join_caches(caches: Sequence[OnnxCache]) -> OnnxCache:
    """Return one cache with the rows of all."""
    if len(caches) == 1:
        return caches[0]
    room = max(cache.key_values[0].shape[2] for cache in caches)
    layers = zip(*(cache.key_values for cache in caches), strict=True)
    joined = [np.concatenate([_with_room(x, room) for x in layer]) for layer in layers]
    return OnnxCache(joined, np.concatenate([cache.lengths for cache in caches]))


def _with_room(x: np.ndarray, positions: int) -> np.ndarray:
    if x.shape[2] == positions:
        return x
    return np.pad(x, ((0, 0), (0, 0), (0, positions - x.shape[2]), (0, 0)))


class BoundPass:
    """A pass of the backbone over arrays that stay where they are: new positions join the cache.

    Args:
        session: of the backbone.
        names: of its inputs for the cache.
        key_values: of the cache, [B, J, P, d] each.
        length: L, positions of a pass.

    """

    def __init__(
        self, session: Any, names: Sequence[str], key_values: Sequence[np.ndarray], length: int
    ):
        rows = len(key_values[0])
        shape = {each.name: each.shape for each in (*session.get_inputs(), *session.get_outputs())}
        self.session, self.binding, self.length = session, session.io_binding(), length
        self.inputs = np.empty((rows, length, shape["inputs"][2]), np.float32)
        self.last, self.longest = np.empty(rows, np.int32), np.empty(1, np.int32)
        self.logits = np.empty((rows, shape["logits"][1]), np.float32)
        values = [self.inputs, self.last, self.longest, *key_values]
        value_of = require("onnxruntime", ONNX).OrtValue.ortvalue_from_numpy  # the array itself
        for name, value in zip(("inputs", "last", "longest", *names), values, strict=True):
            self.binding.bind_ortvalue_input(name, value_of(value))
        for name, value in zip(names, key_values, strict=True):
            self.binding.bind_ortvalue_output(f"new_{name}", value_of(value))
        self.binding.bind_ortvalue_output("logits", value_of(self.logits))

        self.feeds: dict[str, np.ndarray] = {}  # of the graph that makes `inputs` of a step
        self.embedding: Any = None

    def embed(self, session: Any, feeds: dict[str, np.ndarray]) -> None:
        """Make the inputs of a pass of one position by a graph, whose inputs are `feeds`."""
        if self.embedding is None:
            self.feeds = {name: np.empty_like(value, order="C") for name, value in feeds.items()}
            self.embedding = session.io_binding()
            value_of = require("onnxruntime", ONNX).OrtValue.ortvalue_from_numpy
            for name, value in self.feeds.items():
                self.embedding.bind_ortvalue_input(name, value_of(value))
            self.embedding.bind_ortvalue_output("inputs", value_of(self.inputs[:, 0]))
        for name, value in feeds.items():
            self.feeds[name][:] = value
        session.run_with_iobinding(self.embedding)

    def run(self, lengths: np.ndarray) -> np.ndarray:
        """Run the `inputs` [B, L, D] after `lengths` [B] others: logits [B, V] of the last one.

        The next call overwrites them.
        """
        self.last[:] = lengths + (self.length - 1)
        self.longest[0] = self.last.max() + 1
        self.session.run_with_iobinding(self.binding)
        return self.logits


class OnnxHead:
    """Splits logits, which the graph computes with the backbone, into runs of slots."""

    penalized_slots = None  # all, see SpeechHead

    def __init__(self, layout: TokenLayout):
        ends = np.cumsum([0, *(slot.vocab_size for slot in layout.slots)]).tolist()
        self.runs = [[slice(ends[k], ends[k + 1]) for k in run] for run in layout.runs]

    def propose(self, hidden: np.ndarray, pick: Any) -> np.ndarray:
        """Draw the step [B, K] that logits [B, V] predict."""
        logits = [np.stack([hidden[:, place] for place in run], 1) for run in self.runs]
        tokens: np.ndarray = pick.all(logits)
        return tokens


class OnnxSpeechLM:
    """A GenerativeModel (models/base.py) whose hidden states are logits.

    Args:
        folder: of the model, with its graphs.
        manifest: of the graphs.
        threads: that one call may use.
        int8: whether the backbone has weights of 8 bits.

    Attributes:
        weights: those of 8 bits by name; None: all are floats.
        exact: whether there are some, and the CPU's products of 8 bits are right.
        areas: of memory with weights, which are moved to huge pages after many passes.

    Raises:
        InputError: a graph is missing or damaged.

    """

    def __init__(self, folder: Path, manifest: OnnxManifest, threads: int, int8: bool):
        self.config, self.layout = manifest, manifest.layout
        self.head = OnnxHead(self.layout)
        self.weights = run_once(folder / "quantized.onnx", threads) if int8 else None
        self.exact = self.weights is not None and bool(self.weights.pop(EXACT).all())
        self.sessions = {"prompt": open_session(folder / "prompt.onnx", threads)}
        if manifest.has_text_track:
            text = folder / f"text{graph_end(self.exact)}"
            self.sessions["text"] = open_session(text, threads)
        for name in QUANTIZED:
            own = None
            if self.weights is not None:
                own = {key: w for key, w in self.weights.items() if key.startswith(f"{name}.")}
            self.sessions[name] = open_session(folder / f"{name}{graph_end(int8)}", threads, own)
        caches = self.sessions["lm"].get_inputs()[3:]
        self.cache_names = [each.name for each in caches]
        self.cache_shapes = [(1, each.shape[1], ROOM, each.shape[3]) for each in caches]
        self.areas: set[Area] = set()
        self.passes = 0

    def eval(self) -> "OnnxSpeechLM":
        """Return the model, which cannot be trained."""
        return self

    def at_step_size(self, frames: int) -> "OnnxSpeechLM":
        """Return the model, whose graphs have one step size; see `OnnxManifest.step_size_of`."""
        return self

    @property
    def draft(self) -> None:
        """Raise InputError: there are no graphs of draft heads."""
        raise InputError(
            "drafts: the engine onnx has none; leave them out, or give the engine cpu",
            code="unsupported",
        )

    def collator(self) -> Callable[..., Sequence[Prompt]]:
        """Return what turns prompts into the argument of `prefill`: nothing is to be done."""
        return lambda prompts, left=False: prompts

    def step_limit(self, segments: Prompt) -> int:
        """Steps after which speech is cut off, see `longest_speech`."""
        seconds = longest_speech(segments, tracked=self.config.has_text_track)
        return self.layout.num_steps(int(seconds * self.config.codec.frame_rate))

    # -- prompts -------------------------------------------------------------------------------

    def prefill(self, prompts: Sequence[Prompt]) -> tuple[None, np.ndarray, DecodeState]:
        """Run prompts one by one.

        Returns:
            Nothing, the logits of the last position [B, 1, V], and a state.

        """
        rows = [self._start(prompt) for prompt in prompts]
        cache: Any = join_caches([cache for cache, _, _ in rows])
        state = DecodeState.start(cache, np.zeros(len(rows), np.int64))
        if self.config.speaker_every_step:
            state.speaker = np.concatenate([row[2] for row in rows if row[2] is not None])
        if self.config.has_text_track:
            texts = [self._encode(prompt) for prompt in prompts]  # [U, D] each
            lengths = np.array([len(text) for text in texts])
            padded = np.zeros((len(texts), lengths.max(), texts[0].shape[1]), np.float32)
            for row, text in zip(padded, texts, strict=True):
                row[: len(text)] = text
            state.start_text(padded, lengths, tracked=True)
        return None, np.stack([logits for _, logits, _ in rows]), state

    def _start(self, prompt: Prompt) -> tuple[OnnxCache, np.ndarray, np.ndarray | None]:
        """Run one prompt: its cache, its logits [1, V] and its speaker [1, D]."""
        inputs, speaker = self._embed(prompt)
        cache = self.empty_cache()
        logits = self.run_backbone(inputs[None], cache)
        return cache, logits, speaker

    def _encode(self, prompt: Prompt) -> np.ndarray:
        """Encode the text of the track: [U, D]."""
        spoken = [s.characters or () for s in prompt if isinstance(s, Speech)]
        characters = np.array([c for part in spoken for c in part] or [0], np.int64)
        text: np.ndarray = self.sessions["text"].run(None, {"characters": characters})[0]
        return text

    def _embed(self, prompt: Prompt) -> tuple[np.ndarray, np.ndarray | None]:
        """The backbone's inputs [L, D] for a prompt, and its speaker [1, D]."""
        ids = np.array([i for s in prompt if isinstance(s, Text) for i in s.ids], np.int64)
        vector = next((s.vector for s in prompt if isinstance(s, Speaker)), None)
        feeds: dict[str, np.ndarray] = {"ids": ids}
        if self.config.speaker_dim:
            own = np.zeros(self.config.speaker_dim) if vector is None else vector
            feeds["vector"] = np.asarray(own, np.float32)[None]
        session = self.sessions["prompt"]
        known = {i.name for i in session.get_inputs()}
        outputs = [o.name for o in session.get_outputs()]
        feeds = {name: value for name, value in feeds.items() if name in known}
        made = dict(zip(outputs, session.run(None, feeds), strict=True))
        speaker = made.get("no_speaker" if vector is None else "speaker")
        parts, used = [], 0
        for segment in prompt:
            match segment:
                case Text():
                    parts.append(made["tokens"][used : used + len(segment.ids)])
                    used += len(segment.ids)
                case Speaker() if speaker is not None:
                    parts.append(speaker)
                case ControlToken(name="speech"):
                    parts.append(made["control"][[CONTROL_TOKENS.index(segment.name)]])
                case Speech(codes=None) | Speaker():
                    pass
                case _:
                    raise InputError(
                        "context: the ONNX graphs have no audio input; use an engine of torch",
                        code="unsupported",
                    )
        inputs = np.concatenate(parts)
        return inputs + made.get("step_size", np.float32(0)), speaker

    # -- steps ---------------------------------------------------------------------------------

    def step(self, state: DecodeState, tokens: np.ndarray) -> np.ndarray:
        """Embed a step [B, K] and run the backbone: logits [B, V] of the next."""
        feeds = {"tokens": tokens}
        pointers = state.move_pointers(self.layout, tokens)
        if pointers is not None and state.encoded_text is not None:
            feeds["text"] = state.encoded_text[np.arange(len(tokens))[:, None], pointers]
        if state.speaker is not None:
            feeds["speaker"] = state.speaker
        cache: Any = state.cache
        self._bound(cache, 1).embed(self.sessions["step"], feeds)
        state.steps = state.steps + 1
        return self._run(cache)

    def empty_cache(self) -> OnnxCache:
        """Return the cache of one row without positions."""
        empty = [np.zeros(shape, np.float32) for shape in self.cache_shapes]
        return OnnxCache(empty, np.zeros(1, np.int64))

    def run_backbone(self, inputs: np.ndarray, cache: OnnxCache) -> np.ndarray:
        """Run positions [B, L, D] after those in the cache: logits [B, V] of the last one."""
        self._bound(cache, inputs.shape[1]).inputs[:] = inputs
        return self._run(cache)

    def _bound(self, cache: OnnxCache, length: int) -> BoundPass:
        """Make room for so many more positions: a pass over them."""
        cache.grow(length)
        if cache.bound is None or cache.bound.length != length:
            session = self.sessions["lm"]
            cache.bound = BoundPass(session, self.cache_names, cache.key_values, length)
        return cache.bound

    def _run(self, cache: OnnxCache) -> np.ndarray:
        """Run the pass that the cache is bound to: logits [B, V]."""
        assert cache.bound is not None
        logits = cache.bound.run(cache.lengths)
        cache.lengths = cache.lengths + cache.bound.length
        self.passes += 1
        if self.passes == MANY_PASSES:  # fewer would not repay it
            Thread(target=use_huge_pages, args=(self.areas,), daemon=True).start()
        return logits

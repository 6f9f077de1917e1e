"""A speech LM as ONNX graphs, for the decode loop: a GenerativeModel over numpy arrays.

Letters: B rows, L positions, P positions in the cache, U characters, K slots, D width, J key-value
heads, d size of a head, V vocabulary of all slots.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

import numpy as np

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
from vocalmtp.models.state import DecodeState, Proposal
from vocalmtp.onnx.manifest import OnnxManifest, open_session, run_once
from vocalmtp.optional import ONNX, require

Prompt = Sequence[Segment]
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
        room = max(cache.key_values[0].shape[2] for cache in (self, other))
        pairs = zip(self.key_values, other.key_values, strict=True)
        self._replace([np.concatenate([_with_room(x, room) for x in pair]) for pair in pairs])
        self.lengths = np.concatenate([self.lengths, other.lengths])

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


def _with_room(x: np.ndarray, positions: int) -> np.ndarray:
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

    def __call__(self, inputs: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Run positions [B, L, D] after `lengths` [B] others: logits [B, V] of the last one.

        The next call overwrites them.
        """
        self.inputs[:] = inputs
        self.last[:] = lengths + (self.length - 1)
        self.longest[0] = self.last.max() + 1
        self.session.run_with_iobinding(self.binding)
        return self.logits


class OnnxHead:
    """Splits logits, which the graph computes with the backbone, into slots."""

    penalized_slots = None  # all, see SpeechHead

    def __init__(self, layout: TokenLayout):
        self.ends = list(accumulate(slot.vocab_size for slot in layout.slots))[:-1]

    def propose(self, hidden: np.ndarray, pick: Any) -> Proposal:
        """Draw the step that logits [B, V] predict."""
        tokens, log_probs = pick.all(np.split(hidden, self.ends, axis=1))
        return Proposal(tokens[:, None], log_probs[:, None])


class OnnxSpeechLM:
    """A GenerativeModel (models/base.py) whose hidden states are logits.

    Args:
        folder: of the model, with its graphs.
        manifest: of the graphs.
        threads: that one call may use.
        int8: whether the backbone has weights of 8 bits.

    Raises:
        InputError: a graph is missing or damaged.

    """

    def __init__(self, folder: Path, manifest: OnnxManifest, threads: int, int8: bool):
        self.config, self.layout = manifest, manifest.layout
        self.head = OnnxHead(self.layout)
        names = ["prompt", *(["text"] if manifest.has_text_track else [])]
        self.sessions = {name: open_session(folder / f"{name}.onnx", threads) for name in names}
        self.weights = run_once(folder / "quantized.onnx", threads) if int8 else None
        kind = ".int8" if int8 else ""
        for name in QUANTIZED:
            own = None
            if self.weights is not None:
                own = {key: w for key, w in self.weights.items() if key.startswith(f"{name}.")}
            self.sessions[name] = open_session(folder / f"{name}{kind}.onnx", threads, own)
        caches = self.sessions["lm"].get_inputs()[3:]
        self.cache_names = [each.name for each in caches]
        self.cache_shapes = [(1, each.shape[1], ROOM, each.shape[3]) for each in caches]

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
        state = rows[0][1]
        for _, other in rows[1:]:
            state = state.join(other)
        return None, np.stack([logits for logits, _ in rows]), state

    def _start(self, prompt: Prompt) -> tuple[np.ndarray, DecodeState]:
        """Run one prompt: its logits [1, V], and its state."""
        inputs, speaker = self._embed(prompt)
        cache = self.empty_cache()
        state = DecodeState.start(cast(Any, cache), np.zeros(1, np.int64))
        if self.config.speaker_every_step:
            state.speaker = speaker
        if self.config.has_text_track:
            spoken = [s.characters or () for s in prompt if isinstance(s, Speech)]
            characters = np.array([c for part in spoken for c in part] or [0], np.int64)
            (text,) = self.sessions["text"].run(None, {"characters": characters})  # [U, D]
            state.start_text(text[None], np.array([len(characters)]), tracked=True)
        return self.run_backbone(inputs[None], cache), state

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
        (inputs,) = self.sessions["step"].run(None, feeds)
        state.steps = state.steps + 1
        cache: Any = state.cache
        return self.run_backbone(inputs[:, None], cache)

    def empty_cache(self) -> OnnxCache:
        """Return the cache of one row without positions."""
        empty = [np.zeros(shape, np.float32) for shape in self.cache_shapes]
        return OnnxCache(empty, np.zeros(1, np.int64))

    def run_backbone(self, inputs: np.ndarray, cache: OnnxCache) -> np.ndarray:
        """Run positions [B, L, D] after those in the cache: logits [B, V] of the last one."""
        length = inputs.shape[1]
        cache.grow(length)
        if cache.bound is None or cache.bound.length != length:
            session = self.sessions["lm"]
            cache.bound = BoundPass(session, self.cache_names, cache.key_values, length)
        logits = cache.bound(inputs, cache.lengths)
        cache.lengths = cache.lengths + length
        return logits

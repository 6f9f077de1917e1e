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

Prompt = Sequence[Segment]


class OnnxCache:
    """Keys and values of every layer, [B, J, P, d] each; shorter rows are padded on the left."""

    def __init__(self, key_values: list[np.ndarray], lengths: np.ndarray):
        self.key_values, self.lengths = key_values, lengths

    def select(self, rows: np.ndarray) -> None:
        """Keep only the rows [B'], in that order."""
        self.lengths = self.lengths[rows]
        unused = self.key_values[0].shape[2] - int(self.lengths.max())
        self.key_values = [np.ascontiguousarray(x[rows, :, unused:]) for x in self.key_values]

    def join(self, other: "OnnxCache") -> None:
        """Append the rows of another cache."""
        longest = max(cache.key_values[0].shape[2] for cache in (self, other))
        pairs = zip(self.key_values, other.key_values, strict=True)
        self.key_values = [np.concatenate([_padded(x, longest) for x in pair]) for pair in pairs]
        self.lengths = np.concatenate([self.lengths, other.lengths])

    def crop(self, positions: Any) -> None:
        """Only drafts are removed again, and there is no draft head."""
        raise NotImplementedError

    def keep_path(self, drafted: Any, path: Any, counts: Any) -> None:
        """There are no draft trees."""
        raise NotImplementedError

    def mask(self, length: int) -> np.ndarray:
        """Return what is added to the scores of `length` new positions, [B, 1, length, P + length]."""
        past = self.key_values[0].shape[2]
        places = np.arange(past + length)
        hidden = places < (past - self.lengths)[:, None, None]  # padding
        hidden = hidden | (places > past + np.arange(length)[:, None])  # what comes later
        return np.where(hidden, np.float32(-np.inf), np.float32(0))[:, None]


def _padded(x: np.ndarray, positions: int) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, 0), (positions - x.shape[2], 0), (0, 0)))


class OnnxHead:
    """Splits logits, which the graph computes with the backbone, into slots."""

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
        names = ["prompt", "step", *(["text"] if manifest.has_text_track else [])]
        self.sessions = {name: open_session(folder / f"{name}.onnx", threads) for name in names}
        self.weights = run_once(folder / "quantized.onnx", threads) if int8 else None
        lm = folder / ("lm.int8.onnx" if int8 else "lm.onnx")
        self.sessions["lm"] = open_session(lm, threads, self.weights)
        self.cache_names = [i.name for i in self.sessions["lm"].get_inputs()][3:]
        shapes = [i.shape for i in self.sessions["lm"].get_inputs()][3:]
        self.cache_shapes = [(1, shape[1], 0, shape[3]) for shape in shapes]  # of an empty cache

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
            state.start_pointers(text[None], np.array([len(characters)]))
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
        positions = cache.lengths[:, None] + np.arange(length)
        feeds = {"inputs": inputs, "positions": positions, "mask": cache.mask(length)}
        feeds |= dict(zip(self.cache_names, cache.key_values, strict=True))
        outputs = self.sessions["lm"].run(None, feeds)
        *cache.key_values, logits = outputs
        cache.lengths = cache.lengths + length
        return logits

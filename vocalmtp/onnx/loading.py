"""Loading of a model folder for the onnxruntime engine: no torch is imported.

A speech LM and a tokenizer's decoder have graphs with weights of 32 bits and of 8 bits.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vocalmtp.engines.base import EngineSettings
from vocalmtp.engines.onnx import OnnxEngine
from vocalmtp.engines.pages import anonymous_areas
from vocalmtp.onnx.codec import OnnxTokenizer
from vocalmtp.onnx.manifest import OnnxManifest
from vocalmtp.onnx.speech_lm import OnnxSpeechLM

SLOW = 5  # times the float products: a CPU for which onnxruntime has no 8-bit ones is far slower
SIZE = 1024  # of the measured float product, [SIZE, SIZE]


def load_parts(
    engine: OnnxEngine, folder: Path, settings: EngineSettings
) -> tuple[OnnxSpeechLM, OnnxTokenizer]:
    """Load the speech LM and the tokenizer of a folder, see Engine.

    Raises:
        InputError: the folder has no graphs, or damaged ones.

    """
    manifest = OnnxManifest.load(folder)
    threads = 1 if settings.threads is None else settings.threads
    int8 = settings.recommended if settings.int8 is None else settings.int8
    before = anonymous_areas()
    model = OnnxSpeechLM(folder, manifest, threads, int8)
    if int8 and settings.int8 is None and step_time(model) > SLOW * float_time(model):
        model = OnnxSpeechLM(folder, manifest, threads, int8=False)
    tokenizer = OnnxTokenizer(folder / "tokenizer", manifest, threads, model.exact)
    model.areas = anonymous_areas() - before
    return model, tokenizer


def step_time(model: OnnxSpeechLM) -> float:
    """Return the seconds of a backbone pass of one row."""
    width = model.sessions["lm"].get_inputs()[0].shape[2]
    inputs = np.zeros((1, 1, width), np.float32)
    return shortest(lambda: model.run_backbone(inputs, model.empty_cache()))


def float_time(model: OnnxSpeechLM) -> float:
    """Return the seconds in which numpy multiplies by as many floats as the model's 8-bit weights."""
    sizes = sum(
        weight.size for weight in (model.weights or {}).values() if weight.dtype == np.uint8
    )
    matrix, vector = np.ones((SIZE, SIZE), np.float32), np.ones(SIZE, np.float32)
    product = shortest(lambda: np.einsum("ij,j", matrix, vector))  # on one thread, unlike `@`
    return product * sizes / matrix.size


def shortest(function: Callable[[], object], times: int = 4) -> float:
    """Return the shortest of a few runs in seconds of this thread, whatever else runs."""
    taken = []
    for _ in range(times):
        start = time.thread_time()
        function()
        taken.append(time.thread_time() - start)
    return min(taken)

"""Loading of a model folder for the onnxruntime engine: no torch is imported.

The graphs of the speech LM exist in two forms, with weights of 32 bits and of 8 bits.
"""

from pathlib import Path

from vocalmtp.engines.base import EngineSettings
from vocalmtp.engines.onnx import OnnxEngine
from vocalmtp.onnx.codec import OnnxTokenizer
from vocalmtp.onnx.manifest import OnnxManifest
from vocalmtp.onnx.speech_lm import OnnxSpeechLM


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
    model = OnnxSpeechLM(folder, manifest, threads, int8)
    tokenizer = OnnxTokenizer(folder / "tokenizer", manifest, threads)
    return model, tokenizer

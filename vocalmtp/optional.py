"""Packages of the extras: imported on first use; one line says how to install what is missing."""

from importlib import import_module
from types import ModuleType

from vocalmtp.errors import InputError

INSTALL = 'pip install "vocalmtp[eval]"'
ONNX = 'pip install "vocalmtp[onnx]"'
DEMO = 'pip install "vocalmtp[demo]"'
SERVE = 'pip install "vocalmtp[serve]"'
HINTS = {
    "accelerate": 'pip install "vocalmtp[train]"',
    "av": SERVE,
    "fastapi": SERVE,
    "gradio": DEMO,
    "httpx": SERVE,
    "multipart": SERVE,
    "prometheus_client": SERVE,
    "uvicorn": SERVE,
    "websockets": SERVE,
    "silero_vad": DEMO,
    "faster_whisper": 'pip install "vocalmtp[whisper]"',
    "gguf": DEMO,
    "hibari": "pip install hibari-tts",
    "onnxruntime": DEMO,
    "peft": 'pip install "vocalmtp[lora]"',
    "playwright": 'pip install "vocalmtp[test]"',
    "sounddevice": 'pip install "vocalmtp[terminal]"',
    "trl": 'pip install "vocalmtp[rl]"',
    "wyoming": 'pip install "vocalmtp[wyoming]"',
    "zeroconf": 'pip install "vocalmtp[wyoming]"',
    "onnx": ONNX,
    "pyarrow": 'pip install "vocalmtp[parquet]"',
}


def require(name: str, install: str | None = None) -> ModuleType:
    """Import the optional module `name`, which comes by the command `install`, or that of HINTS.

    Raises InputError if it cannot be imported; the message says what to run.
    """
    try:
        return import_module(name)
    except ImportError as error:
        hint = install or HINTS.get(name.partition(".")[0], INSTALL)
        raise InputError(
            f"package '{name}': cannot be imported ({error}); run: {hint}", code="not_installed"
        ) from error

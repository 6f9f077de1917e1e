"""A toy model with its graphs, on the engine that they are for and on the one in torch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.toy_model import save_toy_model

from vocalmtp.loading import load
from vocalmtp.tokenizers import load_tokenizer
from vocalmtp.tts import TTS


@pytest.fixture(scope="package")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a toy model with graphs; it must not be changed."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from vocalmtp.onnx.export import export_onnx

    folder = save_toy_model(tmp_path_factory.mktemp("onnx") / "toy")
    export_onnx(folder)
    return folder


@pytest.fixture
def both(tmp_path: Path) -> Callable[..., tuple[TTS, TTS]]:
    """Loads a toy model on the ONNX engine and on that of torch; keywords are its settings."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from vocalmtp.onnx.export import export_onnx

    def make(**settings: Any) -> tuple[TTS, TTS]:
        folder = save_toy_model(tmp_path / "toy", **settings)
        export_onnx(folder)
        onnx, torch = (load(folder, engine=name, int8=False) for name in ("onnx", "cpu"))
        torch.tokenizer = load_tokenizer(folder / "tokenizer").eval()  # without bfloat16
        return onnx, torch

    return make

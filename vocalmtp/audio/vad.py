"""Voice activity detection with silero-vad: the probability of speech in frames of 32 ms."""

from copy import copy
from functools import cache
from typing import Any

import numpy as np

from vocalmtp.optional import DEMO, require

SAMPLE_RATE = 16_000  # Hz
FRAME = 512  # samples of a frame; silero-vad accepts no other size
FRAME_SECONDS = FRAME / SAMPLE_RATE


class VoiceActivityDetector:
    """silero-vad as an ONNX model, which does not need torchaudio.

    The detector is recurrent: every audio stream needs an instance of its own.

    Raises:
        InputError: the package silero-vad or onnxruntime is missing.

    """

    def __init__(self) -> None:
        self._model = copy(_load_model())  # instances share the weights, not the state
        self._model.reset_states()

    def __call__(self, frame: np.ndarray) -> float:
        """Return the probability of speech in the next frame, float32 [FRAME] at SAMPLE_RATE."""
        import torch

        return float(self._model(torch.from_numpy(frame), SAMPLE_RATE))


@cache
def _load_model() -> Any:
    import torch

    threads = torch.get_num_threads()
    try:
        require("onnxruntime", DEMO)
        return require("silero_vad").load_silero_vad(onnx=True)
    finally:
        torch.set_num_threads(threads)  # importing silero_vad sets them to 1

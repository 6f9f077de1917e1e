"""Voice activity: how likely it is that somebody speaks, 32 ms at a time."""

from copy import copy
from functools import cache
from typing import Any

import numpy as np

from vocalmtp.optional import DEMO, require

SAMPLE_RATE = 16_000  # Hz, of everything that a session hears
FRAME = 512  # samples: what silero-vad takes at once
FRAME_SECONDS = FRAME / SAMPLE_RATE


class VoiceActivity:
    """silero-vad in its ONNX form, which needs no torchaudio; one for each session.

    Raises InputError if silero-vad or onnxruntime is missing.
    """

    def __init__(self):
        self._model = copy(_load())  # the weights are shared, the state is not
        self._model.reset_states()

    def __call__(self, frame: np.ndarray) -> float:
        """The probability of speech in the next frame, float32 [FRAME] at SAMPLE_RATE."""
        import torch

        return float(self._model(torch.from_numpy(frame), SAMPLE_RATE))


@cache
def _load() -> Any:
    import torch

    threads = torch.get_num_threads()
    try:
        require("onnxruntime", DEMO)
        return require("silero_vad").load_silero_vad(onnx=True)
    finally:
        torch.set_num_threads(threads)  # its import sets them to 1

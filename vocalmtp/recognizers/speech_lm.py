"""A speech LM with audio input as a recognizer."""

from pathlib import Path

import numpy as np

from vocalmtp.dialogue import DialogueModel
from vocalmtp.io.read import digest
from vocalmtp.loading import load
from vocalmtp.recognizers.base import RECOGNIZERS, SAMPLE_RATE, Recognizer, required_folder


@RECOGNIZERS.register("speech-lm")
class SpeechLMRecognizer(Recognizer):
    """The transcription task of a speech LM that was trained on audio input.

    It transcribes recordings of a few seconds, in the language and domain of its training (see
    recipes/chat_mini); its streams transcribe the buffer repeatedly.

    Args:
        model: the model's folder, or a `DialogueModel` that is loaded already.
        device: torch device of the model.

    Raises:
        InputError: there is no such model, or it has no audio input.

    """

    def __init__(self, model: Path | str | DialogueModel | None = None, device: str = "cpu"):
        if isinstance(model, DialogueModel):
            self._model = model
            self.name = self.description = "speech LM"
            return
        folder = required_folder("speech-lm", model)
        self._model = DialogueModel(load(folder, device))
        self.name = f"speech-lm-{digest(folder)}"
        self.description = f"speech LM ({folder.resolve().name})"

    def transcribe(self, samples: np.ndarray) -> str:
        """Transcribe samples [N], float32 at SAMPLE_RATE."""
        return self._model.transcribe([self._model.encode_audio(samples, SAMPLE_RATE)])[0]

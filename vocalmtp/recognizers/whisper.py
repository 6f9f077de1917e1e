"""Whisper (arXiv 2212.04356) with Transformers, or with CTranslate2 through faster-whisper."""

import os
from pathlib import Path

import numpy as np

from vocalmtp.engines.device import resolve_device
from vocalmtp.errors import InputError
from vocalmtp.hub import load_pretrained
from vocalmtp.io.read import digest, reason
from vocalmtp.optional import require
from vocalmtp.recognizers.base import RECOGNIZERS, SAMPLE_RATE, Recognizer, required_folder

WINDOW = 30 * SAMPLE_RATE  # samples of the model's input
THREADS = max(1, min(4, (os.cpu_count() or 1) // 2))  # on busy cores, threads wait for each other
# Without a voice, Whisper writes words of its subtitles, such as "you" and "Thank you.". A segment is
# dropped if silence is that probable and the mean log-probability of its words is that low.
NO_SPEECH, DOUBTFUL = 0.6, -1.0


@RECOGNIZERS.register("whisper")
class WhisperRecognizer(Recognizer):
    """A Whisper model of Transformers: greedy, in English, window after window.

    Args:
        folder: the model, its tokenizer and its feature extractor.
        device: torch device of the model.

    Raises:
        InputError: the folder does not hold a Whisper model, or the device is not usable.

    """

    def __init__(self, folder: Path | str | None = None, device: str = "cpu"):
        from transformers import WhisperForConditionalGeneration, WhisperProcessor

        path, key = required_folder("whisper", folder), "recognizer"
        self._processor = load_pretrained(WhisperProcessor, path, key)
        model = load_pretrained(WhisperForConditionalGeneration, path, key)
        self._model = model.eval().to(resolve_device(device))
        self.name = f"whisper-{digest(path)}"
        self.description = f"Whisper ({path.resolve().name})"

    def transcribe(self, samples: np.ndarray) -> str:
        """Transcribe samples [N], float32 at SAMPLE_RATE."""
        import torch

        # Models for English alone have no language token.
        multilingual = getattr(self._model.generation_config, "is_multilingual", False)
        options = {"language": "en", "task": "transcribe"} if multilingual else {}
        parts = []
        for start in range(0, len(samples), WINDOW):
            window = samples[start : start + WINDOW]
            inputs = self._processor(window, sampling_rate=SAMPLE_RATE, return_tensors="pt")
            with torch.inference_mode():
                features = inputs.input_features.to(self._model.device)  # [1, mels, frames]
                ids = self._model.generate(features, do_sample=False, **options)
            parts.append(self._processor.batch_decode(ids, skip_special_tokens=True)[0])
        return " ".join(" ".join(parts).split())


@RECOGNIZERS.register("faster-whisper")
class FasterWhisperRecognizer(Recognizer):
    """A Whisper model that was converted for CTranslate2, through the package faster-whisper.

    Silence and noise have no transcript: audio without voice activity is not decoded, and
    neither are segments that the model itself takes for silence.

    Args:
        folder: the converted model.
        device: cpu, cuda or cuda:N.

    Raises:
        InputError: the package is missing, or the folder does not hold a converted model.

    """

    def __init__(self, folder: Path | str | None = None, device: str = "cpu"):
        path = required_folder("faster-whisper", folder)
        package = require("faster_whisper")
        try:
            kind, _, index = device.partition(":")
            self._model = package.WhisperModel(
                str(path),
                device=kind,
                device_index=int(index or 0),
                compute_type="int8" if kind == "cpu" else "default",
                cpu_threads=THREADS,
                local_files_only=True,
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(
                f"recognizer 'faster-whisper={path}': cannot be loaded ({reason(error)}); convert "
                "the model with ct2-transformers-converter",
                code="unusable",
            ) from error
        self.name = f"faster-whisper-{digest(path)}"
        self.description = f"faster-whisper ({path.resolve().name})"

    def transcribe(self, samples: np.ndarray) -> str:
        """Transcribe samples [N], float32 at SAMPLE_RATE."""
        segments, _ = self._model.transcribe(
            samples,
            language="en",
            temperature=0.0,
            condition_on_previous_text=False,
            vad_filter=True,
            no_speech_threshold=NO_SPEECH,
            log_prob_threshold=DOUBTFUL,
        )
        return " ".join(segment.text.strip() for segment in segments)

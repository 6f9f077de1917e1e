"""What a Whisper (arXiv 2212.04356) of Transformers hears: for reports, and in conversations."""

from typing import Any

import numpy as np

SAMPLE_RATE = 16_000
WINDOW = 30 * SAMPLE_RATE  # what a Whisper hears at once


def transcribe(processor: Any, model: Any, samples: np.ndarray) -> str:
    """The English text of samples [N] at SAMPLE_RATE, greedy, window after window."""
    import torch

    # An English-only model has no language to be told.
    told = getattr(model.generation_config, "is_multilingual", False)
    options = {"language": "en", "task": "transcribe"} if told else {}
    parts = []
    for start in range(0, len(samples), WINDOW):
        window = samples[start : start + WINDOW]
        heard = processor(window, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        with torch.inference_mode():
            features = heard.input_features.to(model.device)
            ids = model.generate(features, do_sample=False, **options)
        parts.append(processor.batch_decode(ids, skip_special_tokens=True)[0])
    return " ".join(" ".join(parts).split())

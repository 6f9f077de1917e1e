"""Speaker embeddings of a WavLM with an x-vector head (arXiv 2110.13900), such as wavlm-base-sv."""

from pathlib import Path

import numpy as np

from vocalmtp.errors import InputError
from vocalmtp.evaluation.judges import SAMPLE_RATE, SPEAKER_JUDGES
from vocalmtp.hub import load_pretrained
from vocalmtp.io.read import digest


@SPEAKER_JUDGES.register("wavlm")
class WavLM:
    """A `WavLMForXVector` of Transformers.

    Args:
        folder: the local folder of its weights.
        device: torch device that it runs on.

    Raises:
        InputError: the folder does not hold such a model.
    """

    def __init__(self, folder: str | None = None, *, device: str = "cpu"):
        from transformers import AutoFeatureExtractor, WavLMForXVector

        if not folder:
            raise InputError(
                "speaker judge 'wavlm': needs a model; give wavlm=FOLDER", code="missing"
            )
        path, key = Path(folder), "speaker judge"
        self.features = load_pretrained(AutoFeatureExtractor, path, key)
        model = load_pretrained(WavLMForXVector, path, key)
        self.model = model.eval().to(device)
        self.name = f"wavlm-{digest(path)}"
        self.description = f"WavLM speaker verification from the folder {path.name}"

    def embed(self, samples: np.ndarray) -> np.ndarray:
        """Embed the speaker of `samples` [N], float32 at SAMPLE_RATE, as a unit vector [D]."""
        import torch

        inputs = self.features(samples, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        with torch.inference_mode():
            output = self.model(**inputs.to(self.model.device))
        vector: np.ndarray = output.embeddings[0].float().cpu().numpy()
        return vector / max(float(np.linalg.norm(vector)), 1e-6)

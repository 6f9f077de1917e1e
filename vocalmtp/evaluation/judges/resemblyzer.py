"""Speaker embeddings of Resemblyzer (GE2E, arXiv 1710.10467), whose weights come with its package.

It was trained on recordings of people: cosines between synthetic voices are high throughout, so
similarities are reported beside the similarity to the nearest other voice.
"""

import numpy as np

from vocalmtp.evaluation.judges import SAMPLE_RATE, SPEAKER_JUDGES
from vocalmtp.optional import require


@SPEAKER_JUDGES.register("resemblyzer")
class Resemblyzer:
    """Resemblyzer's voice encoder, 256 dimensions.

    Raises:
        InputError: the package is missing.
    """

    name = "resemblyzer"
    description = "Resemblyzer (GE2E, arXiv 1710.10467)"

    def __init__(self, *, device: str = "cpu"):
        self.package = require("resemblyzer")
        self.encoder = self.package.VoiceEncoder(device, verbose=False)

    def embed(self, samples: np.ndarray) -> np.ndarray:
        """Embed the speaker of `samples` [N], float32 at SAMPLE_RATE, as a unit vector [256]."""
        speech = self.package.preprocess_wav(samples, source_sr=SAMPLE_RATE)
        if len(speech) < SAMPLE_RATE // 4:  # its voice detector found nothing: take all of it
            speech = samples
        vector: np.ndarray = self.encoder.embed_utterance(speech)
        return vector

"""DNSMOS P.835 (arXiv 2110.01763): overall, speech and background quality without a reference."""

from pathlib import Path

import numpy as np

from vocalmtp.evaluation.judges import MOS_JUDGES, SAMPLE_RATE
from vocalmtp.optional import require

WINDOW = 9.01  # seconds


@MOS_JUDGES.register("dnsmos")
class DNSMOS:
    """The P.835 network of the package speechmos, in an ONNX session of one thread.

    It runs on CUDA if the device is one and the package onnxruntime has that provider, else on
    the CPU.

    `speechmos.dnsmos.run` also runs the P.808 network, with busy-waiting threads: twice the work.

    Raises:
        InputError: a package is missing.
    """

    name = "dnsmos"
    title = "DNSMOS"
    description = "DNSMOS P.835 (arXiv 2110.01763)"

    def __init__(self, *, device: str = "cpu"):
        runtime, package = require("onnxruntime"), require("speechmos")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        model = Path(str(package.__file__)).parent / "dnsmos_models" / "sig_bak_ovr.onnx"
        providers = ["CPUExecutionProvider"]
        if (
            device.startswith("cuda")
            and "CUDAExecutionProvider" in runtime.get_available_providers()
        ):
            providers.insert(0, "CUDAExecutionProvider")
        self.session = runtime.InferenceSession(str(model), options, providers=providers)
        # Raw outputs to opinion scores; an unbound method that does not use its instance.
        self.polynomial = require("speechmos.dnsmos").DNSMOS.get_polyfit_val

    def score(self, samples: np.ndarray) -> dict[str, float]:
        """Opinion scores `ovrl`, `sig` and `bak`, 1 to 5, of `samples` [N] at SAMPLE_RATE.

        As published: the audio is repeated until it fills a window of 9.01 s, and the scores are
        means over windows one second apart.
        """
        samples = samples / max(1.0, float(np.abs(samples).max()))
        size = int(WINDOW * SAMPLE_RATE)
        while len(samples) < size:
            samples = np.tile(samples, 2)
        starts = [SAMPLE_RATE * i for i in range(int(len(samples) // SAMPLE_RATE - WINDOW) + 1)]
        raw = [
            self.session.run(None, {"input_1": samples[None, i : i + size]})[0][0] for i in starts
        ]
        sig, bak, ovrl = self.polynomial(None, *np.array(raw).T, False)  # each [windows]
        return {
            name: float(np.mean(values))
            for name, values in (("ovrl", ovrl), ("sig", sig), ("bak", bak))
        }

"""Sound quality at 16 kHz: STOI and PESQ-WB against the recording, DNSMOS P.835 without one."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from vocalmtp.audio import read_audio
from vocalmtp.eval.extras import require

SAMPLE_RATE = 16_000
DNSMOS_SECONDS = 9.01


def against(reference: Path, degraded: Path) -> dict[str, float]:
    """STOI (0 to 1) and PESQ-WB (1 to 4.6) of `degraded`, time-aligned with `reference`.

    The longer of the two is cut to the length of the other; a score is NaN for silence.
    STOI: Taal et al., IEEE TASLP 19(7), 2011. PESQ-WB: ITU-T P.862.2.
    """
    true, made = read_audio(reference, SAMPLE_RATE), read_audio(degraded, SAMPLE_RATE)
    length = min(len(true), len(made))
    true, made = true[:length], made[:length]
    pesq = require("pesq")
    try:
        score = pesq.pesq(SAMPLE_RATE, true, made, "wb")
    except pesq.PesqError:  # silence in one of the two, or shorter than a quarter of a second
        score = float("nan")
    return {"stoi": float(require("pystoi").stoi(true, made, SAMPLE_RATE)), "pesq": float(score)}


@cache
def _judge() -> Any:
    """The P.835 network of speechmos, in a session of one thread.

    `speechmos.dnsmos.run` also runs the P.808 network, with threads that spin: twice the work.
    """
    runtime, package = require("onnxruntime"), require("speechmos")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = Path(package.__file__).parent / "dnsmos_models" / "sig_bak_ovr.onnx"
    return runtime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def dnsmos(path: Path) -> dict[str, float]:
    """DNSMOS P.835 (2110.01763): overall, speech and background quality, 1 to 5.

    As published: the audio is doubled until it fills a window of 9.01 s, and the scores are means
    over windows a second apart.
    """
    samples = read_audio(path, SAMPLE_RATE)
    samples = samples / max(1.0, float(np.abs(samples).max()))
    size = int(DNSMOS_SECONDS * SAMPLE_RATE)
    while len(samples) < size:
        samples = np.tile(samples, 2)
    starts = [SAMPLE_RATE * i for i in range(int(len(samples) // SAMPLE_RATE - DNSMOS_SECONDS) + 1)]
    raw = [_judge().run(None, {"input_1": samples[None, i : i + size]})[0][0] for i in starts]
    fit = require("speechmos.dnsmos").DNSMOS.get_polyfit_val  # raw outputs to opinion scores
    scores = fit(None, *np.array(raw).T, False)  # three times [windows]
    return {
        name: float(np.mean(values))
        for name, values in zip(("sig", "bak", "ovrl"), scores, strict=True)
    }

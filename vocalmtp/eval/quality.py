"""Sound quality at 16 kHz: STOI and PESQ-WB against the recording, DNSMOS P.835 without one."""

from pathlib import Path

import numpy as np

from vocalmtp.audio import read_audio
from vocalmtp.eval.extras import require

SAMPLE_RATE = 16_000


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


def dnsmos(path: Path) -> dict[str, float]:
    """DNSMOS P.835 (2110.01763): overall, speech and background quality, 1 to 5."""
    samples = read_audio(path, SAMPLE_RATE)
    peak = float(np.abs(samples).max(initial=1e-9))
    scores = require("speechmos.dnsmos").run(samples / max(1.0, peak), SAMPLE_RATE)
    return {name: float(scores[f"{name}_mos"]) for name in ("ovrl", "sig", "bak")}

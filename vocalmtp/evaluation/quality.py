"""Sound quality at 16 kHz: STOI, PESQ-WB and mels against the recording, DNSMOS without one."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vocalmtp.audio.io import read_audio
from vocalmtp.audio.mel import mel_filters
from vocalmtp.optional import require

SAMPLE_RATE = 16_000
DNSMOS_SECONDS = 9.01
MELS, MEL_WINDOW = 80, 1024
MEL_FLOOR = 1e-4  # -80 dB of full scale: below it nothing is heard


def against(reference: Path, degraded: Path) -> dict[str, float]:
    """STOI (0 to 1), PESQ-WB (1 to 4.6) and mel distance (dB) of `degraded` to `reference`.

    They are aligned in time, and the longer is cut to the length of the other; a score is NaN for
    silence.
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
    stoi = require("pystoi").stoi(true, made, SAMPLE_RATE)
    return {"stoi": float(stoi), "pesq": float(score), "mel": mel_distance(true, made)}


def mel_distance(true: np.ndarray, made: np.ndarray) -> float:
    """Mean absolute difference of the log-mel spectra of two signals [N] at 16 kHz, in dB.

    80 bands, windows of 64 ms every 16 ms, magnitudes from -80 dB of full scale on.
    """
    hann, bank = torch.hann_window(MEL_WINDOW), mel_filters(SAMPLE_RATE, MEL_WINDOW, MELS)
    levels = []
    for samples in (true, made):
        wav = torch.from_numpy(np.ascontiguousarray(samples, np.float32))
        found = torch.stft(
            wav, MEL_WINDOW, MEL_WINDOW // 4, window=hann, pad_mode="constant", return_complex=True
        )
        mel = found.abs().T @ bank / (hann.sum() / 2)  # [F, M], 1 is full scale
        levels.append(20 * mel.clamp(min=MEL_FLOOR).log10())
    return float((levels[0] - levels[1]).abs().mean())


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


def check_dnsmos() -> None:
    """Raise InputError if `dnsmos` lacks a package."""
    for name in ("speechmos", "onnxruntime"):
        require(name)


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

"""Golden audio: the bundled model's output for every built-in voice and three seeds.

Bit-exact in 8 bits on the CPU family that made the golden file, within a tolerance elsewhere: kernels
differ.
Run `python tests/test_golden_audio.py` to write the file anew after an intended change.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vocalmtp
from vocalmtp.audio.io import Audio
from vocalmtp.engines.linears import has_exact_int8

GOLDEN = Path(__file__).parent / "golden" / "mini_audio.json"
TEXT = "Good morning to you."
SEEDS = (0, 1, 2)
SAMPLED = {"temperature": 0.5, "top_k": 20}


def cpu_family() -> str:
    """Everything of the CPU and of torch that may change the last bits of a product."""
    bf16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return f"{torch.backends.cpu.get_cpu_capability()}, bf16 {bf16}, torch {torch.__version__}"


def fingerprint(audio: Audio) -> dict[str, Any]:
    """Hash, length in samples, and RMS level in dB of `audio`."""
    samples = np.ascontiguousarray(audio.samples, dtype=np.float32)
    level = 20 * np.log10(float(np.sqrt(np.mean(samples**2))))
    digest = hashlib.sha256(samples.tobytes()).hexdigest()
    return {"sha256": digest, "samples": len(samples), "level_db": round(level, 2)}


def cases(tts: vocalmtp.TTS) -> dict[str, dict[str, Any]]:
    """Keyword arguments of a call by the name of the case."""
    found: dict[str, dict[str, Any]] = {}
    for voice in sorted(tts.voices):
        found[f"{voice} greedy"] = {"voice": voice}
        for seed in SEEDS:
            found[f"{voice} seed {seed}"] = {"voice": voice, "seed": seed} | SAMPLED
    return found


@pytest.fixture(scope="module")
def tts() -> vocalmtp.TTS:
    return vocalmtp.load("mini", int8=has_exact_int8())


def test_every_voice_and_seed_gives_the_golden_audio(tts: vocalmtp.TTS) -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    exact = golden["cpu"] == cpu_family()
    assert set(golden["cases"]) == set(cases(tts))
    for name, arguments in cases(tts).items():
        made, want = fingerprint(tts(TEXT, **arguments)), golden["cases"][name]
        if exact:
            assert made == want, name
        else:
            assert made["samples"] == pytest.approx(want["samples"], rel=0.25), name
            assert made["level_db"] == pytest.approx(want["level_db"], abs=3), name


if __name__ == "__main__":
    torch.set_num_threads(1)
    model = vocalmtp.load("mini", int8=True)
    made = {name: fingerprint(model(TEXT, **how)) for name, how in cases(model).items()}
    content = {"cpu": cpu_family(), "text": TEXT, "cases": made}
    GOLDEN.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

"""The ONNX engine in a process of its own: no torch, little memory, and the command line."""

import subprocess
import sys
from pathlib import Path

import pytest

MEMORY = 250  # MB
CODE = """
import sys, vocalmtp
tts = vocalmtp.load("mini", engine="onnx")
audio = tts("Good morning to you.", voice="slt", temperature=0.7, seed=3)
chunks = list(tts.stream("Good morning to you.", voice="slt", temperature=0.7, seed=3))
assert audio.duration > 0.5 and len(chunks) > 2 and audio.words
loaded = [name for name in ("torch", "transformers") if name in sys.modules]
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(loaded, peak // 1024)
"""


def test_a_program_imports_no_torch_and_stays_small() -> None:
    pytest.importorskip("onnxruntime")
    result = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True
    )
    loaded, _, peak = result.stdout.strip().rpartition(" ")
    assert loaded == "[]"
    assert int(peak) <= MEMORY


def test_the_command_imports_no_torch(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    output = tmp_path / "speech.wav"
    code = (
        "import atexit, sys; from vocalmtp.cli import main\n"
        "atexit.register(lambda: print(*{'torch', 'transformers', 'onnxruntime'} & set(sys.modules)))\n"
        f"main(['tts', 'Good morning.', '--engine', 'onnx', '-o', {str(output)!r}])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stat().st_size > 10_000
    assert result.stdout.split() == ["onnxruntime"]

"""The ONNX engine in a process of its own: no torch, little memory, and the command line."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile
from helpers.command_line import run
from helpers.sounds import buzz

from vocalmtp.cli import synthesis
from vocalmtp.cli.synthesis import load_tts

MEMORY = 250  # MB
CODE = """
import sys, vocalmtp
tts = vocalmtp.load("mini", engine="onnx")
audio = tts("Good morning to you.", voice="heart", temperature=0.7, seed=3)
chunks = list(tts.stream("Good morning to you.", voice="heart", temperature=0.7, seed=3))
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


@pytest.mark.parametrize("options", [["--engine", "onnx"], []], ids=["onnx", "auto"])
def test_the_command_imports_no_torch(tmp_path: Path, options: list[str]) -> None:
    pytest.importorskip("onnxruntime")
    output = tmp_path / "speech.wav"
    code = (
        "import atexit, sys; from vocalmtp.cli import main\n"
        "atexit.register(lambda: print(*{'torch', 'transformers', 'onnxruntime'} & set(sys.modules)))\n"
        f"main(['tts', 'Good morning.', '-o', {str(output)!r}, *{options}])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stat().st_size > 10_000
    assert result.stdout.split() == ["onnxruntime"]


def test_torch_speaks_with_the_voice_of_a_recording(exported: Path, tmp_path: Path) -> None:
    recording, files = tmp_path / "me.wav", [tmp_path / "auto.wav", tmp_path / "cpu.wav"]
    soundfile.write(recording, buzz(seconds=3), 16_000)
    for file, options in zip(files, ([], ["--engine", "cpu"]), strict=True):
        assert run("tts", "Hi.", "-m", exported, "--voice", recording, "-o", file, *options) == 0
    assert files[0].read_bytes() == files[1].read_bytes()


def test_torch_speaks_where_graphs_are_damaged(exported: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "copy"))
    (folder / "lm.onnx").write_bytes(b"noise")
    (folder / "lm.int8.onnx").write_bytes(b"noise")
    assert run("tts", "Hi.", "-m", folder, "-o", tmp_path / "a.wav") == 0
    assert run("tts", "Hi.", "-m", folder, "-o", tmp_path / "b.wav", "--engine", "onnx") == 2


def test_an_error_of_the_user_loads_no_second_engine(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    def load(*_: Any, engine: str, **__: Any) -> Any:
        loaded.append(engine)
        return load_tts(exported, engine=engine)

    monkeypatch.setattr(synthesis, "load_tts", load)
    assert run("tts", "Hi.", "-m", exported, "--voice", "nobody", "-o", tmp_path / "a.wav") == 2
    assert loaded == ["onnx"]

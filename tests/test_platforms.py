"""Machines that lack what Linux has, and surroundings that break programs."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.errors import error_code, raises_input_error
from helpers.sounds import buzz
from helpers.toy_model import save_toy_model

from vocalmtp.audio import formats
from vocalmtp.audio.formats import audio_writer, encode
from vocalmtp.audio.io import read_audio
from vocalmtp.batch.items import read_items
from vocalmtp.batch.job import MAX_ROWS, _memory
from vocalmtp.engines import cpu

ROOT = Path(__file__).parent.parent

# Without what only Linux, or only POSIX, has. torch and Transformers bring fallbacks of their own.
FOREIGN = """
import os, signal, sys
import filelock, torch
from transformers import AutoTokenizer, LlamaForCausalLM
for name in "fork memfd_create register_at_fork sched_getaffinity sysconf getuid chown mkfifo".split():
    if hasattr(os, name):
        delattr(os, name)
for name in "SIGKILL SIGHUP SIGUSR1".split():
    delattr(signal, name)
for name in "fcntl resource pwd grp termios tty".split():
    sys.modules[name] = None
from vocalmtp.cli import main
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(save_toy_model(tmp_path_factory.mktemp("toy")))


@pytest.fixture
def run(tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command line in a process and a folder of its own; keywords change its environment."""

    def call(
        *arguments: str, script: str | None = None, prefix: tuple[str, ...] = (), **environment: str
    ) -> subprocess.CompletedProcess[str]:
        start = ["-m", "vocalmtp"] if script is None else ["-c", script]
        return subprocess.run(
            [*prefix, sys.executable, *start, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            text=True,
            check=False,
            encoding="utf-8",
            errors="replace",
        )

    return call


def check_spoken(ended: subprocess.CompletedProcess[str], path: Path) -> None:
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert soundfile.info(os.fsencode(path)).frames > 0


def test_without_what_only_linux_has(run, model, tmp_path):
    ended = run("tts", "Yes.", "-m", model, "-o", "a.flac", script=FOREIGN)
    check_spoken(ended, tmp_path / "a.flac")


def test_encoding_needs_no_memory_file(monkeypatch):
    expected = {name: encode(buzz(), 16_000, name) for name in ("wav", "flac")}
    monkeypatch.delattr(os, "memfd_create", raising=False)
    for name, content in expected.items():
        assert encode(buzz(), 16_000, name) == content


def test_files_and_ids_on_windows(monkeypatch, tmp_path):
    monkeypatch.setattr(formats, "WINDOWS", True)
    path = tmp_path / "caf\u00e9 \u3053.flac"
    with audio_writer(path, 16_000) as write:
        write(buzz())
    assert len(read_audio(path, 16_000)) == len(buzz())
    assert len(encode(buzz(), 16_000, "ogg")) > 100
    monkeypatch.setattr(sys, "platform", "win32")
    (tmp_path / "a.jsonl").write_text('{"id": "a:b", "text": "Hi."}\n{"id": "ab", "text": "Hi."}\n')
    assert [item.code for item in read_items(tmp_path / "a.jsonl")] == ["invalid_value", None]


def test_machines_that_do_not_describe_themselves(monkeypatch):
    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError("no such file")

    monkeypatch.setattr(Path, "read_text", missing)
    assert cpu.machine.__wrapped__()
    monkeypatch.delattr(os, "sysconf")
    assert _memory() // 4 > MAX_ROWS


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii"},
        {"TMPDIR": "/none/such", "HOME": "/none/such", "XDG_CACHE_HOME": "/none/such"},
    ],
    ids=["C", "ascii", "no-home"],
)
def test_surroundings_that_break_programs(run, model, tmp_path, environment):
    (tmp_path / "own.txt").write_text("caf\u00e9 = caffay\n", encoding="utf-8")
    (tmp_path / "a.txt").write_text("The caf\u00e9.\n\u3053\n", encoding="utf-8")
    speak = ("tts", "Yes, it costs \u20ac5.", "-m", model)
    check_spoken(
        run(*speak, "-o", "caf\u00e9 one.wav", **environment), tmp_path / "caf\u00e9 one.wav"
    )
    ended = run("batch", "a.txt", "-o", "out", "-m", model, "--lexicon", "own.txt", **environment)
    assert ended.returncode == 1 and "1 made" in ended.stderr and "Traceback" not in ended.stderr
    assert "\u3053" in (tmp_path / "out" / "manifest.jsonl").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_small_machine(run, model, tmp_path):
    """One CPU, and 4 GB of address space, of which torch alone maps three."""
    if not Path("/usr/bin/prlimit").exists():
        pytest.skip("needs prlimit")
    prefix = ("prlimit", f"--as={4 << 30}", "taskset", "-c", "0")
    ended = run("tts", "Yes.", "-o", "a.wav", prefix=prefix)
    check_spoken(ended, tmp_path / "a.wav")


def test_a_folder_that_cannot_be_written_is_one_line(run, model, tmp_path):
    ended = run("tts", "Yes.", "-m", model, "-o", "/proc/a.wav")
    assert ended.returncode == 2 and error_code(ended.stderr) in ("unusable", "not_found")


def test_a_path_with_blanks_and_accents(tmp_path, model):
    folder = tmp_path / "m\u00fcller's model (1)"
    folder.parent.mkdir(exist_ok=True)
    os.symlink(model, folder)
    from vocalmtp import load

    audio = load(folder)("Yes.")
    audio.save(tmp_path / "na\u00efve \u3053.ogg")
    assert np.isfinite(read_audio(tmp_path / "na\u00efve \u3053.ogg", 8_000)).all()
    with raises_input_error("not_found", names="na\u00efve"):
        load(tmp_path / "na\u00efve")

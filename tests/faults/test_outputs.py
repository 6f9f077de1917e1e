"""Outputs that cannot be written."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.errors import error_code, raises_input_error
from helpers.sounds import buzz
from safetensors.numpy import save_file

from vocalmtp.audio import formats
from vocalmtp.audio.formats import audio_writer
from vocalmtp.audio.io import Audio
from vocalmtp.io.atomic import atomic_folder, atomic_path

YES = "--i-have-consent"


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("none/a.wav", "not_found: 'none/a.wav'"),
        ("folder.wav", "invalid_value: 'folder.wav'"),
        ("a.tape", "unsupported: '.tape'"),
        ("a", "invalid_value: 'a'"),
        ("", "invalid_value: '.'"),
        ("file/a.wav", "not_found: 'file'"),
        ("x" * 300 + ".wav", "unusable: "),
        ("pipe.wav", "invalid_value: 'pipe.wav'"),
    ],
)
@pytest.mark.parametrize("options", [[], ["--stream"]])
def test_outputs_of_tts(refused, whole_model, output, says, options):
    Path("folder.wav").mkdir()
    Path("file").touch()
    os.mkfifo("pipe.wav")
    refused("tts", "Hi.", "-o", output, "-m", whole_model, *options, says=says)


def test_a_folder_without_permission(refused, whole_model, monkeypatch):
    Path("locked").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked")
    refused("tts", "Hi.", "-o", "locked/a.wav", "-m", whole_model, says="unusable: ")


def test_devices_are_not_replaced(refused, whole_model):
    says = "invalid_value: '/dev/full'"
    refused("tts", "Hi.", "-o", "/dev/full", "--format", "wav", "-m", whole_model, says=says)
    assert Path("/dev/full").is_char_device()


def test_a_link_is_written_through(run, whole_model):
    Path("there").mkdir()
    Path("a.wav").symlink_to("there/b.wav")
    assert run("tts", "Hi.", "-o", "a.wav", "-m", whole_model) == 0
    assert Path("a.wav").is_symlink() and soundfile.info("there/b.wav").frames


@pytest.mark.parametrize("format", ["wav", "flac", "ogg"])
@pytest.mark.parametrize("options", [[], ["--timestamps", "a.srt"]])
def test_a_disk_that_is_full(refused, whole_model, full_disk, format, options):
    full_disk(1000)
    says = f"unusable: 'a.{format}'"
    refused("tts", "Hello there.", "-o", f"a.{format}", "-m", whole_model, *options, says=says)


def test_a_stream_to_a_disk_that_is_full(run, whole_model, full_disk, capsys):
    full_disk(1000)
    assert run("tts", "Hello there.", "-o", "a.wav", "-m", whole_model, "--stream") == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("first audio after ") and len(lines) == 2
    assert error_code(lines[1]) == "unusable" and "'a.wav'" in lines[1]
    assert os.listdir() == []


def test_a_disk_that_is_full_keeps_the_old_file(tmp_path, full_disk):
    path = Audio(buzz(0.1), 16_000).save(tmp_path / "a.wav")
    before = path.read_bytes()
    full_disk(20_000)
    with raises_input_error("unusable", key="output"):
        Audio(buzz(2.0), 16_000).save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.wav"]


def test_samples_that_are_lost_on_closing_are_missed(tmp_path, monkeypatch):
    def forget(sound, samples: np.ndarray) -> None:
        sound.write(samples[:-1])

    monkeypatch.setattr(formats, "write_blocks", forget)
    with (
        raises_input_error("unusable", key="output"),
        audio_writer(tmp_path / "a.wav", 16_000) as write,
    ):
        write(buzz(0.1))
    assert os.listdir(tmp_path) == []


def test_other_files_on_a_full_disk(tmp_path, full_disk):
    full_disk(100)
    with raises_input_error("unusable", key="output"), atomic_path(tmp_path / "a") as path:
        path.write_bytes(bytes(1000))
    with raises_input_error("unusable", key="output"), atomic_folder(tmp_path / "f") as at:
        (at / "a").write_bytes(bytes(1000))
    assert os.listdir(tmp_path) == []


def test_written_files_are_readable_by_others(tmp_path):
    """As much as the umask allows: safetensors alone writes files for their owner only."""
    tensors = {"a": np.zeros(1, np.float32)}
    with atomic_path(tmp_path / "one") as path:
        save_file(tensors, path)
    with atomic_folder(tmp_path / "f") as partial:
        save_file(tensors, partial / "two")
    (tmp_path / "three").touch()
    modes = {(tmp_path / name).stat().st_mode for name in ("one", "f/two", "three")}
    assert len(modes) == 1


def test_a_voice_on_a_full_disk(refused, whole_model, full_disk):
    soundfile.write("me.wav", buzz(), 16_000)
    full_disk(100)
    says = "unusable: 'v.safetensors'"
    refused("voices", "make", "me.wav", "-o", "v.safetensors", "-m", whole_model, YES, says=says)


def test_a_batch_on_a_full_disk_goes_on_later(run, whole_model, monkeypatch, capsys):
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    Path("a.txt").write_text("Hello there.\nGo.\nYes.\n")
    batch = ("batch", "a.txt", "-o", "out", "-m", whole_model)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        assert run(*batch) == 2
    err = capsys.readouterr().err
    assert error_code(err) == "unusable" and ".wav'" in err and err.count("\n") == 1
    assert {path.name for path in Path("out").iterdir()} == {".lock", "job.json", "manifest.jsonl"}
    assert run(*batch) == 0
    assert "3 made" in capsys.readouterr().err


def test_rows_of_a_batch_on_a_full_disk(run, whole_model, full_disk, capsys):
    Path("a.jsonl").write_text(json.dumps({"text": "Hi.", "note": "x" * 300_000}) + "\n")
    batch = ("batch", "a.jsonl", "-o", "out", "-m", whole_model)
    full_disk(200_000)
    assert run(*batch) == 2
    err = capsys.readouterr().err
    assert error_code(err) == "unusable" and "'out/manifest.jsonl'" in err
    full_disk(1 << 30)
    assert run(*batch) == 0
    assert len(Path("out/manifest.jsonl").read_text().splitlines()) == 1


def test_memory_that_is_full(full_disk):
    full_disk(1000)
    with raises_input_error("unusable", key="output", names="'memory'"):
        Audio(buzz(1.0), 16_000).to_bytes()


@pytest.mark.parametrize(
    "arguments",
    [
        ["batch", "a.txt", "-o", "file"],
        ["batch", "a.txt", "-o", "/proc/none"],
        ["tokenize", "a.jsonl", "-o", "file", "-t"],
        ["tokenize", "a.jsonl", "-o", "/proc/none", "-t"],
    ],
)
def test_folders_that_cannot_be_made(refused, whole_model, arguments):
    Path("file").touch()
    Path("a.txt").write_text("Hi.\n")
    Path("a.jsonl").write_text('{"id": "a", "audio": "a.wav", "text": "hi."}\n')
    end = [] if arguments[-1] == "-t" else ["-m"]
    folder = arguments[3]
    code = "invalid_value" if folder == "file" else "unusable"
    refused(*arguments, *end, whole_model, says=f"{code}: '{folder}'")


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["tts", "Hi.", "-o", "-", "-m"], ["info"], ["voices", "-m"], ["--help"]]
)
def test_standard_output_on_a_full_disk(whole_model, arguments):
    command = [sys.executable, "-m", "vocalmtp", *arguments]
    command += [] if arguments == ["--help"] else [str(whole_model)]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=300)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: output: No space left")
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr

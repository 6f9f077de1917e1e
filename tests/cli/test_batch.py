"""`vocalmtp batch` on the command line."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.batch_checks import check_whole, rows
from helpers.command_line import pipe_in
from helpers.errors import error_code

LIST = """{"id": "one", "text": "Hello there. Go.", "seed": 4}
{"id": "two", "text": "No.", "voice": "ann", "temperature": 0.3, "page": 7}
{"id": "three", "text": "Yes."}
"""


def test_every_file_equals_the_single_call(run, model, capsys):
    Path("a.jsonl").write_text(LIST)
    batch = ("batch", "a.jsonl", "-o", "out", "-m", model)
    assert run(*batch, "--seed", "2", "--top-k", "20") == 0
    err = capsys.readouterr().err
    assert "out: 3 made (" in err and "0 failed" in err and err.count("\n") == 1
    for name, options in {
        "one": ["Hello there. Go.", "--seed", "4"],
        "two": ["No.", "--seed", "2", "--voice", "ann", "--temperature", ".3"],
        "three": ["Yes.", "--seed", "2"],
    }.items():
        assert run("tts", *options, "-o", "x.wav", "-m", model, "--top-k", "20") == 0
        (one, _), (other, _) = soundfile.read(f"out/{name}.wav"), soundfile.read("x.wav")
        assert np.abs(one - other).max() <= 1e-2
    assert [(row["id"], row["voice"], row["seed"]) for row in rows(Path("out"))] == [
        ("one", "bob", 4),
        ("two", "ann", 2),
        ("three", "bob", 2),
    ]
    assert rows(Path("out"))[1]["page"] == 7


def test_a_list_from_standard_input_with_word_times(run, model, monkeypatch, capsys):
    content = b'{"id": "a", "text": "Yes. No."}\n{"id": "b", "text": "No.", "speed": 0.5}\n'
    options = ("-o", "out", "-m", model, "--speed", "2", "--timestamps", "vtt")
    pipe_in(monkeypatch, content)
    assert run("batch", "-", *options, "--sample-rate", "8000") == 0
    assert {"a.vtt", "a.wav", "b.vtt", "b.wav", "manifest.jsonl"} <= set(os.listdir("out"))
    assert Path("out/a.vtt").read_text().startswith("WEBVTT\n")
    assert soundfile.info("out/a.wav").samplerate == 8000
    assert rows(Path("out"))[1]["speed"] == 0.5
    Path("out/b.vtt").unlink()
    pipe_in(monkeypatch, content)
    assert run("batch", "-", *options, "--sample-rate", "8000") == 0
    assert "1 made" in (err := capsys.readouterr().err.splitlines()[-1]) and "1 kept" in err
    pipe_in(monkeypatch, content)
    assert run("batch", "-", "-o", "out", "-m", model) == 2
    assert error_code(capsys.readouterr().err) == "other_run"


def test_failures_are_counted_and_the_rest_is_kept(run, model, capsys):
    Path("a.txt").write_text("Yes.\n\u3053\nNo.\n")
    batch = ("batch", "a.txt", "-o", "new/out", "-m", model, "--format", "ogg")
    assert run(*batch, "--dry-run") == 1
    err = capsys.readouterr().err
    assert "a.txt line 2: text" in err
    assert "3 items: 0 complete, 2 to make" in err and "1 invalid" in err
    assert os.listdir() == ["a.txt"]
    assert run(*batch) == 1
    err = capsys.readouterr().err
    assert "2 made" in err and "1 failed; errors are in new/out/manifest.jsonl" in err
    assert run(*batch, "--resume") == 1
    assert "0 made (0.0 s" in (err := capsys.readouterr().err) and "2 kept" in err
    assert run(*batch, "--overwrite", "--batch-size", "1") == 1
    assert "2 made" in capsys.readouterr().err
    assert set(check_whole(Path("new/out"))) == {"000001.ogg", "000003.ogg"}


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["a.txt"], "missing", "--output"),
        ([], "missing", "LIST"),
        (["a.txt", "-o", "o", "--stream"], "unknown_name", "--stream"),
        (["a.txt", "-o", "a.txt"], "invalid_value", "output 'a.txt'"),
        (["none.txt", "-o", "o"], "not_found", "input 'none.txt'"),
        (["a.xml", "-o", "o"], "invalid_value", "input 'a.xml'"),
        (["a.csv", "-o", "o"], "missing", "input 'a.csv'"),
        (["b.txt", "-o", "o"], "empty", "input 'b.txt'"),
        (["a.txt", "-o", "o", "--batch-size", "x"], "invalid_value", "batch_size 'x'"),
        (["a.txt", "-o", "o", "--batch-size", "0"], "out_of_range", "batch_size '0'"),
        (["a.txt", "-o", "o", "--workers", "0"], "invalid_value", "--workers"),
        (["a.txt", "-o", "o", "--executor", "dask"], "unknown_name", "executor 'dask'"),
        (["a.txt", "-o", "o", "--ray-address", "x"], "conflict", "ray_address 'x'"),
        (["a.txt", "-o", "o", "--temperature", "nan"], "out_of_range", "temperature 'nan'"),
        (["a.txt", "-o", "o", "--format", "tape"], "unsupported", "format 'tape'"),
        (["a.txt", "-o", "o", "--model", "none"], "not_found", "model 'none'"),
        (["a.txt", "-o", "o", "--device", "abacus"], "unknown_name", "device 'abacus'"),
    ],
)
def test_invalid_calls_get_one_line_and_leave_nothing(run, model, capsys, arguments, code, named):
    for name, content in {"a.txt": "Hi.\n", "b.txt": "\n", "a.csv": "a,b\n1,2\n"}.items():
        Path(name).write_text(content)
    if "--model" not in arguments:
        arguments = [*arguments, "-m", model]
    assert run("batch", *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert error_code(captured.err) == code and named in captured.err
    assert sorted(os.listdir()) == ["a.csv", "a.txt", "b.txt"]


def test_an_unknown_voice_is_one_line(run, model, capsys):
    Path("a.txt").write_text("Hi.\n")
    batch = ("batch", "a.txt", "-o", "out", "-m", model)
    assert run(*batch, "--voice", "bobb") == 2
    captured = capsys.readouterr().err
    assert error_code(captured) == "not_found" and "'bob'" in captured
    assert run(*batch, "--voice", "bob") == 0


@pytest.mark.slow
def test_ctrl_c_keeps_complete_items(tmp_path, model):
    (tmp_path / "a.txt").write_text("Hello there, this is a text.\n" * 2000)
    command = [sys.executable, "-m", "vocalmtp", "batch", "a.txt"]
    command += ["-o", "out", "-m", model, "--batch-size", "1"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("out/*.wav")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    made = len(rows(tmp_path / "out"))
    assert process.returncode == 130
    told = int(re.search("stopped: (.*) of 2000 are complete", err)[1])
    assert made - told in (0, 1)  # it may come before the count goes up
    assert "Traceback" not in err
    assert json.loads((tmp_path / "out" / "job.json").read_text())["format"] == "wav"

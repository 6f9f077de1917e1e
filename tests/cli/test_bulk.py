"""`vocalmtp tts --input` as it is typed."""

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

LIST = """{"id": "one", "text": "Hello there. Go.", "seed": 4}
{"id": "two", "text": "No.", "voice": "ann", "temperature": 0.3, "page": 7}
{"id": "three", "text": "Yes."}
"""


def test_every_file_equals_the_single_call(run, model, capsys):
    Path("a.jsonl").write_text(LIST)
    batch = ("tts", "--input", "a.jsonl", "--output-dir", "out", "-m", model)
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


def test_failures_are_counted_and_the_rest_is_kept(run, model, capsys):
    Path("a.txt").write_text("Yes.\n\u3053\nNo.\n")
    batch = ("tts", "--input", "a.txt", "--output-dir", "new/out", "-m", model, "--format", "ogg")
    assert run(*batch, "--dry-run") == 1
    err = capsys.readouterr().err
    assert "a.txt line 2: text" in err
    assert "3 items: 0 done, 2 to be made (about 0.0 min of speech), 1 bad" in err
    assert os.listdir() == ["a.txt"]
    assert run(*batch) == 1
    err = capsys.readouterr().err
    assert "2 made" in err and "1 failed; the reasons are in new/out/manifest.jsonl" in err
    assert run(*batch, "--resume") == 1
    assert "0 made (0.0 s" in (err := capsys.readouterr().err) and "2 were there already" in err
    assert run(*batch, "--overwrite", "--batch-size", "1") == 1
    assert "2 made" in capsys.readouterr().err
    assert set(check_whole(Path("new/out"))) == {"000001.ogg", "000003.ogg"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Hi.", "--input", "a.txt", "--output-dir", "o"], "text 'Hi.': is given beside --input"),
        (["--input", "a.txt"], "option '--output-dir': is missing"),
        (["Hi.", "--output-dir", "o"], "option '--output-dir': needs a list; add --input"),
        (["Hi.", "--dry-run"], "option '--dry-run': needs a list"),
        (["Hi.", "--overwrite"], "option '--overwrite': needs a list"),
        (["--input", "a.txt", "--output-dir", "o", "-o", "x.wav"], "'--output': is for a single"),
        (["--input", "a.txt", "--output-dir", "o", "--stream"], "'--stream': is for a single"),
        (["--input", "a.txt", "--output-dir", "a.txt"], "output 'a.txt': is a file"),
        (["--input", "none.txt", "--output-dir", "o"], "input 'none.txt': no such file"),
        (["--input", "a.xml", "--output-dir", "o"], "input 'a.xml': not a kind of list"),
        (["--input", "a.csv", "--output-dir", "o"], "has no column 'text'"),
        (["--input", "b.txt", "--output-dir", "o"], "input 'b.txt': has no items"),
        (["--input", "a.txt", "--output-dir", "o", "--batch-size", "x"], "batch_size 'x'"),
        (["--input", "a.txt", "--output-dir", "o", "--batch-size", "0"], "batch_size '0'"),
        (["--input", "a.txt", "--output-dir", "o", "--workers", "0"], "--workers"),
        (["--input", "a.txt", "--output-dir", "o", "--engine", "dask"], "engine 'dask'"),
        (["--input", "a.txt", "--output-dir", "o", "--ray-address", "x"], "ray_address 'x'"),
        (["--input", "a.txt", "--output-dir", "o", "--temperature", "nan"], "temperature 'nan'"),
        (["--input", "a.txt", "--output-dir", "o", "--format", "mp3"], "format 'mp3'"),
        (["--input", "a.txt", "--output-dir", "o", "--model", "none"], "model 'none'"),
        ([], "text: is missing; give TEXT, or a list with --input"),
    ],
)
def test_wrong_calls_get_one_line_and_leave_nothing(run, model, capsys, arguments, message):
    for name, content in {"a.txt": "Hi.\n", "b.txt": "\n", "a.csv": "a,b\n1,2\n"}.items():
        Path(name).write_text(content)
    if "--model" not in arguments:
        arguments = [*arguments, "-m", model]
    assert run("tts", *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    assert message in captured.err
    assert sorted(os.listdir()) == ["a.csv", "a.txt", "b.txt"]


def test_an_unknown_voice_is_one_line(run, model, capsys):
    Path("a.txt").write_text("Hi.\n")
    batch = ("tts", "--input", "a.txt", "--output-dir", "out", "-m", model)
    assert run(*batch, "--voice", "bobb") == 2
    assert "no such voice; did you mean 'bob'?" in capsys.readouterr().err
    assert run(*batch, "--voice", "bob") == 0


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done(tmp_path, model):
    (tmp_path / "a.txt").write_text("Hello there, this is a text.\n" * 2000)
    command = [sys.executable, "-m", "vocalmtp", "tts", "--input", "a.txt"]
    command += ["--output-dir", "out", "-m", model, "--batch-size", "1"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("out/*.wav")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    made = len(rows(tmp_path / "out"))
    assert process.returncode == 130
    told = int(re.search("stopped: (.*) of 2000 are done; the same command goes on", err)[1])
    assert made - told in (0, 1)  # it may come before the count goes up
    assert "Traceback" not in err
    assert json.loads((tmp_path / "out" / "job.json").read_text())["format"] == "wav"

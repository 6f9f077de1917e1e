"""`vocalmtp prepare`: layouts, checks, resuming, and what a report says."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.command_line import run

from vocalmtp.data import prepare as module
from vocalmtp.data.corpus_formats import find_sources
from vocalmtp.data.manifest import read_manifest
from vocalmtp.data.prepare import RecordingLimits, held_out, prepare
from vocalmtp.errors import InputError
from vocalmtp.io.run_folder import only_writer

EASY = RecordingLimits(nll=100, coverage=0)  # noise is no speech: only the other checks count


def noise(path: Path, seconds: float = 1.5, rate: int = 16_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(0).standard_normal(round(seconds * rate)) * 0.1
    soundfile.write(path, samples, rate)
    return path


def pair(folder: Path, name: str, text: str = "Number 7, please.", **audio: float) -> Path:
    path = noise(folder / f"{name}.wav", **audio)
    path.with_suffix(".txt").write_text(text)
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("ann/1", "ann/2", "bob/1"):
        pair(tmp_path / "mine", name, rate=22_050)
    return tmp_path / "mine"


def test_pairs_become_a_manifest(folder, tmp_path):
    report = prepare(folder, tmp_path / "corpus", limits=EASY)
    rows = read_manifest(tmp_path / "corpus")
    assert [row.id for row in rows] == ["ann/1", "ann/2", "bob/1"]
    assert {row.voice for row in rows} == {"ann", "bob"}
    for row in rows:
        samples, rate = soundfile.read(row.audio)
        assert rate == 16_000 and samples.ndim == 1
        assert row.text == "number seven, please."
        assert len(row.chars) == len(row.text)
        assert row.chars[-1] == pytest.approx(row.seconds, abs=0.001)
        assert row.seconds == pytest.approx(len(samples) / 16_000, abs=0.001)
    assert (report.items, report.kept, report.valid) == (3, 3, 1)
    assert json.loads((tmp_path / "corpus" / "report.json").read_text())["kept"] == 3


def test_ljspeech(tmp_path):
    for name in ("LJ1", "LJ2", "LJ3"):
        noise(tmp_path / "lj" / "wavs" / f"{name}.wav")
    lines = (
        b"LJ1|Dr. Who|Doctor Who\nLJ2|just this|\n\nLJ3\n../LJ1|out|out\nLJ9|x|no file\n\xff|a|b\n"
    )
    (tmp_path / "lj" / "metadata.csv").write_bytes(lines)
    layout, sources = find_sources(tmp_path / "lj")
    assert layout == "ljspeech"
    texts = {source.id: source.text for source in sources}
    assert texts["LJ1"] == "Doctor Who" and texts["LJ2"] == "just this"
    report = prepare(tmp_path / "lj", tmp_path / "corpus", limits=EASY)
    reasons = {failure["id"]: failure["reason"] for failure in report.failures}
    assert report.kept == 2 and set(report.voices) == {"lj"}
    assert reasons == {
        "metadata.csv line 4": "transcript missing",
        "metadata.csv line 5": "transcript missing",
        "LJ9": "unreadable",
        "metadata.csv line 7": "transcript missing",
    }


def test_libritts(tmp_path):
    for place in ("19/198/19_198_0", "26/495/26_495_0"):
        path = noise(tmp_path / "libri" / f"{place}.wav")
        path.with_name(path.stem + ".normalized.txt").write_text("She said so.")
    layout, sources = find_sources(tmp_path / "libri")
    assert layout == "libritts"
    assert [(s.voice, s.text) for s in sources] == [("19", "She said so."), ("26", "She said so.")]


def test_every_bad_recording_fails_alone(folder, tmp_path):
    (folder / "no text.wav").write_bytes((folder / "ann" / "1.wav").read_bytes())
    pair(folder, "short", seconds=0.2)
    pair(folder, "long", seconds=3.0)
    pair(folder, "foreign", "\u041f\u0440\u0438\u0432\u0435\u0442")
    pair(folder, "symbols", "...")
    pair(folder, "silent").write_bytes(b"")
    soundfile.write(folder / "silent.wav", np.zeros(16_000), 16_000)
    pair(folder, "torn").write_bytes(b"RIFF....")
    pair(folder, "binary").with_suffix(".txt").write_bytes(b"\xff\xfe")
    pair(folder, "hasty", "word " * 40)
    noise(folder / "ann" / "1.flac")
    report = prepare(folder, tmp_path / "corpus", limits=EASY.model_copy(update={"longest": 2.0}))
    assert {failure["id"]: failure["reason"] for failure in report.failures} == {
        "ann/1 (1)": "unusable name",
        "binary": "transcript missing",
        "foreign": "transcript not normalizable",
        "hasty": "alignment implausible",
        "long": "too long",
        "no text": "transcript missing",
        "short": "too short",
        "silent": "silent",
        "symbols": "transcript not normalizable",
        "torn": "unreadable",
    }
    assert report.kept == 3 and report.items == 13
    assert report.dropped["too long"]["hours"] == pytest.approx(3 / 3600)
    assert sum(group["items"] for group in report.dropped.values()) == 10


def test_what_does_not_fit_its_text_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match="none of 3 recordings can be used .*nll"):
        prepare(folder, tmp_path / "corpus")
    assert not (tmp_path / "corpus" / "manifest.jsonl").exists()
    assert (tmp_path / "corpus" / "report.json").is_file()


def test_started_again_it_looks_only_at_what_has_changed(folder, tmp_path, monkeypatch):
    looked = []
    real = module.process

    def spy(source, output, limits):
        looked.append(source.id)
        if looked[-1] == "ann/2" and len(looked) < 3:
            raise KeyboardInterrupt
        return real(source, output, limits)

    monkeypatch.setattr(module, "process", spy)
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, tmp_path / "corpus", limits=EASY)
    prepare(folder, tmp_path / "corpus", limits=EASY)
    assert looked == ["ann/1", "ann/2", "ann/2", "bob/1"]
    (folder / "bob" / "1.txt").write_text("Now something else.")
    prepare(folder, tmp_path / "corpus", limits=EASY)
    assert looked[4:] == ["bob/1"]
    assert [row.text for row in read_manifest(tmp_path / "corpus")][2] == "now something else."
    with (tmp_path / "corpus" / "work.jsonl").open("a") as file:
        file.write('{"id": "ann/1", "rea')  # cut off by kill -9
    prepare(folder, tmp_path / "corpus", limits=EASY)
    assert looked[5:] == [] and len(read_manifest(tmp_path / "corpus")) == 3


def test_several_processes_make_the_same(folder, tmp_path):
    for index in range(18):
        pair(folder, f"ann/{index:02d}", seconds=1.0 + index / 50)
    prepare(folder, tmp_path / "one", limits=EASY)
    prepare(folder, tmp_path / "two", limits=EASY, workers=2)
    for name in ("manifest.jsonl", "report.json"):
        assert (tmp_path / "one" / name).read_text() == (tmp_path / "two" / name).read_text()


def test_a_second_process_is_refused(folder, tmp_path):
    with only_writer(tmp_path / "corpus"), pytest.raises(InputError, match="another process"):
        prepare(folder, tmp_path / "corpus", limits=EASY)


def test_the_validation_split_stays_when_recordings_are_added():
    ids = [f"u{i}" for i in range(400)]
    held = held_out(ids, 0.05)
    assert 8 <= len(held) <= 35
    assert held_out(ids + [f"v{i}" for i in range(50)], 0.05) & set(ids) == held
    assert len(held_out(ids[:2], 0.05)) == 1 and held_out(ids[:1], 0.05) == set()
    assert held_out(ids, 0.0) == set()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "folder 'none': not found"),
        (["empty"], "no recordings in the layout 'pairs'"),
        (["mine", "--layout", "ljspeach"], "did you mean 'ljspeech'?"),
        (["mine", "--layout", "ljspeech"], "no recordings in the layout 'ljspeech'"),
        (["mine", "--valid", "2"], "--valid"),
    ],
)
def test_wrong_input_is_one_line(folder, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert run("prepare", *arguments, "-o", "corpus") == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1 and "Traceback" not in err


def test_the_command_says_what_it_kept_and_dropped(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "RecordingLimits", lambda **kw: EASY.model_copy(update=kw))
    pair(folder, "short", seconds=0.2)
    assert run("prepare", folder, "-o", tmp_path / "corpus", "--voice", "ann") == 0
    out, err = capsys.readouterr()
    assert "kept 3" in err and "dropped 1" in err and "short: too short" in err
    assert "vocalmtp tokenize" in out
    assert {row.voice for row in read_manifest(tmp_path / "corpus")} == {"ann"}


def test_an_output_that_is_a_file_is_refused(folder, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        prepare(folder, tmp_path / "file")
    assert os.path.getsize(tmp_path / "file") == 0

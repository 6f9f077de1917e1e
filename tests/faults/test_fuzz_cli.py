"""Command lines that nobody should type: they do what was asked, or say in one line why not."""

import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
import typer
from helpers.fake_verbs import replace_work
from helpers.fuzzing import both_sizes, check
from helpers.sounds import buzz
from helpers.tiny_run import tiny_recipe
from hypothesis import strategies as st

from vocalmtp.cli import app, main
from vocalmtp.config import load_yaml
from vocalmtp.data.shards import CodeShards
from vocalmtp.data.tokenize import tokenize_manifest
from vocalmtp.tokenizers import load_tokenizer
from vocalmtp.voices import Voice

NOT_HERE = {"convert"}  # reads published checkpoints, which has tests of its own
LONG = "x" * 300

FILES = "me.wav noise.wav v.safetensors list.txt list.jsonl list.csv bad.txt m.jsonl r.yaml".split()
PLACES = [*FILES, "voices.yaml", "folder", "in", "toy", "codes", "none", "none/x", "", ".", LONG]
NUMBERS = [
    "0",
    "1",
    "2",
    "-1",
    "0.5",
    "nan",
    "inf",
    "-inf",
    "1e999",
    "9" * 25,
    "x",
    "",
    "0x1",
    "\u0663",
]
TEXTS = [
    "Hi.",
    "-",
    "",
    "It costs $5.",
    "\U0001f600",
    "\u3053",
    "a" * 1000,
    "\udcff",
    "\x1b[31m",
    "[/b]",
]
NAMES = [
    "ann",
    "bob",
    "bobb",
    "toy",
    "mini",
    "train",
    "valid",
    "ray",
    "local",
    "auto",
    "mp3",
    "ogg",
]
OUTPUTS = [
    "a.wav",
    "a.flac",
    "a.ogg",
    "a.mp3",
    "-",
    "out",
    "new.safetensors",
    "none/a.wav",
    "w.srt",
]

ANYTHING = st.one_of(
    st.sampled_from([*PLACES, *NUMBERS, *TEXTS, *NAMES, *OUTPUTS]),
    st.text(st.characters(codec="utf-8", exclude_characters="\0/"), max_size=20),
)
FITTING = {
    "text": TEXTS,
    "model": ["toy", "toy", "mini", "none", "folder"],
    "tokenizer": ["toy", "toy", "mini", "none", "folder", "mimi-8"],
    "voice": ["ann", "bob", "bobb", "me.wav", "noise.wav", "v.safetensors", "none.wav"],
    "input": ["list.txt", "list.jsonl", "list.csv", "bad.txt", "none.txt"],
    "output": OUTPUTS,
    "format": ["wav", "flac", "ogg", "mp3"],
    "timestamps": ["w.json", "w.srt", "w.txt"],
    "batch_size": ["auto", "1", "7", "0", "x"],
    "engine": ["local", "ray", "dask"],
    "seed": ["0", "3", "-1", "9" * 25],
    "references": ["me.wav", "noise.wav"],
    "recipe": ["r.yaml", "bad.txt", "none.yaml"],
    "overrides": ["optim.max_steps=3", "recipe=finetune", "output=me.wav", "=", "extends=r.yaml"],
    "inputs": ["m.jsonl", "me.wav", "in", "bad.txt"],
    "codes": ["codes", "folder"],
    "folder": ["in", "folder", "none"],
    "manifest": ["m.jsonl", "in", "bad.txt"],
    "split": ["train", "valid"],
    "layout": ["pairs", "ljspeech", "x"],
    "voices": ["voices.yaml", "bad.txt", "ann"],
}


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
    """Every verb and its parameters; groups too, which may be called without a verb."""
    yield path, command.params
    for name, child in getattr(command, "commands", {}).items():
        if name not in NOT_HERE:
            yield from leaves(child, (*path, name))


VERBS = list(leaves(typer.main.get_command(app)))


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    path, parameters = draw(
        st.sampled_from(VERBS + 8 * [v for v in VERBS if v[0] in (("tts",), ("batch",))])
    )
    line, odds = list(path), draw(st.sampled_from((0.05, 0.2, 0.5)))
    for parameter in parameters:
        if draw(st.floats(0, 1)) > (0.95 if parameter.required else odds):
            continue
        positional = parameter.param_type_name == "argument"
        names = [*parameter.opts, *parameter.secondary_opts]
        if not positional:
            line.append(draw(st.sampled_from(names)))
            if getattr(parameter, "is_flag", False):
                continue
        kind = getattr(getattr(parameter, "type", None), "name", "")
        numeric = kind.split(" ")[0] in ("integer", "float")
        fitting = NUMBERS if numeric else FITTING.get(parameter.name, PLACES)
        for _ in range(draw(st.integers(1, 2)) if parameter.nargs == -1 else 1):
            line.append(
                draw(st.one_of(st.sampled_from(fitting), st.sampled_from(fitting), ANYTHING))
            )
    if draw(st.integers(0, 9)) == 0:
        line.insert(draw(st.integers(0, len(line))), draw(st.one_of(ANYTHING, st.just("--"))))
    return line


@pytest.fixture(scope="module")
def desk(whole_model, tmp_path_factory) -> Path:
    """A folder with one of every kind of file."""
    folder = tmp_path_factory.mktemp("desk")
    soundfile.write(folder / "me.wav", buzz(1.5), 16_000)
    (folder / "noise.wav").write_bytes(bytes(range(256)) * 20)
    shutil.copy(whole_model / "voices" / "ann.safetensors", folder / "v.safetensors")
    (folder / "list.txt").write_text("Hi there.\nIt costs $5.\n")
    (folder / "list.jsonl").write_text('{"id": "a", "text": "Hi.", "voice": "ann"}\n{"text": 3}\n')
    (folder / "list.csv").write_text("id,text,seed\na,Hi.,1\nb,Ho.,2\n")
    (folder / "bad.txt").write_bytes(b"\x00\xff" * 99)
    (folder / "m.jsonl").write_text('{"id": "a", "audio": "me.wav", "text": "hi.", "seconds": 1}\n')
    recipe = tiny_recipe(Path("codes"), Path("run")).model_dump(mode="json")
    (folder / "r.yaml").write_text(json.dumps(recipe))
    (folder / "voices.yaml").write_text("ann: her\n")
    for name in ("folder", "in"):
        (folder / name).mkdir()
    shutil.copy(folder / "me.wav", folder / "in" / "a.wav")
    (folder / "in" / "a.txt").write_text("This is a buzz of a bee.\n")
    (folder / "toy").symlink_to(whole_model)
    tokenize_manifest(
        folder / "m.jsonl", folder / "codes", load_tokenizer(whole_model / "tokenizer")
    )
    return folder


def call(line: list[str]) -> tuple[int, bytes, str]:
    """The exit status, and what was said on both channels; anything but an exit is an error."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Hi from a pipe.\n")))
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        with pytest.raises(SystemExit) as stop:
            main(line)
    out.flush()
    return stop.value.code, out.buffer.getvalue(), err.getvalue()


def given(line: list[str], *names: str) -> str | None:
    """The last value of an option, as far as that can be told without a parser."""
    places = [i for i, word in enumerate(line[:-1]) if word in names]
    return line[places[-1] + 1] if places else None


def check_done(line: list[str], out: bytes) -> None:
    """What a verb that ends with 0 has made is there."""
    if not line or {"--help", "-h", "--version", "--show-text"} & set(line):
        assert out.strip()
    elif line[0] == "batch":
        if "--dry-run" not in line:
            manifest = Path(given(line, "--output", "-o")) / "manifest.jsonl"
            rows = [json.loads(row) for row in manifest.read_text().splitlines()]
            assert rows and all(row["status"] == "ok" for row in rows)
    elif line[0] == "tts":
        output = given(line, "--output", "-o") or "speech.wav"
        assert len(out) > 40 if output == "-" else soundfile.info(output).frames
    elif line[:2] == ["voices", "make"]:
        assert Voice.load(given(line, "--output", "-o"))
    elif line[0] == "tokenize":
        assert CodeShards(given(line, "--output", "-o"), given(line, "--split") or "train")
    elif line[0] == "prepare":
        assert (Path(given(line, "--output", "-o")) / "manifest.jsonl").stat().st_size
    elif line[0] == "train":
        assert load_yaml("r.yaml")
    elif line[0] in ("info", "voices", "tokenizers", "bench", "eval"):
        assert out.strip()


@both_sizes
def test_command_lines(many, desk, whole_model, tmp_path, monkeypatch):
    replace_work(monkeypatch, whole_model)
    here = tmp_path / "here"

    def holds(line: list[str]) -> None:
        shutil.copytree(desk, here, symlinks=True)
        os.chdir(here)
        try:
            code, out, err = call(line)
            assert "Traceback" not in err
            if code == 0:
                assert "error: " not in err
                check_done(line, out)
            elif code == 2:
                lines = err.splitlines()
                assert lines[-1].startswith("error: ") and len(lines[-1]) < 1500
                assert lines[:-1] == [] or lines[0].startswith("first audio after ")
            else:
                assert code == 1 and line[0] == "batch"
            assert [path for path in here.rglob(".*.part")] == []
        finally:
            os.chdir(tmp_path)
            shutil.rmtree(here)

    monkeypatch.chdir(tmp_path)
    check(many, 4000, command_lines(), holds)


def test_every_verb_is_among_them():
    assert {path for path, _ in VERBS} >= {
        ("tts",),
        ("voices", "make"),
        ("eval", "all"),
        ("train",),
    }

"""Lists and manifests that are missing, empty, binary or malformed: the line is named."""

import json
from pathlib import Path

import pytest

LISTS = {
    "none.txt": (None, "input 'none.txt': no such file; give a list"),
    "empty.txt": (b"", "input 'empty.txt': has no items"),
    "blank.jsonl": (b"\n \n", "has no items"),
    "header.csv": (b"id,text\n", "has no items"),
    "binary.txt": (bytes(range(256)) * 9, "is binary; give a list as UTF-8 text"),
    "binary.csv": (b"\x7fELF\x02\x01\x01" + bytes(900), "is binary"),
    "column.csv": (b"id,words\na,Hi.\n", "has no column 'text', only 'id', 'words'"),
    "latin.csv": (b"id,t\xe9xt\na,b\n", "line 1: byte 5 is not UTF-8"),
    "kind.xml": (b"<a/>", "not a kind of list; choose one of: .csv, .jsonl, .txt"),
    "folder.txt": (Path, "no such file"),
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_that_cannot_be_begun(refused, whole_model, name):
    content, says = LISTS[name]
    if content is Path:
        Path(name).mkdir()
    elif content is not None:
        Path(name).write_bytes(content)
    refused("batch", name, "-o", "out", "-m", whole_model, says=says)


LINES = {
    "a.txt": (b"Hi.\n\xff\xfe\nHi.\n", 2, "byte 1 is not UTF-8; convert the list with iconv"),
    "b.txt": (b"Hello.\n" * 9 + b"H\0i.\n", 10, "is binary; write text"),
    "c.txt": (b"Hi.\n" + b"a" * (5 << 20) + b"\nHi.\n", 2, "is longer than 4 MiB; split it"),
    "a.jsonl": (b'{"text": "Hi."}\n{"text": \n', 2, "not valid JSON"),
    "b.jsonl": (b'{"text": "Hi."}\n\n["Hi."]\n', 3, "not a JSON object"),
    "c.jsonl": (b'{"text": "Hi."}\n{"text": 3}\n', 2, "text 3: must be a text"),
    "d.jsonl": (b'{"text": "Hi."}\n' + b"[" * 100_000 + b"\n", 2, "not valid JSON"),
    "e.jsonl": (b'{"text": "Hi.", "id": "../x"}\n{"text": "Hi."}\n', 1, "leave out slashes"),
    "f.jsonl": (b'{"text": "Hi.", "seed": -1}\n{"text": "Hi."}\n', 1, "seed -1: must be"),
    "a.csv": (b'text,seed\nHi.,1\n"Hi.,2\n', 3, "close its quotes"),
    "b.csv": (b"text,seed\nHi.,1\nHi,no,2\n", 3, "3 fields, not 2"),
}


@pytest.mark.parametrize("name", LINES)
def test_a_line_that_will_not_do_is_named_and_the_rest_is_said(run, whole_model, capsys, name):
    content, line, says = LINES[name]
    Path(name).write_bytes(content)
    batch = ("batch", name, "-o", "out", "-m", whole_model)
    assert run(*batch, "--dry-run") == 1
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith(f"{name} line {line}: ") and says in told[0]
    assert run(*batch) == 1
    rows = [json.loads(row) for row in Path("out/manifest.jsonl").read_text().splitlines()]
    failed = [row for row in rows if row["status"] == "failed"]
    assert [row["line"] for row in failed] == [line] and says in failed[0]["error"]
    assert len(rows) > 1


ROW = b'{"id": "a", "audio": "a.wav", "text": "hi."}\n'
MANIFESTS = {
    "none": (None, "not found; give a JSONL file or a corpus folder"),
    "empty": (b"", "no utterances"),
    "binary": (bytes(range(256)), ":1: invalid JSON"),
    "utf-16": ("\ufeff{}".encode("utf-16"), ":1: invalid JSON"),
    "latin-1": (ROW + ROW.replace(b"hi", b"h\xe9"), ":2: invalid JSON"),
    "torn": (ROW + ROW[:20], ":2: invalid JSON"),
    "list": (ROW + b"\n[1]\n", ":3: "),
    "lacks": (ROW + b'{"id": "a"}\n', ":2: 'audio': "),
    "number": (ROW + ROW.replace(b'"hi."', b"3"), ":2: 'text': input should be a valid string"),
    "times": (ROW[:-2] + b', "chars": [1, "x"]}', ":1: 'chars.1': "),
    "nan": (ROW[:-2] + b', "seconds": NaN}', ":1: 'seconds': input should be a finite number"),
    "long": (b"a" * (20 << 20), "line 1 is over 16 MiB; it is no list of rows"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests(refused, whole_model, name):
    content, says = MANIFESTS[name]
    if content is not None:
        Path("m.jsonl").write_bytes(content)
    refused("tokenize", "m.jsonl", "-o", "codes", "-t", whole_model, says=says)


def test_a_recording_of_a_manifest_that_is_not_there_is_named(run, whole_model, capsys):
    Path("m.jsonl").write_bytes(ROW)
    assert run("tokenize", "m.jsonl", "-o", "codes", "-t", whole_model) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: audio 'a.wav': no such file") and err.count("\n") == 1
    assert {path.name for path in Path("codes").iterdir()} == {".lock", "tokenizer_spec.json"}


RECIPES = {
    "none": (None, "no such file; give the path of a YAML file"),
    "empty": (b"", "must hold 'key: value' lines"),
    "binary": (b"\x00\xff" * 20, "not valid YAML"),
    "tabs": (b"a:\n\t- b\n", "not valid YAML"),
    "date": (b"output: 2020-99-99\n", "not valid YAML (month must be in 1..12)"),
    "python": (b"output: !!python/object/apply:os.system [echo]\n", "not valid YAML"),
    "circle": (b"extends: r.yaml\n", "extends itself; break the circle"),
    "deep": (b"[" * 100_000, "not valid YAML"),
    "key": (b"output: x\nouput: y\ndata: {shards: x}\nmodel: {}\n", "did you mean 'output'?"),
    "value": (b"output: x\ndata: {shards: x}\noptim: {max_steps: many}\n", "'optim.max_steps' is"),
    "vast": (b"output: x\ndata: {shards: " + b"x" * 9999 + b"}\noptim: 1\n", "key 'optim' is 1"),
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes(refused, name):
    content, says = RECIPES[name]
    if content is not None:
        Path("r.yaml").write_bytes(content)
    refused("train", "r.yaml", says=says)


@pytest.mark.xfail(strict=True, raises=UnicodeDecodeError, reason="eval reads lists by itself")
def test_lists_to_evaluate(refused, whole_model):
    Path("a.txt").write_bytes(b"Hi.\n\xff\n")
    says = "a.txt:2: "
    refused(
        *("eval", "intelligibility", "-m", "a.txt", "-o", "out", "--systems", "tts"),
        *("--model", whole_model),
        says=says,
    )

"""Lists and manifests that are missing, empty, binary or malformed: the line is named."""

import json
from pathlib import Path

import pytest
from helpers.errors import error_code

LISTS = {
    "none.txt": (None, "not_found: 'none.txt'"),
    "empty.txt": (b"", "empty: 'empty.txt'"),
    "blank.jsonl": (b"\n \n", "empty: "),
    "header.csv": (b"id,text\n", "empty: "),
    "binary.txt": (bytes(range(256)) * 9, "invalid_value: 'binary.txt'"),
    "binary.csv": (b"\x7fELF\x02\x01\x01" + bytes(900), "invalid_value: "),
    "column.csv": (b"id,words\na,Hi.\n", "missing: 'words'"),
    "latin.csv": (b"id,t\xe9xt\na,b\n", "invalid_value: line 1"),
    "kind.xml": (b"<a/>", "invalid_value: "),
    "folder.txt": (Path, "not_found: "),
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
    "a.txt": (b"Hi.\n\xff\xfe\nHi.\n", 2, "byte 1"),
    "b.txt": (b"Hello.\n" * 9 + b"H\0i.\n", 10, "binary"),
    "c.txt": (b"Hi.\n" + b"a" * (5 << 20) + b"\nHi.\n", 2, "4 MiB"),
    "a.jsonl": (b'{"text": "Hi."}\n{"text": \n', 2, "JSON"),
    "b.jsonl": (b'{"text": "Hi."}\n\n["Hi."]\n', 3, "JSON"),
    "c.jsonl": (b'{"text": "Hi."}\n{"text": 3}\n', 2, "text 3"),
    "d.jsonl": (b'{"text": "Hi."}\n' + b"[" * 100_000 + b"\n", 2, "JSON"),
    "e.jsonl": (b'{"text": "Hi.", "id": "../x"}\n{"text": "Hi."}\n', 1, "id '../x'"),
    "f.jsonl": (b'{"text": "Hi.", "seed": -1}\n{"text": "Hi."}\n', 1, "seed -1"),
    "a.csv": (b'text,seed\nHi.,1\n"Hi.,2\n', 3, "CSV"),
    "b.csv": (b"text,seed\nHi.,1\nHi,no,2\n", 3, "3 fields, not 2"),
}


@pytest.mark.parametrize("name", LINES)
def test_an_invalid_line_is_named_and_the_others_are_synthesized(run, whole_model, capsys, name):
    content, line, named = LINES[name]
    Path(name).write_bytes(content)
    batch = ("batch", name, "-o", "out", "-m", whole_model)
    assert run(*batch, "--dry-run") == 1
    printed = capsys.readouterr().err.splitlines()
    assert printed[0].startswith(f"{name} line {line}: ") and named in printed[0]
    assert run(*batch) == 1
    rows = [json.loads(row) for row in Path("out/manifest.jsonl").read_text().splitlines()]
    failed = [row for row in rows if row["status"] == "failed"]
    assert [row["line"] for row in failed] == [line] and named in failed[0]["error"]
    assert len(rows) > 1


ROW = b'{"id": "a", "audio": "a.wav", "text": "hi."}\n'
MANIFESTS = {
    "none": (None, "not_found: "),
    "empty": (b"", "empty: "),
    "binary": (bytes(range(256)), "damaged: :1"),
    "utf-16": ("\ufeff{}".encode("utf-16"), "damaged: :1"),
    "latin-1": (ROW + ROW.replace(b"hi", b"h\xe9"), "damaged: :2"),
    "torn": (ROW + ROW[:20], "damaged: :2"),
    "list": (ROW + b"\n[1]\n", "damaged: :3"),
    "lacks": (ROW + b'{"id": "a"}\n', "damaged: 'audio'"),
    "number": (ROW + ROW.replace(b'"hi."', b"3"), "damaged: 'text'"),
    "times": (ROW[:-2] + b', "chars": [1, "x"]}', "damaged: 'chars.1'"),
    "nan": (ROW[:-2] + b', "seconds": NaN}', "damaged: 'seconds'"),
    "long": (b"a" * (20 << 20), "wrong_length: line 1"),
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
    assert error_code(err) == "not_found" and "audio 'a.wav'" in err and err.count("\n") == 1
    assert {path.name for path in Path("codes").iterdir()} == {".lock", "tokenizer_spec.json"}


RECIPES = {
    "none": (None, "not_found: "),
    "empty": (b"", "invalid_value: 'key: value'"),
    "binary": (b"\x00\xff" * 20, "invalid_value: "),
    "tabs": (b"a:\n\t- b\n", "invalid_value: "),
    "date": (b"output: 2020-99-99\n", "invalid_value: 1..12"),
    "python": (b"output: !!python/object/apply:os.system [echo]\n", "invalid_value: "),
    "circle": (b"extends: r.yaml\n", "invalid_value: "),
    "deep": (b"[" * 100_000, "invalid_value: "),
    "key": (b"output: x\nouput: y\ndata: {shards: x}\nmodel: {}\n", "unknown_name: 'output'"),
    "value": (
        b"output: x\ndata: {shards: x}\noptim: {max_steps: many}\n",
        "invalid_value: 'optim.max_steps'",
    ),
    "vast": (
        b"output: x\ndata: {shards: " + b"x" * 9999 + b"}\noptim: 1\n",
        "invalid_value: 'optim'",
    ),
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes(refused, name):
    content, says = RECIPES[name]
    if content is not None:
        Path("r.yaml").write_bytes(content)
    refused("train", "r.yaml", says=says)


def test_lists_of_test_sentences(refused, whole_model):
    Path("a.txt").write_bytes(b"Hi.\n\xff\n")
    command = ("eval", "intelligibility", "-m", "a.txt", "-o", "out", "--systems", "tts")
    refused(*command, "--model", whole_model, says="invalid_value: line 2")

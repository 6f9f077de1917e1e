"""The readers of lists: every line becomes an item, and a bad one says where and why."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.errors import raises_input_error

from vocalmtp.batch.items import Item, read_items
from vocalmtp.data.text_lists import guess_kind, survey


@pytest.fixture
def read(tmp_path) -> Callable[[str, bytes | str], list[Item]]:
    def call(name: str, content: bytes | str) -> list[Item]:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        found = list(read_items(path))
        assert survey(path).items >= len(found)
        return found

    return call


def test_a_text_file_is_one_item_a_line(read):
    items = read("a.txt", b"\xef\xbb\xbfOne.\r\n\n  Two. \n\t\nThree.")
    assert [(i.line, i.id, i.text) for i in items] == [
        (1, "000001", "One."),
        (3, "000003", "Two."),
        (5, "000005", "Three."),
    ]


def test_jsonl_has_its_fields_and_keeps_the_others(read):
    items = read(
        "a.jsonl",
        '{"id": "a", "text": "One.", "voice": "ann", "seed": 3, "temperature": 0.5, "book": [1]}\n'
        '{"text": "Two."}\n\n{"id": 7, "text": "Three.", "voice": null}\n',
    )
    assert items[0] == Item(
        line=1, id="a", text="One.", voice="ann", seed=3, temperature=0.5, extra={"book": [1]}
    )
    assert [(i.line, i.id, i.voice) for i in items[1:]] == [(2, "000002", None), (4, "7", None)]


def test_csv_has_the_same_fields(read):
    items = read(
        "a.csv",
        "id,text,voice,seed,temperature,book\r\n"
        'a,"One, and ""more"".",ann,3,.5,x\r\n'
        '\r\nb,"Two\nlines.",,,,\r\nc,Three.,,,,\r\n',
    )
    assert items[0] == Item(
        line=2,
        id="a",
        text='One, and "more".',
        voice="ann",
        seed=3,
        temperature=0.5,
        extra={"book": "x"},
    )
    assert [(i.line, i.id, i.text, i.seed) for i in items[1:]] == [
        (4, "b", "Two\nlines.", None),
        (6, "c", "Three.", None),
    ]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (b'{"text": "One."', "JSON"),
        (b"[" * 100_000, "JSON"),
        (b'"One."', "JSON"),
        (b'{"id": "a"}', "text"),
        (b'{"text": 3}', "text 3"),
        (b'{"text": "a", "seed": "x"}', "seed 'x'"),
        (b'{"text": "a", "seed": 1.5}', "seed 1.5"),
        (b'{"text": "a", "seed": true}', "seed True"),
        (b'{"text": "a", "seed": -1}', "seed -1"),
        (b'{"text": "a", "seed": 9223372036854775808}', "seed 9223372036854775808"),
        (b'{"text": "a", "temperature": NaN}', "NaN"),
        (b'{"text": "a", "book": 1e999}', "1e999"),
        (b'{"text": "a", "temperature": "hot"}', "temperature 'hot'"),
        (b'{"text": "a", "temperature": -1}', "temperature -1"),
        (b'{"text": "a", "voice": 3}', "voice 3"),
        (b'{"text": "a", "language": ""}', "language ''"),
        (b'{"text": "a", "instruction": "Whisper."}', "did you mean 'instructions'"),
        (b'{"text": "a", "id": "../x"}', "id '../x'"),
        (b'{"text": "a", "id": "/x"}', "id '/x'"),
        (b'{"text": "a", "id": "a\\\\b"}', "id "),
        (b'{"text": "a", "id": ""}', "id ''"),
        (b'{"text": "a", "id": "a\\u0000"}', "id "),
        (b'{"text": "a", "id": "\\ud800"}', "id "),
        (b'{"text": "a", "id": ".lock"}', "id '."),
        (b'{"text": "a", "id": ".."}', "id '."),
        (b'{"text": "a", "id": "%s"}' % (b"x" * 201), "id 'xxx"),
        (b'{"text": "a", "id": "first"}', "id 'first'"),
        (b'{"text": "caf\xe9"}', "byte 14"),
        (b'{"text": "a\x00"}', "binary"),
        (b'{"text": "%s"}' % (b"x" * (1 << 22)), "4 MiB"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_an_error_names_its_line_and_field_and_spares_the_other_lines(read, line, named):
    first, bad, last = read("a.jsonl", b'{"text": "a", "id": "first"}\n%s\n{"text": "b"}' % line)
    assert (first.error, last.error, last.line) == (None, None, 3)
    assert "a.jsonl line 2: " in bad.error and named in bad.error
    assert "\n" not in bad.error and len(bad.error) < 300


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a,b,c", "3 fields, not 2; put a text with commas in quotes"),
        ("a", "1 fields, not 2"),
        ('a,"no end', "not valid CSV"),
        ('a,"quoted" badly', "not valid CSV"),
    ],
)
def test_a_bad_csv_record_costs_one_line(read, line, message):
    items = read("a.csv", f'seed,text\n1,One.\n{line}\n2,"Two."\n3,Three "inches".\n')
    assert [i.line for i in items] == [2, 3, 4, 5]
    assert message in items[1].error and "a.csv line 3: " in items[1].error
    assert [i.text for i in items if not i.error] == ["One.", "Two.", 'Three "inches".']


def test_csv_numbers_are_checked_like_others(read):
    items = read("a.csv", "text,seed,temperature\na,x,\nb,,nan\nc,1.0,\n")
    assert ["seed 'x'" in items[0].error, "temperature nan" in items[1].error] == [True, True]
    assert "seed '1.0'" in items[2].error


def test_a_line_number_and_an_id_may_clash(read):
    items = read("a.jsonl", '{"id": "000002", "text": "a"}\n{"text": "b"}\n')
    assert items[0].error is None and "id '000002'" in items[1].error


@pytest.mark.parametrize(
    ("name", "content", "code", "named"),
    [
        ("none.txt", None, "not_found", "none.txt"),
        ("a.txt", b"", "empty", "a.txt"),
        ("a.txt", b"\n \n", "empty", "a.txt"),
        ("a.csv", b"id,text\n", "empty", "a.csv"),
        ("a.txt", b"RIFF\0\0\0\0WAVE", "invalid_value", "a.txt"),
        ("a.xml", b"a", "invalid_value", ".csv, .jsonl, .tsv, .txt"),
        ("a.json", b"a", "invalid_value", "'.jsonl'"),
        ("a", b"a", "invalid_value", "a"),
        ("a.csv", b"id,txt\na,b\n", "missing", "'id', 'txt'"),
        ("a.csv", b"text,text\na,b\n", "invalid_value", "column 'text'"),
        ("a.csv", b'text,"\na,b\n', "invalid_value", "line 1"),
    ],
)
def test_an_invalid_list_is_refused(tmp_path, name, content, code, named):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with raises_input_error(code, key="input", names=named):
        survey(path)


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv"])
def test_memory_does_not_grow_with_the_list(tmp_path, kind):
    path: Path = tmp_path / f"a.{kind}"
    line = {"txt": "a text\n", "jsonl": '{"text": "a text"}\n', "csv": "a text,\n"}[kind]
    path.write_text("text,seed\n" + line * 20_000 if kind == "csv" else line * 20_000)
    tracemalloc.start()
    count = sum(1 for _ in read_items(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 20_000
    assert peak < (1 << 20 if kind == "txt" else 5 << 20)  # ids are remembered, as hashes


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ('{"text": "a", "vioce": "ann"}', "voice"),
        ('{"Text": "a"}', "text"),
        ('{"txt": "a"}', "text"),
        ('{"text": "a", "Speed": 2}', "speed"),
        ('{"text": "a", "speeed": 2}', "speed"),
        ('{"text": "a", "temprature": 2}', "temperature"),
        ('{"text": "a", "Seed": 2}', "seed"),
        ('{"text": "a", "ID": 2}', "id"),
    ],
)
def test_a_misspelt_field_is_named(read, line, meant):
    [item] = read("a.jsonl", line)
    assert item.code == "unknown_name" and f"'{meant}'" in item.error


@pytest.mark.parametrize("name", ["voices", "texts", "ids", "page", "context", "speech", "seeds"])
def test_fields_of_ones_own_are_kept(read, name):
    every = '"id": "a", "text": "b", "voice": "ann", "seed": 1, "temperature": 1, "speed": 1'
    [item] = read("a.jsonl", f'{{{every}, "{name}": 5}}')
    assert (item.error, item.extra) == (None, {name: 5})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_of_other_programs(read, encoding, delimiter):
    content = 'id,text,speed\r\na,"He said ""5"",\r\nthen\u2026 left",1.5\r\nb,"No",\r\n'
    mark = "\ufeff" if encoding[-2:] in ("le", "be") else ""
    items = read("a.csv", (mark + content.replace(",", delimiter)).encode(encoding))
    assert [item.error for item in items] == [None, None]
    assert items[0].text.splitlines() == [f'He said "5"{delimiter}', "then\u2026 left"]
    assert [item.speed for item in items] == [1.5, None]


def test_tabs_in_a_tsv_file(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("id\ttext\na\tHi, you.\n")
    assert [(item.id, item.text) for item in read_items(path)] == [("a", "Hi, you.")]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf", b"\xff\xfe"])
def test_a_csv_file_without_a_header_is_refused(tmp_path, content):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with raises_input_error("missing", "input", "a.csv"):
        list(read_items(path))


@pytest.mark.parametrize("speed", ["9", "0", "-1", '"fast"', "true", "NaN"])
def test_an_invalid_speed_is_named(read, speed):
    [item] = read("a.jsonl", f'{{"text": "a", "speed": {speed}}}')
    assert item.error is not None


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ('{"text": "a"}', ".jsonl"),
        ("id,text\n1,a", ".csv"),
        ("text;id\na;1", ".csv"),
        ("text\na", ".txt"),
        ("Hello, text me.\nNo.", ".txt"),
        ("", ".txt"),
    ],
)
def test_the_kind_of_a_list_is_guessed(content, kind):
    assert guess_kind(content) == kind

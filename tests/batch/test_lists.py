"""The readers of lists: every line becomes an item, and a bad one says where and why."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from vocalmtp.batch.items import Item, read_items
from vocalmtp.data.text_lists import survey
from vocalmtp.errors import InputError


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
    ("line", "message"),
    [
        (b'{"text": "One."', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'"One."', 'not a JSON object; write {"text": "..."}'),
        (b'{"id": "a"}', "text: is missing"),
        (b'{"text": 3}', "text 3: must be a text"),
        (b'{"text": "a", "seed": "x"}', "seed 'x': must be a whole number"),
        (b'{"text": "a", "seed": 1.5}', "seed 1.5: must be a whole number"),
        (b'{"text": "a", "seed": true}', "seed True"),
        (b'{"text": "a", "seed": -1}', "seed -1"),
        (b'{"text": "a", "seed": 9223372036854775808}', "seed 9223372036854775808"),
        (b'{"text": "a", "temperature": NaN}', "NaN is no number"),
        (b'{"text": "a", "book": 1e999}', "1e999 is no number"),
        (b'{"text": "a", "temperature": "hot"}', "temperature 'hot': must be a number"),
        (b'{"text": "a", "temperature": -1}', "temperature -1"),
        (b'{"text": "a", "voice": 3}', "voice 3: must be a voice's name"),
        (b'{"text": "a", "id": "../x"}', "id '../x': must be a file's name"),
        (b'{"text": "a", "id": "/x"}', "id '/x'"),
        (b'{"text": "a", "id": "a\\\\b"}', "must be a file's name"),
        (b'{"text": "a", "id": ""}', "id '': must be a text"),
        (b'{"text": "a", "id": "a\\u0000"}', "must be a file's name"),
        (b'{"text": "a", "id": "\\ud800"}', "must be a file's name"),
        (b'{"text": "a", "id": ".lock"}', "begins with a dot"),
        (b'{"text": "a", "id": ".."}', "begins with a dot"),
        (b'{"text": "a", "id": "%s"}' % (b"x" * 201), "is too long"),
        (b'{"text": "a", "id": "first"}', "id 'first': is there twice"),
        (b'{"text": "caf\xe9"}', "byte 14 is not UTF-8; convert the list with iconv"),
        (b'{"text": "a\x00"}', "is binary"),
        (b'{"text": "%s"}' % (b"x" * (1 << 22)), "is longer than 4 MiB"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_bad_line_names_its_number_and_spares_the_others(read, line, message):
    first, bad, last = read("a.jsonl", b'{"text": "a", "id": "first"}\n%s\n{"text": "b"}' % line)
    assert (first.error, last.error, last.line) == (None, None, 3)
    assert "a.jsonl line 2: " in bad.error and message in bad.error
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
    assert items[0].error is None and "'000002': is there twice" in items[1].error


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.txt", None, "no such file"),
        ("a.txt", b"", "has no items"),
        ("a.txt", b"\n \n", "has no items"),
        ("a.csv", b"id,text\n", "has no items"),
        ("a.txt", b"RIFF\0\0\0\0WAVE", "is binary"),
        ("a.xml", b"a", "not a kind of list; choose one of: .csv, .jsonl, .txt"),
        ("a.json", b"a", "did you mean '.jsonl'?"),
        ("a", b"a", "not a kind of list"),
        ("a.csv", b"id,txt\na,b\n", "has no column 'text', only 'id', 'txt'"),
        ("a.csv", b"text,text\na,b\n", "column 'text': give each a name of its own"),
        ("a.csv", b'text,"\na,b\n', "line 1: not valid CSV"),
    ],
)
def test_a_list_that_is_wrong_as_a_whole_is_refused(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="^input '") as error:
        survey(path)
    assert message in str(error.value)


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

"""Texts that nobody should have typed."""

import io
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has nothing to say"),
        (" \t\n", "has nothing to say"),
        ("\x00\x01\x1b\x7f", "has nothing to say"),
        ("\U0001f600 \U0001f680\u2764\ufe0f", "has nothing to say"),
        ("\u3053\u3093\u306b\u3061\u306f", "cannot read '\u3053' (hiragana letter ko)"),
        ("\u0645\u0631\u062d\u0628\u0627", "cannot read"),
        ("\u05e9\u05dc\u05d5\u05dd, hello", "cannot read"),
        ("\udcff\udcfe", "has nothing to say"),
        ("\u0301" * 2000, "has nothing to say"),
        ("antidis" * 200, "has a word of some 1401 letters; put spaces into it"),
    ],
)
def test_what_cannot_be_said(refused, whole_model, text, says):
    refused("tts", text, "-o", "a.wav", "-m", whole_model, says=says)


@pytest.mark.parametrize("text", ["Hi\x07 there\x00.", "\u202eHi there.\u202c", "\ufeffHi there."])
def test_signs_that_are_not_heard_are_left_out(run, whole_model, capsys, text):
    assert run("tts", text, "--show-text") == 0
    assert capsys.readouterr().out == "hi there.\n"


def test_a_megabyte_is_read_to_its_end(run, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("This is a sentence of ours. " * 36_000))
    assert run("tts", "-", "--show-text") == 0
    assert capsys.readouterr().out.count("this is a sentence of ours.") == 36_000


def test_a_megabyte_of_one_word_is_refused(refused, whole_model, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("a" * 1_000_000))
    refused("tts", "-", "-m", whole_model, says="put spaces into it")


def test_an_endless_pipe_is_refused(refused, monkeypatch):
    class Endless(io.StringIO):
        def read(self, size: int = -1) -> str:
            assert 0 < size < 1 << 25
            return "a" * size

    monkeypatch.setattr(sys, "stdin", Endless())
    refused("tts", "-", says="text '-': is longer than 16 million letters")


def test_a_pipe_that_is_no_text_is_refused(refused, monkeypatch):
    binary = io.TextIOWrapper(io.BytesIO(b"\xff\xfe\x00"), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", binary)
    refused("tts", "-", says="standard input is not UTF-8")


def test_a_name_that_is_no_text_is_printed(run, whole_model, capfd):
    name = "caf\udce9.wav"  # as the system hands over a name in Latin-1
    assert run("tts", "Hi.", "-o", name, "-m", whole_model) == 0
    assert Path(name).is_file()
    assert "caf\\udce9.wav: " in capfd.readouterr().err


def test_a_group_without_a_verb_says_so(run, capsys):
    assert run("eval") == 2
    captured = capsys.readouterr()
    assert captured.err == "error: verb: is missing; choose one of those above\n"
    assert "intelligibility" in captured.out

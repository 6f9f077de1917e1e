"""Texts that are empty, unreadable or endless."""

import io
import sys
from pathlib import Path

import pytest
from helpers.command_line import pipe_in
from helpers.errors import error_code


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty: "),
        (" \t\n", "empty: "),
        ("\x00\x01\x1b\x7f", "empty: "),
        ("\U0001f600 \U0001f680\u2764\ufe0f", "empty: "),
        ("\u3053\u3093\u306b\u3061\u306f", "unsupported: 'こ'"),
        ("\u0645\u0631\u062d\u0628\u0627", "unsupported: "),
        ("\u05e9\u05dc\u05d5\u05dd, hello", "unsupported: "),
        ("\udcff\udcfe", "invalid_value: "),
        ("\u0301" * 2000, "empty: "),
        ("antidis" * 200, "wrong_length: 1401"),
    ],
)
def test_what_cannot_be_said(refused, whole_model, text, says):
    refused("tts", text, "-o", "a.wav", "-m", whole_model, says=says)


@pytest.mark.parametrize("text", ["Hi\x07 there\x00.", "\u202eHi there.\u202c", "\ufeffHi there."])
def test_signs_that_are_not_heard_are_left_out(run, whole_model, capsys, text):
    assert run("tts", text, "--show-text") == 0
    assert capsys.readouterr().out == "hi there.\n"


def test_a_megabyte_is_read_to_its_end(run, monkeypatch, capsys):
    pipe_in(monkeypatch, b"This is a sentence of ours. " * 36_000)
    assert run("tts", "-", "--show-text") == 0
    assert capsys.readouterr().out.count("this is a sentence of ours.") == 36_000


def test_a_megabyte_of_one_word_is_refused(refused, whole_model, monkeypatch):
    pipe_in(monkeypatch, b"a" * 1_000_000)
    refused("tts", "-", "-m", whole_model, says="wrong_length: ")


def test_an_endless_pipe_is_refused(refused, monkeypatch):
    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:
            buffer[:] = b"a" * len(buffer)
            return len(buffer)

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Endless())))
    refused("tts", "-", says="wrong_length: '-'")


def test_a_pipe_that_is_no_text_is_refused(refused, monkeypatch):
    pipe_in(monkeypatch, b"\xff\xfe\x00")
    refused("tts", "-", says="invalid_value: 8")


def test_a_name_that_is_no_text_is_printed(run, whole_model, capfd):
    name = "caf\udce9.wav"  # as the system hands over a name in Latin-1
    assert run("tts", "Hi.", "-o", name, "-m", whole_model) == 0
    assert Path(name).is_file()
    assert "caf\\udce9.wav: " in capfd.readouterr().err


def test_a_group_without_a_verb_says_so(run, capsys):
    assert run("eval") == 2
    captured = capsys.readouterr()
    assert error_code(captured.err) == "missing"
    assert "intelligibility" in captured.out

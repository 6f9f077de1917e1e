"""`vocalmtp chat` with a recording, from file to file."""

import sys

import numpy as np
import pytest
from helpers.chat_fakes import QUESTION

import vocalmtp
from vocalmtp.audio.io import read_audio
from vocalmtp.cli import main
from vocalmtp.evaluation.intelligibility import word_errors


@pytest.fixture(scope="module")
def question(tmp_path_factory):
    path = tmp_path_factory.mktemp("chat") / "question.wav"
    return vocalmtp.load("mini")(QUESTION, greedy=True).save(path)


def test_a_recorded_question_is_heard_and_answered_aloud(question, tmp_path, capsys):
    output = tmp_path / "answer.wav"
    main_or_exit("chat", "--input", str(question), "--output", str(output), "--voice", "slt")
    printed = capsys.readouterr()
    heard, answer = printed.out.splitlines()
    assert heard.startswith("you: ")
    assert word_errors(QUESTION, heard.removeprefix("you: ")).rate <= 0.5
    assert answer.removeprefix("answer: ") == heard.removeprefix("you: ")  # the echo
    assert "answers: echo; ear: pocketsphinx" in printed.err
    samples = read_audio(output, 16_000)
    assert 0.5 < len(samples) / 16_000 < 10
    assert np.abs(samples).max() > 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "q.wav"], "belong together"),
        (["--terminal", "--input", "q.wav", "-o", "a.wav"], "does not go with"),
        (["--input", "none.wav", "-o", "a.wav"], "no such file"),
        (["--terminal", "--llm", "nowhere"], "no such folder"),
        (["--terminal", "--ear", "nowhere"], "no such recognizer"),
        (["--terminal", "--llm", "http://host"], "--llm-model"),
        (["--terminal", "--role", "captain", "--voice", "slt"], "has its own"),
        (["--terminal", "--role", "captain", "--system", "Be."], "has its own"),
        (["--terminal", "--role", "captian"], "captain"),
        (["--terminal", "--barge-in", "-1"], "barge_in"),
        (["--terminal", "--port", "80"], "port '80': is for the page"),
        (["--host", "no.such.host.invalid"], "host 'no.such.host.invalid': is no address"),
    ],
)
def test_what_is_wrong_is_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["chat", *arguments])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["gradio", "fastapi", "uvicorn", "websockets"])
def test_the_page_names_the_extra_that_it_needs(name, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SystemExit, match="2"):
        main(["chat"])
    assert f"package '{name}'" in (said := capsys.readouterr().err) and "vocalmtp[demo]" in said


def main_or_exit(*arguments: str) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(arguments)

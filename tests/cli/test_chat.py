"""`vocalmtp chat` with a recording, from file to file, and its checks of options."""

import sys

import numpy as np
import pytest
from helpers.chat_fakes import QUESTION
from helpers.errors import error_code

import vocalmtp
from vocalmtp.audio.io import read_audio
from vocalmtp.cli import main
from vocalmtp.evaluation.scoring import word_errors


@pytest.fixture(scope="module")
def question(tmp_path_factory):
    path = tmp_path_factory.mktemp("chat") / "question.wav"
    return vocalmtp.load("mini")(QUESTION, greedy=True).save(path)


def test_recorded_question_is_transcribed_and_answered(question, tmp_path, capsys):
    output = tmp_path / "answer.wav"
    with pytest.raises(SystemExit, match="0"):
        main(["chat", "--input", str(question), "--output", str(output), "--voice", "heart"])
    printed = capsys.readouterr()
    user, answer = printed.out.splitlines()
    assert user.startswith("you: ")
    assert word_errors(QUESTION, user.removeprefix("you: ")).rate <= 0.5
    assert answer.removeprefix("answer: ") == user.removeprefix("you: ")  # the echo
    assert "answers: echo; recognizer: pocketsphinx" in printed.err
    assert "vocalmtp get smollm2-135m whisper-tiny.en" in printed.err
    samples = read_audio(output, 16_000)
    assert 0.5 < len(samples) / 16_000 < 10
    assert np.abs(samples).max() > 0.05


def test_failing_llm_fails_the_command_and_writes_the_apology(question, tmp_path, capsys):
    output = tmp_path / "answer.wav"
    llm = ["--llm", "http://127.0.0.1:9/v1", "--llm-model", "any"]
    with pytest.raises(SystemExit, match="2"):
        main(["chat", "--input", str(question), "--output", str(output), *llm])
    assert error_code(capsys.readouterr().err) == "unusable"
    assert np.abs(read_audio(output, 16_000)).max() > 0.05


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--input", "q.wav"], "conflict"),
        (["--terminal", "--input", "q.wav", "-o", "a.wav"], "conflict"),
        (["--input", "none.wav", "-o", "a.wav"], "not_found"),
        (["--terminal", "--llm", "nowhere"], "not_found"),
        (["--terminal", "--recognizer", "nowhere"], "unknown_name"),
        (["--terminal", "--llm", "http://host"], "missing"),
        (["--terminal", "--llm", "file:///etc/passwd"], "invalid_value"),
        (["--terminal", "--role", "captain", "--voice", "heart"], "conflict"),
        (["--terminal", "--role", "captain", "--system", "Be."], "conflict"),
        (["--terminal", "--role", "captian"], "not_found"),
        (["--terminal", "--barge-in", "-1"], "invalid_value"),
        (["--terminal", "--port", "80"], "conflict"),
        (["--terminal", "--native", "--think-seconds", "2"], "conflict"),
        (["--terminal", "--native", "--show-thoughts"], "conflict"),
        (["--terminal", "--think-seconds", "-1"], "invalid_value"),
        (["--terminal", "--device", "nowhere"], "unknown_name"),
        (["--host", "no.such.host.invalid"], "invalid_value"),
        (["--auth", "nobody"], "invalid_value"),
    ],
)
def test_invalid_options_are_refused(arguments, code, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["chat", *arguments])
    assert error_code(capsys.readouterr().err) == code


@pytest.mark.parametrize("name", ["gradio", "fastapi", "uvicorn", "websockets"])
def test_missing_package_of_the_page_is_named_with_its_extra(name, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SystemExit, match="2"):
        main(["chat"])
    error = capsys.readouterr().err
    assert error_code(error) == "not_installed"
    assert f"package '{name}'" in error and "vocalmtp[demo]" in error

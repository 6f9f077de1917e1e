"""`vocalmtp roles`, and a role that speaks."""

import json
import os
from pathlib import Path

import pytest
import soundfile
from helpers.errors import error_code
from helpers.sounds import buzz

from vocalmtp.roles import load_role

PERSONA = ["--persona", "You are a clerk."]


def test_roles_are_listed_and_shown(run, capsys):
    assert run("roles") == 0
    out = capsys.readouterr().out
    assert "captain" in out and "blacksmith" in out
    assert run("roles", "show", "captain") == 0
    out = capsys.readouterr().out
    assert (
        "voice: oscar" in out
        and "persona: You are the captain" in out
        and "consent: not required" in out
    )


def test_a_made_role_speaks(run, model, capsys):
    assert run("roles", "make", "clerk", *PERSONA, "-v", "ann", "-m", model) == 0
    assert "clerk.yaml: role 'clerk', voice ann (drawn at random: ann)" in capsys.readouterr().err
    assert run("tts", "Hi.", "-o", "a.wav", "-m", model, "--role", "clerk.yaml") == 0
    assert run("tts", "Hi.", "-o", "b.wav", "-m", model, "--voice", "ann") == 0
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes()


def test_a_role_of_a_recording_needs_consent_which_goes_with_it(run, model, capsys):
    soundfile.write("me.wav", buzz(), 16_000)
    ask = ["roles", "make", "me", *PERSONA, "-v", "me.wav", "-m", model, "-o", "me.yaml"]
    assert run(*ask) == 2
    assert error_code(capsys.readouterr().err) == "consent_missing" and os.listdir() == ["me.wav"]
    assert run(*ask, "--i-have-consent") == 0
    Path("list.txt").write_text("Hi.\n")
    line = ["batch", "list.txt", "-o", "out", "-m", model]
    assert run(*line, "--role", "me.yaml") == 0  # the manifest says that the person agreed
    [row] = map(json.loads, Path("out/manifest.jsonl").read_text().splitlines())
    assert row["consent"].startswith("stated") and row["voice"] == "me.wav"
    capsys.readouterr()
    line[line.index("out")] = "other"
    assert run(*line, "--voice", "me.wav") == 0  # here nobody said so
    assert "note: 1 items imitate a person" in capsys.readouterr().err
    role = load_role("me.yaml")
    assert role.origin == "made from me.wav" and role.consent.startswith("stated by who made it")
    assert run("voices", "make", "me.wav", "-o", "v.safetensors", "-m", model) == 2
    ask = ["voices", "make", "me.wav", "-o", "v.safetensors", "-m", model, "--i-have-consent"]
    assert run(*ask) == 0
    assert run("roles", "make", "two", *PERSONA, "-v", "v.safetensors", "-m", model) == 0
    assert load_role("two.yaml").consent == role.consent


def test_whose_voice_it_is_goes_into_the_manifest(run, model, capsys):
    soundfile.write("me.wav", buzz(), 16_000)
    assert run("tts", "Hi.", "-o", "a.wav", "-m", model, "-v", "me.wav") == 0
    assert "note: 'me'" in capsys.readouterr().err
    Path("list.jsonl").write_text('{"text": "Hi."}\n{"text": "Hi.", "voice": "ann"}\n')
    ask = ["batch", "list.jsonl", "-m", model, "-v", "me.wav", "-o", "out"]
    assert run(*ask) == 0
    rows = [json.loads(line) for line in Path("out/manifest.jsonl").read_text().splitlines()]
    assert {row["voice"]: row.get("consent") for row in rows} == {
        "me.wav": "not stated",
        "ann": None,
    }


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["roles", "show", "capitan"], "not_found", "'captain'"),
        (["tts", "Hi.", "--role", "capitan"], "not_found", "'capitan'"),
        (["tts", "Hi.", "--role", "captain", "-v", "ann"], "conflict", "voice 'ann'"),
        (["roles", "make", "x", *PERSONA, "-v", "an"], "not_found", "'an'"),
        (["roles", "make", "x", *PERSONA, "-v", "no.wav"], "not_found", "'no.wav'"),
        (["roles", "make", "x", *PERSONA], "missing", "--voice"),
        (["roles", "make", "a/b", *PERSONA, "-v", "ann"], "invalid_value", "'a/b'"),
    ],
)
def test_invalid_calls_get_one_line(run, model, capsys, arguments, code, named):
    if arguments[1] != "show":
        arguments = [*arguments, "-m", model]
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert error_code(error) == code and named in error and error.count("\n") == 1
    assert os.listdir() == []

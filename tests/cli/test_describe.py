"""`vocalmtp info`, `--version` and help."""

import pytest
from helpers.command_line import run
from helpers.toy_model import save_toy_model

import vocalmtp
from vocalmtp.cli import app
from vocalmtp.cli.describe import card_facts
from vocalmtp.text import VERSION


def test_info_tells_what_a_model_is(tmp_path, capsys):
    folder = save_toy_model(tmp_path / "toy", head={"name": "parallel", "kind": "mlp"})
    assert run("info", str(folder)) == 0
    out = " ".join(capsys.readouterr().out.split())
    for fact in (
        "kind decoupled",
        "content1 (1024)",
        "25 frames/s, 1000 bit/s, 16000 Hz",
        "9 (2 frames per step), 12.5 steps/s",
        "llama, 2 layers of width 32",
        "parallel (mlp)",
        "text track along the speech",
        f"text version unknown (this package: {VERSION})",
        "ann, bob",
        "Apache-2.0",
        "sampling.top_k 50",
    ):
        assert fact in out, fact


def test_info_of_a_next_token_model(tmp_path, capsys):
    folder = save_toy_model(tmp_path / "toy", text="prompt", flat=True, frames_per_step=1)
    assert run("info", str(folder)) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "1 (one by one), 100 steps/s" in out and "draft head none" in out


def test_info_of_a_model_that_drafts(tmp_path, capsys):
    draft = {"name": "leap", "steps": 3, "stride": 2}
    folder = save_toy_model(tmp_path / "toy", draft=draft, objectives={"top": {}})
    assert run("info", str(folder)) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "draft head leap (steps 3, stride 2)" in out and "objectives top" in out


@pytest.mark.parametrize("source", ["codes", "mels"])
def test_info_of_a_model_that_listens(tmp_path, capsys, source):
    audio_input = {
        "width": 8,
        "layers": 0,
        "end_id": 35,
        "frames_per_position": 2,
        "source": source,
    }
    folder = save_toy_model(tmp_path / "toy", audio_input=audio_input)
    assert run("info", str(folder)) == 0
    heard = {"codes": "the tokenizer's codes", "mels": "log-mels"}[source]
    assert f"audio input {heard}, 12.5 positions/s" in " ".join(capsys.readouterr().out.split())


def test_nested_cards_have_dotted_names():
    card = {"data": {"hours": 40, "voices": ["slt", "rms"]}, "licence": "Apache-2.0"}
    assert list(card_facts(card)) == [
        ("data.hours", "40"),
        ("data.voices", "slt, rms"),
        ("licence", "Apache-2.0"),
    ]


def test_an_unknown_model_is_one_line(capsys):
    assert run("info", "none/such") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_version_is_printed(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"vocalmtp {vocalmtp.__version__}\n"


def test_without_a_verb_there_is_help(capsys):
    assert run() == 0
    assert "tokenize" in capsys.readouterr().out


def test_an_unknown_verb_is_one_line(capsys):
    assert run("speak") == 2
    assert "speak" in capsys.readouterr().err


def test_every_verb_explains_itself():
    verbs = app.registered_commands + [
        v for g in app.registered_groups for v in g.typer_instance.registered_commands
    ]
    assert len(verbs) >= 7
    for verb in verbs:
        assert len(verb.callback.__doc__) > 40, verb.callback

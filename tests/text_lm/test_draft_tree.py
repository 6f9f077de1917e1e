"""`vocalmtp draft-tree`, and its file in `generate`, `tts` and Python."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.errors import error_code, raises_input_error
from helpers.toy_model import save_toy_model

import vocalmtp
from vocalmtp.cli import main
from vocalmtp.decoding.options import Decoding
from vocalmtp.decoding.tree import DraftTree


def run(*arguments: Any) -> int:
    with pytest.raises(SystemExit) as stop:
        main(list(map(str, arguments)))
    return stop.value.code


def test_draft_tree_is_chosen_and_used(
    trained: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    tree, prompts, figures = (tmp_path / name for name in ("tree.json", "prompts.txt", "f.json"))
    lines = [line[:7] for line in (texts / "texts.txt").read_text().splitlines()[:3]]
    prompts.write_text("\n".join(lines) + "\n")
    own = ["--model", trained, "--greedy", "--max-tokens", "12"]
    chosen = ["-o", tree, "--nodes", "6", "--prompt-tokens", "2"]
    assert run("text", "draft-tree", prompts, *own, *chosen) == 0
    assert str(tree) in capsys.readouterr().out
    facts = json.loads(tree.read_text())
    assert len(facts["paths"]) == 6 and [0] in facts["paths"]
    assert len(facts["acceptance"]) == 3 and 0 < facts["acceptance"][0][0] <= 1
    asked = ["--input", prompts, *own, "--batch-size", "2"]
    assert run("text", "generate", *asked, "--drafts", "0", "-o", tmp_path / "plain.jsonl") == 0
    drafting = ["--draft-tree", tree, "--statistics", figures, "-o", tmp_path / "tree.jsonl"]
    assert run("text", "generate", *asked, *drafting) == 0
    assert (tmp_path / "plain.jsonl").read_text() == (tmp_path / "tree.jsonl").read_text()
    found = json.loads(figures.read_text())
    assert found["drafts_per_forward"] == 6 and found["steps_per_forward"] > 1
    sure = ["--confidence", "0.2", "--statistics", figures, "-o", tmp_path / "sure.jsonl"]
    assert run("text", "generate", *asked, *sure) == 0
    assert (tmp_path / "plain.jsonl").read_text() == (tmp_path / "sure.jsonl").read_text()
    assert json.loads(figures.read_text())["drafts_per_forward"] == 3
    capsys.readouterr()
    for options in (("--accept", "rejection"), ("--drafts", "2"), ("--confidence", "0.5")):
        assert run("text", "generate", *asked, "--draft-tree", tree, *options) == 2
        assert error_code(capsys.readouterr().err) == "conflict"
    assert run("text", "draft-tree", prompts, *own, *chosen, "--voice", "ann") == 2
    assert error_code(capsys.readouterr().err) == "conflict"


def test_flat_speech_model_with_a_draft_tree(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    draft = {"name": "recursive", "steps": 2, "heads": 2}
    model = save_toy_model(tmp_path / "toy", draft=draft, flat=True, frames_per_step=1)
    lines, tree = tmp_path / "lines.txt", tmp_path / "tree.json"
    lines.write_text("Hi.\n")
    chosen = ["-o", tree, "--nodes", "4", "--greedy", "--voice", "ann"]
    assert run("text", "draft-tree", lines, "--speech", "--model", model, *chosen) == 0
    out = [tmp_path / "plain.wav", tmp_path / "tree.wav"]
    assert run("tts", "Hi.", "-o", out[0], "-m", model) == 0
    own = ["--draft-tree", tree, "--statistics"]
    capsys.readouterr()
    assert run("tts", "Hi.", "-o", out[1], "-m", model, *own) == 0
    assert "forward passes" in capsys.readouterr().err
    assert out[0].read_bytes() == out[1].read_bytes()
    decoding = Decoding(tree=DraftTree.load(tree), accept="seed")
    facts = json.loads(json.dumps(decoding.facts()))
    assert facts == decoding.facts()  # a resumed list compares them with its file
    assert facts["tree"] == json.loads(tree.read_text())["paths"]


def test_draft_tree_with_several_tokens_per_step_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model = save_toy_model(tmp_path / "toy", draft={"name": "leap", "steps": 1})
    tree = tmp_path / "tree.yaml"
    tree.write_text("paths: [[0], [1]]")
    assert run("tts", "Hi.", "-o", tmp_path / "a.wav", "-m", model, "--draft-tree", tree) == 2
    assert error_code(capsys.readouterr().err) == "unsupported"
    with raises_input_error("unsupported", key="draft tree"):
        vocalmtp.load(model, decoding=Decoding(tree=DraftTree.load(tree), accept="seed"))

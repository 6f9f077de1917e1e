"""`vocalmtp draft-tree`, and what takes its file: `generate`, `tts`, Python."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.toy_model import save_toy_model

import vocalmtp
from vocalmtp.cli import main
from vocalmtp.decoding.options import Decoding
from vocalmtp.decoding.tree import DraftTree
from vocalmtp.errors import InputError


def run(*arguments: Any) -> int:
    with pytest.raises(SystemExit) as stop:
        main(list(map(str, arguments)))
    return stop.value.code


def test_a_tree_is_chosen_and_used(
    trained: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    tree, prompts, figures = (tmp_path / name for name in ("tree.json", "prompts.txt", "f.json"))
    lines = [line[:7] for line in (texts / "texts.txt").read_text().splitlines()[:3]]
    prompts.write_text("\n".join(lines) + "\n")
    own = ["--model", trained, "--greedy", "--max-tokens", "12"]
    chosen = ["-o", tree, "--nodes", "6", "--prompt-tokens", "2"]
    assert run("text", "draft-tree", prompts, *own, *chosen) == 0
    assert "steps a forward pass are expected" in capsys.readouterr().out
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
    capsys.readouterr()
    for options, message in {
        ("--accept", "rejection"): "accept 'rejection': is not for draft trees; choose seed",
        ("--drafts", "2"): "drafts '2': the draft tree says how many",
    }.items():
        assert run("text", "generate", *asked, "--draft-tree", tree, *options) == 2
        assert message in capsys.readouterr().err
    assert run("text", "draft-tree", prompts, *own, *chosen, "--voice", "ann") == 2
    assert "voice: is for --speech" in capsys.readouterr().err


def test_a_flat_model_speaks_with_a_tree(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
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
    assert "of those whose predecessors were" in capsys.readouterr().err
    assert out[0].read_bytes() == out[1].read_bytes()
    decoding = Decoding(tree=DraftTree.load(tree), accept="seed")
    facts = json.loads(json.dumps(decoding.facts()))
    assert facts == decoding.facts()  # a list that is gone on with finds what it wrote
    assert facts["tree"] == json.loads(tree.read_text())["paths"]


def test_a_model_of_several_tokens_a_step_has_no_trees(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model = save_toy_model(tmp_path / "toy", draft={"name": "leap", "steps": 1})
    tree = tmp_path / "tree.yaml"
    tree.write_text("paths: [[0], [1]]")
    assert run("tts", "Hi.", "-o", tmp_path / "a.wav", "-m", model, "--draft-tree", tree) == 2
    assert "tokens a step, and trees are for one" in capsys.readouterr().err
    with pytest.raises(InputError, match="trees are for one"):
        vocalmtp.load(model, decoding=Decoding(tree=DraftTree.load(tree), accept="seed"))

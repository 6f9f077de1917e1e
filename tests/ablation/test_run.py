"""A grid from recordings to the report: interrupted, continued, and failing in part."""

import json
from pathlib import Path

import pytest
import yaml
from helpers.errors import error_code, raises_input_error

from vocalmtp.ablation import train as cells
from vocalmtp.ablation.grid import load_grid
from vocalmtp.ablation.report import collect, write_ablation
from vocalmtp.ablation.run import run_grid
from vocalmtp.cli import main
from vocalmtp.config import load_yaml, parse
from vocalmtp.data.manifest import read_manifest
from vocalmtp.training.recipe import SpeechLMRecipe

RECIPES = Path(__file__).parents[2] / "recipes"
NTP, SIX = "apart-ntp-toy-track-seed0", "apart-k6-toy-track-seed0"


def terminated(*_, **__):
    raise SystemExit(143)


def test_interrupted_grid_continues_to_its_report(grid_file, fast, trained, monkeypatch):
    grid = load_grid(grid_file)
    with monkeypatch.context() as patch:
        patch.setattr(cells, "export_model", terminated)
        with pytest.raises(SystemExit):
            run_grid(grid, grid.cells, report=lambda line: None)
    assert trained == [NTP]  # and then it was ended
    assert run_grid(grid, grid.cells, report=lambda line: None) == {}
    assert trained == [NTP, SIX]  # what was trained is not trained again
    text = write_ablation(grid, {})
    report = json.loads((grid.output / "report.json").read_text())
    assert (grid.output / "report.md").read_text() == text + "\n"
    assert "no_such_package" in text and "| apart: resynthesis |" in text
    assert [row["state"] for row in report["cells"]] == ["done", "done"]
    by_name = {row["name"]: row["metrics"] for row in report["cells"]}
    assert by_name[NTP]["tokens_seen"] == by_name[SIX]["tokens_seen"]
    assert by_name[NTP]["updates"]["value"] == 4
    assert by_name[NTP]["steps_per_second"]["value"] == 100  # three codes and an advance a frame
    assert by_name[SIX]["steps_per_second"]["value"] == 12.5
    wanted = {"wer", "wer_over_natural", "success", "similarity", "swapped_to_vector"}
    wanted |= {"rtf", "memory", "parameters", "alignment", "alignment_other"}
    for found in by_name.values():
        assert wanted <= set(found) and "mos" not in found
    for name in ("cost_quality", "tokens_per_step", "voices", "curves"):
        assert (grid.output / f"{name}.png").stat().st_size > 5000
    assert not list(grid.output.glob("cells/*/train/checkpoints"))

    with monkeypatch.context() as patch:  # everything is complete: nothing is loaded
        patch.setattr(cells, "load", lambda *_: pytest.fail("done already"))
        assert run_grid(grid, grid.cells, report=lambda line: None) == {}
    assert collect(grid, {})["cells"] == report["cells"]

    other = load_grid(grid_file, ["speech_lm.optim.max_steps=5"])
    with raises_input_error("other_run", "output", names="recipe.optim.max_steps"):
        run_grid(other, other.cells)


def test_recipe_of_a_cell_can_be_trained_by_itself(grid_file, fast, trained):
    grid = load_grid(grid_file)
    assert run_grid(grid, [grid.cells[1]], report=lambda line: None) == {}
    data = load_yaml(grid.cells[1].folder / "recipe.yaml")
    assert parse(SpeechLMRecipe, data) == grid.cells[1].recipe


def test_failing_cell_is_reported_and_the_others_are_completed(
    grid_file, fast, monkeypatch, capsys
):
    real = cells.train

    def train(recipe):
        if recipe.model.flat:
            raise MemoryError("not so\nmuch")
        return real(recipe)

    monkeypatch.setattr(cells, "train", train)
    with pytest.raises(SystemExit) as stop:
        main(["ablate", str(grid_file)])
    assert stop.value.code == 1
    printed = capsys.readouterr()
    assert printed.err == f"failed: {NTP}: MemoryError: not so much\n"
    assert f"[2/2] {SIX}: done" in printed.out
    folder = load_grid(grid_file).output
    assert "Traceback" in (folder / "cells" / NTP / "output.log").read_text()
    report = json.loads((folder / "report.json").read_text())
    assert [row["state"] for row in report["cells"]] == ["failed", "done"]


@pytest.mark.slow
def test_recipe_smokes_without_a_corpus(fast, tmp_path, monkeypatch, capsys):
    """A cell of recipes/tokenizer_ablation beside the recipes alone, on a synthesized corpus."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(RECIPES)  # has the tokenizer of the speaker vectors
    recipe = RECIPES / "tokenizer_ablation" / "ablation.yaml"
    command = ["ablate", str(recipe), "--smoke", "--only", "decoupled-k12-small-track-seed0"]
    command += ["utterances.train=24", "eval.judges=[test-ones,test-none]"]
    with pytest.raises(SystemExit) as stop:
        main(command)
    assert stop.value.code == 0
    assert "decoupled-k12-small-track-seed0: done" in capsys.readouterr().out
    folder = tmp_path / "runs" / "tokenizer_ablation-smoke"
    assert "| decoupled: resynthesis |" in (folder / "report.md").read_text()
    assert len(read_manifest(folder / "corpus", "train", ("slt", "awb"))) == 24


def test_missing_inputs_are_refused(settings, grid_file, fast, tmp_path, capsys):
    def refused(code, *arguments):
        with pytest.raises(SystemExit) as stop:
            main(["ablate", *arguments])
        assert stop.value.code == 2 and error_code(capsys.readouterr().err) == code

    grid = str(grid_file)
    refused("not_found", grid, f"corpus={tmp_path / 'none'}")
    refused("empty", grid, "eval.split=tests")
    refused("empty", grid, 'voices=["anne"]')
    refused("not_found", str(tmp_path / "none.yaml"))
    refused("invalid_value", grid, "tokens_per_step=[5]", "--dry-run")
    refused("missing", grid, "--smoke")
    refused("unknown_name", grid, "eval.judges=[dnsmoss]")
    settings["tokenizers"] = {"mimi": {"use": "mimi-8"}}
    grid_file.write_text(yaml.safe_dump(settings | {"tokens_per_step": [8]}))
    with pytest.raises(SystemExit) as stop:
        main(["ablate", grid])
    assert stop.value.code == 1  # its cells fail with the tokenizer
    assert "mimi-8" in capsys.readouterr().err

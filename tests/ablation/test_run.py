"""A corner of a grid from recordings to the report: cut off, gone on with, and failing in part."""

import json
from pathlib import Path

import pytest
import yaml

from vocalmtp.ablation import cell as cells
from vocalmtp.ablation.grid import load_grid
from vocalmtp.ablation.report import collect, write_ablation
from vocalmtp.ablation.run import run_grid
from vocalmtp.cli import main
from vocalmtp.errors import InputError

RECIPES = Path(__file__).parents[2] / "recipes"
NTP, SIX = "apart-ntp-toy-track-seed0", "apart-k6-toy-track-seed0"


def terminated(*_, **__):
    raise SystemExit(143)


def test_from_recordings_to_the_report(grid_file, quick, trained, monkeypatch):
    grid = load_grid(grid_file)
    with monkeypatch.context() as patch:
        patch.setattr(cells, "export_model", terminated)
        with pytest.raises(SystemExit):
            run_grid(grid, grid.cells, say=lambda text: None)
    assert trained == [NTP]  # and then it was ended
    assert run_grid(grid, grid.cells, say=lambda text: None) == {}
    assert trained == [NTP, SIX]  # what was trained is not trained again
    text = write_ablation(grid, {})
    report = json.loads((grid.output / "report.json").read_text())
    assert (grid.output / "report.md").read_text() == text + "\n"
    assert "no_such_judge" in text and "| apart: resynthesis |" in text
    assert [row["state"] for row in report["cells"]] == ["done", "done"]
    by_name = {row["name"]: row["figures"] for row in report["cells"]}
    assert by_name[NTP]["tokens_seen"] == by_name[SIX]["tokens_seen"]
    assert by_name[NTP]["updates"]["value"] == 4
    assert by_name[NTP]["steps_per_second"]["value"] == 100  # three codes and an advance a frame
    assert by_name[SIX]["steps_per_second"]["value"] == 12.5
    wanted = {"wer", "wer_over_natural", "success", "similarity", "swapped_to_vector"}
    wanted |= {"rtf", "memory", "parameters", "alignment", "alignment_other"}
    for figures in by_name.values():
        assert wanted <= set(figures) and "dnsmos" not in figures
    for name in ("cost_quality", "tokens_per_step", "voices", "curves"):
        assert (grid.output / f"{name}.png").stat().st_size > 5000
    assert not list(grid.output.glob("cells/*/train/checkpoints"))

    with monkeypatch.context() as patch:  # all is there: nothing is loaded or said again
        patch.setattr(cells, "load", lambda *_: pytest.fail("done already"))
        assert run_grid(grid, grid.cells, say=lambda text: None) == {}
    assert collect(grid, {})["cells"] == report["cells"]

    other = load_grid(grid_file, ["speech_lm.optim.max_steps=5"])
    with pytest.raises(InputError, match=f"cell '{NTP}': was begun with recipe.optim.max_steps 4"):
        run_grid(other, other.cells)


def test_a_cell_that_fails_is_told_and_the_rest_is_finished(grid_file, quick, monkeypatch, capsys):
    real = cells.train

    def train(recipe):
        if recipe.model.flat:
            raise MemoryError("not so\nmuch")
        return real(recipe)

    monkeypatch.setattr(cells, "train", train)
    with pytest.raises(SystemExit) as stop:
        main(["ablate", str(grid_file)])
    assert stop.value.code == 1
    said = capsys.readouterr()
    assert said.err == f"failed: {NTP}: MemoryError: not so much\n"
    assert f"[2/2] {SIX}: done" in said.out
    folder = load_grid(grid_file).output
    assert "Traceback" in (folder / "cells" / NTP / "output.log").read_text()
    report = json.loads((folder / "report.json").read_text())
    assert [row["state"] for row in report["cells"]] == ["failed", "done"]


@pytest.mark.slow
def test_a_corner_of_the_recipe_smokes(corpus, quick, tmp_path, capsys):
    """recipes/tokenizer_ablation as it is, on two voices that are not its own."""
    recipe = RECIPES / "tokenizer_ablation" / "ablation.yaml"
    corner = ["--smoke", "--only", "decoupled-k12-small-track-seed0", "eval.voices=[ann,bob]"]
    with pytest.raises(SystemExit, match="0"):
        main(
            ["ablate", str(recipe), f"corpus={corpus}", "--output", str(tmp_path / "out"), *corner]
        )
    assert "decoupled-k12-small-track-seed0: done" in capsys.readouterr().out
    assert "| decoupled: resynthesis |" in (tmp_path / "out" / "report.md").read_text()


def test_missing_inputs_are_one_line(settings, grid_file, quick, tmp_path, capsys):
    def refused(*arguments, says):
        with pytest.raises(SystemExit) as stop:
            main(["ablate", *arguments])
        err = capsys.readouterr().err
        assert stop.value.code == 2 and says in err and err.count("\n") == 1

    grid = str(grid_file)
    refused(grid, f"corpus={tmp_path / 'none'}", says="none': not found; give a JSONL file")
    refused(grid, "eval.split=tests", says="no utterances with split 'tests'")
    refused(grid, 'voices=["anne"]', says="voices 'anne': has no utterances in")
    refused(str(tmp_path / "none.yaml"), says="no such file")
    refused(grid, "tokens_per_step=[5]", "--dry-run", says="multiple of them: 3, 6, 9, 12")
    refused(grid, "--smoke", says="no section 'smoke'")
    settings["tokenizers"] = {"mimi": {"use": "mimi-8"}}
    grid_file.write_text(yaml.safe_dump(settings | {"tokens_per_step": [8]}))
    with pytest.raises(SystemExit) as stop:
        main(["ablate", grid])
    assert stop.value.code == 1  # a tokenizer that is not here takes its cells with it
    assert "its weights are not here" in capsys.readouterr().err

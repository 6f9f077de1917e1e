"""Arms that take the models of others: decoded in another way, trained on, or elastic."""

import json

import pytest
import torch
import yaml
from helpers.errors import raises_input_error

from vocalmtp.ablation import train as cells
from vocalmtp.ablation.grid import load_grid, pick_cells
from vocalmtp.ablation.plan import show_plan
from vocalmtp.ablation.report import write_ablation
from vocalmtp.ablation.run import run_grid
from vocalmtp.data.shards import CodeItem, CodeShards

DRAFT = {"name": "recursive", "steps": 2}
ARMS = {
    "plain": {"tokens_per_step": [3]},
    "drafting": {
        "of": "plain",
        "change": {"draft": DRAFT, "optim": {"trainable": "draft", "max_steps": 2}},
        "decoding": {"drafts": 2},
        "tokens_per_step": [3],
    },
    "unverified": {
        "of": "drafting",
        "decoding": {"drafts": 2, "accept": "all"},
        "tokens_per_step": [3],
    },
    "elastic": {"elastic": True, "tokens_per_step": [3, 6]},
}
PLAIN, DRAFTING, UNVERIFIED, *ELASTIC = (
    f"apart-k{count}-toy-{arm}-seed0"
    for arm, settings in ARMS.items()
    for count in settings["tokens_per_step"]
)


def write(settings, grid_file, arms):
    grid_file.write_text(yaml.safe_dump(settings | {"arms": arms}, sort_keys=False))
    return grid_file


def test_cells_name_the_cell_whose_model_they_take(settings, grid_file):
    grid = load_grid(write(settings, grid_file, ARMS))
    cells = {cell.name: cell for cell in grid.cells}
    assert list(cells) == [PLAIN, DRAFTING, UNVERIFIED, *ELASTIC]
    assert [cell.trains for cell in cells.values()] == [True, True, False, True, False]
    assert [cell.after for cell in cells.values()] == [None, PLAIN, DRAFTING, None, ELASTIC[0]]
    assert cells[DRAFTING].recipe.init == cells[PLAIN].recipe.output
    assert cells[UNVERIFIED].recipe is cells[DRAFTING].recipe
    assert grid.config(cells[UNVERIFIED]).draft == DRAFT
    assert grid.config(cells[ELASTIC[1]]).step_sizes == (1, 2)
    assert [cells[name].decoding.tokens_per_step for name in ELASTIC] == [3, 6]
    assert cells[PLAIN].decoding.tokens_per_step is None
    picked = pick_cells(grid, UNVERIFIED)
    assert [cell.name for cell in picked] == [PLAIN, DRAFTING, UNVERIFIED]
    hours = [row.split("|")[-3].strip() for row in show_plan(grid, picked).splitlines()[2:5]]
    assert hours[2] == "0.00"


@pytest.mark.parametrize(
    ("arm", "code", "key"),
    [
        ({"of": "plan"}, "not_found", "of"),
        ({"of": "plain", "change": {"model": {}}}, "conflict", "change.model"),
        ({"decoding": {"drafts": -1}}, "out_of_range", "drafts"),
        ({"decoding": {"accept": "all"}}, "conflict", "accept"),
        ({"decoding": {"drafts": 2}}, "missing", "decoding.drafts"),
        ({"decoding": {"tree": 4}}, "missing", "decoding.tree"),
        ({"distilled": 4}, "conflict", "distilled"),
        ({"elastic": True, "tokens_per_step": [1, 3]}, "out_of_range", "frames_per_step"),
    ],
)
def test_impossible_arms_are_refused(settings, grid_file, arm, code, key):
    arms = {"plain": {"tokens_per_step": [3]}, "odd": {"tokens_per_step": [3]} | arm}
    with raises_input_error(code, key, names="-odd-seed0"):
        load_grid(write(settings, grid_file, arms))


def test_one_training_serves_several_cells(settings, grid_file, fast, trained):
    grid = load_grid(write(settings, grid_file, ARMS))
    assert run_grid(grid, grid.cells, report=lambda line: None) == {}
    assert trained == [PLAIN, DRAFTING, ELASTIC[0]]
    text = write_ablation(grid, {})
    rows = {
        row["name"]: row for row in json.loads((grid.output / "report.json").read_text())["cells"]
    }
    assert rows[DRAFTING]["metrics"]["steps_per_forward"]["value"] >= 1
    assert rows[UNVERIFIED]["metrics"]["accepted_2"]["value"] == 1
    assert "steps_per_forward" not in rows[PLAIN]["metrics"]
    assert [rows[name]["metrics"]["steps_per_second"]["value"] for name in ELASTIC] == [25, 12.5]
    assert "draft 2 accepted" in text and "draft 3 accepted" not in text
    assert "![drafts.png](drafts.png)" in text and (grid.output / "drafts.png").is_file()


def test_a_tree_excludes_other_draft_settings(settings, grid_file):
    arms = {"odd": {"decoding": {"tree": 4, "drafts": 2}}}
    with raises_input_error("invalid_value", names="arms.odd.decoding"):
        load_grid(write(settings, grid_file, arms))


def test_draft_heads_train_on_distilled_speech_and_get_trees(
    settings, grid_file, fast, monkeypatch
):
    monkeypatch.setattr(cells, "TREE_SENTENCES", 1)
    arms = {
        "plain": {"tokens_per_step": [1]},
        "own": {**ARMS["drafting"], "distilled": 2, "tokens_per_step": [1]},
        "tree": {"of": "own", "decoding": {"tree": 3}, "tokens_per_step": [1]}
        | {"sampling": {"temperature": 0.5}},
    }
    grid = load_grid(write(settings, grid_file, arms))
    voice = torch.ones(grid.specs["apart"].speaker_dim)
    spoken = [code_item(n, "one two three.", voice) for n in range(2)]
    monkeypatch.setattr(
        "vocalmtp.training.distill.synthesize_codes", lambda *_: spoken
    )  # untrained, it never ends
    _, own, tree = grid.cells
    assert run_grid(grid, grid.cells, report=lambda line: None) == {}
    distilled = CodeShards(own.recipe.data.shards, "train")
    assert [len(distilled), len(CodeShards(own.recipe.data.shards, "valid"))] == [2, 2]
    job = json.loads((own.folder / "distilled/job.json").read_text())
    assert job["sampling"]["temperature"] == 0.6 and job["voices"] == ["ann", "bob"]
    chosen = json.loads((tree.folder / "tree.json").read_text())["paths"]
    assert len(chosen) == 3
    write_ablation(grid, {})
    rows = json.loads((grid.output / "report.json").read_text())["cells"]
    assert rows[2]["metrics"]["steps_per_forward"]["value"] >= 1
    heads = [row["metrics"]["draft_parameters"]["value"] for row in rows[1:]]
    assert heads[0] == heads[1] > 1000 and "draft_parameters" not in rows[0]["metrics"]
    assert (tree.folder / "model/card.json").read_text().count("temperature") == 1
    assert run_grid(grid, [tree], report=lambda line: None) == {}, "what was chosen stays"


def code_item(seed, text, voice):
    codes = torch.randint(0, 8, (3, 12), generator=torch.Generator().manual_seed(seed))
    return CodeItem(f"{seed}", text, "ann", codes, voice, torch.linspace(0, 0.4, len(text)))

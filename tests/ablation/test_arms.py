"""Arms that take the models of others: decoded otherwise, trained on, or elastic."""

import json

import pytest
import torch
import yaml

from vocalmtp.ablation.grid import load_grid, pick_cells
from vocalmtp.ablation.plan import show_plan
from vocalmtp.ablation.report import write_ablation
from vocalmtp.ablation.run import run_grid
from vocalmtp.data.shards import CodeItem, CodeShards
from vocalmtp.errors import InputError

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


def test_cells_know_whose_model_they_take(settings, grid_file):
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
    ("arm", "says"),
    [
        ({"of": "plan"}, "of 'plan': no arm before it has 'apart-k3-toy-plan-seed0'"),
        ({"of": "plain", "change": {"model": {}}}, "change.model: 'of' takes"),
        ({"decoding": {"drafts": -1}}, "drafts '-1': must be 0 or more"),
        ({"decoding": {"accept": "all"}}, "accept 'all': is for drafts"),
        ({"decoding": {"drafts": 2}}, "drafts '2': its model has no draft head"),
        ({"decoding": {"tree": 4}}, "tree '4': its model has no draft head"),
        ({"distilled": 4}, "distilled '4': is for a change of the model that 'of' names"),
        ({"elastic": True, "tokens_per_step": [1, 3]}, "a list of different ones"),
    ],
)
def test_arms_that_cannot_be(settings, grid_file, arm, says):
    arms = {"plain": {"tokens_per_step": [3]}, "odd": {"tokens_per_step": [3]} | arm}
    with pytest.raises(InputError) as error:
        load_grid(write(settings, grid_file, arms))
    assert "-odd-seed0'" in str(error.value) and says in str(error.value)


def test_one_training_serves_several_cells(settings, grid_file, quick, trained, capsys):
    grid = load_grid(write(settings, grid_file, ARMS))
    assert run_grid(grid, grid.cells, say=lambda text: None) == {}
    assert trained == [PLAIN, DRAFTING, ELASTIC[0]]
    text = write_ablation(grid, {})
    rows = {
        row["name"]: row for row in json.loads((grid.output / "report.json").read_text())["cells"]
    }
    assert rows[DRAFTING]["figures"]["steps_per_forward"]["value"] >= 1
    assert rows[UNVERIFIED]["figures"]["kept_2"]["value"] == 1
    assert "steps_per_forward" not in rows[PLAIN]["figures"]
    assert [rows[name]["figures"]["steps_per_second"]["value"] for name in ELASTIC] == [25, 12.5]
    assert "draft 2 kept" in text and "draft 3 kept" not in text
    assert "![drafts.png](drafts.png)" in text and (grid.output / "drafts.png").is_file()


def test_a_tree_says_all_about_its_drafts(settings, grid_file):
    arms = {"odd": {"decoding": {"tree": 4, "drafts": 2}}}
    with pytest.raises(InputError, match="a tree says how many drafts there are"):
        load_grid(write(settings, grid_file, arms))


def test_draft_heads_learn_own_speech_and_draft_trees(settings, grid_file, quick, monkeypatch):
    monkeypatch.setattr("vocalmtp.ablation.drafting.LEARNED", 2)
    arms = {
        "plain": {"tokens_per_step": [1]},
        "own": {**ARMS["drafting"], "distilled": 2, "tokens_per_step": [1]},
        "tree": {"of": "own", "decoding": {"tree": 3}, "tokens_per_step": [1]},
        "drawn": {"of": "own", "decoding": {"tree": 3}, "tokens_per_step": [1]}
        | {"sampling": {"temperature": 0.5}},
    }
    grid = load_grid(write(settings, grid_file, arms))
    voice = torch.ones(grid.specs["apart"].speaker_dim)
    spoken = [said(n, "one two three.", voice) for n in range(2)]
    monkeypatch.setattr(
        "vocalmtp.training.distill.synthesize_codes", lambda *_: spoken
    )  # untrained, it never ends
    plain, own, tree, drawn = grid.cells
    assert run_grid(grid, grid.cells, say=lambda text: None) == {}
    learned = CodeShards(own.recipe.data.shards, "train")
    assert [len(learned), len(CodeShards(own.recipe.data.shards, "valid"))] == [2, 2]
    asked = json.loads((own.folder / "own/job.json").read_text())
    assert asked["sampling"]["temperature"] == 0.6 and asked["voices"] == ["ann", "bob"]
    chosen = json.loads((tree.folder / "tree.json").read_text())["paths"]
    assert len(chosen) == 3
    write_ablation(grid, {})
    rows = json.loads((grid.output / "report.json").read_text())["cells"]
    assert rows[2]["figures"]["steps_per_forward"]["value"] >= 1
    assert rows[2]["figures"]["draft_parameters"] == rows[1]["figures"]["draft_parameters"]
    assert (drawn.folder / "model/card.json").read_text().count("temperature") == 1
    assert run_grid(grid, [tree], say=lambda text: None) == {}, "what was chosen stays"


def said(seed, text, voice):
    codes = torch.randint(0, 8, (3, 12), generator=torch.Generator().manual_seed(seed))
    return CodeItem(f"{seed}", text, "ann", codes, voice, torch.linspace(0, 0.4, len(text)))

"""From a YAML file to cells: differences, shared settings, and refused grids; plans."""

from pathlib import Path

import pytest
import yaml
from helpers.errors import raises_input_error

from vocalmtp.ablation.grid import load_grid, pick_cells
from vocalmtp.ablation.plan import Planner, show_plan
from vocalmtp.models.speech_lm import SpeechLM

RECIPES = Path(__file__).parents[2] / "recipes" / "tokenizer_ablation"


def test_cells_differ_in_the_settings_of_the_grid(settings, grid_file, tmp_path):
    settings |= {
        "tokens_per_step": [1, 3, 12],
        "seeds": [0, 5],
        "arms": {
            "track": {},
            "late": {
                "change": {"model": {"text": "prompt"}, "optim": {"max_steps": 9}},
                "tokens_per_step": [12],
                "seeds": [5],
            },
        },
    }
    grid_file.write_text(yaml.safe_dump(settings, sort_keys=False))
    cells = {cell.name: cell.recipe for cell in load_grid(grid_file).cells}
    assert list(cells) == [
        *(f"apart-{step}-toy-track-seed0" for step in ("ntp", "k3", "k12")),
        *(f"apart-{step}-toy-track-seed5" for step in ("ntp", "k3", "k12")),
        "apart-k12-toy-late-seed5",
    ]
    shapes = [(r.model.flat, r.model.frames_per_step) for r in cells.values()]
    assert shapes[:3] == [(True, 1), (False, 1), (False, 4)]
    late, early = cells["apart-k12-toy-late-seed5"], cells["apart-k12-toy-track-seed0"]
    assert (late.model.text, late.optim.max_steps, late.optim.seed) == ("prompt", 9, 5)
    assert (early.model.text, early.optim.max_steps, early.optim.seed) == ("track", 4, 0)
    assert late.data == early.data and late.model.backbone == early.model.backbone
    assert late.data.shards == str(tmp_path / "grid/tokenizers/apart/codes")


@pytest.mark.parametrize(
    ("change", "code", "names"),
    [
        ({"tokens_per_step": [4]}, "invalid_value", "3, 6, 9, 12"),
        ({"tokens_per_step": [0]}, "invalid_value", "tokens_per_step '0'"),
        ({"tokens_per_step": [300]}, "out_of_range", "apart-k300-toy-track-seed0"),
        ({"token_per_step": [1]}, "unknown_name", "tokens_per_step"),
        ({"speech_lm": {"optim": {"max_step": 1}}}, "unknown_name", "max_steps"),
        ({"tokenizer": {"step": 1}}, "unknown_name", "tokenizer 'apart'"),
        ({"tokenizers": {"a": {"use": "mimi-9"}}}, "not_found", "mimi-8"),
        ({"tokenizers": {"a": {"use": "s3-v2"}}}, "unsupported", "tokenizers.a.use"),
        ({"tokenizers": {"a": {}}}, "invalid_value", "tokenizers.a"),
        ({"tokens_per_step": [36]}, "out_of_range", "27"),
        ({"backbones": {"a.b": {}}}, "invalid_value", "backbones"),
        ({"tokenizers": {"../a": {"use": "mimi-8"}}}, "invalid_value", "tokenizers"),
        ({"speech_lm": {"extends": "none.yaml"}}, "not_found", "none.yaml"),
        (
            {"backbones": {"big": {"change": {"model": {"pretrained": "x"}}}}},
            "missing",
            "backbone",
        ),
    ],
)
def test_impossible_grids_are_refused(settings, grid_file, change, code, names):
    grid_file.write_text(yaml.safe_dump(settings | change))
    with raises_input_error(code, names=names):
        load_grid(grid_file)


def test_pretrained_backbone_is_planned_by_its_shape(settings, grid_file):
    settings["speech_lm"]["model"] = {"text": "prompt"}
    settings["backbones"] = {"big": {"change": {"model": {"pretrained": "somewhere/big"}}}}
    grid_file.write_text(yaml.safe_dump(settings))
    with raises_input_error("missing", "backbones", names="shape"):
        load_grid(grid_file)
    settings["backbones"]["big"]["shape"] = {"model_type": "llama", "hidden_size": 32}
    grid_file.write_text(yaml.safe_dump(settings))
    grid = load_grid(grid_file)
    assert grid.config(grid.cells[0]).backbone["hidden_size"] == 32


def test_smoke_settings_change_a_grid_but_not_its_cells(settings, grid_file, tmp_path):
    with raises_input_error("missing", "smoke"):
        load_grid(grid_file, smoke=True)
    settings["smoke"] = {"speech_lm": {"optim": {"max_steps": 2}}}
    grid_file.write_text(yaml.safe_dump(settings))
    whole, tiny = load_grid(grid_file), load_grid(grid_file, smoke=True)
    assert [cell.name for cell in whole.cells] == [cell.name for cell in tiny.cells]
    assert [whole.cells[0].recipe.optim.max_steps, tiny.cells[0].recipe.optim.max_steps] == [4, 2]
    assert (whole.output.name, tiny.output.name) == ("grid", "grid-smoke")
    assert load_grid(grid_file, smoke=True, output=tmp_path).output == tmp_path
    last = load_grid(grid_file, ["speech_lm.optim.max_steps=9"], smoke=True)
    assert last.cells[0].recipe.optim.max_steps == 9


def test_repeated_tokens_per_step_are_one_cell(settings, grid_file):
    grid_file.write_text(yaml.safe_dump(settings | {"tokens_per_step": [6, 6]}))
    assert [cell.tokens_per_step for cell in load_grid(grid_file).cells] == [6]


def test_cells_are_selected_by_pattern(grid_file):
    grid = load_grid(grid_file)
    assert [cell.tokens_per_step for cell in pick_cells(grid, "*-k6-*")] == [6]
    assert len(pick_cells(grid, None)) == 2
    with raises_input_error("unknown_name", "only", names="apart-k6-toy-track-seed0"):
        pick_cells(grid, "apart-k7-toy-track-seed0")


@pytest.mark.parametrize("smoke", [False, True])
def test_recipe_gives_equal_training_to_all_cells_of_an_arm(smoke):
    """Batches, updates and backbone are equal within an arm; parameters within a step size."""
    grid = load_grid(RECIPES / "ablation.yaml", smoke=smoke)
    assert {cell.tokenizer for cell in grid.cells} == {"coupled", "semi_decoupled", "decoupled"}
    assert len(grid.cells) == 30
    assert {len(spec.streams) for spec in grid.specs.values()} == {3}
    assert len({(spec.bits_per_second, spec.frame_rate) for spec in grid.specs.values()}) == 1
    recipes = [grid.tokenizer_recipe(name) for name in grid.tokenizers]
    same = [recipe.model_dump(exclude={"output": True, "model": {"kind"}}) for recipe in recipes]
    assert same[0] == same[1] == same[2]
    planner, counted = Planner(grid), {}
    for cell in grid.cells:
        cost = planner.cost(cell)
        counted.setdefault((cell.arm, cell.tokens_per_step), set()).add(cost.parameters)
        assert cell.recipe.optim.max_seconds is None
    assert all(len(counts) == 1 for counts in counted.values())
    for arm in grid.arms:
        own = [cell.recipe for cell in grid.cells if cell.arm == arm]
        assert len({r.optim.model_copy(update={"seed": 0}).model_dump_json() for r in own}) == 1


def test_published_grid_is_planned_without_weights_or_corpus():
    grid = load_grid(RECIPES / "paper.yaml")
    costs = [Planner(grid).cost(cell) for cell in grid.cells]
    assert [cost.steps_per_second for cost in costs] == [240, 80, 40, 20]
    assert all(494e6 < cost.parameters < 515e6 for cost in costs)
    assert {cost.tokens for cost in costs} == {33_000 * 15_360 * 3}
    assert costs[0].hours > costs[1].hours > costs[3].hours > 0
    plan = show_plan(grid, list(grid.cells))
    assert "facodec-k12-qwen2-500m-prompt-seed0" in plan and "not found" in plan


def test_planned_parameters_equal_those_of_the_model(grid_file):
    grid = load_grid(grid_file)
    for cell in grid.cells:
        model = SpeechLM(grid.config(cell))
        assert Planner(grid).cost(cell).parameters == sum(p.numel() for p in model.parameters())

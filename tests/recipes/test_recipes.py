"""Every recipe in recipes/ parses; large ones can be planned."""

from pathlib import Path

import pytest

from vocalmtp.ablation.grid import Grid, load_grid
from vocalmtp.config import load_yaml, parse
from vocalmtp.hub import model_folder
from vocalmtp.training.plan import show_recipe
from vocalmtp.training.recipe import (
    AlignerRecipe,
    FinetuneRecipe,
    SpeechLMRecipe,
    TextLMRecipe,
    TokenizerRecipe,
)
from vocalmtp.training.rl.recipe import RLRecipe

ROOT = Path(__file__).parents[2]
RECIPES = {
    str(path.relative_to(ROOT)): data
    for path in sorted((ROOT / "recipes").rglob("*.yaml"))
    if "recipe" in (data := load_yaml(path))
}


KINDS = {
    "ablation": Grid,
    "aligner": AlignerRecipe,
    "finetune": FinetuneRecipe,
    "rl": RLRecipe,
    "speech_lm": SpeechLMRecipe,
    "text_lm": TextLMRecipe,
    "tokenizer": TokenizerRecipe,
}


def test_every_kind_has_a_recipe():
    assert {data["recipe"] for data in RECIPES.values()} == set(KINDS)


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_parses(name):
    if RECIPES[name]["recipe"] == "ablation":
        assert load_grid(ROOT / name).cells
    else:
        assert parse(KINDS[RECIPES[name]["recipe"]], RECIPES[name], name).output


@pytest.mark.parametrize(
    ("name", "tokenizer"),
    [
        ("roletriviaqa_mini/paper.yaml", "facodec-v2-3"),
        ("roletriviaqa_mini/paper_stage2.yaml", "facodec-v2-3"),
        ("chat_mini/stage3.yaml", "mini"),
        ("chat_mini/qwen.yaml", "mini"),
    ],
)
def test_dry_run_needs_neither_data_nor_init_model(name, tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mini-16khz").symlink_to(model_folder("mini"))  # chat_mini begins with that model
    path = ROOT / "recipes" / name
    plan = show_recipe(parse(SpeechLMRecipe, load_yaml(path), name), tokenizer, path.parent)
    assert "M parameters" in plan and "updates of" in plan and "audio_encoder" in plan


def test_variants_are_short_and_share_their_data():
    variants = [p for p in (ROOT / "recipes" / "mini").glob("*.yaml") if p.name != "base.yaml"]
    base = load_yaml(ROOT / "recipes" / "mini" / "base.yaml")
    for path in variants:
        if "recipe" in load_yaml(path):
            assert path.read_text().count("\n") < 15
            assert load_yaml(path)["data"] == base["data"]

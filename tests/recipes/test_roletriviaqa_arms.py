"""The arms of recipes/roletriviaqa_mini: recipes and result tables."""

import json
import sys
from pathlib import Path

import pytest
from helpers.toy_model import save_toy_model

from vocalmtp.config import load_yaml, merge, parse
from vocalmtp.training.recipe import SpeechLMRecipe

RECIPE = Path(__file__).parents[2] / "recipes" / "roletriviaqa_mini"


@pytest.fixture
def recipe(monkeypatch):
    """Import files of the recipe."""
    monkeypatch.syspath_prepend(str(RECIPE))
    yield __import__
    for name in ("run", "tables"):
        sys.modules.pop(name, None)


def write_results(folder: Path, **changes: object) -> None:
    row = {"id": "q", "em": 1.0, "f1": 1.0, "em_speech": 0.0, "f1_speech": 0.5, "role": "a"}
    row |= {
        "agreement_errors": 1,
        "agreement_words": 4,
        "failure": "",
        "mos": None,
        "seen": True,
    }
    row |= {"similarity": {"a": 0.75, "b": 0.5}, "domain": "in", "seen": True, "transcript": "x"}
    row |= changes
    folder.mkdir(parents=True)
    (folder / "results.jsonl").write_text(json.dumps(row) + "\n")


def test_tables_have_the_results_of_arms(recipe, tmp_path):
    run, tables = recipe("run"), recipe("tables")
    arms = {arm.name: arm for arm in run.ARMS}
    for name in ("g4", "text"):
        folder = tmp_path / name
        save_toy_model(folder / "model")
        (folder / "arm.json").write_text(json.dumps(run.asdict(arms[name])))
    write_results(tmp_path / "g4" / "eval-both")
    write_results(tmp_path / "g4" / "eval-swapped", decoder_role="b")
    (tmp_path / "text" / "eval-text").mkdir()
    row = {"id": "a", "em": 0.0, "f1": 0.5, "domain": "in", "seen": True}
    (tmp_path / "text" / "eval-text" / "results.jsonl").write_text(json.dumps(row) + "\n")
    text = tables.write_tables(tmp_path)
    assert "| g4 | 8 | decoupled | yes | 100.0 % | 100.0 % | - | 0.0 % | 25.0 %" in text
    assert "| text | - | - | - | 0.0 % | 50.0 %" in text
    assert "| g4 | both | 0.75 | - | 0.25 | 100.0 % | - | - |" in text
    assert "| g4 | swapped | 0.75 | - | 0.25 | 100.0 % | - | 0.50 |" in text
    assert (tmp_path / "report.md").read_text() == text


def test_arms_differ_and_have_equal_updates(recipe):
    run = recipe("run")
    facts = [(a.frames, a.tokenizer, a.voice, a.text_only) for a in run.ARMS]
    assert len(set(facts)) == len(facts) == 11
    stages = [load_yaml(RECIPE / f"{name}.yaml") for name in ("text", "stage1", "stage2")]
    assert all(parse(SpeechLMRecipe, stage).optim.max_steps > 100 for stage in stages)
    assert parse(SpeechLMRecipe, stages[0]).data.tasks == {"tts": 0, "asr": 0}
    small = parse(SpeechLMRecipe, merge(stages[1], {"optim": run.SMOKE}))
    assert small.optim.max_steps == 3 and small.model.audio_input["frames_per_position"] == 3

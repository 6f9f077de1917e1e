"""The rows of recipes/backbone: what they share, how many parameters they train, and the reports."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.recipe_files import importing

from vocalmtp.audio.io import Audio
from vocalmtp.config import load_yaml, parse
from vocalmtp.training.plan import show_recipe
from vocalmtp.training.recipe import SpeechLMRecipe

RECIPE = Path(__file__).parents[2] / "recipes" / "backbone"
NAMES = ("run", "speech", "forgetting", "report", "ear")
# A text LM of the same kind, to plan without the weights of SmolLM2.
SHAPE = {
    "model_type": "llama",
    "vocab_size": 8000,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


@pytest.fixture
def recipe(monkeypatch):
    """Import files of the recipe, which import each other by name."""
    with importing(monkeypatch, ("backbone",), NAMES) as imported:
        yield imported


def row(name: str) -> SpeechLMRecipe:
    return parse(SpeechLMRecipe, load_yaml(RECIPE / f"{name}.yaml"), name)


def test_every_file_is_a_row_and_rows_have_equal_seconds(recipe):
    run = recipe("run")
    assert {path.stem for path in RECIPE.glob("*.yaml")} == set(run.ROWS)
    rows = {name: row(name) for name in run.ROWS}
    assert len({each.output for each in rows.values()}) == len(rows)
    assert {each.optim.max_seconds for each in rows.values()} == {420}
    assert len({each.data.model_dump_json() for each in rows.values()}) == 1
    text = (RECIPE / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in run.ROWS)


def test_rows_train_what_they_are_about(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("smollm2-135m").mkdir()
    Path("smollm2-135m/config.json").write_text(json.dumps(SHAPE))
    plans = {}
    for name in ("base", "from_mini", "mini_12", "track_12", "decoder_1", "inline", "lora"):
        made = row(name)
        if made.trunk is not None:
            made = made.model_copy(update={"trunk": "./smollm2-135m"})
        if made.model is not None:
            changes = {"pretrained_config": SHAPE} if made.model.pretrained else {}
            if made.model.trunk:
                changes = {"trunk": "./smollm2-135m"}
            made = made.model_copy(update={"model": made.model.model_copy(update=changes)})
        plans[name] = show_recipe(made, "mini")
    lines = {name: plan.splitlines() for name, plan in plans.items()}
    assert "trunk " in plans["base"] and "trunk " in plans["from_mini"]
    assert "trunk " not in plans["track_12"] + plans["mini_12"] + plans["inline"]
    assert "13 slots" in plans["base"] and " 1 slots" in plans["decoder_1"]
    trained = {name: next(x for x in found if "trained:" in x) for name, found in lines.items()}
    share = {name: [float(w) for w in x.split() if w[0].isdigit()] for name, x in trained.items()}
    for name in ("track_12", "mini_12", "inline"):
        assert share[name][0] == share[name][1]
    for name in ("base", "from_mini", "lora"):
        assert share[name][0] < share[name][1]


def test_questions_are_a_hundred_and_judged_by_whole_words(recipe):
    forgetting = recipe("forgetting")
    asked = list(forgetting.questions())
    assert len(asked) == len({question for _, question, _ in asked}) == 100
    aliases = {question: right for _, question, right in asked}
    assert aliases["How many days in a week are there? Answer with a number."] == ["seven", "7"]
    assert forgetting.matches("There are 24 hours.", ["twenty four", "24"])
    assert forgetting.matches("The opposite is New.", ["new", "young"])
    assert not forgetting.matches("There are 247 of them.", ["twenty four", "24"])


def test_answers_are_read_up_to_their_limit_and_judged_as_heard(recipe, tmp_path, monkeypatch):
    ear = recipe("ear")
    asked = []

    def answer(messages, out):
        asked.append(messages[-1].text)
        yield from ("It is cold. ", *("again " for _ in range(99)))

    llm = SimpleNamespace(write=answer, count_tokens=lambda text: len(text.split()))
    transcripts = iter(["what is the opposite of hot", "It is called."])
    pipeline = SimpleNamespace(
        responder=SimpleNamespace(llm=llm),
        recognizer=SimpleNamespace(transcribe=lambda samples: next(transcripts)),
        tts=lambda text: Audio(np.zeros(160, np.float32), 16_000),
    )
    monkeypatch.setattr(ear.subprocess, "run", lambda command, check: None)
    monkeypatch.setattr(ear, "read_audio", lambda file, rate: np.zeros(160, np.float32))
    row = ear.ask(pipeline, "What is the opposite of hot?", ["cold"], tmp_path / "q.wav")
    assert asked == ["What is the opposite of hot?", "what is the opposite of hot"]
    assert len(row["answer"].split()) == ear.ANSWER and row["same_question"]
    assert (row["right_typed"], row["right_heard"], row["right_spoken"]) == (True, True, False)


def test_reports_have_the_rows_that_were_measured(recipe, tmp_path):
    report = recipe("report")
    folder = tmp_path / "figures"
    for kind in ("speech", "text"):
        (folder / kind).mkdir(parents=True)
    spoken = {"loss": 10.0, "loss_codec": 9.5, "wer": [0.125, 0.1, 0.15], "success": [0.5, 0, 1]}
    spoken |= {"similarity": [0.85, 0.8, 0.9], "rtf": [0.1, 0.2, 0.3]}
    (folder / "speech" / "mini.json").write_text(json.dumps(spoken))
    trained = spoken | {"training_seconds": 420.4, "updates": 7, "hours": 0.25}
    (folder / "speech" / "base.json").write_text(json.dumps(trained))
    known = {"perplexity": 20.0, "right": 3, "questions": 4, "by_kind": {"capital": 3}}
    (folder / "text" / "original.json").write_text(json.dumps(known))
    report.write_report(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "| base | 420 | 7 | 0.2 | 10.00 | 9.50 | 12.5 % [10.0, 15.0] | 50% |" in text
    assert "| mini |  |  |  | 10.00 |" in text and "| original | 20.0 | 3 of 4 | 3 |" in text
    assert len(json.loads((tmp_path / "figures.json").read_text())["speech"]) == 2

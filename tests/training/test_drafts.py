"""Draft heads, objectives and curricula in a run from a recipe."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.errors import raises_input_error
from helpers.tiny_run import tiny_recipe
from transformers import TrainerCallback

from vocalmtp.config import parse
from vocalmtp.errors import InputError
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.training.recipe import SpeechLMRecipe
from vocalmtp.training.train import train

LEAP = {"name": "leap", "steps": 2}


def recipe(shards: Path, output: Path, model: dict[str, Any], **optim: Any) -> SpeechLMRecipe:
    data = tiny_recipe(shards, output, **optim).model_dump()
    data["model"] |= model
    return parse(SpeechLMRecipe, data)


def continued(shards: Path, output: Path, init: Path, draft: Any, **optim: Any) -> SpeechLMRecipe:
    data = tiny_recipe(shards, output, **optim).model_dump()
    return parse(SpeechLMRecipe, data | {"model": None, "init": str(init), "draft": draft})


def test_draft_head_trains_alone_then_jointly(shards: Path, tmp_path: Path) -> None:
    """First over a frozen model; then both, with another weight in the loss."""
    base = train(recipe(shards, tmp_path / "base", {}, max_steps=1))
    before = SpeechLM.load(base)
    one = train(continued(shards, tmp_path / "one", base, LEAP, trainable="draft", max_steps=2))
    heads = SpeechLM.load(one)
    for name, weight in before.state_dict().items():
        assert torch.equal(weight, heads.state_dict()[name]), name
    own, new = heads.head.state_dict(), heads.draft.heads[0].state_dict()
    assert any(not torch.equal(own[name], new[name]) for name in own)  # it has learned
    changes = {"loss_weight": 0.1}
    both = SpeechLM.load(
        train(continued(shards, tmp_path / "two", one, changes, max_steps=1, learning_rate=1e-9))
    )
    assert both.draft.config.loss_weight == 0.1 and both.draft.config.stride == 2
    for name, weight in heads.state_dict().items():
        torch.testing.assert_close(weight, both.state_dict()[name], atol=1e-6, rtol=0)
    with raises_input_error("conflict", "draft"):
        train(continued(shards, tmp_path / "three", one, {"steps": 3}))
    with raises_input_error("missing", "optim.trainable"):
        train(continued(shards, tmp_path / "four", base, {}, trainable="draft"))


class ActiveStates(TrainerCallback):
    """Count the states of the draft head that had a gradient, at every step."""

    def __init__(self) -> None:
        self.counts: list[int] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        maps = kwargs["model"].draft.maps
        self.counts.append(sum(m.bias.grad is not None and bool(m.bias.grad.any()) for m in maps))


def test_resumed_curriculum_continues_its_phases(shards: Path, tmp_path: Path) -> None:
    model = {"draft": {"name": "leap", "steps": 2, "stride": 1}}
    seen = ActiveStates()
    settings = recipe(shards, tmp_path / "run", model, curriculum="forward", max_steps=6)
    stop = recipe(shards, tmp_path / "run", model, curriculum="forward", max_steps=6)

    class Stop(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            control.should_training_stop = control.should_save = state.global_step == 3
            return control

    train(stop, [seen, Stop()])
    train(settings, [seen])
    assert seen.counts == [0, 0, 1, 1, 2, 2]


def test_log_has_no_loss_of_inactive_draft_states(shards: Path, tmp_path: Path) -> None:
    """Over a window in which a state was active at some steps, its mean is over those steps."""
    model = {"draft": {"name": "leap", "steps": 2, "stride": 1}}

    def logged(name: str, log_every: int) -> list[dict[str, float]]:
        settings = recipe(
            shards, tmp_path / name, model, curriculum="forward", max_steps=6, log_every=log_every
        )
        rows = (train(settings) / "log.jsonl").read_text().splitlines()
        return [row for row in map(json.loads, rows) if "loss" in row]

    [window] = logged("window", 6)
    steps = logged("steps", 1)
    for name, active in (("draft.1", range(2, 6)), ("draft.2", range(4, 6))):
        assert [n for n, row in enumerate(steps) if name in row] == list(active)
        mean = sum(steps[n][name] for n in active) / len(active)
        assert window[name] == pytest.approx(mean, abs=2e-3)


@pytest.mark.parametrize("curriculum", ["forward", "reverse"])
def test_curriculum_over_frozen_model(shards: Path, tmp_path: Path, curriculum: str) -> None:
    base = train(tiny_recipe(shards, tmp_path / "base", max_steps=1, eval_every=9))
    alone = {"trainable": "draft", "curriculum": curriculum, "max_steps": 2, "log_every": 1}
    train(continued(shards, tmp_path / "run", base, LEAP, **alone))
    log = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    losses = [row["loss"] for row in map(json.loads, log) if "loss" in row]
    assert len(losses) == 2 and (losses[0] < losses[1]) == (curriculum == "forward")


def test_objective_trains_and_is_dropped_for_export(shards: Path, tmp_path: Path) -> None:
    model = {"objectives": {"top": {"window": 4}}, "draft": LEAP}
    output = train(recipe(shards, tmp_path / "run", model))
    trained = SpeechLM.load(output)
    assert any(name.startswith("objectives.top") for name in trained.state_dict())
    rows = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert any({"top", "draft.2", "draft.4"} <= row.keys() for row in rows)
    trained.drop_objectives()
    trained.save_pretrained(tmp_path / "dropped")
    again = SpeechLM.load(tmp_path / "dropped")
    assert not any(name.startswith("objectives") for name in again.state_dict())


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ({"objectives": {"topp": {}}}, "'top'"),
        ({"objectives": {"top": {"windw": 3}}}, "'window'"),
        ({"objectives": {"top": {"window": 0}}}, "'window'"),
        ({"draft": {"name": "lep"}}, "'leap'"),
    ],
)
def test_error_names_the_setting_meant(
    shards: Path, tmp_path: Path, model: dict, named: str
) -> None:
    with pytest.raises(InputError) as caught:
        train(recipe(shards, tmp_path / "run", model))
    assert caught.value.code in ("invalid_value", "not_found", "unknown_name")
    assert named in str(caught.value)

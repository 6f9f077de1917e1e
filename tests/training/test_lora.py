"""Low-rank adapters in training: what they train, what is saved, and how runs resume."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.errors import raises_input_error
from helpers.tiny_chat_model import save_tiny_chat_model
from helpers.tiny_run import tiny_recipe

from vocalmtp.models.checkpoint import load_backbone
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.models.text_lm import TextLM
from vocalmtp.training.recipe import LoRARecipe, SpeechLMRecipe, TextLMRecipe
from vocalmtp.training.text_lm import train_text_lm
from vocalmtp.training.train import train

pytest.importorskip("peft", reason="the extra 'lora' is not installed")


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_chat_model(tmp_path_factory.mktemp("llm"))


def recipe(
    shards: Path, output: Path, llm: Path, lora: dict[str, Any] | None = None, **optim: Any
) -> SpeechLMRecipe:
    """A run with adapters of the backbone `llm`, whose dropout is none."""
    base = tiny_recipe(shards, output, schedule="constant_with_warmup", **optim)
    changes = {"backbone": None, "pretrained": str(llm), "text": "prompt"}
    model = base.model.model_copy(update=changes)
    return base.model_copy(update={"model": model, "lora": LoRARecipe(**(lora or {"rank": 2}))})


@pytest.mark.parametrize("targets", [None, ("q_proj", "v_proj")])
def test_adapters_are_merged_into_the_layers_that_they_adapt(
    shards: Path, tmp_path: Path, llm: Path, targets: tuple[str, ...] | None
) -> None:
    output = train(recipe(shards, tmp_path / "run", llm, {"rank": 2, "targets": targets}))
    found, before = SpeechLM.load(output).backbone.state_dict(), load_backbone(llm).state_dict()
    assert found.keys() == before.keys()
    changed = {name for name, weight in before.items() if not torch.equal(weight, found[name])}
    linear = {name for name in before if "_proj.weight" in name}
    assert changed == {name for name in linear if targets is None or name.split(".")[-2] in targets}
    for name in changed:
        assert torch.linalg.matrix_rank(found[name] - before[name], tol=1e-6) <= 2


def test_a_run_with_adapters_resumes(shards: Path, tmp_path: Path, llm: Path) -> None:
    whole = train(recipe(shards, tmp_path / "whole", llm))
    train(recipe(shards, tmp_path / "parts", llm, max_steps=3))
    parts = train(recipe(shards, tmp_path / "parts", llm))
    one, other = SpeechLM.load(whole).state_dict(), SpeechLM.load(parts).state_dict()
    for name, weight in one.items():
        torch.testing.assert_close(weight, other[name], msg=name)


def test_a_text_lm_learns_by_adapters(tmp_path: Path, llm: Path) -> None:
    (tmp_path / "texts.txt").write_text("the cat sat on a mat\n" * 20)
    data = {"texts": [str(tmp_path / "texts.txt")], "length": 8}
    optim = {"max_steps": 20, "batch_frames": 100, "learning_rate": 1e-2, "warmup_steps": 1}
    settings = TextLMRecipe(
        data=data, init=str(llm), lora={"rank": 4}, optim=optim, output=str(tmp_path / "run")
    )
    output = train_text_lm(settings)
    ids = torch.tensor([[5, 6, 7, 8, 9, 10]])
    losses = [
        TextLM.load(folder).backbone(input_ids=ids, labels=ids).loss for folder in (llm, output)
    ]
    assert losses[1] < losses[0] - 0.1


@pytest.mark.parametrize(
    ("lora", "model", "optim", "code", "key"),
    [
        ({"targets": ("q_porj",)}, {}, {}, "invalid_value", "lora.targets"),
        ({}, {"pretrained": None, "backbone": {"model_type": "gpt2"}}, {}, "conflict", "lora"),
        ({}, {}, {"trainable": "draft"}, "conflict", "lora"),
    ],
)
def test_adapters_that_cannot_be_trained_are_refused(
    shards: Path,
    tmp_path: Path,
    llm: Path,
    lora: dict[str, Any],
    model: dict[str, Any],
    optim: dict[str, Any],
    code: str,
    key: str,
) -> None:
    settings = recipe(shards, tmp_path / "run", llm, lora, **optim)
    changed = settings.model.model_copy(update=model)
    with raises_input_error(code, key=key):
        train(settings.model_copy(update={"model": changed}))


def test_a_missing_package_is_named(
    shards: Path, tmp_path: Path, llm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with raises_input_error("not_installed", key="package"):
        train(recipe(shards, tmp_path / "run", llm))

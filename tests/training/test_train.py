"""A tiny run from a recipe: it learns, goes on where it stopped, and stops in time."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.tiny_run import tiny_recipe as recipe

from vocalmtp.config import load_yaml, parse
from vocalmtp.data.shards import CodeItem, CodeShards
from vocalmtp.errors import InputError
from vocalmtp.models.checkpoint import load_text_tokenizer
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.training.batches import FrameBatches, Shares, cut
from vocalmtp.training.build import build_model
from vocalmtp.training.recipe import SpeechLMRecipe
from vocalmtp.training.tasks import item_segments
from vocalmtp.training.train import train

RECIPES = Path(__file__).parents[2] / "recipes" / "mini"


def test_a_run_writes_a_model_and_a_log(shards: Path, tmp_path: Path) -> None:
    output = train(recipe(shards, tmp_path / "run"))
    model = SpeechLM.from_pretrained(output)
    assert model.config.tokenizer["name"] == "toy"
    assert model.config.speaker_dim == 3
    rows = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [2, 4, 6]
    trained = next(row for row in rows if "loss" in row)
    assert {"advance", "content.0", "prosody.1", "steps_per_s"} <= trained.keys()
    assert any("eval_content.1" in row for row in rows)
    assert yaml.safe_load((output / "recipe.yaml").read_text())["optim"]["max_steps"] == 6


def test_nothing_but_our_log_is_printed(shards: Path, tmp_path: Path, capfd: Any) -> None:
    """Transformers' bars and warnings about the files that it writes stay hidden."""
    train(recipe(shards, tmp_path / "run"))
    printed = capfd.readouterr()
    assert printed.err == ""
    assert all(line.startswith("step ") for line in printed.out.splitlines())


def test_a_resumed_run_equals_one_in_one_go(shards: Path, tmp_path: Path) -> None:
    constant = {"schedule": "constant_with_warmup"}
    whole = train(recipe(shards, tmp_path / "whole", **constant))
    train(recipe(shards, tmp_path / "parts", **constant, max_steps=3))
    parts = train(recipe(shards, tmp_path / "parts", **constant))
    one, other = SpeechLM.from_pretrained(whole), SpeechLM.from_pretrained(parts)
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, msg=name)


def test_a_run_stops_when_its_time_is_up(shards: Path, tmp_path: Path) -> None:
    settings = recipe(shards, tmp_path / "run", max_steps=100_000, max_seconds=0.5)
    output = train(settings)
    assert (output / "model.safetensors").is_file()
    assert list((output / "checkpoints").glob("checkpoint-*"))


def test_batches_keep_the_budget_and_cover_an_epoch() -> None:
    frames = torch.randint(5, 60, (200,)).tolist()
    epoch = len(FrameBatches(frames, 240, 10**6)._epoch(torch.Generator().manual_seed(0)))
    batches = list(FrameBatches(frames, 240, epoch + 3))
    assert len(batches) == epoch + 3
    assert sorted(i for batch in batches[:epoch] for i in batch) == list(range(200))
    for batch in batches:
        assert len(batch) * max(frames[i] for i in batch) <= 240
    assert batches == list(FrameBatches(frames, 240, epoch + 3))
    assert batches != list(FrameBatches(frames, 240, epoch + 3, seed=1))


def test_processes_share_every_batch_or_read_all_of_a_small_one() -> None:
    batches = [[3, 1, 4, 5, 9], [2], [6, 8]]
    shares = [list(Shares(batches, rank, 2)) for rank in range(2)]
    assert shares == [[[3, 4, 9], [2], [6]], [[1, 5], [2], [8]]]
    assert len(Shares(batches, 0, 2)) == 3


def test_an_utterance_beyond_the_budget_is_a_batch_of_its_own() -> None:
    assert cut([4, 7, 9], [10, 20, 90], 40) == [[4, 7], [9]]


def test_a_track_needs_character_times() -> None:
    item = CodeItem("u1", "abc.", "ann", torch.zeros(1, 4, dtype=torch.long))

    class Tracked:
        has_text_track = True
        text = "track"

    with pytest.raises(InputError, match="u1"):
        item_segments(item, Tracked())


def test_a_recipe_names_one_backbone(shards: Path, tmp_path: Path) -> None:
    made = recipe(shards, tmp_path / "run")
    without = made.model_copy(update={"model": made.model.model_copy(update={"backbone": None})})
    with pytest.raises(InputError, match="backbone"):
        train(without)


def test_a_run_goes_on_from_a_model(shards: Path, tmp_path: Path) -> None:
    first = train(recipe(shards, tmp_path / "first"))
    start = SpeechLM.from_pretrained(first)
    settings = recipe(shards, tmp_path / "second", max_steps=1, learning_rate=1e-9)
    settings = settings.model_copy(update={"model": None, "init": str(first)})
    second = SpeechLM.from_pretrained(train(settings))
    assert second.config.head == start.config.head
    for a, b in zip(start.state_dict().values(), second.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


def become_another_tokenizers(shards: Path) -> None:
    """Have the shards say that their codes are of a tokenizer that was trained anew."""
    spec = json.loads((shards / "tokenizer_spec.json").read_text())
    (shards / "tokenizer_spec.json").write_text(json.dumps({**spec, "codes": "anew"}))


def test_a_model_to_go_on_from_must_speak_the_codes_of_the_shards(
    shards: Path, tmp_path: Path
) -> None:
    first = train(recipe(shards, tmp_path / "first", max_steps=1))
    become_another_tokenizers(shards)
    settings = recipe(shards, tmp_path / "second")
    other = settings.model_copy(update={"model": None, "init": str(first)})
    with pytest.raises(InputError, match="vocalmtp tokenize"):
        train(other)
    with pytest.raises(InputError, match="either 'model'"):
        train(settings.model_copy(update={"init": str(first)}))


@pytest.mark.parametrize("file", sorted(RECIPES.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_mini_recipes_parse(file: Path) -> None:
    parsed = parse(SpeechLMRecipe, load_yaml(file), file.name)
    assert parsed.model.backbone["hidden_size"] == 384


def test_a_pretrained_backbone_brings_its_text_tokenizer(shards: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    start = tmp_path / "backbone"
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=4, intermediate_size=32, **size)).save_pretrained(start)
    words = Tokenizer(WordLevel({"abc.": 0, "?": 1}, unk_token="?"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?").save_pretrained(start)
    settings = recipe(shards, tmp_path / "run", max_steps=1)
    model = {"backbone": None, "pretrained": str(start), "text": "prompt"}
    settings = settings.model_copy(update={"model": settings.model.model_copy(update=model)})
    output = train(settings)
    assert load_text_tokenizer(output).encode("abc.") == [0]
    assert SpeechLM.load(output).config.backbone["vocab_size"] == 4


def test_the_backbone_of_a_speech_lm_is_kept_under_another_tokenizer(
    shards: Path, tmp_path: Path
) -> None:
    first = train(recipe(shards, tmp_path / "first", max_steps=1))
    become_another_tokenizers(shards)
    settings = recipe(shards, tmp_path / "second")
    asked = {"backbone": None, "pretrained": str(first), "frames_per_step": 2}
    settings = settings.model_copy(update={"model": settings.model.model_copy(update=asked)})
    model, tokenizer = build_model(settings, CodeShards(shards))
    known = SpeechLM.load(first)
    assert tokenizer is None and model.layout.frames_per_step == 2
    assert model.config.tokenizer["hash"] != known.config.tokenizer["hash"]
    for name, weight in known.backbone.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[name], weight)
    assert not torch.equal(model.control_tokens.weight, known.control_tokens.weight)
    model.save_pretrained(tmp_path / "saved")
    assert SpeechLM.load(tmp_path / "saved").config.backbone == known.config.backbone

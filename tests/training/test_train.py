"""A tiny run from a recipe: it learns, goes on where it stopped, and stops in time."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from vocalmtp.config import load_yaml, parse
from vocalmtp.data.shards import CodeItem, write_shard
from vocalmtp.errors import InputError
from vocalmtp.model.speech_lm import SpeechLM
from vocalmtp.tokenizers.base import StreamSpec, TokenizerCard
from vocalmtp.training.train import FrameBatches, SpeechLMRecipe, cut, item_segments, train

RECIPES = Path(__file__).parents[2] / "recipes" / "mini"


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "codes"
    folder.mkdir()
    streams = (
        StreamSpec(name="content", size=8, role="content", levels=(2, 4)),
        StreamSpec(name="prosody", size=4, role="prosody"),
    )
    card = TokenizerCard(
        name="toy",
        kind="decoupled",
        sample_rate=100,
        frame_rate=10.0,
        streams=streams,
        speaker_dim=3,
    )
    (folder / "card.json").write_text(card.model_dump_json())
    generator = torch.Generator().manual_seed(0)
    items = []
    for i in range(8):
        codes = torch.stack(
            [torch.randint(0, s.size, (6 + i,), generator=generator) for s in streams]
        )
        ends = torch.linspace(0.1, (6 + i) / 10, 4)
        items.append(CodeItem(f"u{i}", "abc.", "ann", codes, torch.ones(3), ends))
    write_shard(folder / "one", items[:6], "train")
    write_shard(folder / "two", items[6:], "valid")
    return folder


def recipe(shards: Path, output: Path, **optim: Any) -> SpeechLMRecipe:
    data = {
        "data": {"shards": str(shards)},
        "output": str(output),
        "model": {
            "backbone": {
                "model_type": "llama",
                "vocab_size": 40,
                "hidden_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "intermediate_size": 32,
            },
            "frames_per_step": 2,
            "track": {"width": 8, "layers": 1},
        },
        "optim": {
            "max_steps": 6,
            "batch_frames": 40,
            "warmup_steps": 1,
            "log_every": 2,
            "eval_every": 3,
            "save_every": 3,
            **optim,
        },
    }
    return parse(SpeechLMRecipe, data)


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


def test_an_utterance_beyond_the_budget_is_a_batch_of_its_own() -> None:
    assert cut([4, 7, 9], [10, 20, 90], 40) == [[4, 7], [9]]


def test_a_track_needs_character_times() -> None:
    item = CodeItem("u1", "abc.", "ann", torch.zeros(1, 4, dtype=torch.long))

    class Tracked:
        tracked = True
        text = "track"

    with pytest.raises(InputError, match="u1"):
        item_segments(item, Tracked())


def test_a_recipe_names_one_backbone(shards: Path, tmp_path: Path) -> None:
    made = recipe(shards, tmp_path / "run")
    without = made.model_copy(update={"model": made.model.model_copy(update={"backbone": None})})
    with pytest.raises(InputError, match="backbone"):
        train(without)


@pytest.mark.parametrize("file", sorted(RECIPES.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_mini_recipes_parse(file: Path) -> None:
    parsed = parse(SpeechLMRecipe, load_yaml(file), file.name)
    assert parsed.model.backbone["hidden_size"] == 384

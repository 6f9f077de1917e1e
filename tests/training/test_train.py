"""Tiny training runs from recipes: files, log, resuming, time limit, batches, pretrained parts."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.errors import raises_input_error
from helpers.tiny_chat_model import save_tiny_chat_model
from helpers.tiny_run import exits_on_sigterm
from helpers.tiny_run import tiny_recipe as recipe
from transformers import TrainerCallback

from vocalmtp.config import load_yaml, parse
from vocalmtp.data.shards import CodeItem, CodeShards
from vocalmtp.models.checkpoint import load_backbone, load_text_tokenizer
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.tokenizers.spec import StreamSpec
from vocalmtp.training.batches import BatchShares, FrameBatches, cut_batches
from vocalmtp.training.build import build_model, take_codes
from vocalmtp.training.plan import show_recipe
from vocalmtp.training.recipe import SpeechLMRecipe
from vocalmtp.training.run_files import last_whole_checkpoint
from vocalmtp.training.tasks import item_segments
from vocalmtp.training.train import train

RECIPES = Path(__file__).parents[2] / "recipes" / "mini"


def test_run_writes_model_and_log(shards: Path, tmp_path: Path) -> None:
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


def test_run_prints_its_log_only(shards: Path, tmp_path: Path, capfd: Any) -> None:
    """Transformers' bars and warnings about the files that it writes stay hidden."""
    train(recipe(shards, tmp_path / "run"))
    printed = capfd.readouterr()
    assert printed.err == ""
    assert all(line.startswith("step ") for line in printed.out.splitlines())


def test_resumed_run_equals_uninterrupted_run(shards: Path, tmp_path: Path) -> None:
    constant = {"schedule": "constant_with_warmup"}
    uninterrupted = train(recipe(shards, tmp_path / "uninterrupted", **constant))
    train(recipe(shards, tmp_path / "parts", **constant, max_steps=3))
    parts = train(recipe(shards, tmp_path / "parts", **constant))
    one, other = SpeechLM.from_pretrained(uninterrupted), SpeechLM.from_pretrained(parts)
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, msg=name)


def test_sigterm_saves_a_checkpoint_and_ends_the_run(shards: Path, tmp_path: Path) -> None:
    class Terminated(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 2:
                signal.raise_signal(signal.SIGTERM)

    settings = recipe(shards, tmp_path / "run")
    with exits_on_sigterm(), pytest.raises(SystemExit):
        train(settings, [Terminated()])
    checkpoint = last_whole_checkpoint(tmp_path / "run" / "checkpoints")
    assert checkpoint is not None and checkpoint.name == "checkpoint-3"
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert (train(settings) / "model.safetensors").is_file()


def test_run_stops_and_saves_after_max_seconds(shards: Path, tmp_path: Path) -> None:
    settings = recipe(shards, tmp_path / "run", max_steps=100_000, max_seconds=0.5)
    output = train(settings)
    assert (output / "model.safetensors").is_file()
    assert list((output / "checkpoints").glob("checkpoint-*"))


def test_batches_keep_budget_and_cover_an_epoch() -> None:
    frames = torch.randint(5, 60, (200,)).tolist()
    epoch = len(FrameBatches(frames, 240, 10**6).epoch(torch.Generator().manual_seed(0)))
    batches = list(FrameBatches(frames, 240, epoch + 3))
    assert len(batches) == epoch + 3
    assert sorted(i for batch in batches[:epoch] for i in batch) == list(range(200))
    for batch in batches:
        assert len(batch) * max(frames[i] for i in batch) <= 240
    assert batches == list(FrameBatches(frames, 240, epoch + 3))
    assert batches != list(FrameBatches(frames, 240, epoch + 3, seed=1))


def test_processes_share_batches_or_all_read_small_ones() -> None:
    batches = [[3, 1, 4, 5, 9], [2], [6, 8]]
    shares = [list(BatchShares(batches, rank, 2)) for rank in range(2)]
    assert shares == [[[3, 4, 9], [2], [6]], [[1, 5], [2], [8]]]
    assert len(BatchShares(batches, 0, 2)) == 3


def test_utterance_beyond_budget_is_a_batch_of_its_own() -> None:
    assert cut_batches([4, 7, 9], [10, 20, 90], 40) == [[4, 7], [9]]


def test_text_track_needs_character_times() -> None:
    item = CodeItem("u1", "abc.", "ann", torch.zeros(1, 4, dtype=torch.long))

    class Tracked:
        has_text_track = True
        text = "track"
        phones = False
        prompt_format = None

    with raises_input_error("missing", "utterance", names="u1"):
        item_segments(item, Tracked())


def test_recipe_without_backbone_is_refused(shards: Path, tmp_path: Path) -> None:
    made = recipe(shards, tmp_path / "run")
    without = made.model_copy(update={"model": made.model.model_copy(update={"backbone": None})})
    with raises_input_error("missing", "model.backbone"):
        train(without)


def test_init_continues_from_a_model(shards: Path, tmp_path: Path) -> None:
    first = train(recipe(shards, tmp_path / "first"))
    start = SpeechLM.from_pretrained(first)
    settings = recipe(shards, tmp_path / "second", max_steps=1, learning_rate=1e-9)
    settings = settings.model_copy(update={"model": None, "init": str(first)})
    second = SpeechLM.from_pretrained(train(settings))
    assert second.config.head == start.config.head
    for a, b in zip(start.state_dict().values(), second.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


def test_init_goes_on_over_a_trunk(shards: Path, tmp_path: Path) -> None:
    llm = save_tiny_chat_model(tmp_path / "llm")
    first = train(recipe(shards, tmp_path / "first", max_steps=1))
    settings = recipe(shards, tmp_path / "second", max_steps=1, learning_rate=1e-9)
    changes = {"model": None, "init": str(first), "trunk": str(llm)}
    settings = settings.model_copy(update=changes)
    assert "trunk " in show_recipe(settings, "toy")
    second = train(settings)
    start, over = SpeechLM.load(first), SpeechLM.load(second)
    assert (start.config.text, over.config.text) == ("track", "both")
    for name, weight in start.state_dict().items():
        torch.testing.assert_close(over.state_dict()[name], weight, atol=1e-6, rtol=0, msg=name)
    known = load_backbone(llm).base_model.state_dict()
    assert all(torch.equal(x, known[name]) for name, x in over.trunk.lm.state_dict().items())
    assert load_text_tokenizer(second)("a").input_ids == load_text_tokenizer(llm)("a").input_ids
    with raises_input_error("conflict", "trunk"):  # it reads text in its prompts now
        train(settings.model_copy(update={"init": str(second), "output": str(tmp_path / "third")}))
    with raises_input_error("conflict", "trunk"):
        train(recipe(shards, tmp_path / "new").model_copy(update={"trunk": str(llm)}))


def change_tokenizer(shards: Path, codes: str = "anew") -> None:
    """Have the shards say that their codes are of a tokenizer that was trained anew."""
    spec = json.loads((shards / "tokenizer_spec.json").read_text())
    (shards / "tokenizer_spec.json").write_text(json.dumps({**spec, "codes": codes}))


def test_init_of_another_tokenizer_is_refused(shards: Path, tmp_path: Path) -> None:
    first = train(recipe(shards, tmp_path / "first", max_steps=1))
    change_tokenizer(shards)
    settings = recipe(shards, tmp_path / "second")
    other = settings.model_copy(update={"model": None, "init": str(first)})
    with raises_input_error("mismatch", "shards"):
        train(other)
    with raises_input_error("conflict", "model"):
        train(settings.model_copy(update={"init": str(first)}))


def test_init_goes_on_with_new_codes_of_the_same_streams(shards: Path, tmp_path: Path) -> None:
    first = train(recipe(shards, tmp_path / "first", max_steps=1))
    change_tokenizer(shards)
    settings = recipe(shards, tmp_path / "second", max_steps=1, learning_rate=1e-9)
    settings = settings.model_copy(update={"model": None, "init": str(first), "new_codes": True})
    second = SpeechLM.load(train(settings))
    assert second.config.tokenizer == CodeShards(shards).spec.reference()
    for name, weight in SpeechLM.load(first).state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], weight, atol=1e-6, rtol=0, msg=name)
    spec = CodeShards(shards).spec
    larger = StreamSpec(name="content", size=1 << 20, role="content")
    spec = spec.model_copy(update={"streams": (larger, *spec.streams[1:])})
    with raises_input_error("mismatch", "shards"):
        take_codes(settings, second, spec)
    second.config.streams[0]["levels"] = [second.config.streams[0]["size"]]  # its digits are others
    change_tokenizer(shards, "once more")
    with raises_input_error("mismatch", "shards"):
        take_codes(settings, second, CodeShards(shards).spec)


@pytest.mark.parametrize("file", sorted(RECIPES.glob("*.yaml")), ids=lambda file: file.stem)
def test_mini_recipes_parse(file: Path) -> None:
    parsed = parse(SpeechLMRecipe, load_yaml(file), file.name)
    assert parsed.model.backbone["hidden_size"] == (
        256 if file.stem in ("phones", "24khz") else 384
    )


def test_pretrained_backbone_brings_its_text_tokenizer(shards: Path, tmp_path: Path) -> None:
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


def test_backbone_of_speech_lm_is_reused_with_another_tokenizer(
    shards: Path, tmp_path: Path
) -> None:
    first = train(recipe(shards, tmp_path / "first", max_steps=1))
    change_tokenizer(shards)
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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_speech_lm_trains_and_resumes_on_cuda(shards: Path, tmp_path: Path, precision: str) -> None:
    model = {"draft": {"name": "leap", "steps": 2}, "objectives": {"top": {"window": 4}}}
    settings = recipe(shards, tmp_path / "run", max_steps=3, precision=precision)
    changes = {"device": "cuda", "model": settings.model.model_copy(update=model)}
    settings = settings.model_copy(update=changes)
    output = train(settings)
    longer = settings.optim.model_copy(update={"max_steps": 4})
    train(settings.model_copy(update={"optim": longer}))
    rows = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "train_runtime" in row] == [3, 4]
    weights = SpeechLM.load(output).state_dict().values()
    assert all(weight.isfinite().all() for weight in weights)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_first_losses_on_cuda_are_those_of_the_cpu(shards: Path, tmp_path: Path) -> None:
    losses = {}
    for device in ("cpu", "cuda"):
        settings = recipe(shards, tmp_path / device, max_steps=1, log_every=1)
        plain = {"speaker_dropout": 0.0, "step_dropout": 0.0}
        changes = {"device": device, "model": settings.model.model_copy(update=plain)}
        output = train(settings.model_copy(update=changes))
        rows = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
        losses[device] = next(row for row in rows if "loss" in row)
    for name in ("loss", "content.0", "prosody.1"):
        assert losses["cuda"][name] == pytest.approx(losses["cpu"][name], rel=1e-3)

"""Published models as our own folders, and draft heads that are trained over them."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.command_line import run
from helpers.errors import error_code, raises_input_error
from helpers.published_lms import save_csm, save_flat, save_orpheus
from helpers.qwen3_tts import save_qwen3_tts

import vocalmtp
from vocalmtp.data.shards import CodeShards
from vocalmtp.decoding.generate import generate
from vocalmtp.models.prompt_parts import prompt_parts, segments_of
from vocalmtp.models.prompts import ControlToken, Speech, Text
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.published.saving import load_whole
from vocalmtp.training.recipe import ModelRecipe
from vocalmtp.training.regroup import regroup
from vocalmtp.tts import TTS, SynthesisRequest
from vocalmtp.voices import Voice

SAVE: dict[str, Callable[[Path], object]] = {
    "orpheus": save_orpheus,
    "csm": save_csm,
    "qwen3": partial(save_qwen3_tts, kind="custom_voice"),
}
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def neutts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny NeuTTS with a voice."""
    folder = tmp_path_factory.mktemp("neutts")
    save_flat(folder, "<|speech_{}|>", "neucodec")
    spec = vocalmtp.load(folder, engine="eager").tokenizer.spec
    codes = np.array([[7, 65_535, 0, 7]])
    voice = Voice("me", np.zeros(0, np.float32), "test", spec.name, spec.hash, "", codes, "We do.")
    (folder / "voices").mkdir()
    voice.save(folder / "voices" / "me.safetensors")
    return folder


def steps_of(tts: TTS, **sampling: object) -> list[list[int]]:
    request = SynthesisRequest(text="Yes.", sampling={"greedy": True} | sampling)
    prompt = replace(tts.prompt(tts.plan(request)[0]), max_steps=21)
    strategy = tts.decoding.strategy(tts.statistics)
    return [event.tokens[0].tolist() for event in generate(tts.model, [prompt], strategy=strategy)]


@pytest.mark.parametrize("family", ["orpheus", "neutts", "csm", "qwen3"])
def test_exported_model_is_the_published_one(
    family: str, neutts: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    folder = neutts
    if family != "neutts":
        folder = tmp_path / "published"
        folder.mkdir()
        SAVE[family](folder)
    own = tmp_path / "own"
    assert run("export", folder, "-o", own) == 0
    assert json.loads((own / "config.json").read_text())["model_type"] == "vocalmtp"
    before, after = (vocalmtp.load(each, engine="eager") for each in (folder, own))
    assert steps_of(before) == steps_of(after)
    assert before.voices.keys() == after.voices.keys() and before.card == after.card
    assert before.tokenizer.spec == after.tokenizer.spec
    capsys.readouterr()
    assert run("info", own) == 0
    assert before.card["name"] in capsys.readouterr().out
    assert run("export", folder, "-o", own, "--voices", "x.yaml") == 2
    assert error_code(capsys.readouterr().err) == "conflict"


@pytest.fixture(scope="module")
def drafting(neutts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model with a draft head that the recipe has trained for a few steps."""
    folder = tmp_path_factory.mktemp("drafts")
    (folder / "texts.txt").write_text("I.\nA.\nWe.\n", encoding="utf-8")
    changes = [
        f"init={neutts}",
        f"output={folder / 'run'}",
        f"data.shards={folder / 'codes'}",
        f"data.own_speech.texts={folder / 'texts.txt'}",
        "data.own_speech.truncated=true",
        "draft.steps=2",
        "optim.max_steps=3",
        "optim.log_every=1",
        "optim.batch_frames=80",
        "optim.precision=fp32",
    ]
    assert run("train", ROOT / "recipes" / "published" / "drafts.yaml", *changes) == 0
    return folder


def test_data_is_what_the_model_speaks(neutts: Path, drafting: Path):
    """Its codes are probable ones: the recording is given, and greedy choices would be the same."""
    tts, shards = vocalmtp.load(neutts, engine="eager"), CodeShards(drafting / "codes")
    assert len(shards) == 3
    item = shards[0]
    request = SynthesisRequest(text="I.", seed=1)
    prompt = tts.prompt(tts.plan(request)[0])
    spoken = [int(event.tokens[0, 0]) for event in generate(tts.model, [prompt])]
    assert item.prompt == (tuple(prompt.segments[0].ids), 4)
    assert item.codes[0].tolist() == [7, 65_535, 0, 7, *spoken]


def test_drafts_change_speed_alone(neutts: Path, drafting: Path):
    base = SpeechLM.load(drafting / "run").state_dict()
    published = vocalmtp.load(neutts, engine="eager")
    for name, tensor in published.model.state_dict().items():
        assert torch.equal(tensor, base[name]), name
    plain = vocalmtp.load(drafting / "run", engine="eager")
    drafted = plain.using(replace(plain.decoding, drafts=2))
    assert steps_of(drafted) == steps_of(plain) == steps_of(published)
    assert drafted.statistics.summary()["acceptance"]


def test_losses_are_those_of_the_draft_head(drafting: Path):
    rows = [json.loads(line) for line in (drafting / "run" / "log.jsonl").open()]
    assert any("draft.1" in row and "draft.2" in row for row in rows)


def test_recordings_are_no_targets(neutts: Path):
    model = vocalmtp.load(neutts, engine="eager").model
    codes = torch.tensor([[7, 65_535, 0, 9, 8]])
    batch = model.collator()([segments_of([(1, 2), 3], codes)])
    targets = batch.step_targets[0, :, 0].tolist()
    assert targets[:6] == [-100, -100, -100, -100, 9, 8] and targets[6] != -100


def test_prompts_survive_the_way_to_the_data():
    recording, codes = torch.tensor([[1, 2]]), torch.tensor([[3, 4, 5]])
    turns = [Text([1]), Speech(recording), Text([2, 3]), Speech(None)]
    parts, joined = prompt_parts(turns, codes)
    assert parts == ((1,), 2, (2, 3)) and joined.tolist() == [[1, 2, 3, 4, 5]]
    first, own, second, speech = segments_of(parts, joined)
    assert (first.ids, second.ids) == ((1,), (2, 3)) and not own.supervised
    assert own.codes.tolist() == [[1, 2]] and speech.codes.tolist() == [[3, 4, 5]]
    with raises_input_error("unsupported", "prompt"):
        prompt_parts([ControlToken("x")], codes)


def test_plan_counts_published_sizes(capsys: pytest.CaptureFixture):
    recipe = ROOT / "recipes" / "published" / "drafts.yaml"
    assert run("train", recipe, "--dry-run", "init=orpheus") == 0
    out = capsys.readouterr().out
    assert "backbone 3300.9 M" in out and "trained: 1" in out and "GiB" in out and " h " in out
    assert run("train", recipe, "--dry-run", "init=neutts-nano") == 2
    assert error_code(capsys.readouterr().err) == "not_found"


def test_plan_of_a_folder_reads_no_weights(neutts: Path, capsys: pytest.CaptureFixture):
    recipe = ROOT / "recipes" / "published" / "drafts.yaml"
    assert run("train", recipe, "--dry-run", f"init={neutts}", "draft.heads=2") == 0
    out = capsys.readouterr().out
    assert "neucodec" in out and f"by '{neutts}'" in out


def test_regrouped_model_speaks_frames_in_pairs(neutts: Path, drafting: Path):
    """Adapters over the frozen backbone, with the data of the drafts; the text tables stay."""
    pytest.importorskip("peft", reason="the extra 'lora' is not installed")
    folder, recipe = drafting / "regrouped", ROOT / "recipes" / "published" / "regroup.yaml"
    changes = [
        f"model.pretrained={neutts}",
        f"output={folder}",
        f"data.shards={drafting / 'codes'}",
        f"data.own_speech.texts={drafting / 'texts.txt'}",
        "data.own_speech.truncated=true",
        "lora.rank=2",
        "optim.max_steps=2",
        "optim.batch_frames=80",
        "optim.precision=fp32",
    ]
    assert run("train", recipe, *changes) == 0
    published, tts = (vocalmtp.load(each, engine="eager") for each in (neutts, folder))
    old, new = published.model.backbone.state_dict(), tts.model.backbone.state_dict()
    same = {name for name in old if torch.equal(old[name], new[name])}
    assert {"model.embed_tokens.weight", "model.norm.weight"} <= same
    assert "model.layers.0.self_attn.q_proj.weight" not in same
    assert all(len(step) == 2 for step in steps_of(tts))
    assert tts("Yes.", seed=1).duration > 0.5


@pytest.mark.parametrize("save", [save_orpheus, save_csm])
def test_regrouped_codes_begin_as_published(save: Any, tmp_path: Path):
    save(tmp_path)
    known, _ = load_whole(tmp_path)
    recipe = ModelRecipe(pretrained=str(tmp_path), frames_per_step=2, text="prompt")
    model, _ = regroup(recipe, tmp_path)
    codes = torch.tensor([[5, 4000, 7, 0, 1, 2, 3]]).T if save is save_orpheus else None
    codes = torch.arange(32)[:, None] if codes is None else codes  # [Q, 1]
    frame = known.layout.pack(codes[None]).tokens[0, : known.layout.num_steps(1)]
    expected = known.embedding(frame).sum(0)
    assert model.layout.tokens_per_step == 2 * len(codes)
    step = torch.cat([codes[:, 0], codes[:, 0]])
    model.requires_grad_(False).embedding.frame_proj[0].weight.zero_()
    found = model.embedding(step) / model.embedding.scale
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    with raises_input_error("conflict", "model.text"):
        regroup(recipe.model_copy(update={"text": "track"}), tmp_path)


def test_plan_of_regrouping(capsys: pytest.CaptureFixture):
    recipe = ROOT / "recipes" / "published" / "regroup.yaml"
    assert run("train", recipe, "--dry-run", "model.pretrained=llasa") == 0
    out = capsys.readouterr().out
    assert "2 slots per step" in out and "speech 25" in out and "trained:" in out

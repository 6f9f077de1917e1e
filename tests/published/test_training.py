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
from helpers.published_lms import save_csm, save_flat, save_orpheus, save_slm, save_vocalnet
from helpers.qwen3_tts import save_qwen3_tts

import vocalmtp
from vocalmtp.data.shards import CodeShards, ShardRow
from vocalmtp.decoding.generate import generate
from vocalmtp.models.prompt_parts import Part, prompt_parts, segments_of
from vocalmtp.models.prompts import (
    AudioInput,
    Context,
    ControlToken,
    Segment,
    Speaker,
    Speech,
    Text,
)
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.published.saving import load_whole
from vocalmtp.tokenizers import load_tokenizer
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
    assert item.prompt == (Part(text=tuple(prompt.segments[0].ids)), Part(recording=4))
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
    parts = [Part(text=(1, 2)), Part(recording=3)]
    batch = model.collator()([segments_of(parts, codes)])
    targets = batch.step_targets[0, :, 0].tolist()
    assert targets[:6] == [-100, -100, -100, -100, 9, 8] and targets[6] != -100


def test_prompts_survive_the_way_to_the_data():
    recording, codes = torch.tensor([[1, 2]]), torch.tensor([[3, 4, 5]])
    turns = [Text([1]), Speech(recording), Text([2, 3]), Speech(None)]
    parts, joined = prompt_parts(turns, codes)
    assert parts == (Part(text=(1,)), Part(recording=2), Part(text=(2, 3)))
    assert joined.tolist() == [[1, 2, 3, 4, 5]]
    first, own, second, speech = segments_of(parts, joined)
    assert (first.ids, second.ids) == ((1,), (2, 3)) and not own.supervised
    assert own.codes.tolist() == [[1, 2]] and speech.codes.tolist() == [[3, 4, 5]]
    with raises_input_error("unsupported", "prompt"):
        prompt_parts([AudioInput(codes)], codes)


def test_prompts_of_all_kinds_survive_the_way_to_the_data():
    recording, codes, vector = torch.tensor([[1, 2]]), torch.tensor([[3]]), torch.ones(4)
    prompt: list[Segment] = [
        Context([1]),
        Text([2, 3]),
        ControlToken("x", 4),
        Speaker(vector.numpy(), 5),
        Speaker(None),
    ]
    along = Speech(recording, [6, 7], goes_on=True, penalized=False)
    parts, joined = prompt_parts([*prompt, along], codes)
    row = ShardRow(id="a", text="b", split="c", prompt=parts)
    again = ShardRow.model_validate_json(row.model_dump_json(exclude_none=True))
    assert again.prompt == parts
    *found, speech = segments_of(again.prompt, joined, vector)
    assert found[:3] == [Context((1,)), Text((2, 3)), ControlToken("x", 4)]
    assert found[3].vector is vector and (found[3].added, found[4].vector) == (5, None)
    assert speech.characters == (6, 7) and speech.given == 2
    assert speech.codes.tolist() == [[1, 2, 3]]


def train_drafts(folder: Path, model: Path, *changes: str) -> int:
    """Run the recipe for two steps in `folder`."""
    (folder / "texts.txt").write_text("I.\nA.\n", encoding="utf-8")
    return run(
        "train",
        ROOT / "recipes" / "published" / "drafts.yaml",
        f"init={model}",
        f"output={folder / 'run'}",
        f"data.shards={folder / 'codes'}",
        f"data.own_speech.texts={folder / 'texts.txt'}",
        "data.own_speech.truncated=true",
        "optim.max_steps=2",
        "optim.batch_frames=80",
        "optim.precision=fp32",
        *changes,
    )


def released(family: str) -> dict[str, Any]:
    """The golden file of a family."""
    file = ROOT / "tests" / "published" / "golden" / f"{family}.json"
    return json.loads(file.read_text(encoding="utf-8"))


def save_tiny_vocalnet(folder: Path) -> None:
    case = released("vocalnet")
    save_vocalnet(folder, case["config"], case["shapes"])
    spec = load_tokenizer(folder / "tokenizer").spec
    voice = Voice("me", np.ones(spec.speaker_dim, np.float32), "test", spec.name, spec.hash)
    (folder / "voices").mkdir()
    voice.save(folder / "voices" / "me.safetensors")


@pytest.mark.parametrize(
    ("save", "voices"),
    [
        (partial(save_qwen3_tts, kind="custom_voice"), "[ryan]"),
        (save_tiny_vocalnet, "[]"),
    ],
    ids=["qwen3", "vocalnet"],
)
def test_prompts_of_more_than_text_train_drafts(save: Any, voices: str, tmp_path: Path):
    """The data has the prompt that the model spoke after, and its drafts change nothing."""
    model = tmp_path / "model"
    model.mkdir()
    save(model)
    assert train_drafts(tmp_path, model, f"data.own_speech.voices={voices}") == 0
    published, trained = (vocalmtp.load(e, engine="eager") for e in (model, tmp_path / "run"))
    request = SynthesisRequest(text="I.", voice=voices.strip("[]") or None, seed=1)
    prompt = published.prompt(published.plan(request)[0])
    item = CodeShards(tmp_path / "codes")[0]
    collate = published.model.collator()
    segments = segments_of(item.prompt, item.codes, item.speaker)
    asked, taught = collate([prompt.segments]), collate([segments])
    length = asked.kinds.shape[1]
    for name in ("kinds", "ids", "added_text", "context", "speaker", "characters"):
        one, other = getattr(asked, name), getattr(taught, name)
        if one is not None:
            own = other[:, :length] if one.shape[1] == length else other
            assert torch.equal(one, own), name
    drafted = trained.using(replace(trained.decoding, drafts=2))
    assert steps_of(drafted) == steps_of(trained) == steps_of(published)


def test_drafts_where_any_slot_may_end_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture):
    name = "12 heads, speaker"
    save_slm(tmp_path, released("slm_decoupled")[name], grouped=True)
    assert train_drafts(tmp_path, tmp_path) == 2
    assert error_code(capsys.readouterr().err) == "unsupported"


def test_regrouping_where_steps_have_text_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture):
    save_qwen3_tts(tmp_path, "custom_voice")
    recipe = ROOT / "recipes" / "published" / "regroup.yaml"
    assert run("train", recipe, "--dry-run", f"model.pretrained={tmp_path}") == 2
    assert error_code(capsys.readouterr().err) == "unsupported"
    drafts = ROOT / "recipes" / "published" / "drafts.yaml"
    assert run("train", drafts, "--dry-run", f"init={tmp_path}") == 0


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

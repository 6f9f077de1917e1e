"""Tasks of a speech LM: their prompts, audio inputs, and runs that train and log them."""

import json
import random
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from helpers.errors import raises_input_error
from helpers.tiny_chat_model import save_tiny_chat_model
from helpers.tiny_run import tiny_recipe, write_tiny_shards

from vocalmtp.config import parse
from vocalmtp.data.shards import CodeShards
from vocalmtp.models.aligner import load_aligner
from vocalmtp.models.audio_encoder import FOLD, MEL_RATE, MELS, SAMPLE_RATE, log_mels
from vocalmtp.models.interleaving import InterleaveConfig
from vocalmtp.models.prompts import AudioInput, ControlToken, Interleaved, Speaker, Speech, Text
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.text import normalize
from vocalmtp.training.audio_inputs import MelInputs
from vocalmtp.training.augment import equalize_mels, mask_mels
from vocalmtp.training.build import build_model, model_config
from vocalmtp.training.plan import show_recipe
from vocalmtp.training.recipe import DataRecipe, RecordingsRecipe, SpeechLMRecipe
from vocalmtp.training.tasks import build_dataset, repeated
from vocalmtp.training.train import train

AUDIO_INPUT = {"width": 8, "layers": 1}


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return write_tiny_shards(tmp_path / "codes")


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """A question for every utterance of the shards, which both asks and answers it."""
    folder = tmp_path / "questions"
    folder.mkdir()
    rows, manifest = [], []
    for i in range(8):
        split = "train" if i < 6 else "valid"
        row = {"id": f"q{i}", "question": "a b?", "aliases": ["abc"], "answer": "abc.", "role": "r"}
        row |= {"split": split, "seen": True}
        row |= {"audio": f"a/{i}.wav"} | ({"question_audio": f"a/{i ^ 1}.wav"} if i != 2 else {})
        rows.append(json.dumps(row))
        manifest.append(
            json.dumps({"id": f"u{i}", "audio": f"a/{i}.wav", "text": "abc."} | {"split": split})
        )
    (folder / "questions.jsonl").write_text("\n".join(rows) + "\n")
    (folder / "manifest.jsonl").write_text("\n".join(manifest) + "\n")
    return folder


def recipe(shards: Path, questions: Path, output: Path, **optim: Any) -> SpeechLMRecipe:
    made = tiny_recipe(shards, output, **optim).model_dump(mode="json")
    made["model"]["audio_input"] = AUDIO_INPUT
    made["data"] |= {
        "tasks": {"tts": 1, "asr": 1},
        "questions": {
            "folder": str(questions),
            "shards": str(shards),
            "tasks": {"spoken_qa": 1, "text_qa": 1, "text": 0.5},
        },
    }
    return parse(SpeechLMRecipe, made)


def test_repeated_rows_are_evenly_spaced() -> None:
    assert repeated(4, 0.5) == [1, 3]
    assert repeated(3, 2.0) == [0, 1, 2, 0, 1, 2]
    assert repeated(4, 1.25) == [0, 1, 2, 3, 3]
    assert repeated(4, 0.0) == []


def test_every_task_has_its_prompts(shards: Path, questions: Path, tmp_path: Path) -> None:
    settings = recipe(shards, questions, tmp_path / "run")
    model, _ = build_model(settings, CodeShards(shards))
    rows = build_dataset(settings.data, "train", model.config, None)
    assert len(rows) == len(rows.frames) == 6 + 6 + 5 + 6 + 3  # one question is not spoken
    shapes = [[getattr(s, "name", type(s).__name__) for s in row] for row in rows]
    turn, spoken = ["question", "Text", "answer", "Text"], ["speech", "Speech"]
    assert shapes[0] == ["Speaker", *spoken]
    assert shapes[6] == ["AudioInput", "question", "Text"]
    assert shapes[12] == ["Speaker", "AudioInput", *turn, *spoken]
    assert shapes[17] == ["Speaker", *turn, *spoken]
    assert shapes[23] == ["Speaker", *turn]
    row = rows[12]
    end = model.config.audio_input_config.end_id
    assert end == 35 and row[3].ids[-1] == row[5].ids[-1] == end
    assert row[3].supervised and row[5].supervised and not rows[17][2].supervised
    assert isinstance(row[0], Speaker) and torch.equal(row[0].vector, torch.ones(3))
    assert isinstance(row[1], AudioInput) and isinstance(row[-1], Speech)
    assert torch.equal(row[1].frames, CodeShards(shards)[1].codes)  # the question
    assert isinstance(row[2], ControlToken) and isinstance(row[3], Text)
    assert rows.frames[6] == 6 + round(10 / 16 * len("abc."))  # frames, and letters as if said
    letters = len(row[3].ids) + len(row[5].ids) - 2
    assert rows.frames[12] == 6 + 7 + round(10 / 16 * letters)


def interleaved_recipe(recipe: SpeechLMRecipe, **pattern: int) -> SpeechLMRecipe:
    """The same with text and speech in turn, which has no text track."""
    made = recipe.model_dump(mode="json")
    made["model"] |= {"text": "prompt", "track": {}, "interleave": pattern}
    return parse(SpeechLMRecipe, made)


def test_interleaved_answers_have_text_and_speech_in_turn(
    shards: Path, questions: Path, tmp_path: Path
) -> None:
    first = recipe(shards, questions, tmp_path / "run", max_steps=2, eval_every=2)
    settings = interleaved_recipe(first, text=2, steps=1)
    model, _ = build_model(settings, CodeShards(shards))
    rows = build_dataset(settings.data, "train", model.config, None)
    assert len(rows) == 6 + 6 + 5 + 6 + 3
    shapes = [[getattr(s, "name", type(s).__name__) for s in row] for row in rows]
    assert shapes[12] == ["Speaker", "AudioInput", "question", "Text", "answer", "Interleaved"]
    assert shapes[17] == ["Speaker", "question", "Text", "answer", "Interleaved"]
    assert shapes[23] == ["Speaker", "question", "Text", "answer", "Text"]  # without speech
    answer = rows[12][-1]
    assert isinstance(answer, Interleaved) and answer.ids == rows[23][-1].ids
    assert torch.equal(answer.codes, CodeShards(shards)[0].codes)
    output = train(settings)
    log = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert any("exact_match" in row for row in log)
    assert SpeechLM.load(output).config.interleave_config == model.config.interleave_config
    plan = show_recipe(settings)
    assert "speech 5" in plan
    late = interleaved_recipe(first, text=1, steps=3)  # five tokens need thirteen steps
    with raises_input_error("missing", "questions", names="interleave"):
        build_dataset(late.data, "train", build_model(late, CodeShards(shards))[0].config, None)


def test_interleaved_answers_are_trained_over_a_text_lm(
    shards: Path, questions: Path, tmp_path: Path
) -> None:
    llm = save_tiny_chat_model(tmp_path / "llm")
    first = recipe(shards, questions, tmp_path / "run", max_steps=1, eval_every=1)
    made = interleaved_recipe(first, text=1, steps=2).model_dump(mode="json")
    made["model"] |= {"backbone": None, "pretrained": str(llm)}
    output = train(parse(SpeechLMRecipe, made))
    config = SpeechLM.load(output).config
    assert config.interleave_config == InterleaveConfig(text=1, steps=2)
    assert config.audio_input_config.end_id == 1  # of the text LM's tokenizer


def test_a_trained_model_goes_on_with_interleaved_answers(
    shards: Path, questions: Path, tmp_path: Path
) -> None:
    first = recipe(shards, questions, tmp_path / "first", max_steps=1, eval_every=9)
    made = first.model_dump(mode="json")
    made["model"] |= {"text": "prompt", "track": {}}
    trained = train(parse(SpeechLMRecipe, made))
    made |= {"model": None, "init": str(trained), "interleave": {"text": 2, "steps": 1}}
    model, _ = build_model(parse(SpeechLMRecipe, made), CodeShards(shards))
    assert model.collator().interleave == InterleaveConfig(text=2, steps=1)
    made |= {"init": str(train(first.model_copy(update={"output": str(tmp_path / "track")})))}
    with raises_input_error("conflict", "interleave"):
        build_model(parse(SpeechLMRecipe, made), CodeShards(shards))
    with raises_input_error("conflict", "interleave"):
        build_model(first.model_copy(update={"interleave": {"text": 2}}), CodeShards(shards))


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Two voices say one sentence and the question of every row; the second voice has no times."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    rows = []
    for i, (voice, text) in enumerate(product("xy", (normalize("a b?"), "abc."))):
        soundfile.write(folder / f"{i}.wav", 0.1 * np.sin(np.arange(4000) * (0.1 + i)), 16_000)
        for split in ("train", "valid"):
            row = {"id": f"{split}{i}", "audio": f"{i}.wav", "text": text, "voice": voice}
            row |= {"split": split, "seconds": 0.25} | (
                {"chars": [0.1] * len(text)} if i < 2 else {}
            )
            rows.append(json.dumps(row))
    (folder / "manifest.jsonl").write_text("\n".join(rows) + "\n")
    return folder


def recordings_in(folder: Path) -> RecordingsRecipe:
    return RecordingsRecipe(manifests=(str(folder),))


def test_mel_inputs_draw_and_augment_recordings(
    shards: Path, questions: Path, recordings: Path, tmp_path: Path
) -> None:
    settings = recipe(shards, questions, tmp_path / "run")
    settings = settings.model_copy(
        update={
            "model": settings.model.model_copy(
                update={"audio_input": AUDIO_INPUT | {"source": "mels"}}
            ),
            "data": settings.data.model_copy(update={"recordings": recordings_in(recordings)}),
        }
    )
    model, _ = build_model(settings, CodeShards(shards))
    own = model.audio_encoder.embedding.acoustics.state_dict()  # begins as the aligner's
    assert all(torch.equal(own[name], load_aligner().state_dict()[name]) for name in own)
    rows = build_dataset(settings.data, "train", model.config, None)
    assert len(rows) == 6 + 4 + 6 + 6 + 3  # asr of recordings; each question is said by two
    loaded = [rows[10 + n % 6][1] for n in range(24)]  # of questions: drawn, and augmented
    assert all(len(each.frames) == FOLD * MELS for each in loaded)
    lengths = {each.frames.shape[1] for each in loaded}  # .25 s, and up to .4 s before and after
    assert min(lengths) >= 7 and 12 < max(lengths) <= 27
    assert {each.frame_characters is None for each in loaded} == {True, False}
    assert len({each.frames.sum().item() for each in loaded}) == 24
    held_out = build_dataset(settings.data, "valid", model.config, None)
    again = [held_out[2][0].frames for _ in range(2)]
    assert torch.equal(*again) and rows.frames[6] == 2 + 4
    assert (
        train(settings).is_dir()
        and SpeechLM.load(settings.output).config.audio_frame_rate == MEL_RATE
    )


def test_speed_moves_character_times_and_masks_hide_parts(
    shards: Path, questions: Path, recordings: Path, tmp_path: Path
) -> None:
    """Held-out recordings are not augmented."""
    model = recipe(shards, questions, tmp_path / "run").model
    config = model_config(model, CodeShards(shards).spec)
    plain = {"warp": 0, "reverb_prob": 0, "noise_prob": 0, "silence": 0}
    settings = RecordingsRecipe(manifests=(str(recordings),), **plain, speed=0.5, masks=2)
    inputs = MelInputs(config, settings, "train", augments=True)
    loaded = [inputs.load(inputs.items[0]) for _ in range(40)]
    lengths = [each.frames.shape[1] for each in loaded]
    assert min(lengths) < 6 < 8 < max(lengths)  # .25 s are 7 frames
    first = [int((each.frame_characters == each.frame_characters[0]).sum()) for each in loaded]
    assert first[lengths.index(min(lengths))] < first[lengths.index(max(lengths))]
    held_out = MelInputs(config, settings, "valid", augments=False)
    assert torch.equal(*(held_out.load(held_out.items[0]).frames for _ in range(2)))
    mel = torch.randn(100, 80)
    masked = mask_mels(mel, 3, random.Random(0))
    hidden = masked != mel
    assert 0 < hidden.float().mean() < 0.7 and (masked[hidden] == mel.mean()).all()
    assert torch.equal(mask_mels(mel, 0, random.Random(0)), mel)


def test_equalizer_changes_band_gains_only() -> None:
    """The gains are constant over time, and smooth over the bands."""
    wav = torch.randn(SAMPLE_RATE) * torch.linspace(0.1, 1, SAMPLE_RATE)
    mel = log_mels(wav)
    equalized = equalize_mels(mel, 6.0, random.Random(0))
    curve = (equalized - mel)[mel.min(dim=1).values > -1]  # [F, M] where nothing is near the floor
    assert len(curve) > 50 and (curve - curve[0]).abs().max() < 1e-4
    assert curve[0].diff().abs().max() < 0.2 < curve[0].max() - curve[0].min()
    power = [each.sub(1).mul(4).exp().mean().item() for each in (mel, equalized)]  # of the mean
    assert power[1] == pytest.approx(power[0], rel=0.01)
    silence = equalize_mels(log_mels(torch.zeros(SAMPLE_RATE)), 6.0, random.Random(0))
    assert silence.min() >= log_mels(torch.zeros(SAMPLE_RATE)).min() - 1e-6
    assert torch.equal(equalize_mels(mel, 0.0, random.Random(0)), mel)


def test_audio_encoder_is_replaced_and_fitting_weights_kept(
    shards: Path, questions: Path, recordings: Path, tmp_path: Path
) -> None:
    """From codes to log-mels, whose acoustic model is that of the aligner."""
    first = train(recipe(shards, questions, tmp_path / "first", max_steps=1, eval_every=9))
    second = recipe(shards, questions, tmp_path / "second", eval_every=9)
    second = second.model_copy(
        update={
            "model": None,
            "init": str(first),
            "audio_input": AUDIO_INPUT | {"source": "mels"},
            "data": second.data.model_copy(update={"recordings": recordings_in(recordings)}),
        }
    )
    model, _ = build_model(second, CodeShards(shards))
    before = SpeechLM.load(first)
    assert torch.equal(
        model.audio_encoder.character_output.weight, before.audio_encoder.character_output.weight
    )
    own = model.audio_encoder.embedding.acoustics.input.weight
    assert torch.equal(own, load_aligner().input.weight)
    again = second.model_copy(update={"init": str(train(second)), "output": str(tmp_path / "3")})
    third, _ = build_model(again, CodeShards(shards))  # an encoder with equal settings is kept
    assert not torch.equal(third.audio_encoder.embedding.acoustics.input.weight, own)


def test_recordings_need_mel_input(shards: Path, questions: Path, tmp_path: Path) -> None:
    settings = recipe(shards, questions, tmp_path / "run")
    model, _ = build_model(settings, CodeShards(shards))
    data = settings.data.model_copy(update={"recordings": recordings_in(questions)})
    with raises_input_error("conflict", "data.recordings"):
        build_dataset(data, "train", model.config, None)
    model.config.audio_input["source"] = "mels"
    with raises_input_error("missing", "data.recordings"):
        build_dataset(settings.data, "train", model.config, None)


def test_run_logs_losses_of_every_task_and_resumes(
    shards: Path, questions: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    settings = recipe(
        shards, questions, output, max_steps=4, log_every=2, eval_every=2, save_every=2
    )
    train(settings)
    log = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    trained = next(row for row in log if "loss" in row)
    held_out = next(row for row in log if "eval_loss" in row)
    for name in ("transcript", "answer", "characters", "content.0"):
        assert trained[name] > 0 and held_out[f"eval_{name}"] > 0
    examined = [row for row in log if "wer" in row]
    assert [row["step"] for row in examined] == [2, 4]
    assert all(row["wer"] >= 0 and 0 <= row["exact_match"] <= 1 for row in examined)
    longer = settings.model_copy(
        update={"optim": settings.optim.model_copy(update={"max_steps": 6})}
    )
    train(longer)
    rows = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "wer" in row] == [2, 4, 6]
    assert SpeechLM.load(output).config.audio_input["end_id"] == 35


def test_audio_input_is_added_to_trained_model(
    shards: Path, questions: Path, tmp_path: Path
) -> None:
    first = train(tiny_recipe(shards, tmp_path / "first", max_steps=1, eval_every=9))
    second = recipe(shards, questions, tmp_path / "second")
    second = second.model_copy(
        update={"model": None, "init": str(first), "audio_input": AUDIO_INPUT}
    )
    model, _ = build_model(second, CodeShards(shards))
    before = SpeechLM.load(first)
    assert torch.equal(model.embedding.table, before.embedding.table)
    assert torch.equal(model.control_tokens.weight[0], before.control_tokens.weight[0])
    assert len(model.control_tokens.weight) == 3 and model.audio_encoder is not None


def test_unfit_recipes_are_refused(shards: Path, questions: Path, tmp_path: Path) -> None:
    settings = recipe(shards, questions, tmp_path / "run")
    without, _ = build_model(tiny_recipe(shards, tmp_path / "without"), CodeShards(shards))
    with raises_input_error("missing", "task", names="asr"):
        build_dataset(settings.data, "train", without.config, None)
    with raises_input_error("conflict", "audio_input"):
        build_model(settings.model_copy(update={"audio_input": AUDIO_INPUT}), CodeShards(shards))
    model, _ = build_model(settings, CodeShards(shards))
    data = DataRecipe(shards=str(shards), tasks={}, questions=settings.data.questions)
    with raises_input_error("empty", "questions"):
        build_dataset(data, "test", model.config, None)
    manifest = questions / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace("a/", "b/"))
    with raises_input_error("missing", "questions"):
        build_dataset(data, "train", model.config, None)
    other = tmp_path / "other"
    write_tiny_shards(other)
    spec = json.loads((other / "tokenizer_spec.json").read_text())
    (other / "tokenizer_spec.json").write_text(json.dumps(spec | {"codes": "anew"}))
    moved = data.questions.model_copy(update={"shards": str(other)})
    with raises_input_error("mismatch", "questions.shards"):
        build_dataset(data.model_copy(update={"questions": moved}), "train", model.config, None)


def test_plan_needs_neither_weights_nor_data(shards: Path, questions: Path, tmp_path: Path) -> None:
    settings = recipe(shards, questions, tmp_path / "run")
    text = show_recipe(settings)
    assert "speech 5, audio input 5" in text and "data: 26 rows" in text
    pretrained = {
        "backbone": None,
        "pretrained": "nowhere/large",
        "pretrained_config": settings.model.backbone,
    }
    pretrained["pretrained_config"] = {**pretrained["pretrained_config"], "hidden_size": 32}
    moved = settings.data.model_copy(update={"shards": "nowhere"})
    large = settings.model_copy(
        update={"model": settings.model.model_copy(update=pretrained), "data": moved}
    )
    text = show_recipe(large, "mini")
    assert "codes: mini, 9 slots" in text and "data: shards 'nowhere'" in text
    with raises_input_error("not_found", "shards"):
        show_recipe(large)
    without = large.model.model_copy(update={"pretrained_config": None})
    with raises_input_error("missing", "model.pretrained_config"):
        show_recipe(large.model_copy(update={"model": without}), "mini")

"""`recipe: finetune`: one command from recordings to a model with their voice."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import yaml
from helpers.command_line import run
from helpers.errors import error_code
from helpers.toy_model import save_toy_model

from vocalmtp.audio.io import read_audio
from vocalmtp.config import load_yaml, parse
from vocalmtp.data.manifest import read_manifest
from vocalmtp.evaluation.statistics import Estimate
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.tokenizers import load_tokenizer
from vocalmtp.training.callbacks import EvalCallback
from vocalmtp.training.finetune import intelligibility_warning, write_labelled_manifest
from vocalmtp.training.recipe import FinetuneRecipe
from vocalmtp.training.run_files import read_log

TEXT = "one two three."


@pytest.fixture(autouse=True)
def _quick_judge(monkeypatch):
    """pocketsphinx takes seconds for what is no speech."""
    monkeypatch.setattr("vocalmtp.training.callbacks.transcribe_file", lambda *_: "one two four")


@pytest.fixture
def corpus(tmp_path) -> Path:
    """A prepared corpus of six buzzing recordings."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    rows = []
    for index in range(6):
        seconds = 2.2 + index / 10
        time = np.arange(round(seconds * 16_000)) / 16_000
        buzz = sum(np.sin(2 * np.pi * 120 * h * time) / h for h in range(1, 6)) * 0.1
        soundfile.write(folder / f"{index}.wav", buzz, 16_000)
        row = {"id": str(index), "audio": f"{index}.wav", "text": TEXT, "voice": "buzz"}
        row |= {"split": "valid" if index < 2 else "train", "seconds": seconds}
        row["chars"] = np.linspace(0.1, seconds, len(TEXT)).tolist()
        rows.append(json.dumps(row) + "\n")
    (folder / "manifest.jsonl").write_text("".join(rows))
    return folder


@pytest.fixture
def recipe(corpus, tmp_path) -> Path:
    data = {
        "recipe": "finetune",
        "data": str(corpus),
        "output": str(tmp_path / "out"),
        "voice": "buzz",
        "model": str(save_toy_model(tmp_path / "toy")),
        "decoder": {
            "max_minutes": 0.03,
            "batch_size": 2,
            "ema_decay": 0.0,
            "learning_rate": 0.01,
            "warmup_steps": 1,
        },
        "optim": {"max_steps": 2, "batch_frames": 200, "eval_every": 1, "save_every": 1},
        "eval_sentences": 1,
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def test_finetune_exports_a_model_with_the_new_voice(recipe, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("train", recipe) == 0
    assert f'vocalmtp tts "Hello." --model {out}' in capsys.readouterr().out
    assert run("tts", "Hello.", "-o", tmp_path / "hello.wav", "--model", out) == 0
    assert len(read_audio(tmp_path / "hello.wav", 16_000))
    card = json.loads((out / "card.json").read_text())
    assert card["default_voice"] == "buzz" and card["sampling"] == {"top_k": 50}
    rows = read_log(out / "work" / "lm" / "log.jsonl")
    assert [row["step"] for row in rows if "wer" in row] == [0, 1, 2]
    assert rows[0]["wer"] == rows[0]["wer_natural"] == pytest.approx(1 / 3) and any(
        "left_s" in row for row in rows
    )
    for step in ("000000", "000001", "000002"):
        assert list((out / "samples" / step).glob("*.wav"))
    assert (out / "losses.png").stat().st_size > 1000

    original, adapted = (load_tokenizer(f / "tokenizer") for f in (tmp_path / "toy", out))
    assert adapted.spec.hash == original.spec.hash
    same = [
        (a - b).abs().max() < 2e-3  # more than rounding to float16
        for a, b in zip(original.decoder.parameters(), adapted.decoder.parameters(), strict=True)
    ]
    assert not all(same)


def test_interrupted_run_resumes(recipe, tmp_path, capsys):
    assert run("train", recipe, "optim.max_steps=1", "decoder.max_minutes=0") == 0
    assert run("train", recipe, "optim.max_steps=3", "decoder.max_minutes=0") == 0
    rows = read_log(tmp_path / "out" / "work" / "lm" / "log.jsonl")
    assert [row["step"] for row in rows if "wer" in row] == [0, 1, 2, 3]
    assert "the decoder is not trained" in capsys.readouterr().out


def test_recommended_conditioning_is_trained_and_kept(recipe, tmp_path):
    """A speech LM that speaks without the vector is trained without it."""
    path = tmp_path / "toy" / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"speaker_conditioning": "decoder"}))
    assert run("train", recipe, "optim.max_steps=1", "decoder.max_minutes=0") == 0
    out = tmp_path / "out"
    assert json.loads((out / "card.json").read_text())["speaker_conditioning"] == "decoder"
    original, adapted = (SpeechLM.from_pretrained(folder) for folder in (tmp_path / "toy", out))
    assert adapted.config.speaker_dropout == 1.0 != original.config.speaker_dropout
    a, b = (m.speaker_projection.projection[0].weight for m in (original, adapted))
    assert (a - b).abs().max() < 2e-3  # no gradient: weight decay, and rounding to float16
    assert not adapted.speaker_projection.projection[2].weight.any()  # vectors are ignored


def test_best_model_is_exported(recipe, tmp_path, monkeypatch):
    """By word errors; among equal ones, by validation loss."""
    assert run("train", recipe, "optim.max_steps=1", "decoder.max_minutes=0") == 0
    settings = parse(FinetuneRecipe, load_yaml(recipe))
    toy, out = tmp_path / "toy", tmp_path / "out"
    evaluation = EvalCallback(settings, settings.data, toy / "tokenizer", {})
    model = SpeechLM.from_pretrained(toy)
    best = min(row["eval_loss"] for row in read_log(evaluation.log) if "eval_loss" in row)
    for heard, loss, kept in (
        ("one two four", best + 1, True),
        ("something else", best - 1, True),
        ("one two four", best - 1, False),
        ("one two three", best + 1, False),
        ("one two four", best - 9, True),
    ):
        before = (out / "model.safetensors").read_bytes()
        model.control_tokens.weight.data += 1.0  # so that it can be told from the one that is there
        monkeypatch.setattr(
            "vocalmtp.training.callbacks.transcribe_file", lambda *_, text=heard: text
        )
        state = SimpleNamespace(global_step=9)
        evaluation.on_evaluate(None, state, None, metrics={"eval_loss": loss}, model=model)
        assert ((out / "model.safetensors").read_bytes() == before) is kept


def test_original_speech_lm_stays_unless_a_trained_one_is_clearly_better(
    recipe, tmp_path, monkeypatch
):
    assert run("train", recipe, "optim.max_steps=1", "decoder.max_minutes=0") == 0
    settings, toy = parse(FinetuneRecipe, load_yaml(recipe)), tmp_path / "toy"
    evaluation = EvalCallback(settings, settings.data, toy / "tokenizer", {})
    evaluation.log.unlink()
    model, exported = SpeechLM.from_pretrained(toy), tmp_path / "out" / "model.safetensors"

    def hear(wer, low=0.0):
        found = Estimate(wer, low, 1.0, 16)
        monkeypatch.setattr(EvalCallback, "word_error_rate", lambda *_: found)

    hear(0.2, low=0.1)
    evaluation.evaluate_before(toy)
    original = exported.read_bytes()
    for wer, kept in ((0.15, True), (0.05, False)):
        hear(wer)
        model.control_tokens.weight.data += 1.0
        state = SimpleNamespace(global_step=9)
        evaluation.on_evaluate(None, state, None, metrics={"eval_loss": 1.0}, model=model)
        assert (exported.read_bytes() == original) is kept


@pytest.mark.parametrize(
    ("natural", "wers", "warns"),
    [
        (0.1, [0.9, 0.77], True),
        (0.1, [0.9, 0.15], False),
        (0.3, [0.35], False),
        (None, [0.9], False),
        (0.1, [None], False),
        (0.1, [], False),
    ],
)
def test_an_unintelligible_result_is_reported(natural, wers, warns):
    rows = [{"step": 0, "wer": 0.2} | ({} if natural is None else {"wer_natural": natural})]
    rows += [{"step": 50, "wer": wer, "score": [wer or 0.0, 1.0]} for wer in wers]
    assert (intelligibility_warning(rows) is not None) == warns


def test_characters_replace_missing_phones(corpus, tmp_path):
    rows = read_manifest(corpus, "train")
    write_labelled_manifest(rows, tmp_path / "labelled")
    labelled = read_manifest(tmp_path / "labelled", "train")
    assert [row.id for row in labelled] == [row.id for row in rows]
    assert labelled[0].phones[0][0] == "o" and labelled[0].audio.is_file()


@pytest.mark.parametrize(
    ("change", "code", "named"),
    [
        ("voice=a/b", "invalid_value", "a/b"),
        ("voise=a", "unknown_name", "'voice'"),
        ("data=none", "not_found", "none"),
        ("model=minj", "not_found", "minj"),
    ],
)
def test_wrong_input_is_refused(recipe, capsys, change, code, named):
    assert run("train", recipe, change) == 2
    err = capsys.readouterr().err
    assert error_code(err) == code and named in err

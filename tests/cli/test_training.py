"""`vocalmtp tokenize`, `train` and `export`: from recordings to a model that speaks."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from helpers.command_line import run
from helpers.errors import error_code
from helpers.toy_model import BACKBONE, tokenizer_config

from vocalmtp.data.shards import CodeShards
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.tokenizers.neural import NeuralTokenizer
from vocalmtp.training.export import export_model


@pytest.fixture
def corpus(tmp_path) -> Path:
    """Six short recordings in two splits, and a tokenizer beside them."""
    rows = []
    for index in range(6):
        seconds = 2.2 + index / 10
        time = np.arange(round(seconds * 16_000)) / 16_000
        buzz = sum(np.sin(2 * np.pi * 120 * h * time) / h for h in range(1, 6)) * 0.1
        soundfile.write(tmp_path / f"{index}.wav", buzz, 16_000)
        text = "one two three."
        rows.append(
            {
                "id": str(index),
                "audio": f"{index}.wav",
                "text": text,
                "voice": "buzz",
                "split": "valid" if index == 0 else "train",
                "seconds": seconds,
                "phones": [["ah", seconds / 2], ["t", seconds]],
                "chars": np.linspace(0.1, seconds, len(text)).tolist(),
            }
        )
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    torch.manual_seed(0)
    NeuralTokenizer(tokenizer_config()).eval().save_pretrained(tmp_path / "tokenizer")
    return tmp_path


def test_from_recordings_to_speech(corpus, capsys):
    assert run("tokenize", corpus, "-o", corpus / "codes", "-t", corpus / "tokenizer") == 0
    assert "codes of 6 utterances by toy" in capsys.readouterr().out
    assert len(CodeShards(corpus / "codes")) == 5

    recipe = {
        "recipe": "speech_lm",
        "output": str(corpus / "run"),
        "data": {"shards": str(corpus / "codes")},
        "model": {"backbone": BACKBONE, "frames_per_step": 2, "track": {"width": 16, "layers": 1}},
        "optim": {"max_steps": 50, "batch_frames": 200, "warmup_steps": 1},
    }
    (corpus / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert run("train", corpus / "recipe.yaml", "optim.max_steps=2", "optim.log_every=1") == 0
    log = [json.loads(line) for line in (corpus / "run" / "log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 2

    (corpus / "voices.yaml").write_text("buzz: made of sines\n")
    (corpus / "card.yaml").write_text("licence: Apache-2.0\n")
    parts = ("-t", corpus / "tokenizer", "--manifest", corpus, "--voices", corpus / "voices.yaml")
    assert (
        run("export", corpus / "run", "-o", corpus / "out", *parts, "--card", corpus / "card.yaml")
        == 0
    )
    capsys.readouterr()
    assert run("voices", "-m", corpus / "out") == 0
    assert "made of sines" in capsys.readouterr().out
    assert run("tts", "Hi.", "-o", corpus / "hi.wav", "-m", corpus / "out") == 0
    assert soundfile.info(corpus / "hi.wav").frames > 0


def test_exported_model_ignores_vectors_that_it_was_trained_without(corpus):
    assert run("tokenize", corpus, "-o", corpus / "codes", "-t", corpus / "tokenizer") == 0
    recipe = {
        "recipe": "speech_lm",
        "output": str(corpus / "run"),
        "data": {"shards": str(corpus / "codes")},
        "model": {"backbone": BACKBONE, "frames_per_step": 2, "speaker_dropout": 1.0},
        "optim": {"max_steps": 1, "batch_frames": 200},
    }
    (corpus / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert run("train", corpus / "recipe.yaml") == 0
    export_model(
        corpus / "run", corpus / "tokenizer", corpus / "out", manifest=corpus, origins={}, card={}
    )
    projection = SpeechLM.load(corpus / "out").speaker_projection
    vectors = torch.randn(3, projection.projection[0].in_features)
    made = projection(vectors, torch.tensor([True, True, False]))
    assert torch.equal(made[:2], made[2:].expand(2, -1))


def test_a_tokenizer_is_trained_by_its_recipe(corpus):
    recipe = {
        "recipe": "tokenizer",
        "corpus": str(corpus),
        "output": str(corpus / "trained"),
        "model": tokenizer_config().model_dump(mode="json"),
        "steps": 1,
        "batch_size": 2,
        "crop_seconds": 1.28,
        "decode_frames": 16,
    }
    (corpus / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert run("train", corpus / "recipe.yaml") == 0
    assert (corpus / "trained" / "tokenizer.json").is_file()


@pytest.mark.parametrize(
    ("text", "code", "named"),
    [
        ("recipe: speech_ln\n", "unknown_name", "'speech_lm'"),
        ("output: x\ndata: {shard: y}\nmodel: {}\n", "unknown_name", "'shards'"),
        ("recipe: tokenizer\ncorpus: c\noutput: x\nstep: 1\n", "unknown_name", "'steps'"),
        ("recipe: speech_lm\ndata: {shards: y}\nmodel: {}\n", "missing", "'output'"),
    ],
)
def test_invalid_recipes_are_one_line(tmp_path, capsys, text, code, named):
    (tmp_path / "r.yaml").write_text(text)
    assert run("train", tmp_path / "r.yaml") == 2
    err = capsys.readouterr().err
    assert error_code(err) == code and named in err and err.count("\n") == 1


def test_missing_inputs_are_one_line(tmp_path, corpus, capsys):
    (tmp_path / "voices.yaml").write_text("buzz: {base: slt}\n")
    parts = ("-t", corpus / "tokenizer", "--manifest", corpus, "--voices", tmp_path / "voices.yaml")
    for arguments in [
        ("train", tmp_path / "none.yaml"),
        ("tokenize", tmp_path / "none", "-o", tmp_path / "codes", "-t", corpus / "tokenizer"),
        ("tokenize", corpus, "-o", tmp_path / "codes", "-t", tmp_path / "none"),
        ("export", tmp_path / "none", "-o", tmp_path / "out", *parts),
    ]:
        assert run(*arguments) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: ") and err.count("\n") == 1
    assert not (tmp_path / "out").exists()

"""Folders and files of models, tokenizers, voices and codes that are not as they were saved."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from helpers.damage import change, replace_tensor, tear
from helpers.errors import raises_input_error
from helpers.sounds import buzz
from helpers.tiny_run import write_tiny_shards

from vocalmtp.cli import main
from vocalmtp.data.shards import CodeShards
from vocalmtp.io.read import FORMAT
from vocalmtp.loading import load
from vocalmtp.voices import Voice

NEWER = "version_too_new: "


def edit(file: str, **values: object) -> Callable[[Path], object]:
    return lambda model: change(model / file, **values)


def write(file: str, content: bytes) -> Callable[[Path], object]:
    return lambda model: (model / file).write_bytes(content)


def tensor(file: str, name: str, value: torch.Tensor | None) -> Callable[[Path], object]:
    return lambda model: replace_tensor(model / file, name, value)


LM, CODEC, ANN = "model.safetensors", "tokenizer/model.safetensors", "voices/ann.safetensors"
MODELS = {
    "no config": (lambda m: (m / "config.json").unlink(), "not_found: config.json"),
    "no weights": (lambda m: (m / LM).unlink(), ": model.safetensors"),
    "pickled weights": (lambda m: (m / LM).rename(m / "pytorch_model.bin"), "missing: "),
    "no tokenizer": (lambda m: shutil.rmtree(m / "tokenizer"), "not_found: "),
    "no codec weights": (lambda m: (m / CODEC).unlink(), ": model.safetensors"),
    "torn config": (lambda m: tear(m / "config.json"), "damaged: config.json"),
    "torn weights": (lambda m: tear(m / LM), "damaged: model.safetensors"),
    "torn codec": (lambda m: tear(m / CODEC), "damaged: model.safetensors"),
    "torn codec config": (lambda m: tear(m / "tokenizer/tokenizer.json"), "damaged: "),
    "torn voice": (lambda m: tear(m / ANN), "damaged: "),
    "empty weights": (write(LM, b""), "damaged: model.safetensors"),
    "binary config": (write("config.json", b"\xff\xfe\x00\x01"), "damaged: "),
    "binary card": (write("card.json", b"\xff\xfe\x00\x01"), "damaged: card.json"),
    "listed config": (write("config.json", b"[1, 2]"), "damaged: "),
    "deep config": (write("config.json", b"[" * 100_000), "damaged: "),
    "another kind": (edit("config.json", model_type="llama"), "missing: 'llama'"),
    "newer config": (edit("config.json", format=FORMAT + 1), NEWER),
    "newer codec": (edit("tokenizer/tokenizer.json", format=FORMAT + 1), NEWER),
    "odd format": (edit("config.json", format="x"), "damaged: 'x'"),
    "unknown key": (edit("config.json", gate=True), ": 'gate'"),
    "unknown codec key": (edit("tokenizer/tokenizer.json", gate=1), ": 'gate'"),
    "unknown head": (edit("config.json", head={"name": "tree"}), "unknown_name: 'tree'"),
    "unknown head key": (edit("config.json", head={"name": "depth", "x": 1}), "unknown_name: 'x'"),
    "unknown track key": (edit("config.json", track={"wide": 1}), "unknown_name: 'wide'"),
    "unknown codec": (edit("tokenizer/tokenizer.json", type="mumble"), "unknown_name: 'mumble'"),
    "unknown backbone": (edit("config.json", backbone={"model_type": "none"}), "damaged: "),
    "no backbone": (edit("config.json", backbone=None), "damaged: "),
    "streams of no form": (edit("config.json", streams=[1, 2]), "damaged: config.json"),
    "too many layers": (
        edit("config.json", backbone={"model_type": "llama", "num_hidden_layers": 10**9}),
        "invalid_value: 1000000000",
    ),
    "a vast step": (edit("config.json", frames_per_step=10**9), "out_of_range: 64"),
    "a vast track": (
        edit("config.json", track={"max_advance": 10**6}),
        "out_of_range: 16,777,216",
    ),
    "no streams": (edit("config.json", streams=[]), "invalid_value: "),
    "other letters": (edit("config.json", alphabet="abc"), "mismatch: config.json"),
    "turned letters": (
        lambda m: edit(
            "config.json", alphabet=json.loads((m / "config.json").read_text())["alphabet"][::-1]
        )(m),
        "version_too_new: ",
    ),
    "other codec": (edit("tokenizer/tokenizer.json", codes="abcd"), "mismatch: 'toy'"),
    "vast codec": (
        edit("tokenizer/tokenizer.json", encoder_dim=10**9),
        "invalid_value: 'encoder_dim'",
    ),
    "text for a number": (edit("tokenizer/tokenizer.json", mels="many"), "invalid_value: 'mels'"),
    "too few weights": (
        tensor(LM, "control_tokens.weight", None),
        "mismatch: config.json",
    ),
    "too many weights": (tensor(LM, "gate.weight", torch.ones(2)), "mismatch: "),
    "other shape": (
        tensor(LM, "control_tokens.weight", torch.ones(1, 5)),
        "mismatch: config.json",
    ),
    "no number": (
        tensor(LM, "control_tokens.weight", torch.full((1, 32), torch.nan)),
        "damaged: ",
    ),
    "codec lacks": (tensor(CODEC, "decoder.norm.weight", None), "damaged: 'decoder.norm.weight'"),
    "codec has": (tensor(CODEC, "gate", torch.ones(2)), "damaged: 'gate'"),
    "codec shape": (
        tensor(CODEC, "decoder.norm.weight", torch.ones(3)),
        "damaged: 'decoder.norm.weight'",
    ),
    "codec dtype": (
        tensor(CODEC, "decoder.norm.weight", torch.ones(16, dtype=torch.int64)),
        "damaged: [16]",
    ),
    "codec infinite": (
        tensor(CODEC, "decoder.norm.weight", torch.full((16,), torch.inf)),
        "damaged: 'decoder.norm.weight'",
    ),
    "short voice": (tensor(ANN, "vector", torch.ones(3)), "mismatch: 3"),
    "voice of no form": (tensor(ANN, "vector", torch.ones(8, 8)), "damaged: "),
    "card of no form": (edit("card.json", sampling=[1]), "invalid_value: 'sampling'"),
    "card's sampling": (
        edit("card.json", sampling={"top_p": 3}),
        "invalid_value: 'sampling.top_p'",
    ),
    "card's unknown": (edit("card.json", sampling={"topp": 1}), "unknown_name: 'sampling.topp'"),
    "card's voice": (edit("card.json", default_voice="bo"), "not_found: 'bo'"),
}


@pytest.mark.parametrize("fault", MODELS)
def test_models_that_are_not_as_they_were_saved(refused, model, fault):
    damage, says = MODELS[fault]
    damage(model)
    refused("tts", "Hi.", "-o", "a.wav", "-m", model, says=says)


@pytest.mark.parametrize("fault", MODELS)
def test_what_is_told_of_a_damaged_model(run, model, capsys, fault):
    """`info` and `voices` need less of a folder; what they need is whole, or they say so."""
    MODELS[fault][0](model)
    for verb in (["info", model], ["voices", "-m", model]):
        code = run(*verb)
        captured = capsys.readouterr()
        assert code in (0, 2)
        assert code == 0 or (captured.err.startswith("error: ") and captured.err.count("\n") == 1)
        assert code == 2 or captured.err == ""


def test_info_of_a_torn_file(refused, model):
    tear(model / LM)
    refused("info", model, says="damaged: model.safetensors")


def test_marks_in_a_card_are_printed_as_they_are(run, model, capsys):
    change(model / "card.json", name="[/b]toy[red]", licence="[/]")
    assert run("info", model) == 0
    out = capsys.readouterr().out
    assert "Model [/b]toy[red]" in out and "[/]" in out


def test_a_folder_that_is_no_model(refused, whole_model):
    Path("empty").mkdir()
    refused("tts", "Hi.", "-m", "empty", says="not_found: config.json")
    refused("tts", "Hi.", "-m", "x" * 300, says="unusable: ")
    refused("tts", "Hi.", "-m", whole_model, "-v", "x" * 300, says="unusable: ")
    refused(
        "voices",
        "make",
        "a.wav",
        "-o",
        "v.safetensors",
        "-m",
        "empty",
        "--i-have-consent",
        says="not_found: ",
    )


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda p: p.unlink(), "not_found: "),
        (lambda p: p.write_bytes(b""), "damaged: "),
        (tear, "damaged: "),
        (lambda p: p.write_bytes(b"\x00" * 100), "damaged: "),
        (lambda p: replace_tensor(p, "vector", None), "damaged: "),
        (lambda p: replace_tensor(p, "vector", torch.ones(0)), "mismatch: 0"),
        (lambda p: replace_tensor(p, "vector", torch.full((64,), torch.nan)), "damaged: "),
        (
            lambda p: replace_tensor(p, "vector", torch.ones(64, dtype=torch.bfloat16)),
            "damaged: ",
        ),
        (
            lambda p: Voice("x", np.ones(64, np.float32), "", "other", "0").save(p),
            "mismatch: 'other'",
        ),
    ],
)
def test_voice_files(refused, model, damage, says):
    damage(model / ANN)
    voice = shutil.copy(model / ANN, "v.safetensors") if (model / ANN).exists() else "v.safetensors"
    shutil.rmtree(model / "voices")
    refused("tts", "Hi.", "-o", "a.wav", "-v", voice, "-m", model, says=says)


# -- codes -----------------------------------------------------------------------------------------


@pytest.fixture
def shards(tmp_path) -> Path:
    return write_tiny_shards(tmp_path / "codes")


ROWS = '{"id": "u", "text": "abc.", "voice": "a", "split": "train"}\n'
SHARDS = {
    "no spec": (lambda s: (s / "tokenizer_spec.json").unlink(), "not_found: tokenizer_spec.json"),
    "torn spec": (
        lambda s: tear(s / "tokenizer_spec.json"),
        "damaged: tokenizer_spec.json",
    ),
    "newer spec": (lambda s: change(s / "tokenizer_spec.json", era=2), "unknown_name: 'era'"),
    "spec of no form": (
        lambda s: change(s / "tokenizer_spec.json", streams=3),
        "invalid_value: 'streams'",
    ),
    "no codes": (lambda s: (s / "one.safetensors").unlink(), "damaged: one.safetensors"),
    "torn codes": (lambda s: tear(s / "one.safetensors"), "damaged: one.safetensors"),
    "torn rows": (lambda s: tear(s / "one.jsonl", 0.55), "damaged: one.jsonl"),
    "binary rows": (lambda s: (s / "one.jsonl").write_bytes(b"\xff\n"), "damaged: one.jsonl"),
    "listed rows": (lambda s: (s / "one.jsonl").write_text(ROWS + "[]\n"), "damaged: one.jsonl"),
    "fewer rows": (lambda s: (s / "one.jsonl").write_text(ROWS), "damaged: 1"),
    "no lengths": (
        lambda s: replace_tensor(s / "one.safetensors", "lengths", None),
        "damaged: ",
    ),
    "other lengths": (
        lambda s: replace_tensor(s / "one.safetensors", "lengths", torch.full((6,), 9)),
        "damaged: 54",
    ),
    "other dtype": (
        lambda s: replace_tensor(s / "one.safetensors", "codes", torch.ones(2, 51)),
        "damaged: [2, 51]",
    ),
    "unknown codes": (
        lambda s: replace_tensor(
            s / "one.safetensors", "codes", torch.full((2, 51), 7, dtype=torch.int16)
        ),
        "damaged: 7",
    ),
    "other speakers": (
        lambda s: replace_tensor(s / "one.safetensors", "speaker", torch.ones(6, 9)),
        "damaged: [6, 9]",
    ),
}


@pytest.mark.parametrize("fault", SHARDS)
def test_code_shards(shards, fault):
    damage, says = SHARDS[fault]
    damage(shards)
    code, _, named = says.partition(": ")
    with raises_input_error(code, key="shards", names=named):
        CodeShards(shards)


# -- what is saved anew ----------------------------------------------------------------------------


def test_an_export_that_fails_leaves_the_old_one(model, tmp_path, capsys):
    """The second voice has no recordings: that is said before anything is written."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    soundfile.write(corpus / "a.wav", buzz(3.0), 16_000)
    row = {"id": "a", "audio": "a.wav", "text": "hi.", "voice": "ann", "seconds": 3.0}
    (corpus / "manifest.jsonl").write_text(json.dumps(row))
    out = Path(shutil.copytree(model, tmp_path / "out"))
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    for line, says in (("eve: someone", "voice 'eve'"), ("../eve: x", "leave out slashes")):
        (tmp_path / "voices.yaml").write_text(f"ann: her\n{line}\n")
        with pytest.raises(SystemExit):
            main(
                [str(a) for a in ("export", model, "-o", out, "-t", model, "--manifest", corpus)]
                + ["--voices", str(tmp_path / "voices.yaml")]
            )
        assert says in capsys.readouterr().err
        assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def test_what_is_saved_says_its_format(model):
    for file in ("config.json", "tokenizer/tokenizer.json"):
        assert json.loads((model / file).read_text())["format"] == FORMAT
    assert load(model)("Hi.").duration > 0
    change(model / "tokenizer/tokenizer.json", format=None)
    data = json.loads((model / "config.json").read_text())
    del data["format"]
    (model / "config.json").write_text(json.dumps(data))  # one that was saved before there was any
    (model / "tokenizer/tokenizer.json").write_text(
        (model / "tokenizer/tokenizer.json").read_text().replace('"format": null, ', "")
    )
    assert load(model)("Hi.").duration > 0

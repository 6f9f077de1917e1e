"""What cannot be exported or loaded is one line with a code."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import run
from helpers.errors import error_code, raises_input_error
from helpers.toy_model import BACKBONE, save_toy_model

from vocalmtp.decoding.options import Decoding
from vocalmtp.loading import load
from vocalmtp.onnx.manifest import GRAPHS
from vocalmtp.tokenizers.neural.model import NeuralTokenizerConfig


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A copy of a model with graphs, to be damaged."""
    return Path(shutil.copytree(exported, tmp_path / "copy"))


@pytest.mark.parametrize("name", ["lm.onnx", "text.onnx", "tokenizer/samples.onnx"])
@pytest.mark.parametrize("damage", ["missing", "empty", "torn", "noise"])
def test_a_damaged_graph(folder: Path, name: str, damage: str) -> None:
    content = (folder / name).read_bytes()
    changed = {"empty": b"", "torn": content[: len(content) // 2], "noise": b"\xff" * 999}
    if damage == "missing":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(changed[damage])
    with raises_input_error("damaged", "graph"):
        load(folder, engine="onnx", int8=False)


def test_a_model_without_graphs(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with raises_input_error("not_found", "model"):
        load(save_toy_model(tmp_path / "toy"), engine="onnx")


def test_weights_that_are_not_those_of_the_graphs(folder: Path, tmp_path: Path) -> None:
    other = save_toy_model(tmp_path / "other", frames_per_step=1)
    shutil.copy(other / "model.safetensors", folder)
    with raises_input_error("mismatch", "model"):
        load(folder, engine="onnx")


def test_torn_weights(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-8])
    with raises_input_error("damaged", "model"):
        load(folder, engine="onnx")


def test_a_damaged_manifest(folder: Path) -> None:
    (folder / "onnx.json").write_text(json.dumps({"layout": 3, "graphs": GRAPHS}))
    with raises_input_error("invalid_value", None):
        load(folder, engine="onnx")


def test_graphs_of_another_version(folder: Path) -> None:
    manifest = json.loads((folder / "onnx.json").read_text())
    del manifest["graphs"]  # as in the first version
    (folder / "onnx.json").write_text(json.dumps(manifest))
    with raises_input_error("mismatch", "model"):
        load(folder, engine="onnx")


@pytest.mark.parametrize(
    "settings",
    [
        {"backbone": {"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 2}},
        {"head": {"name": "depth", "width": 16, "layers": 1, "heads": 2}},
        {"head": {"name": "parallel", "kind": "transformer"}},
        {"trunk": BACKBONE, "text": "prompt"},
        {"backbone": BACKBONE | {"rope_parameters": {"rope_type": "linear", "factor": 2.0}}},
    ],
)
def test_a_model_that_has_no_graphs(settings: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from vocalmtp.onnx.export import export_onnx

    toy = save_toy_model(tmp_path / "toy", **settings)
    with raises_input_error("unsupported", "model"):
        export_onnx(toy)
    assert not list(toy.glob("*.onnx"))


def test_a_sample_rate_that_has_no_graph() -> None:
    from vocalmtp.onnx.codec_graphs import check_exportable

    for rate in (8_000, 16_000, 22_000, 24_000, 48_000):
        check_exportable(NeuralTokenizerConfig(sample_rate=rate), "model 'toy'")
    with raises_input_error("unsupported", "model"):
        check_exportable(NeuralTokenizerConfig(sample_rate=16_200), "model 'toy'")


def test_a_missing_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with raises_input_error("not_installed", "package") as caught:
        load("mini", engine="onnx")
    assert "vocalmtp[onnx]" in str(caught.value)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert run("export", tmp_path, "--onnx") == 2
    assert error_code(capsys.readouterr().err) == "not_installed"


def test_drafts_step_sizes_and_recordings_are_refused(exported: Path, tmp_path: Path) -> None:
    onnx = load(exported, engine="onnx")
    with raises_input_error("unsupported", "drafts"):
        onnx.using(Decoding(drafts=1))
    with raises_input_error("unsupported", "tokens_per_step"):
        onnx.using(Decoding(tokens_per_step=3))
    import numpy as np

    from vocalmtp.audio.io import Audio

    tone = np.sin(np.arange(32_000) * 0.05).astype(np.float32) * 0.3
    recording = Audio(tone, 16_000).save(tmp_path / "me.wav")
    with raises_input_error("unsupported", "voice"):
        onnx("Hi.", voice=str(recording))


def test_the_verb_writes_graphs_beside_the_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx")
    toy = save_toy_model(tmp_path / "toy")
    before = {path.name for path in toy.rglob("*")}
    assert run("export", toy, "--onnx") == 0
    added = {path.name for path in toy.rglob("*")} - before
    assert "--engine onnx" in capsys.readouterr().out
    assert {"onnx.json", "lm.onnx", "samples.onnx"} <= added
    assert not any(name.endswith(".safetensors") for name in added)
    assert run("export", toy) == 2
    assert error_code(capsys.readouterr().err) == "missing"

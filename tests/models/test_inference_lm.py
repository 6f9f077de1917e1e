"""A model that is loaded for decoding alone equals the one of Transformers, and loads without it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.toy_model import save_toy_model
from transformers import LlamaConfig

from vocalmtp.engines.linears import keep_linear
from vocalmtp.loading import load
from vocalmtp.models.inference_lm import InferenceLM, LlamaSizes
from vocalmtp.models.speech_lm import SpeechLM

HEAVY = ("transformers.modeling_utils", "torch._dynamo", "torch.distributed.tensor", "scipy")


@torch.inference_mode()
def test_weights_equal_those_of_transformers(tmp_path: Path) -> None:
    folder = save_toy_model(tmp_path / "toy")
    light, reference = InferenceLM.load(folder), SpeechLM.load(folder)
    assert light is not None
    expected = reference.state_dict()
    for name, value in light.state_dict().items():
        assert torch.equal(value, expected[name]), name
    for model in (light, reference):
        model.optimize_for_inference(keep_linear)
    ours, theirs = light.runner, reference.runner
    assert torch.equal(ours.rotations, theirs.rotations)
    x = torch.randn(2, 3, light.width)
    mask = torch.ones(2, 3)
    assert torch.equal(ours.prefill(x, mask)[0], theirs.prefill(x, mask)[0])


def test_defaults_are_those_of_transformers() -> None:
    given = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1}
    given |= {"num_attention_heads": 4, "model_type": "llama"}
    ours, theirs = LlamaSizes(**given), LlamaConfig(**given)
    for name in LlamaSizes.model_fields.keys() - {"rope_theta", "bos_token_id", "eos_token_id"}:
        assert getattr(ours, name) == getattr(theirs, name), name


@pytest.mark.parametrize(
    "settings",
    [{"text": "both"}, {"frames_per_step": [1, 2]}, {"draft": {"name": "recursive", "steps": 2}}],
)
def test_other_models_are_left_to_transformers(tmp_path: Path, settings: dict[str, Any]) -> None:
    folder = save_toy_model(tmp_path / "toy", **settings)
    assert InferenceLM.load(folder) is None
    assert isinstance(load(folder).full_model, SpeechLM)


def test_damaged_folder_is_left_to_transformers(tmp_path: Path) -> None:
    folder = save_toy_model(tmp_path / "toy")
    (folder / "model.safetensors").write_bytes(b"\0" * 64)
    assert InferenceLM.load(folder) is None


def test_loading_the_mini_imports_nothing_heavy() -> None:
    loaded = f"set({HEAVY!r}) & sys.modules.keys()"
    code = f"import sys, vocalmtp; vocalmtp.load('mini', int8=False); print(*{loaded})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []

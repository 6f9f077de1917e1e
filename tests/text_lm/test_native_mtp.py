"""A draft head in Transformers' own multi-token prediction: the same text, by the same drafts."""

import shutil
from pathlib import Path

import pytest
import torch
from helpers.errors import raises_input_error
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.modeling_layers import MtpModel

from vocalmtp.cli import main
from vocalmtp.models.text_lm import TextLM
from vocalmtp.training.native_mtp import export_native_mtp

PROMPT = torch.tensor([[5, 9, 2, 4, 30, 7]])
GREEDY = {"do_sample": False, "max_new_tokens": 20, "eos_token_id": None, "pad_token_id": 0}
HEAD = {"name": "recursive", "steps": 2, "heads": 4, "epsilon": 1e-5, "theta": 5000.0}
HEAD["matched"] = False


@pytest.fixture
def folder(texts: Path, tmp_path: Path) -> Path:
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=280,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
    )
    backbone = LlamaForCausalLM(config)
    for parameter in backbone.parameters():
        parameter.data *= 3 if parameter.dim() > 1 else 1
    TextLM(backbone, HEAD).save(tmp_path / "llama")
    shutil.copytree(texts / "tokenizer", tmp_path / "llama", dirs_exist_ok=True)
    return tmp_path / "llama"


def test_output_equals_that_of_the_llama(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "native"
    with pytest.raises(SystemExit) as stopped:
        main(["text", "export-mtp", str(folder), "-o", str(output)])
    assert stopped.value.code == 0
    native = AutoModelForCausalLM.from_pretrained(output).eval()
    llama = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.inference_mode():
        torch.testing.assert_close(native(PROMPT).logits, llama(PROMPT).logits)
    wanted = llama.generate(PROMPT, **GREEDY)
    assert native.generate(PROMPT, **GREEDY).equal(wanted)
    assert native.generate(PROMPT, use_mtp=True, **GREEDY).equal(wanted)


@torch.inference_mode()
def test_modules_compute_the_states_of_the_draft_head(folder: Path, tmp_path: Path) -> None:
    """Those of the released training, whose attention the modules have."""
    text_lm = TextLM.load(folder)
    inputs = text_lm.backbone.get_input_embeddings()(PROMPT)
    hidden = text_lm.run_backbone(inputs)
    states = text_lm.draft.states(hidden, inputs, 2)
    native = AutoModelForCausalLM.from_pretrained(export_native_mtp(folder, tmp_path / "native"))
    modules, last = MtpModel.from_pretrained(native.eval()).eval(), hidden[:, :-2]
    for k in range(2):
        ids = PROMPT[:, k + 1 : PROMPT.shape[1] - 1 + k]
        places = torch.arange(ids.shape[1])[None]
        last = modules.forward_layer(k, last, places, None, input_ids=ids)
        torch.testing.assert_close(last, states[k][:, :-2])


def test_heads_without_a_counterpart_are_refused(folder: Path, tmp_path: Path) -> None:
    text_lm = TextLM.load(folder)
    text_lm.add_draft({"name": "leap"})
    text_lm.save(tmp_path / "leap")
    text_lm.add_draft(HEAD | {"theta": 10_000.0})
    text_lm.save(tmp_path / "theta")
    for name, code in (("leap", "unsupported"), ("theta", "mismatch")):
        with raises_input_error(code, key="model"):
            export_native_mtp(tmp_path / name, tmp_path / "native")
    assert not (tmp_path / "native").exists()

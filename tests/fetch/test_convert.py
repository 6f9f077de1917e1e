"""A GGUF file becomes a folder of Transformers with the same weights and tokens."""

import pytest
import torch
from helpers.errors import raises_input_error

from vocalmtp.fetch.convert import convert_gguf

gguf = pytest.importorskip("gguf", reason="the extra 'demo' is not installed")
WIDTH, HEADS, INNER, TOKENS = 32, 2, 64, ["<s>", "</s>", "a", "b", "ab", "\u0120"]


def write_gguf(path) -> dict[str, torch.Tensor]:
    """Write a Llama of one layer with a tokenizer of six tokens; its weights by GGUF's names."""
    torch.manual_seed(0)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, 1, 1, 1, 1])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    shapes = {"token_embd": (len(TOKENS), WIDTH), "output_norm": (WIDTH,)}
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        shapes[f"blk.0.{name}"] = (WIDTH, WIDTH)
    shapes |= {"blk.0.ffn_gate": (INNER, WIDTH), "blk.0.ffn_up": (INNER, WIDTH)}
    shapes |= {"blk.0.ffn_down": (WIDTH, INNER)}
    shapes |= {"blk.0.attn_norm": (WIDTH,), "blk.0.ffn_norm": (WIDTH,)}
    weights = {name: torch.randn(shape) for name, shape in shapes.items()}
    for name, weight in weights.items():
        writer.add_tensor(f"{name}.weight", weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights


def test_gguf_becomes_a_folder_of_transformers(tmp_path, capfd):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    weights = write_gguf(tmp_path / "tiny.gguf")
    convert_gguf(tmp_path / "tiny.gguf", tmp_path)
    assert capfd.readouterr() == ("", "")  # no bars of libraries
    assert not (tmp_path / "tiny.gguf").exists()
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert not hasattr(model.config, "quantization_config")
    for mine, name in (
        (model.model.embed_tokens.weight, "token_embd"),
        (model.model.layers[0].mlp.up_proj.weight, "blk.0.ffn_up"),
        (model.lm_head.weight, "token_embd"),
    ):
        assert torch.allclose(mine.float(), weights[name], atol=1e-2)
    assert AutoTokenizer.from_pretrained(tmp_path)("ab").input_ids == [4]


def test_what_is_no_gguf_file_is_refused(tmp_path):
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(20))
    with raises_input_error("unusable", key="file"):
        convert_gguf(tmp_path / "bad.gguf", tmp_path)

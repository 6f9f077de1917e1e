"""Export of a recursive draft head to the multi-token prediction of Transformers (`use_mtp`).

Transformers (5.24 and later) drafts with modules of a checkpoint: `num_mtp_layers` decoder layers
like the model's own, with two norms and a projection in front and a norm behind. Llama names no such
weights, so the export is of an architecture that does, and that computes the same by its settings:
MiMo-V2-Flash with full attention and dense layers alone. Keys and values are repeated for every query
head, and narrower feed-forward layers are padded with zeros: neither changes a sum.

The modules are copies of the one block. Theirs attend to their own states of all earlier positions, as
in the released training of FastMTP (`matched: false`); ours attend to the first step's. So later drafts
may differ; the verified text does not.
Letters: D width, H heads, J key-value heads, d size of a head, I width of the feed-forward layers.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from vocalmtp.errors import InputError
from vocalmtp.heads.draft.recursive import RecursiveDraft
from vocalmtp.io.atomic import atomic_folder
from vocalmtp.models.checkpoint import load_text_tokenizer, stored_dtype
from vocalmtp.models.text_lm import TextLM

FULL, DENSE = "full_attention", "dense"


def export_native_mtp(
    model: Path | str, output: Path, draft: Path | None = None, steps: int | None = None
) -> Path:
    """Write a Llama and its draft head as a folder for `generate(use_mtp=True)`.

    Args:
        model: folder or name of the causal LM.
        output: the folder to write.
        draft: folder of the draft head; None: the model's own.
        steps: tokens to draft per pass; None: as trained.

    Raises:
        InputError: the model, its draft head or the installed Transformers cannot do this.

    """
    text_lm = TextLM.load(model, draft)
    head = check_exportable(text_lm, f"model '{model}'")
    count = len(head.offsets) if steps is None else steps
    config, wide = text_lm.backbone.config, 2 * head.block.width
    inner = max(config.intermediate_size, wide)
    weights = trunk_weights(text_lm.backbone, inner)
    for k in range(count):
        prefix = f"model.mtp.layers.{config.num_hidden_layers + k}."
        weights |= {prefix + name: x.clone() for name, x in module_weights(head, inner).items()}
    dtype = stored_dtype(model)
    settings = native_config(config, inner, count)
    settings.dtype = dtype
    with atomic_folder(output) as folder:
        settings.save_pretrained(folder)
        text_lm.backbone.generation_config.save_pretrained(folder)
        load_text_tokenizer(model).save_pretrained(folder)
        stored = {name: x.detach().to(dtype).contiguous() for name, x in weights.items()}
        save_file(stored, folder / "model.safetensors", {"format": "pt"})
    return output


def check_exportable(text_lm: TextLM, what: str) -> RecursiveDraft:
    """Return the draft head. Raises InputError if it or the model has no native counterpart."""
    import transformers

    config, head = text_lm.backbone.config, text_lm.draft
    if not hasattr(transformers, "MiMoV2FlashConfig"):
        raise InputError(
            f"export: transformers {transformers.__version__} has no native multi-token prediction; "
            "install 5.24 or later",
            code="unsupported",
        )
    rope = getattr(config, "rope_parameters", None) or {}
    biased = getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False)
    if config.model_type != "llama" or rope.get("rope_type", "default") != "default" or biased:
        raise InputError(
            f"{what}: only a Llama without biases and scaled rotary positions can be exported",
            code="unsupported",
        )
    if not isinstance(head, RecursiveDraft):
        raise InputError(
            f"{what}: has no recursive draft head; train one (draft: {{name: recursive}})",
            code="unsupported",
        )
    wanted = {
        "heads": config.num_attention_heads,
        "epsilon": config.rms_norm_eps,
        "theta": rope["rope_theta"],
    }
    found = {name: getattr(head.config, name) for name in wanted}
    if found != wanted or config.head_dim * config.num_attention_heads != config.hidden_size:
        raise InputError(
            f"{what}: its draft head has {found}, and a module of the model {wanted}; train the head "
            "with these",
            code="mismatch",
        )
    return head


def native_config(config: Any, inner: int, steps: int) -> Any:
    """Return the configuration of the same model with `steps` modules.

    Args:
        config: that of the Llama.
        inner: I.
        steps: modules.

    """
    from transformers import MiMoV2FlashConfig

    build: Any = MiMoV2FlashConfig  # which takes the modules' settings as well
    layers = config.num_hidden_layers
    rope = {"rope_type": "default", "partial_rotary_factor": 1.0}
    rope["rope_theta"] = config.rope_parameters["rope_theta"]
    kept = (
        "vocab_size hidden_size num_hidden_layers num_attention_heads head_dim hidden_act rms_norm_eps "
        "max_position_embeddings tie_word_embeddings bos_token_id eos_token_id pad_token_id"
    )
    return build(
        **{name: getattr(config, name) for name in kept.split()},
        architectures=["MiMoV2FlashForCausalLM"],
        intermediate_size=inner,
        num_key_value_heads=config.num_attention_heads,
        v_head_dim=config.head_dim,
        attention_value_scale=None,
        layer_types=[FULL] * layers,
        mlp_layer_types=[DENSE] * layers,
        rope_parameters={FULL: rope},
        num_mtp_layers=steps,
        mtp_layer_types=[FULL] * steps,
        mtp_mlp_layer_types=[DENSE] * steps,
    )


def trunk_weights(backbone: Any, inner: int) -> dict[str, Tensor]:
    """Return the weights of a Llama with a key and a value for every query head, and I as given."""
    config = backbone.config
    repeats = config.num_attention_heads // config.num_key_value_heads
    weights = {}
    for name, weight in backbone.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if name.endswith(("k_proj.weight", "v_proj.weight")):
            heads = weight.unflatten(0, (-1, config.head_dim))  # [J, d, D]
            weight = heads.repeat_interleave(repeats, 0).flatten(0, 1)
        weights[name] = padded(name, weight, inner)
    return weights


def module_weights(head: RecursiveDraft, inner: int) -> dict[str, Tensor]:
    """Return the weights of the block under the names of a module, with I as given."""
    block = head.block
    query, key, value = block.qkv.weight.chunk(3)
    gate, up = block.gate_up.weight.chunk(2)
    of_hidden, of_inputs = head.join.weight.chunk(2, 1)  # the module has them the other way round
    weights = {
        "enorm.weight": head.input_norm.weight,
        "hnorm.weight": head.hidden_norm.weight,
        "eh_proj.weight": torch.cat([of_inputs, of_hidden], 1),
        "post_norm.weight": head.norm.weight,
        "input_layernorm.weight": block.attention_norm.weight,
        "post_attention_layernorm.weight": block.feed_norm.weight,
        "self_attn.q_proj.weight": query,
        "self_attn.k_proj.weight": key,
        "self_attn.v_proj.weight": value,
        "self_attn.o_proj.weight": block.out.weight,
        "mlp.gate_proj.weight": gate,
        "mlp.up_proj.weight": up,
        "mlp.down_proj.weight": block.down.weight,
    }
    return {name: padded(name, weight, inner) for name, weight in weights.items()}


def padded(name: str, weight: Tensor, inner: int) -> Tensor:
    """Pad the weight of a feed-forward layer with zeros to I inner units."""
    if name.endswith(("gate_proj.weight", "up_proj.weight")):
        return F.pad(weight, (0, 0, 0, inner - len(weight)))
    if name.endswith("down_proj.weight"):
        return F.pad(weight, (0, inner - weight.shape[1]))
    return weight

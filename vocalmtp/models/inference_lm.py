"""A speech LM for decoding alone, which loads without Transformers' model classes.

Importing those takes longer than everything else in a command that speaks one sentence.
"""

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vocalmtp.config import StrictModel
from vocalmtp.errors import InputError
from vocalmtp.io.read import check_finite
from vocalmtp.models.checkpoint import check_sizes, rename_former_weights
from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.models.speech_decoding import SpeechDecoding

TEXT_WEIGHTS = ("backbone.model.embed_tokens.", "backbone.lm_head.")  # unused without text tokens


class LlamaSizes(StrictModel):
    """The settings of a Llama that matter here, with the defaults of Transformers' LlamaConfig."""

    model_type: Literal["llama"]
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int  # as many as there are heads
    head_dim: int  # the hidden size by the number of heads
    hidden_act: Literal["silu"] = "silu"
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10_000.0
    rope_parameters: dict[str, Any] = Field(default_factory=dict)
    attention_bias: bool = False
    mlp_bias: bool = False
    vocab_size: int = 32_000
    initializer_range: float = 0.02
    attention_dropout: float = 0.0
    use_cache: bool = True
    tie_word_embeddings: bool = False
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | None = None

    @model_validator(mode="before")
    @classmethod
    def _resolve(cls, data: dict[str, Any]) -> dict[str, Any]:
        rope = {"rope_type": "default", "rope_theta": data.get("rope_theta", 10_000.0)}
        rope |= data.get("rope_parameters") or {}
        if rope["rope_type"] != "default" or len(rope) > 2:
            raise ValueError("rope_type is not the default")
        heads = data["num_attention_heads"]
        return data | {
            "num_key_value_heads": data.get("num_key_value_heads") or heads,
            "head_dim": data.get("head_dim") or data["hidden_size"] // heads,
            "rope_parameters": rope,
        }


class RMSNorm(nn.Module):
    """The norm of Llama."""

    def __init__(self, width: int, epsilon: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.variance_epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Normalize [.., D] in float32."""
        variance = x.float().pow(2).mean(-1, keepdim=True)
        return self.weight * (x * torch.rsqrt(variance + self.variance_epsilon)).to(x.dtype)


class LlamaWeights(nn.Module):
    """The weights of a Llama under the names of Transformers, for a LlamaRunner."""

    def __init__(self, config: LlamaSizes):
        super().__init__()
        self.config, size = config, config.head_dim
        self.model: Any = nn.Module()
        layers = [self._layer(config) for _ in range(config.num_hidden_layers)]
        self.model.layers = nn.ModuleList(layers)
        self.model.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.model.rotary_emb = nn.Module()
        steps = torch.arange(0, size, 2, dtype=torch.int64, device="cpu").float() / size
        self.model.rotary_emb.inv_freq = (
            1.0 / config.rope_parameters["rope_theta"] ** steps
        )  # [d / 2]

    @property
    def base_model(self) -> Any:
        """The part with the layers."""
        return self.model

    @staticmethod
    def _layer(config: LlamaSizes) -> nn.Module:
        width, inner, bias = config.hidden_size, config.intermediate_size, config.attention_bias
        queries = config.num_attention_heads * config.head_dim
        keys = config.num_key_value_heads * config.head_dim
        layer: Any = nn.Module()
        layer.self_attn, layer.mlp = nn.Module(), nn.Module()
        layer.self_attn.q_proj = nn.Linear(width, queries, bias, "meta")
        layer.self_attn.k_proj = nn.Linear(width, keys, bias, "meta")
        layer.self_attn.v_proj = nn.Linear(width, keys, bias, "meta")
        layer.self_attn.o_proj = nn.Linear(queries, width, bias, "meta")
        bias = config.mlp_bias
        layer.mlp.gate_proj = nn.Linear(width, inner, bias, "meta")
        layer.mlp.up_proj = nn.Linear(width, inner, bias, "meta")
        layer.mlp.down_proj = nn.Linear(inner, width, bias, "meta")
        layer.input_layernorm = RMSNorm(width, config.rms_norm_eps)
        layer.post_attention_layernorm = RMSNorm(width, config.rms_norm_eps)
        return layer


class InferenceLM(SpeechDecoding, nn.Module):
    """A SpeechLM that is decoded by a LlamaRunner, and cannot be trained or saved."""

    def __init__(self, config: SpeechLMConfig):
        super().__init__()
        self.config = config
        self.backbone = LlamaWeights(LlamaSizes(**config.backbone))
        self.build_parts(config)

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Where the weights are."""
        return self.control_tokens.weight.device

    @staticmethod
    def supports(config: SpeechLMConfig) -> bool:
        """Whether models of this configuration can be loaded."""
        plain = not (config.uses_text_tokens or config.trunk or config.draft or config.objectives)
        if not plain or len(config.step_sizes) > 1:
            return False
        try:
            LlamaSizes(**config.backbone)
        except (ValidationError, KeyError, TypeError):  # a setting that is not known here
            return False
        return True

    @classmethod
    def load(cls, folder: Path) -> "InferenceLM | None":
        """Load a saved model in float32; None if only SpeechLM can load it, or say what is wrong."""
        files = list(folder.glob("model*.safetensors"))
        try:
            config = SpeechLMConfig.load(folder)
            check_sizes(config, folder, f"model '{folder}'")
            if len(files) != 1 or not cls.supports(config):
                return None
            model = cls(config)
            weights = load_file(files[0])
            rename_former_weights(model, weights)
            weights = {
                name: value.float() if value.is_floating_point() else value
                for name, value in weights.items()
                if not name.startswith(TEXT_WEIGHTS)
            }
            check_finite(weights, "model.safetensors", f"model '{folder}'")
            model.load_state_dict(weights, assign=True)
        except (
            InputError,
            SafetensorError,
            OSError,
            RuntimeError,
            ValueError,
            KeyError,
            TypeError,
        ):
            return None
        return model.requires_grad_(False).eval()

"""A Qwen3 that is a part of a published model: its configuration and its layers."""

from typing import TYPE_CHECKING, Any

from vocalmtp.errors import InputError
from vocalmtp.published.folder import PublishedFolder, rope_theta

if TYPE_CHECKING:
    from torch import Tensor

    from vocalmtp.published.weights import Weights

QWEN2_SIZES = (  # settings in the configurations of Qwen2 and Qwen3 transformers
    "hidden_act",
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "rms_norm_eps",
)
SIZES = ("attention_bias", "head_dim", *QWEN2_SIZES)  # of a Qwen3


def section(folder: PublishedFolder, *names: str) -> dict[str, Any]:
    """Return a part of config.json. Raises InputError if it is missing."""
    part: Any = folder.config
    for name in names:
        part = part.get(name)
        if not isinstance(part, dict):
            raise InputError(
                f"{folder.what}: config.json has no '{name}'; download it again", code="damaged"
            )
    return part


def qwen3_settings(folder: PublishedFolder, part: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of a Qwen3 with the sizes of a part of config.json.

    Rotary positions of three axes, which all are equal in speech, are plain ones.

    Raises:
        InputError: its rotary positions are scaled.

    """
    settings = {name: part[name] for name in SIZES if name in part}
    special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    theta = rope_theta(part, folder)
    return {
        "model_type": "qwen3",
        "vocab_size": 1,
        "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
        **settings,
        **special,
    }


def layers_of(weights: "Weights", prefix: str) -> "dict[str, Tensor]":
    """Take the layers and the last norm of a transformer, under the names of a causal LM."""
    return {f"model.{name}": tensor for name, tensor in weights.take_all(prefix).items()}

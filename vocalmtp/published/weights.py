"""Weights of published folders as models of Transformers, checked against their configuration."""

from typing import TYPE_CHECKING, Any

import torch

from vocalmtp.errors import InputError
from vocalmtp.io.progress import quiet
from vocalmtp.io.read import reason
from vocalmtp.published.folder import PublishedFolder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

HALF = (torch.float16, torch.bfloat16)


def load_causal_lm(folder: PublishedFolder, half: bool) -> "PreTrainedModel":
    """Load a causal LM.

    Args:
        folder: of the model.
        half: whether weights that are stored in 16 bits keep them; else they are float32.

    Raises:
        InputError: the weights are incomplete or differ from the configuration, or there is too
            little memory.

    """
    from transformers import AutoModelForCausalLM

    return load_model(AutoModelForCausalLM, folder, half)


def load_model(part: Any, folder: PublishedFolder, half: bool) -> "PreTrainedModel":
    """Load a model of Transformers by its class, or an Auto class; see `load_causal_lm`."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder.path, local_files_only=True)
        with quiet(), torch.device("meta"):
            build = getattr(part, "from_config", None) or part._from_config
            like = build(config)
    except Exception as error:  # whatever a configuration makes Transformers raise
        raise InputError(
            f"{folder.what}: config.json is of no {part.__name__} ({reason(error)}); download it "
            "again",
            code="damaged",
        ) from error
    expected = {name: list(weight.shape) for name, weight in like.state_dict().items()}
    folder.check_weights(expected, list(like.all_tied_weights_keys))
    folder.check_memory(half)
    dtype = stored_dtype(config) if half else torch.float32
    try:
        with quiet():
            model: PreTrainedModel = part.from_pretrained(
                folder.path, dtype=dtype, use_safetensors=True, local_files_only=True
            )
    except Exception as error:  # whatever a file makes Transformers raise
        raise InputError(
            f"{folder.what}: cannot be loaded ({reason(error)}); download it again", code="damaged"
        ) from error
    return model


def stored_dtype(config: Any) -> torch.dtype:
    """Return the dtype that the weights of a configuration are kept in: 16 bits, or float32."""
    found = getattr(config, "dtype", None)
    return found if found in HALF else torch.float32

"""Weights of published folders as models of Transformers, checked against their configuration."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.errors import InputError
from vocalmtp.io.progress import quiet
from vocalmtp.io.read import read_shapes, read_tensors, reason
from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.published.folder import PublishedFolder, first_names

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

    folder.check_memory(half)
    try:
        config = AutoConfig.from_pretrained(folder.path, local_files_only=True)
        with quiet():
            loaded: Any = part.from_pretrained(
                folder.path,
                dtype=stored_dtype(config) if half else torch.float32,
                use_safetensors=True,
                local_files_only=True,
                ignore_mismatched_sizes=True,  # reported below
                output_loading_info=True,
            )
    except Exception as error:  # whatever a configuration or a file makes Transformers raise
        raise InputError(
            f"{folder.what}: cannot be loaded ({reason(error)}); download it again", code="damaged"
        ) from error
    model: PreTrainedModel = loaded[0]
    wrong = [
        f"{name} ({kind.partition('_')[0]})"
        for kind in ("mismatched_keys", "missing_keys", "unexpected_keys")
        for name in sorted(key if isinstance(key, str) else key[0] for key in loaded[1][kind])
    ]
    if wrong:
        raise InputError(
            f"{folder.what}: {len(wrong)} weights do not fit config.json ({first_names(wrong)}); "
            "download both from one revision",
            code="mismatch",
        )
    return model


class Weights:
    """The weights of a folder without a class in Transformers, which are taken out by name.

    Args:
        folder: of the model.
        half: whether weights that are stored in 16 bits keep them; else they are float32.

    Raises:
        InputError: the weights are incomplete or damaged, or there is too little memory.

    """

    def __init__(self, folder: PublishedFolder, half: bool):
        folder.check_memory(half)
        self.what = folder.what
        self.tensors: dict[str, Tensor] = {}
        for file in folder.files:
            for name, tensor in read_tensors(file, self.what).items():
                keeps = half or not tensor.is_floating_point()
                self.tensors[name] = tensor if keeps else tensor.float()

    def take(self, name: str) -> Tensor:
        """Remove a tensor, and return it. Raises InputError if it is missing."""
        if name not in self.tensors:
            raise self._wrong([f"{name} (missing)"])
        return self.tensors.pop(name)

    def take_all(self, prefix: str) -> dict[str, Tensor]:
        """Remove all tensors whose names begin with `prefix`, and return them without it."""
        names = [name for name in self.tensors if name.startswith(prefix)]
        return {name.removeprefix(prefix): self.tensors.pop(name) for name in names}

    def check_empty(self) -> None:
        """Raise InputError if a tensor was not taken."""
        if self.tensors:
            raise self._wrong([f"{name} (unexpected)" for name in sorted(self.tensors)])

    def _wrong(self, names: list[str]) -> InputError:
        return InputError(
            f"{self.what}: {len(names)} weights do not fit config.json ({first_names(names)}); "
            "download both from one revision",
            code="mismatch",
        )


def read_part(folder: PublishedFolder, prefix: str) -> dict[str, Tensor]:
    """Read the weights whose names begin with `prefix`, without it, in float32."""
    found: dict[str, Tensor] = {}
    for file in folder.files:
        names = [name for name in read_shapes(file, folder.what) if name.startswith(prefix)]
        with safe_open(file, framework="pt") as opened:
            for name in names:
                found[name.removeprefix(prefix)] = opened.get_tensor(name).float()
    return found


def with_prefix(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the weights whose names begin so, without that beginning."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in weights.items()
        if name.startswith(prefix)
    }


def take(weights: Mapping[str, Tensor], name: str) -> Tensor:
    """Return a tensor. Raises InputError if the weights lack it."""
    if name not in weights:
        raise InputError(
            f"weights: there is no '{name}'; download all files of one revision",
            code="mismatch",
        )
    return weights[name]


def stored_dtype(config: Any) -> torch.dtype:
    """Return the dtype that the weights of a configuration are kept in: 16 bits, or float32."""
    found = getattr(config, "dtype", None)
    return found if found in HALF else torch.float32


def build_empty(config: SpeechLMConfig, what: str = "model") -> SpeechLM:
    """Build a SpeechLM whose weights are to be assigned; most of them are not even written.

    Those of control tokens, which not every published model has, are zeros.

    Args:
        config: of the SpeechLM.
        what: how messages name the published model.

    Raises:
        InputError: there is no model of such a configuration.

    """
    from transformers.initialization import no_init_weights

    try:
        with no_init_weights():
            model = SpeechLM(config)
    except InputError:
        raise
    except Exception as error:  # whatever a configuration makes Transformers raise
        raise InputError(
            f"{what}: its config.json cannot be used ({reason(error)}); download it again",
            code="damaged",
        ) from error
    nn.init.zeros_(model.control_tokens.weight)
    return model


def assign_decoder(decoder: Any, tensors: Mapping[str, Tensor]) -> None:
    """Give a causal LM the tensors of its layers and last norm; its own tables, unused, are 0."""
    tables = {
        name: torch.zeros_like(tensor)
        for name, tensor in decoder.state_dict().items()
        if "embed" in name or "lm_head" in name
    }
    assign(decoder, {**tables, **tensors})


def with_padding(rows: Tensor) -> nn.Parameter:
    """Append the row of the padding id, which no step of these models has."""
    return nn.Parameter(F.pad(rows, (0,) * (2 * rows.dim() - 1) + (1,)))


def assign(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a module its tensors, which it keeps as they are.

    Raises:
        InputError: one is missing, unknown, or of another shape.

    """
    own = module.state_dict()
    wrong = sorted(
        name
        for name in own.keys() | tensors.keys()
        if name not in own or name not in tensors or own[name].shape != tensors[name].shape
    )
    if wrong:
        raise InputError(
            f"weights: {len(wrong)} do not fit the configuration ({first_names(wrong)}); download "
            "both from one revision",
            code="mismatch",
        )
    module.load_state_dict(dict(tensors), assign=True)

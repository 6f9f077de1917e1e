"""Loading saved models and pretrained backbones, with one-line errors for what is wrong with them."""

import re
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn

from vocalmtp.errors import InputError
from vocalmtp.fetch.cards import local_folder
from vocalmtp.hub import list_models
from vocalmtp.io.progress import quiet
from vocalmtp.io.read import check_finite, read_object, read_shapes, reason
from vocalmtp.models.config import SpeechLMConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel

HALF = (torch.float16, torch.bfloat16)
Model = TypeVar("Model", bound="PreTrainedModel")

# Former names of parameters (regular expressions), which older saved models still use.
FORMER_WEIGHTS = {
    r"^hearing\.letters\.": "audio_encoder.character_output.",
    r"^hearing\.": "audio_encoder.",
    r"^markers\.": "control_tokens.",
    r"^paces\.": "step_size_embedding.",
    r"^smaller\.": "smaller_steps.",
    r"^speaker\.nobody": "speaker_projection.no_speaker",
    r"^speaker\.": "speaker_projection.",
    r"\.order\.": ".frame_proj.",
}


def rename_former_weights(model: nn.Module, weights: dict[str, Tensor], *_: Any) -> None:
    """Rename the entries of a state dict in place by FORMER_WEIGHTS: a `load_state_dict` hook."""
    for name in list(weights):
        new = name
        for pattern, replacement in FORMER_WEIGHTS.items():
            new = re.sub(pattern, replacement, new)
        if new != name:
            weights[new] = weights.pop(name)


def load_speech_lm(cls: type[Model], folder: Path) -> Model:
    """Load a saved speech LM in float32.

    Raises:
        InputError: its folder is incomplete, damaged, or was written by a later version.

    """
    what = f"model '{folder}'"
    config = SpeechLMConfig.load(folder)
    check_sizes(config, folder, what)
    try:
        with quiet():
            loaded: Any = cls.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                ignore_mismatched_sizes=True,  # reported below
                output_loading_info=True,
            )
    except InputError as error:
        raise InputError(f"{what}: config.json: {error}", code=error.code) from error
    except Exception as error:  # whatever a configuration makes Transformers raise
        raise InputError(
            f"{what}: is damaged ({reason(error)}); copy or export it again", code="damaged"
        ) from error
    model, report = loaded
    for problem in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        for name in sorted(str(key) for key in report[problem]):
            raise InputError(
                f"{what}: its weights do not fit config.json ({problem.split('_')[0]}: {name}); "
                "copy or export both again",
                code="mismatch",
            )
    check_finite(model.state_dict(), "model.safetensors", what)
    model._weight_conversions = None  # or it would be saved under its former names
    return cast(Model, model)


def check_sizes(config: SpeechLMConfig, folder: Path, what: str) -> None:
    """Check that sizes in a configuration are no larger than the weights allow.

    A damaged digit would otherwise build a model of a billion layers.

    Raises:
        InputError: there are no weights, or far too few of them for a number in `config`.

    """
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise InputError(
            f"{what}: model.safetensors is missing; copy or export it again", code="missing"
        )
    shapes = [shape for file in files for shape in read_shapes(file, what).values()]
    longest = max((length for shape in shapes for length in shape), default=0)
    most = {"layer": len(shapes)} | dict.fromkeys(("size", "width", "kernel", "dim"), longest)
    parts = (
        config.backbone,
        config.trunk,
        config.trunk_layers,
        config.track,
        config.head,
        config.draft,
        config.audio_input,
    )
    own = {"speaker_dim": config.speaker_dim}
    for key, value in chain(*(part.items() for part in (*parts, own))):
        limit = next((most[word] for word in most if word in key), None)
        if limit is not None and isinstance(value, int) and value > limit:
            raise InputError(
                f"{what}: config.json has {key} {value}, for which there are too few weights; "
                "copy or export both again",
                code="invalid_value",
            )


def load_backbone(model: Path | str, key: str = "model") -> "PreTrainedModel":
    """Load a causal LM of Transformers in float32.

    Args:
        model: its folder, or its name in 'vocalmtp get' or at the hub.
        key: the field that errors are about.

    Raises:
        InputError: it cannot be loaded, lacks weights, or is a speech LM.

    """
    from transformers import AutoModelForCausalLM

    what = f"{key} '{model}'"
    model = find_source(model, key)
    if (Path(model) / "config.json").is_file():
        kind = read_object(Path(model) / "config.json", what).get("model_type")
        if kind == SpeechLMConfig.model_type:
            raise InputError(
                f"{what}: is a speech LM; give the folder of a causal LM", code="invalid_value"
            )
    try:
        with quiet():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                model, dtype=torch.float32, use_safetensors=True, output_loading_info=True
            )
    except Exception as error:  # whatever a configuration makes Transformers raise
        raise InputError(
            f"{what}: cannot be loaded ({reason(error)}); give the name or folder of a causal LM "
            "with safetensors",
            code="unusable",
        ) from error
    backbone, report = loaded
    for name in sorted(str(key) for key in report["missing_keys"]):
        raise InputError(f"{what}: its weights lack {name}; copy it again", code="damaged")
    check_finite(backbone.state_dict(), "model.safetensors", what)
    return cast("PreTrainedModel", backbone)


def stored_dtype(model: Path | str) -> torch.dtype:
    """Return the type in which the weights of a causal LM, which can be loaded, are stored."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(find_source(model, "model")).dtype or torch.float32


def find_source(model: Path | str, key: str) -> Path | str:
    """Return the folder of a causal LM, or its name OWNER/NAME at the Hugging Face Hub.

    Raises:
        InputError: it is neither, so that the hub need not be asked.

    """
    if (folder := local_folder(model, key)) is not None:
        return folder
    what = f"{key} '{model}'"
    if model in list_models():
        raise InputError(
            f"{what}: is a speech LM that comes with the package; give the folder of a causal LM",
            code="invalid_value",
        )
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(model)) or Path(model).parent.is_dir():
        raise InputError(
            f"{what}: no such folder; give one of a causal LM, a name of 'vocalmtp get', or "
            "OWNER/NAME of the Hugging Face Hub",
            code="not_found",
        )
    return model


def load_text_tokenizer(folder: Path | str) -> Any:
    """Load the text tokenizer of a pretrained backbone. Raises InputError if it cannot be loaded."""
    from transformers import AutoTokenizer

    source = find_source(folder, "model")
    try:
        with quiet():
            return AutoTokenizer.from_pretrained(source)
    except Exception as error:  # whatever a file makes Transformers raise
        raise InputError(
            f"model '{folder}': its text tokenizer cannot be loaded ({reason(error)}); "
            "copy it again",
            code="damaged",
        ) from error

"""Model folders by name: the models that come with the package, and folders of one's own.

A model's folder holds config.json and model.safetensors (the speech LM), tokenizer/ (its speech
tokenizer), voices/*.safetensors, card.json (facts for users) and README.md.
"""

from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from vocalmtp.config import StrictModel, parse
from vocalmtp.errors import InputError, nearest
from vocalmtp.io.read import read_object, reason

PRETRAINED = Path(__file__).parent / "pretrained"
DEFAULT_MODEL = "mini"


class RecommendedSampling(StrictModel):
    """Sampling options that apply unless a request gives others."""

    temperature: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    top_k: int | None = Field(default=None, ge=1)
    top_p: float | None = Field(default=None, gt=0, le=1)
    greedy: bool | None = None


class ModelCard(StrictModel):
    """The keys of card.json that are used; others are for readers."""

    model_config = ConfigDict(extra="allow")

    name: str | None = None
    default_voice: str | None = None
    sampling: RecommendedSampling = RecommendedSampling()
    int8: bool = False  # whether int8 was measured to be as good


def list_models() -> list[str]:
    """Return the names of the models that come with the package."""
    return sorted(path.parent.name for path in PRETRAINED.glob("*/config.json"))


def model_folder(name: Path | str) -> Path:
    """Return the folder of a model, given its name or path.

    Raises:
        InputError: there is no such model.

    """
    if not isinstance(name, Path | str):
        raise InputError(
            f"model '{name}': is a {type(name).__name__}; give a name or a folder",
            code="invalid_value",
        )
    for folder in (PRETRAINED / name, Path(name)):
        if (folder / "config.json").is_file():
            return folder
    if Path(name).is_dir():
        raise InputError(
            f"model '{name}': no config.json in that folder; give a trained model's folder",
            code="not_found",
        )
    raise InputError(
        f"model '{name}': no such model or folder; {nearest(str(name), list_models())}",
        code="not_found",
    )


def read_card(folder: Path) -> dict[str, Any]:
    """Read `card.json` of a model: data, figures, licence, default voice, sampling.

    Returns:
        Its content; an empty dict if there is no such file.

    Raises:
        InputError: the file is no JSON object, or a key that is used has a wrong value.

    """
    path = folder / "card.json"
    if not path.is_file():
        return {}
    card = read_object(path, f"card '{path}'")
    parse(ModelCard, card, f"card '{path}'")
    return card


def tokenizer_folder(name: Path | str) -> Path:
    """Return the folder of a speech tokenizer, given its name or path, or those of a model.

    Raises:
        InputError: there is no such tokenizer.

    """
    for folder in (Path(name), Path(name) / "tokenizer", PRETRAINED / name / "tokenizer"):
        if (folder / "tokenizer.json").is_file() and not (folder / "config.json").is_file():
            return folder
    raise InputError(
        f"tokenizer '{name}': no such tokenizer; {nearest(str(name), list_models())}",
        code="not_found",
    )


def load_pretrained(part: Any, folder: Path | str, key: str) -> Any:
    """Load a class of Transformers from a local folder.

    Args:
        part: the class of the model, tokenizer or processor.
        folder: where its files are.
        key: what the folder is given as, for error messages.

    Raises:
        InputError: the folder does not hold such a part.

    """
    from safetensors import SafetensorError

    try:
        return part.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"{key} '{folder}': not the folder of a {part.__name__} ({reason(error)}); give one "
            "with config.json, model.safetensors and its tokenizer",
            code="unusable",
        ) from error

"""The models that came with the package, and what a model's folder says about itself.

A model's folder holds config.json and model.safetensors (the speech LM), tokenizer/ (its speech
tokenizer), voices/*.safetensors, card.json (what people should know) and README.md.
"""

from pathlib import Path
from typing import Any

from vocalmtp.errors import InputError, nearest
from vocalmtp.reading import read_object

PRETRAINED = Path(__file__).parent / "pretrained"
DEFAULT_MODEL = "mini"


def list_models() -> list[str]:
    """Names of the models that came with the package."""
    return sorted(path.parent.name for path in PRETRAINED.glob("*/config.json"))


def model_folder(name: Path | str) -> Path:
    """The folder of a model, by its name or path; raises InputError if there is none."""
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


def tokenizer_folder(name: Path | str) -> Path:
    """The folder of a speech tokenizer: its own, or the one inside a model's, by name or path.

    Raises InputError if there is none.
    """
    for folder in (Path(name), Path(name) / "tokenizer", PRETRAINED / name / "tokenizer"):
        if (folder / "tokenizer.json").is_file() and not (folder / "config.json").is_file():
            return folder
    raise InputError(
        f"tokenizer '{name}': no such tokenizer; {nearest(str(name), list_models())}",
        code="not_found",
    )


def read_card(folder: Path) -> dict[str, Any]:
    """What `card.json` says of a model (data, figures, licence, default voice, sampling); or {}.

    Raises InputError if the file is no JSON object, or what is used of it has not its form.
    """
    from vocalmtp.card import ModelCard
    from vocalmtp.config import parse

    path = folder / "card.json"
    if not path.is_file():
        return {}
    card = read_object(path, f"card '{path}'")
    parse(ModelCard, card, f"card '{path}'")
    return card

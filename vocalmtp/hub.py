"""The models that came with the package, and what a model's folder says about itself.

A model's folder holds config.json and model.safetensors (the speech LM), tokenizer/ (its speech
tokenizer), voices/*.safetensors, card.json (what people should know) and README.md.
"""

from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from vocalmtp.config import StrictModel, parse
from vocalmtp.errors import InputError, nearest
from vocalmtp.io.read import read_object

PRETRAINED = Path(__file__).parent / "pretrained"
DEFAULT_MODEL = "mini"


class RecommendedSampling(StrictModel):
    """How the model speaks unless it is asked to otherwise."""

    temperature: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    top_k: int | None = Field(default=None, ge=1)
    top_p: float | None = Field(default=None, gt=0, le=1)
    greedy: bool | None = None


class ModelCard(StrictModel):
    """The card of a model's folder."""

    model_config = ConfigDict(extra="allow")

    name: str | None = None
    default_voice: str | None = None
    sampling: RecommendedSampling = RecommendedSampling()
    int8: bool = False


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

    path = folder / "card.json"
    if not path.is_file():
        return {}
    card = read_object(path, f"card '{path}'")
    parse(ModelCard, card, f"card '{path}'")
    return card

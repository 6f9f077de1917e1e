"""Model folders by name: the models that come with the package, and folders of one's own.

A model's folder holds config.json and model.safetensors (the speech LM), tokenizer/ (its speech
tokenizer), voices/*.safetensors, card.json (facts for users) and README.md.
"""

from pathlib import Path
from typing import Any

from vocalmtp.errors import InputError, nearest
from vocalmtp.io.read import reason

PRETRAINED = Path(__file__).parent / "pretrained"
DEFAULT_MODEL = "mini"


def list_models() -> list[str]:
    """Return the names of the models that come with the package."""
    return sorted(path.parent.name for path in PRETRAINED.glob("*/config.json"))


def model_folder(name: Path | str) -> Path:
    """Return the folder of a model, given its name or path.

    Names are those of the models that come with the package, and of `vocalmtp get`.

    Raises:
        InputError: there is no such model, or it was not fetched.

    """
    if not isinstance(name, Path | str):
        raise InputError(
            f"model '{name}': is a {type(name).__name__}; give a name or a folder",
            code="invalid_value",
        )
    for folder in (PRETRAINED / name, Path(name)):
        if (folder / "config.json").is_file():
            return folder
    from vocalmtp.fetch.cards import local_folder

    fetched = local_folder(name, "model")
    if fetched is not None and (fetched / "config.json").is_file():
        return fetched
    if fetched is not None:
        raise InputError(
            f"model '{name}': no config.json in that folder; give a trained model's folder",
            code="not_found",
        )
    raise InputError(
        f"model '{name}': no such model or folder; {nearest(str(name), known_names())}",
        code="not_found",
    )


def known_names() -> list[str]:
    """Return the names of speech LMs: those in the package, and those of `vocalmtp get`."""
    from vocalmtp.fetch.cards import list_cards

    published = [name for name, card in list_cards().items() if card.kind == "speech_lm"]
    return [*list_models(), *published]


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


def load_pretrained(part: Any, folder: Path | str, key: str, **settings: Any) -> Any:
    """Load a class of Transformers from a local folder.

    Args:
        part: the class of the model, tokenizer or processor.
        folder: where its files are.
        key: what the folder is given as, for error messages.
        settings: further arguments of `from_pretrained`.

    Raises:
        InputError: the folder does not hold such a part.

    """
    from safetensors import SafetensorError

    try:
        return part.from_pretrained(folder, local_files_only=True, **settings)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        detail = reason(error) if (Path(folder) / "config.json").is_file() else "no config.json"
        raise InputError(
            f"{key} '{folder}': holds no {part.__name__} ({detail}); give a folder "
            "with config.json, model.safetensors and its tokenizer",
            code="unusable",
        ) from error

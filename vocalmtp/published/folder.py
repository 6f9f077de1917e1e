"""A folder in the layout of Transformers: its vocabulary, and its weights before they are loaded."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vocalmtp.errors import InputError
from vocalmtp.io.progress import quiet
from vocalmtp.io.read import read_object, read_shapes, reason

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SHOWN = 3  # names in a message
WEIGHTS = "model.safetensors"  # unless config.json names another file in NAMED
NAMED = "transformers_weights"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
MEMORY = Path("/proc/meminfo")


@dataclass(frozen=True)
class PublishedFolder:
    """A downloaded model.

    Attributes:
        path: its folder.
        config: content of config.json.

    """

    path: Path
    config: dict[str, Any]

    @classmethod
    def open(cls, path: Path) -> "PublishedFolder":
        """Read a folder's config.json. Raises InputError if it is missing or damaged."""
        return cls(path, read_object(path / "config.json", f"model '{path}'"))

    @property
    def what(self) -> str:
        """How messages name it."""
        return f"model '{self.path}'"

    @cached_property
    def vocabulary(self) -> "Tokenizer | None":
        """The text tokenizer: tokenizer.json, or vocab.json with merges.txt; None if there is none."""
        from tokenizers import Tokenizer

        file = self.path / "tokenizer.json"
        if not file.is_file():
            file = self.path / "vocab.json"
        if not file.is_file():
            return None
        try:
            if file.name == "tokenizer.json":
                return Tokenizer.from_file(str(file))
            from transformers import AutoTokenizer

            with quiet():
                loaded: Any = AutoTokenizer.from_pretrained(self.path, local_files_only=True)
            found: Tokenizer = loaded.backend_tokenizer
            return found
        except Exception as error:  # the libraries raise nothing more special
            raise InputError(
                f"{self.what}: {file.name} is damaged ({reason(error)}); download it again",
                code="damaged",
            ) from error

    def has_token(self, token: str) -> bool:
        """Whether the vocabulary has `token`."""
        return self.vocabulary is not None and self.vocabulary.token_to_id(token) is not None

    def id_of(self, token: str) -> int:
        """Return the id of a token. Raises InputError if the vocabulary lacks it."""
        found = None if self.vocabulary is None else self.vocabulary.token_to_id(token)
        if found is None:
            raise InputError(
                f"{self.what}: its text tokenizer has no '{token}'; download the tokenizer.json "
                "that belongs to the weights",
                code="mismatch",
            )
        return found

    def encode(self, text: str) -> list[int]:
        """Return the ids of a user's text, in which names of special tokens are plain characters."""
        assert self.vocabulary is not None
        ids: list[int] = self.vocabulary.encode(text, add_special_tokens=False).ids
        if not self.added_ids.isdisjoint(ids):
            parts = re.split("(?<=<)", text)  # every special token begins with it
            ids = [
                i
                for part in parts
                for i in self.vocabulary.encode(part, add_special_tokens=False).ids
            ]
        return ids

    def encode_marked(self, text: str) -> list[int]:
        """Return the ids of a text of a publisher, in which names of special tokens are those."""
        assert self.vocabulary is not None
        ids: list[int] = self.vocabulary.encode(text, add_special_tokens=False).ids
        return ids

    def render_chat(self, messages: Sequence[Mapping[str, str]], reply: bool = False) -> str:
        """Write a conversation by the folder's chat template.

        Args:
            messages: the last one goes on.
            reply: whether the last one is over, and the mark of a reply follows.

        Raises:
            InputError: there is no chat template, or it fails.

        """
        from transformers.utils.chat_template_utils import render_jinja_template

        settings = read_object(self.path / "tokenizer_config.json", self.what)
        file = self.path / "chat_template.jinja"
        template = settings.get("chat_template")
        if file.is_file():
            template = file.read_text(encoding="utf-8")
        names = {name: settings.get(name) for name in ("bos_token", "eos_token")}
        given: Any = {name: token for name, token in names.items() if isinstance(token, str)}
        conversation = [dict(message) for message in messages]
        try:
            rendered = render_jinja_template(
                [conversation],
                chat_template=template,
                continue_final_message=not reply,
                add_generation_prompt=reply,
                **given,
            )
        except Exception as error:  # whatever a template makes Jinja raise
            raise InputError(
                f"{self.what}: its chat template cannot be used ({reason(error)}); download it again",
                code="damaged",
            ) from error
        return str(rendered[0][0])

    @cached_property
    def added_ids(self) -> frozenset[int]:
        """The ids of tokens that are no pieces of text, such as marks and codes."""
        return (
            frozenset(self.vocabulary.get_added_tokens_decoder())
            if self.vocabulary
            else frozenset()
        )

    def check_consecutive(self, first: str, last: str, count: int) -> range:
        """Return the ids of `count` tokens in a row. Raises InputError if they are not."""
        start, end = self.id_of(first), self.id_of(last)
        if end - start != count - 1:
            raise InputError(
                f"{self.what}: '{first}' to '{last}' are {end - start + 1} tokens of its text "
                f"tokenizer, not {count}; download the tokenizer.json that belongs to the weights",
                code="mismatch",
            )
        return range(start, start + count)

    # -- weights -------------------------------------------------------------------------------

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The files of the weights. Raises InputError if one is missing."""
        file = str(self.config.get(NAMED, WEIGHTS))
        if Path(file).name != file:
            raise InputError(
                f"{self.what}: {NAMED} '{file}' is no name of a file; download config.json again",
                code="invalid_value",
            )
        index = self.path / f"{file}.index.json"
        if index.is_file():
            shards = read_object(index, self.what).get("weight_map")
            if not isinstance(shards, Mapping):
                raise InputError(
                    f"{self.what}: {index.name} has no weight_map; download it again",
                    code="damaged",
                )
            names = sorted(set(map(str, shards.values())))
        else:
            names = [file]
        missing = [name for name in names if not (self.path / name).is_file()]
        if missing and any((self.path / name).is_file() for name in PICKLES):
            raise InputError(
                f"{self.what}: its weights are pickles, which may run code, and {names[0]} is "
                "missing; download a revision with safetensors",
                code="unsupported",
            )
        if missing:
            raise InputError(
                f"{self.what}: {len(missing)} of {len(names)} files of weights are missing "
                f"({first_names(missing)}); download the rest",
                code="missing",
            )
        return tuple(self.path / name for name in names)

    @cached_property
    def shapes(self) -> dict[str, list[int]]:
        """The shapes of all weights, by the files' headers. Raises InputError if one is torn."""
        found: dict[str, list[int]] = {}
        for file in self.files:
            found |= read_shapes(file, self.what)
        return found

    @property
    def num_bytes(self) -> int:
        """The size of all files of weights."""
        return sum(file.stat().st_size for file in self.files)

    @cached_property
    def bits(self) -> int:
        """Bits of a stored number."""
        return round(8 * self.num_bytes / max(1, sum(map(prod, self.shapes.values()))))

    def memory(self, half: bool) -> int:
        """Return the bytes that loading takes, the files that are read included.

        Args:
            half: whether the engine keeps 16 bits.

        """
        numbers = sum(map(prod, self.shapes.values()))
        return numbers * (2 if half and self.bits <= 16 else 4) + self.num_bytes

    def check_memory(self, half: bool) -> None:
        """Raise InputError if loading takes more memory than there is; see `memory`."""
        needed, free = self.memory(half), available_memory()
        if free is not None and needed > free:
            numbers = sum(map(prod, self.shapes.values()))
            raise InputError(
                f"{self.what}: loading {numbers / 1e9:.2g} billion numbers needs "
                f"{needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are available; close "
                "other programs, or take a smaller model",
                code="unusable",
            )


def number(
    part: Mapping[str, Any], name: str, folder: PublishedFolder, default: int | None = None
) -> int:
    """Return a whole number of a part of config.json.

    Args:
        part: of the content.
        name: of the number.
        folder: whose config.json it is.
        default: where there is none; None: there must be one.

    Raises:
        InputError: it is missing, or no whole number.

    """
    value = part.get(name, default)
    if not isinstance(value, int):
        raise InputError(
            f"{folder.what}: config.json has no number '{name}'; download it again", code="damaged"
        )
    return value


def rope_theta(part: Mapping[str, Any], folder: PublishedFolder) -> float:
    """Return the base of plain rotary positions, of a part of config.json.

    Args:
        part: of the content.
        folder: whose config.json it is.

    Raises:
        InputError: positions are scaled, or the base is no number.

    """
    rope = part.get("rope_parameters") or part.get("rope_scaling") or {}
    if rope.get("rope_type", "default") != "default":
        raise InputError(
            f"{folder.what}: its rope_type is {rope['rope_type']!r}, and only 'default' is "
            "supported; choose another model",
            code="unsupported",
        )
    theta = {**part, **rope}.get("rope_theta", 10_000.0)
    if not isinstance(theta, int | float):
        raise InputError(
            f"{folder.what}: config.json has no number 'rope_theta'; download it again",
            code="damaged",
        )
    return float(theta)


def available_memory() -> int | None:
    """Return the bytes that a process may still use; None where the system does not say."""
    try:
        lines = MEMORY.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line for line in lines if line.startswith("MemAvailable:")]
    return int(found[0].split()[1]) * 1024 if found else None


def first_names(names: Sequence[str], separator: str = ", ") -> str:
    """Return the first few names, and how many more there are."""
    rest = len(names) - SHOWN
    return separator.join(names[:SHOWN]) + (f"{separator}and {rest} more" if rest > 0 else "")

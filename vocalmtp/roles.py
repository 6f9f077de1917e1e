"""Roles: a persona with a voice, each in one YAML file.

    name: captain
    persona: You are the captain of an old sailing ship. You answer in one short sentence.
    voice: oscar                   # a built-in voice, a voice file or a recording
    style: calm, a little rough    # optional
    greeting: Welcome aboard.      # optional: spoken when a conversation begins
    origin: synthetic; flite       # of the voice
    consent: ''                    # how it is known that the speaker agreed; '' if synthetic

The persona is the system prompt of a language model; `TTS` takes a role in place of its voice.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, StringConstraints

from vocalmtp.config import StrictModel, load_yaml, parse
from vocalmtp.errors import InputError, nearest
from vocalmtp.io.atomic import atomic_path, check_file

CARDS = Path(__file__).parent / "pretrained" / "roles"
SUFFIXES = (".yaml", ".yml")

NonEmpty = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Role(StrictModel):
    """A persona with a voice; the fields are those of its YAML file."""

    name: str = Field(pattern=r"^[\w-]+$")
    persona: NonEmpty
    voice: NonEmpty
    style: NonEmpty | None = None
    greeting: NonEmpty | None = None
    origin: NonEmpty
    consent: str

    @contextmanager
    def named(self) -> Iterator[None]:
        """Add the role's name to any InputError of the block."""
        try:
            yield
        except InputError as error:
            raise InputError(f"role '{self.name}': {error}", code=error.code) from error

    def system_prompt(self) -> str:
        """Return the system prompt for a language model: the persona and the style."""
        return self.persona if self.style is None else f"{self.persona} Your manner: {self.style}."

    def prompt_ids(self, encode: Callable[[str], Sequence[int]], room: int) -> list[int]:
        """Encode the system prompt.

        Args:
            encode: text to the language model's token ids.
            room: the length of the language model's context in tokens.

        Raises:
            InputError: the system prompt leaves no room for a conversation.

        """
        ids = list(encode(self.system_prompt()))
        if len(ids) >= room:
            raise InputError(
                f"role '{self.name}': its persona takes {len(ids)} tokens and the model reads "
                f"{room} in all; shorten it",
                code="wrong_length",
            )
        return ids

    def save(self, path: Path | str) -> Path:
        """Write the YAML file; a voice that is a file is stored relative to it.

        Raises:
            InputError: a role cannot be written there.

        """
        path = Path(path)
        if path.suffix not in SUFFIXES:
            raise InputError(
                f"output '{path}': a role is a YAML file; name it {path.stem or 'role'}.yaml",
                code="invalid_value",
            )
        check_file(path)
        fields = self.model_dump(exclude_none=True)
        if is_file_name(self.voice):
            fields["voice"] = _relative(Path(self.voice).resolve(), path.parent.resolve())
        with atomic_path(path) as partial:
            text = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=88)
            partial.write_text(text, encoding="utf-8")
        return path


def list_roles() -> list[str]:
    """Return the names of the roles that come with the package."""
    return sorted(path.stem for path in CARDS.glob("*.yaml"))


def load_role(name: Path | str) -> Role:
    """Load a role that comes with the package, by its name, or one from a YAML file.

    Raises:
        InputError: there is no such role, or the file is not a valid role.

    """
    path = CARDS / f"{name}.yaml" if str(name) in list_roles() else Path(name)
    if path.suffix not in SUFFIXES:
        raise InputError(
            f"role '{name}': no such role or YAML file of one; {nearest(str(name), list_roles())}",
            code="not_found",
        )
    if not path.is_file():
        raise InputError(
            f"role '{name}': no such file; give that of a role, or a role's name", code="not_found"
        )
    role = parse(Role, load_yaml(path), f"role '{name}'")
    if is_file_name(role.voice):
        return role.model_copy(update={"voice": str(path.parent / role.voice)})
    return role


def is_file_name(voice: str) -> bool:
    """Whether `voice` is the path of a voice file or a recording, not a built-in voice's name."""
    return bool(Path(voice).suffix) or "/" in voice


def _relative(file: Path, folder: Path) -> str:
    """`file` relative to `folder` if it is inside, otherwise as it is."""
    return str(file.relative_to(folder)) if file.is_relative_to(folder) else str(file)

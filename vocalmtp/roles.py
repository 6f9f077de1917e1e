"""A role is one YAML file: a persona, a voice, and where the voice comes from.

    name: captain
    persona: You are the captain of an old sailing ship. You answer in one short sentence.
    voice: rms                     # a built-in voice, a voice file or a recording
    style: calm, a little rough    # optional
    greeting: Welcome aboard.      # optional: what is said when a conversation begins
    origin: synthetic; flite       # of the voice
    consent: ''                    # how it is known that the speaker agreed; '' of nobody's voice

The persona is the system prompt of a model that answers; the voice is what `TTS` speaks with.
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

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Role(StrictModel):
    """The card of a role. `voice` is what `TTS.find_voice` takes."""

    name: str = Field(pattern=r"^[\w-]+$")
    persona: Words
    voice: Words
    style: Words | None = None
    greeting: Words | None = None
    origin: Words
    consent: str

    @contextmanager
    def named(self) -> Iterator[None]:
        """Say in an InputError of the block which role it is about."""
        try:
            yield
        except InputError as error:
            raise InputError(f"role '{self.name}': {error}", code=error.code) from error

    def system_prompt(self) -> str:
        """What a model that answers is told before the conversation: the persona and the style."""
        return self.persona if self.style is None else f"{self.persona} Your manner: {self.style}."

    def prompt_ids(self, encode: Callable[[str], Sequence[int]], room: int) -> list[int]:
        """The system prompt in the backbone's token ids.

        Raises InputError if they do not leave place in the `room` tokens that the model reads.
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
        """Write the card, a voice in a file by its path from there; raises InputError."""
        path = Path(path)
        if path.suffix not in SUFFIXES:
            raise InputError(
                f"output '{path}': a role is a YAML file; name it {path.stem or 'role'}.yaml",
                code="invalid_value",
            )
        check_file(path)
        fields = self.model_dump(exclude_none=True)
        if is_file_name(self.voice):
            voice = Path(self.voice).resolve()
            fields["voice"] = _from(path.parent.resolve(), voice)
        with atomic_path(path) as partial:
            text = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=88)
            partial.write_text(text, encoding="utf-8")
        return path


def list_roles() -> list[str]:
    """Names of the roles that came with the package."""
    return sorted(path.stem for path in CARDS.glob("*.yaml"))


def load_role(name: Path | str) -> Role:
    """A role that came with the package, by its name, or one from a YAML file.

    Raises InputError if there is no such role, or the file is no role's card.
    """
    path = CARDS / f"{name}.yaml" if str(name) in list_roles() else Path(name)
    if path.suffix not in SUFFIXES:
        raise InputError(
            f"role '{name}': no such role; {nearest(str(name), list_roles())} "
            "Or give the YAML file of one",
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


def _from(folder: Path, file: Path) -> str:
    """`file` as it is found from `folder`: by a relative path where it is below it."""
    return str(file.relative_to(folder)) if file.is_relative_to(folder) else str(file)

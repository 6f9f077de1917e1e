"""Roles: strict YAML files, their voices, and the roles that come with the package."""

from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
from helpers.errors import raises_input_error
from helpers.sounds import buzz

import vocalmtp
from vocalmtp.errors import ErrorCode
from vocalmtp.hub import model_folder
from vocalmtp.roles import Role, list_roles, load_role
from vocalmtp.voices import load_voices

CARD = "name: clerk\npersona: You file.\nvoice: ann\norigin: drawn at random\nconsent: ''\n"


@pytest.fixture
def card(tmp_path: Path) -> Callable[..., str]:
    """Writes a role with something replaced; returns its path."""

    def write(old: str = "", new: str = "") -> str:
        path = tmp_path / "clerk.yaml"
        path.write_text(CARD.replace(old, new))
        return str(path)

    return write


def test_bundled_roles_have_distinct_bundled_voices() -> None:
    voices = load_voices(model_folder("mini") / "voices")
    roles = [load_role(name) for name in list_roles()]
    assert len(roles) == 8 and [role.name for role in roles] == list_roles()
    assert len({role.voice for role in roles} & set(voices)) == 8
    assert all(role.origin == voices[role.voice].origin for role in roles)
    assert all(role.persona.startswith("You are ") and role.greeting for role in roles)
    assert vocalmtp.load_role("captain") == load_role("captain")


def test_role_file_round_trip_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "roles").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    soundfile.write("roles/me.wav", buzz(), 16_000)
    role = Role(
        name="me",
        persona="You are \u00fcber-exact: #1.",
        voice="roles/me.wav",
        origin="made from me.wav",
        consent="mine",
    )
    path = role.save(tmp_path / "roles" / "me.yaml")
    assert "voice: me.wav\n" in path.read_text()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_role(path) == role.model_copy(update={"voice": str(tmp_path / "roles/me.wav")})


def test_system_prompt_leaves_room_for_a_conversation(card: Callable[..., str]) -> None:
    role = load_role(card())
    assert role.system_prompt() == "You file."
    styled = role.model_copy(update={"style": "dry"})
    assert styled.system_prompt() == "You file. Your manner: dry."
    assert role.prompt_ids(str.encode, 10) == list(b"You file.")
    with raises_input_error("wrong_length", key="role", names="clerk"):
        role.prompt_ids(str.encode, 9)


@pytest.mark.parametrize(
    ("old", "new", "code", "named"),
    [
        ("voice: ann\n", "", "missing", "voice"),
        ("persona: You file.\n", "persona: ' '\n", "invalid_value", "persona"),
        ("persona", "personna", "unknown_name", "did you mean 'persona'"),
        ("name: clerk", "name: a/b", "invalid_value", "a/b"),
        ("consent: ''\n", "", "missing", "consent"),
    ],
)
def test_invalid_role_files(
    card: Callable[..., str], old: str, new: str, code: ErrorCode, named: str
) -> None:
    with raises_input_error(code, key="role", names=named):
        load_role(card(old, new))


def test_missing_roles(tmp_path: Path) -> None:
    with raises_input_error("not_found", key="role", names="did you mean 'captain'"):
        load_role("capitan")
    with raises_input_error("not_found", key="role", names="none.yaml"):
        load_role(tmp_path / "none.yaml")
    with raises_input_error("invalid_value", key="output"):
        load_role("captain").save(tmp_path / "a.json")

"""Roles: cards that are strict, voices that are found from the card, and who came with us."""

import pytest
import soundfile
from helpers.sounds import buzz

import vocalmtp
from vocalmtp.errors import InputError
from vocalmtp.hub import model_folder
from vocalmtp.roles import Role, list_roles, load_role
from vocalmtp.voices import load_voices

CARD = "name: clerk\npersona: You file.\nvoice: ann\norigin: drawn at random\nconsent: ''\n"


@pytest.fixture
def card(tmp_path):
    """Writes a card with something replaced; returns its path."""

    def write(old: str = "", new: str = "") -> str:
        path = tmp_path / "clerk.yaml"
        path.write_text(CARD.replace(old, new))
        return str(path)

    return write


def test_eight_roles_came_with_the_package_each_with_its_own_voice():
    voices = load_voices(model_folder("mini") / "voices")
    roles = [load_role(name) for name in list_roles()]
    assert len(roles) == 8 and [role.name for role in roles] == list_roles()
    assert len({role.voice for role in roles} & set(voices)) == 8
    assert all(role.origin == voices[role.voice].origin for role in roles)
    assert all(role.persona.startswith("You are ") and role.greeting for role in roles)
    assert vocalmtp.load_role("captain") == load_role("captain")


def test_a_card_survives_its_file(tmp_path, monkeypatch):
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


def test_the_system_prompt_leaves_place_for_a_conversation(card):
    role = load_role(card())
    assert role.system_prompt() == "You file."
    styled = role.model_copy(update={"style": "dry"})
    assert styled.system_prompt() == "You file. Your manner: dry."
    assert role.prompt_ids(str.encode, 10) == list(b"You file.")
    with pytest.raises(InputError, match="persona takes 9 tokens and the model reads 9 in all"):
        role.prompt_ids(str.encode, 9)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("voice: ann\n", "", "role '.*': key 'voice' is missing"),
        ("persona: You file.\n", "persona: ' '\n", "key 'persona'"),
        ("persona", "personna", "unknown key 'personna'; did you mean 'persona'?"),
        ("name: clerk", "name: a/b", "key 'name' is 'a/b'"),
        ("consent: ''\n", "", "key 'consent' is missing"),
    ],
)
def test_cards_that_are_wrong(card, old, new, message):
    with pytest.raises(InputError, match=message):
        load_role(card(old, new))


def test_roles_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match=r"role 'capitan': no such role; did you mean 'captain'\?"):
        load_role("capitan")
    with pytest.raises(InputError, match="role '.*none.yaml': no such file"):
        load_role(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="name it a.yaml"):
        load_role("captain").save(tmp_path / "a.json")

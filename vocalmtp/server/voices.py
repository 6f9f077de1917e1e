"""The voices of a server by name: the model's, OpenAI's names for them, and those of clients.

No name in a request becomes a path: voices of clients are files with random names.
"""

import re
import secrets
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from pathlib import Path

from vocalmtp.errors import InputError, nearest
from vocalmtp.roles import Role
from vocalmtp.server.errors import APIError
from vocalmtp.server.uploads import with_recording
from vocalmtp.tts import TTS
from vocalmtp.voices import Voice, make_voice

OPENAI_VOICES = tuple(
    "alloy ash ballad cedar coral echo fable marin nova onyx sage shimmer verse".split()
)
ID = re.compile(r"voice_[0-9a-f]{16}")
MAX_VOICES = 1000  # of clients


class VoiceCatalogue:
    """Finds voices by name, and stores those of clients.

    Args:
        tts: the model; its card may map OpenAI's names to its voices under `voice_aliases`.
        roles: the roles that requests may name.
        folder: where voices of clients are stored; None: clients cannot store voices.
        lenient: an unknown name is the default voice, not an error.

    """

    def __init__(
        self,
        tts: TTS,
        roles: Iterable[Role] = (),
        folder: Path | None = None,
        lenient: bool = False,
    ):
        self._tts, self._folder, self._lenient = tts, folder, lenient
        self._roles = {role.name: role for role in roles}
        built_in = sorted(tts.voices)
        spread = (
            {name: built_in[i % len(built_in)] for i, name in enumerate(OPENAI_VOICES)}
            if (built_in)
            else {}
        )
        aliases = spread | tts.card.get("voice_aliases", {})
        self._aliases = {name: voice for name, voice in aliases.items() if voice in tts.voices}
        self._stored: dict[str, Voice] = {}  # by identifier

    def resolve(self, name: str | None, role: str | None = None) -> Voice | None:
        """Return the voice of a request.

        Args:
            name: of a voice, an alias, or the identifier of a stored voice; None for the default.
            role: the name of a role, in place of a voice.

        Raises:
            InputError: there is no such voice or role, or both are given.

        """
        if role is not None:
            return self._tts.find_voice(self._role(role, name))
        if name is None:
            return self._tts.find_voice(None)
        for voices in (self._tts.voices, self._client_voices()):
            if (voice := _find(name, voices)) is not None:
                return voice
        if (alias := self._aliases.get(name.casefold())) is not None:
            return self._tts.voices[alias]
        if self._lenient:
            return self._tts.find_voice(None)
        known = {*self._tts.voices, *self._aliases, *(v.name for v in self._stored.values())}
        raise InputError(
            f"voice '{name[:80]}': no such voice; {nearest(name[:80], known)}", code="unknown_name"
        )

    def _role(self, role: str, voice: str | None) -> Role:
        if voice is not None:
            raise InputError(
                f"role '{role[:80]}': has its own voice; leave out role or voice", code="conflict"
            )
        if role not in self._roles:
            raise InputError(
                f"role '{role[:80]}': no such role; {nearest(role[:80], self._roles)}",
                code="unknown_name",
            )
        return self._roles[role]

    def list(self) -> list[dict[str, str]]:
        """Return `id` and `name` of all voices: the model's, those of clients, and the aliases."""
        found = [{"id": name, "name": name} for name in self._tts.voices]
        found += [{"id": id, "name": voice.name} for id, voice in self._client_voices().items()]
        taken = {voice["id"] for voice in found}
        return found + [{"id": name, "name": name} for name in self._aliases if name not in taken]

    def create(self, name: str, consent: str, recording: bytes, file_name: str = "") -> str:
        """Make a voice of a recording and store it.

        Args:
            name: of the voice.
            consent: how it is known that the speaker agreed.
            recording: content of an audio file.
            file_name: decides by its suffix whether FFmpeg has to read the recording.

        Returns:
            The identifier of the voice.

        Raises:
            InputError: the server stores no voices, the name is taken, the consent is missing, or
                the recording cannot be used.
            APIError: the disk is full.

        """
        folder = self._require_folder()
        if not consent.strip():
            raise InputError(
                "consent: is required; state how the speaker agreed", code="consent_missing"
            )
        name = " ".join(name.split())
        if not (name.isprintable() and 0 < len(name) <= 100):
            raise InputError("name: must have 1 to 100 printable characters", code="invalid_value")
        stored = self._client_voices()
        if any(_find(name, voices) for voices in (self._tts.voices, stored)):
            raise InputError(f"name '{name}': is taken; choose another", code="conflict")
        if len(stored) >= MAX_VOICES:
            raise InputError("name: the server stores no more voices", code="unusable")
        voice = self._encode(name, recording, file_name)
        consent = f"stated by a client on {date.today()}: {' '.join(consent.split())[:500]}"
        id = f"voice_{secrets.token_hex(8)}"
        try:
            replace(voice, consent=consent).save(folder / f"{id}.safetensors")
        except InputError as error:  # it names a path of the server
            raise APIError(507, "the server cannot store the voice", "storage_failed") from error
        return id

    def delete(self, id: str) -> None:
        """Delete a stored voice. Raises InputError (`not_found`) if there is none of that id."""
        if self._folder is None or id not in self._client_voices():
            raise InputError(f"voice '{id[:80]}': no such stored voice", code="not_found")
        (self._folder / f"{id}.safetensors").unlink(missing_ok=True)
        self._stored.pop(id, None)

    def _require_folder(self) -> Path:
        if self._folder is None:
            raise InputError(
                "voice: this server stores no voices; start it with --voices FOLDER",
                code="unsupported",
            )
        return self._folder

    def _client_voices(self) -> dict[str, Voice]:
        """The stored voices by identifier; other processes may have added some, or deleted."""
        if self._folder is None:
            return {}
        files = {path.stem: path for path in self._folder.glob("voice_*.safetensors")}
        files = {id: path for id, path in sorted(files.items()) if ID.fullmatch(id)}
        for id in self._stored.keys() - files.keys():
            del self._stored[id]
        for id in files.keys() - self._stored.keys():
            self._stored[id] = Voice.load(files[id]).check(self._tts.tokenizer.spec)
        return {id: self._stored[id] for id in files}

    def _encode(self, name: str, recording: bytes, file_name: str) -> Voice:
        origin = "a recording of a client"
        return with_recording(
            recording,
            file_name,
            "audio_sample",
            lambda path: make_voice(path, self._tts.tokenizer, name, origin),
        )


def _find(name: str, voices: dict[str, Voice]) -> Voice | None:
    """The voice of that key or name, in upper or lower case."""
    if name in voices:
        return voices[name]
    alike = [v for v in voices.values() if v.name.casefold() == name.casefold()]
    return alike[0] if len(alike) == 1 else None

"""Voices: a speaker vector with a name, kept in one small safetensors file."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vocalmtp.audio.io import read_audio, trim_silence
from vocalmtp.errors import InputError
from vocalmtp.io.atomic import atomic_path, check_file

if TYPE_CHECKING:
    from vocalmtp.tokenizers import SpeechTokenizer, TokenizerSpec

SHORTEST, LONGEST = 1.0, 30.0  # seconds of speech in a reference
LONGEST_FILE = 300.0  # seconds of a reference with the silence around the speech
VOICED = 0.05  # least share of a reference where a pitch is heard: noise has next to none
METADATA = ("name", "origin", "tokenizer", "tokenizer_hash")
NO_CONSENT = "not stated"
SYNTHETIC = "synthetic"  # how the origin of a voice begins that no person has


def consent_note(voice: "Voice | None") -> str | None:
    """What to tell who uses somebody's voice, if it is not known that the person agreed."""
    if voice is None or voice.consent != NO_CONSENT:
        return None
    return f"note: '{voice.name}' is somebody's voice; use it with that person's consent only"


@dataclass(frozen=True, eq=False)
class Voice:
    """Who speaks: the timbre `vector` float32 [D_s] that one speech tokenizer made of a recording.

    The vector means something to that tokenizer alone, so its name and the hash of its spec are kept.
    `consent` says how it is known that the speaker agreed; "" of a voice that is nobody's.
    """

    name: str
    vector: np.ndarray
    origin: str
    tokenizer: str
    tokenizer_hash: str
    consent: str = ""

    def save(self, path: Path | str) -> Path:
        """Write the voice to a `.safetensors` file, whole or not at all.

        Raises InputError as `check_voice_path`.
        """
        from safetensors.numpy import save_file

        path = check_voice_path(path)
        metadata = {key: getattr(self, key) for key in (*METADATA, "consent")}
        with atomic_path(path) as partial:
            save_file({"vector": np.ascontiguousarray(self.vector, np.float32)}, partial, metadata)
        return path

    @classmethod
    def load(cls, path: Path | str) -> "Voice":
        """Read a voice that `save` wrote; raises InputError if the file is missing or no voice."""
        from safetensors import SafetensorError, safe_open

        path = Path(path)
        if not path.is_file():
            raise InputError(
                f"voice '{path}': no such file; make one with 'vocalmtp voices make'",
                code="not_found",
            )
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                vector = file.get_tensor("vector").astype(np.float32)
            made_up = metadata.get("origin", "").startswith(SYNTHETIC)
            consent = metadata.get("consent", "" if made_up else NO_CONSENT)
            voice = cls(vector=vector, consent=consent, **{key: metadata[key] for key in METADATA})
        except (SafetensorError, KeyError, OSError, TypeError, ValueError) as error:
            raise InputError(
                f"voice '{path}': not a voice file; make one with 'vocalmtp voices make'",
                code="invalid_value",
            ) from error
        if vector.ndim != 1 or not np.isfinite(vector).all():
            raise InputError(
                f"voice '{path}': its vector is damaged; make it again", code="damaged"
            )
        return voice

    def check(self, spec: "TokenizerSpec") -> "Voice":
        """This voice, or InputError if it was made by a tokenizer of another spec."""
        if self.tokenizer_hash != spec.hash:
            raise InputError(
                f"voice '{self.name}': made for tokenizer '{self.tokenizer}' "
                f"({self.tokenizer_hash}), not '{spec.name}' ({spec.hash}); "
                "make it again from its recording",
                code="mismatch",
            )
        if len(self.vector) != spec.speaker_dim:
            raise InputError(
                f"voice '{self.name}': its vector has {len(self.vector)} numbers, not "
                f"{spec.speaker_dim}; make it again from its recording",
                code="mismatch",
            )
        return self


def check_voice_path(path: Path | str) -> Path:
    """`path`, or InputError unless a voice file can be written there."""
    path = Path(path)
    if path.suffix != ".safetensors":
        raise InputError(
            f"output '{path}': a voice is a .safetensors file; name it {path.stem}.safetensors",
            code="invalid_value",
        )
    check_file(path)
    return path


def make_voice(
    references: Path | str | Iterable[Path | str],
    tokenizer: "SpeechTokenizer",
    name: str | None = None,
    origin: str | None = None,
    consent: str = NO_CONSENT,
) -> Voice:
    """A voice from one recording of a person, or from several, whose vectors are averaged.

    Each is resampled, mixed to mono and trimmed of silence at both ends; what is left must last
    1 to 30 s. `consent` is kept with the voice, see Voice.

    Raises:
        InputError: a recording is unreadable, silent, without a voice, too short or too long, or
            the tokenizer keeps no timbre vector.
    """
    import torch

    spec = tokenizer.spec
    if not spec.speaker_dim:
        raise InputError(
            f"tokenizer '{spec.name}': has no voices; use a model whose tokenizer has", code="empty"
        )
    paths = (
        [Path(references)] if isinstance(references, Path | str) else [Path(p) for p in references]
    )
    if not paths:
        raise InputError("reference: none given; give at least one recording", code="missing")
    vectors = []
    for path in paths:
        wav = torch.from_numpy(_reference(path, spec.sample_rate))[None]  # [1, N]
        vectors.append(tokenizer.embed_speaker(wav.to(tokenizer.device))[0].float().cpu())
    vector = torch.stack(vectors).mean(0)
    vector = vector / vector.norm().clamp(min=1e-6)
    origin = origin or f"made from {', '.join(path.name for path in paths)}"
    return Voice(name or paths[0].stem, vector.numpy(), origin, spec.name, spec.hash, consent)


def state_consent(stated: bool, day: date | None = None) -> str:
    """The consent line of a voice whose maker says that its speaker agreed.

    Raises InputError unless that is said: nobody's voice is copied by the way.
    """
    if not stated:
        raise InputError(
            "consent: a recording is somebody's voice; if that person agreed to its being made, "
            "add --i-have-consent",
            code="consent_missing",
        )
    return f"stated by who made it, on {day or date.today()}"


def _reference(path: Path, sample_rate: int) -> np.ndarray:
    """Samples [N] of a recording that is fit to make a voice of."""
    samples = trim_silence(read_audio(path, sample_rate, LONGEST_FILE), sample_rate)
    seconds = len(samples) / sample_rate
    if not seconds:
        raise InputError(f"reference '{path}': is silent; give a recording of speech", code="empty")
    if not SHORTEST <= seconds <= LONGEST:
        raise InputError(
            f"reference '{path}': {seconds:.1f} s of speech without the silence around it; "
            f"give {SHORTEST:g} to {LONGEST:g} s",
            code="wrong_length",
        )
    if _voiced_share(samples, sample_rate) < VOICED:
        raise InputError(
            f"reference '{path}': no voice is heard in it; give a recording of speech", code="empty"
        )
    return samples


def _voiced_share(samples: np.ndarray, sample_rate: int) -> float:
    """Share of the 10 ms frames of `samples` [N] that have a pitch."""
    import torch

    from vocalmtp.audio.pitch import track_pitch

    wav = torch.from_numpy(np.ascontiguousarray(samples, np.float32))[None]
    pitch = track_pitch(wav, sample_rate=sample_rate, hop=sample_rate // 100)
    return float((pitch > 0).float().mean())


def mean_vector(voices: Iterable[Voice], size: int) -> np.ndarray:
    """The mean [D_s] of the vectors of `voices`, of length 1; zeros [size] if there are none."""
    vectors = [voice.vector for voice in voices]
    mean = np.mean(vectors, 0) if vectors else np.zeros(size)
    return (mean / max(float(np.linalg.norm(mean)), 1e-6)).astype(np.float32)


def load_voices(folder: Path) -> dict[str, Voice]:
    """The voices of a folder by name, sorted; none if there is no such folder."""
    voices = (Voice.load(path) for path in sorted(folder.glob("*.safetensors")))
    return {voice.name: voice for voice in voices}

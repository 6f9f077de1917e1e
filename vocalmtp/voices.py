"""Voices: speaker vectors with a name, an origin and a consent line, each in a safetensors file.

A voice for models that go on after a recording has its codes and its transcript besides.
Letters: N samples, D_s size of the speaker vector, Q streams, T frames.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vocalmtp.audio.io import check_no_address, read_audio, trim_silence
from vocalmtp.errors import InputError, nearest
from vocalmtp.io.atomic import atomic_path, check_file
from vocalmtp.io.read import read_lines
from vocalmtp.roles import Role

if TYPE_CHECKING:
    from vocalmtp.tokenizers import SpeechTokenizer, TokenizerSpec

SHORTEST, LONGEST = 1.0, 30.0  # seconds of speech in a reference recording
LONGEST_FILE = 300.0  # seconds of a reference recording with the silence around the speech
VOICED = 0.05  # least share of voiced frames in a reference recording: noise has next to none
METADATA = ("name", "origin", "tokenizer", "tokenizer_hash")
NO_CONSENT = "not stated"
SYNTHETIC = "synthetic"  # the origin of a voice begins so if it is no person's


@dataclass(frozen=True, eq=False)
class Voice:
    """The timbre of one speaker, as one speech tokenizer encodes it.

    Attributes:
        name: what the voice is called.
        vector: speaker vector float32 [D_s], meaningful to that tokenizer only.
        origin: where the voice comes from.
        tokenizer: the tokenizer's name.
        tokenizer_hash: the hash of the tokenizer's spec.
        consent: how it is known that the speaker agreed; "" for a synthetic voice.
        codes: int64 [Q, T] of a recording by that tokenizer; None: of none.
        transcript: what is said in the recording; "" if there is none.

    """

    name: str
    vector: np.ndarray
    origin: str
    tokenizer: str
    tokenizer_hash: str
    consent: str = ""
    codes: np.ndarray | None = None
    transcript: str = ""

    def save(self, path: Path | str) -> Path:
        """Write the voice to a `.safetensors` file, completely or not at all.

        Raises:
            InputError: a voice cannot be written there, see `check_voice_path`.

        """
        from safetensors.numpy import save_file

        path = check_voice_path(path)
        metadata = {key: getattr(self, key) for key in (*METADATA, "consent")}
        arrays = {"vector": np.ascontiguousarray(self.vector, np.float32)}
        if self.codes is not None:
            arrays["codes"] = np.ascontiguousarray(self.codes, np.int64)
            metadata["transcript"] = self.transcript
        with atomic_path(path) as partial:
            save_file(arrays, partial, metadata)
        return path

    @classmethod
    def load(cls, path: Path | str) -> "Voice":
        """Read a voice file.

        Raises:
            InputError: the file is missing, damaged, or not a voice.

        """
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
                codes = file.get_tensor("codes") if "codes" in file.keys() else None  # noqa: SIM118
            synthetic = metadata.get("origin", "").startswith(SYNTHETIC)
            consent = metadata.get("consent", "" if synthetic else NO_CONSENT)
            voice = cls(
                vector=vector,
                consent=consent,
                codes=codes,
                transcript=metadata.get("transcript", ""),
                **{key: metadata[key] for key in METADATA},
            )
        except (SafetensorError, KeyError, OSError, TypeError, ValueError) as error:
            raise InputError(
                f"voice '{path}': not a voice file; make one with 'vocalmtp voices make'",
                code="damaged",
            ) from error
        if vector.ndim != 1 or not np.isfinite(vector).all():
            raise InputError(
                f"voice '{path}': its vector is damaged; make it again", code="damaged"
            )
        return voice

    def check(self, spec: "TokenizerSpec") -> "Voice":
        """Return this voice.

        Raises:
            InputError: it was made for another tokenizer than that of `spec`.

        """
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


AnyVoice = Voice | Role | Path | str | None


def find_voice(
    voice: AnyVoice,
    voices: Mapping[str, Voice],
    default: str | None,
    tokenizer: "SpeechTokenizer",
) -> Voice | None:
    """Return the voice that `voice` stands for.

    Args:
        voice: a Voice, a Role, the name of a built-in voice in upper or lower case, the path of a
            voice file or of a recording to imitate, or None for the default. Models that go on
            after a recording x.wav need what is said in it in x.txt beside it.
        voices: the built-in voices by name.
        default: the name of the default voice, if there is one.
        tokenizer: the speech tokenizer that the voice is for.

    Returns:
        The voice; None only if the tokenizer has no speaker vectors.

    Raises:
        InputError: there is no such voice, or it is for another tokenizer.

    """
    spec = tokenizer.spec
    if voice is None:
        if default is None and spec.speaker_dim:
            raise InputError(
                "voice: the model has no built-in voices; give a recording of a voice",
                code="missing",
            )
        return None if default is None else find_voice(default, voices, None, tokenizer)
    if isinstance(voice, Voice):
        return voice.check(spec)
    if isinstance(voice, Role):
        with voice.named():
            found = find_voice(voice.voice, voices, None, tokenizer)
        if found is None or not voice.consent:
            return found
        return replace(found, origin=voice.origin, consent=voice.consent)
    if not isinstance(voice, Path | str):
        raise InputError(
            f"voice '{voice!s:.40}': is a {type(voice).__name__}; give a name, a file, a Voice or a "
            "Role",
            code="invalid_value",
        )
    built_in = voices.get(str(voice)) or _ignoring_case(str(voice), voices)
    if built_in is not None:
        return built_in
    check_no_address(voice, "voice")
    path = Path(voice)
    if path.suffix == ".safetensors":
        return Voice.load(path).check(spec)
    if path.suffix or os.path.isfile(path):  # False for a name that no file can have
        transcript = None if spec.speaker_dim else transcript_beside(path)
        return make_voice(path, tokenizer, transcript=transcript)
    raise InputError(
        f"voice '{voice}': no such voice; {nearest(str(voice), voices)}", code="not_found"
    )


def _ignoring_case(name: str, voices: Mapping[str, Voice]) -> Voice | None:
    alike = [voice for own, voice in voices.items() if own.casefold() == name.casefold()]
    return alike[0] if len(alike) == 1 else None


def transcript_beside(recording: Path) -> str | None:
    """Return what is said in a recording, by the text file of the same name; None without one.

    Raises:
        InputError: the file is unreadable, or is no text in UTF-8.

    """
    file = recording.with_suffix(".txt")
    if not file.is_file():
        return None
    content = b" ".join(line for _, line in read_lines(file, f"transcript '{file}'"))
    try:
        return " ".join(content.decode().split())
    except UnicodeDecodeError as error:
        raise InputError(
            f"transcript '{file}': is no text in UTF-8; save it as one", code="damaged"
        ) from error


def consent_note(voice: Voice | None) -> str | None:
    """Return a reminder for users of a voice whose speaker is not known to have agreed, if any."""
    if voice is None or voice.consent != NO_CONSENT:
        return None
    return f"note: '{voice.name}' is a recorded person's voice; use it with their consent only"


def check_voice_path(path: Path | str) -> Path:
    """Return `path`. Raises InputError unless a voice file can be written there."""
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
    transcript: str | None = None,
) -> Voice:
    """Make a voice from one or several recordings of a person, whose speaker vectors are averaged.

    Each is resampled, mixed to mono and trimmed of silence at both ends; what is left must last
    1 to 30 s.

    Args:
        references: the recordings.
        tokenizer: the speech tokenizer that the voice is for.
        name: of the voice; None: that of the first file.
        origin: of the voice; None: the file names.
        consent: how it is known that the speaker agreed.
        transcript: what is said in the only recording, for models that go on after its codes.

    Raises:
        InputError: a recording is unreadable, silent, unvoiced, too short or too long, or the
            tokenizer has no speaker vectors and there is no transcript.

    """
    import torch

    spec = tokenizer.spec
    if not spec.speaker_dim and not transcript:
        raise InputError(
            f"tokenizer '{spec.name}': has no speaker vectors; for a model that goes on after a "
            "recording, make the voice with --transcript, or put what is said in x.wav into x.txt "
            "beside it",
            code="unsupported",
        )
    files = [references] if isinstance(references, Path | str) else list(references)
    if not files:
        raise InputError("reference: none given; give at least one recording", code="missing")
    if transcript and len(files) > 1:
        raise InputError(
            f"transcript: is of one recording, and {len(files)} were given; give one",
            code="conflict",
        )
    wavs = [torch.from_numpy(_read_reference(file, spec.input_rate))[None] for file in files]
    vector = torch.zeros(0)
    if spec.speaker_dim:
        vectors = [tokenizer.embed_speaker(wav)[0].float().cpu() for wav in wavs]  # [D_s] each
        vector = torch.stack(vectors).mean(0)
        if tokenizer.unit_speaker:
            vector = vector / vector.norm().clamp(min=1e-6)
    codes = None
    if transcript:
        with torch.inference_mode():
            codes = tokenizer.encode(wavs[0]).codes[0].cpu().numpy()  # [Q, T]
    origin = origin or f"made from {', '.join(Path(file).name for file in files)}"
    name = name or Path(files[0]).stem
    return Voice(
        name, vector.numpy(), origin, spec.name, spec.hash, consent, codes, transcript or ""
    )


def state_consent(stated: bool, day: date | None = None) -> str:
    """Return the consent line of a voice whose maker states that its speaker agreed.

    Raises:
        InputError: it is not stated.

    """
    if not stated:
        raise InputError(
            "consent: is required for a recorded voice; if the speaker agreed to this, "
            "add --i-have-consent",
            code="consent_missing",
        )
    return f"stated by who made it, on {day or date.today()}"


def _read_reference(file: Path | str, sample_rate: int) -> np.ndarray:
    """Read a recording that a voice can be made of: samples [N] without the silence around them."""
    samples = trim_silence(read_audio(file, sample_rate, LONGEST_FILE), sample_rate)
    seconds = len(samples) / sample_rate
    if not seconds:
        raise InputError(f"reference '{file}': is silent; give a recording of speech", code="empty")
    if not SHORTEST <= seconds <= LONGEST:
        raise InputError(
            f"reference '{file}': {seconds:.1f} s of speech without the silence around it; "
            f"give {SHORTEST:g} to {LONGEST:g} s",
            code="wrong_length",
        )
    if _voiced_share(samples, sample_rate) < VOICED:
        raise InputError(
            f"reference '{file}': contains no voice; give a recording of speech", code="empty"
        )
    return samples


def _voiced_share(samples: np.ndarray, sample_rate: int) -> float:
    """Share of the 10 ms frames of `samples` [N] that have a pitch."""
    import torch

    from vocalmtp.audio.pitch import track_pitch

    wav = torch.from_numpy(np.ascontiguousarray(samples, np.float32))[None]
    pitch = track_pitch(wav, sample_rate=sample_rate, hop=sample_rate // 100)
    return int((pitch > 0).sum()) / max(pitch.numel(), 1)


def mean_vector(voices: Iterable[Voice], size: int) -> np.ndarray:
    """Mean [D_s] of the vectors of `voices`, scaled to length 1; zeros [size] if there are none."""
    vectors = [voice.vector for voice in voices]
    mean = np.mean(vectors, 0) if vectors else np.zeros(size)
    return (mean / max(float(np.linalg.norm(mean)), 1e-6)).astype(np.float32)


def load_voices(folder: Path) -> dict[str, Voice]:
    """Load the voice files of a folder, by name, sorted by file; none if there is no such folder."""
    voices = (Voice.load(path) for path in sorted(folder.glob("*.safetensors")))
    return {voice.name: voice for voice in voices}

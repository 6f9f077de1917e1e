"""Export a trained speech LM, its tokenizer and voices as one folder for `vocalmtp.load`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vocalmtp.data.manifest import Utterance, read_manifest
from vocalmtp.errors import InputError, nearest
from vocalmtp.hub import model_folder
from vocalmtp.io.atomic import atomic_folder
from vocalmtp.io.progress import quiet
from vocalmtp.models.checkpoint import load_text_tokenizer
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.published.saving import load_whole
from vocalmtp.text import VERSION
from vocalmtp.tokenizers import load_tokenizer
from vocalmtp.voices import NO_CONSENT, SHORTEST, SYNTHETIC, make_voice

REFERENCES = 24  # utterances whose speaker vectors are averaged to a voice
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def export_model(
    model: Path | str,
    tokenizer: Path | str,
    output: Path | str,
    *,
    manifest: Path | str,
    origins: Mapping[str, str],
    card: Mapping[str, Any],
    dtype: str = "float16",
) -> Path:
    """Write the folder `output`: model, tokenizer/, voices/ and card.json.

    A speech LM that was trained without speaker vectors (`speaker_dropout: 1.0`) will ignore them.

    Args:
        model: folder of the trained speech LM.
        tokenizer: folder of its tokenizer.
        output: folder to write.
        manifest: corpus with utterances of the voices.
        origins: the origin of every voice by name; each is made from training utterances.
        card: model card, see `vocalmtp info`.
        dtype: of the weights: float32, float16 or bfloat16.

    Raises:
        InputError: the model was trained on the codes of another tokenizer, or a voice has no
            utterances.

    """
    if dtype not in DTYPES:
        raise InputError(
            f"dtype '{dtype}': not supported; {nearest(dtype, DTYPES)}", code="unknown_name"
        )
    codec = load_tokenizer(tokenizer)
    speech_lm = SpeechLM.load(model)
    expected = speech_lm.config.tokenizer.get("hash")
    if expected != codec.spec.hash:
        raise InputError(
            f"tokenizer '{tokenizer}': its codes are {codec.spec.hash}, and the model was trained "
            f"on {expected}; give the tokenizer of its shards",
            code="mismatch",
        )
    speech_lm.drop_objectives()
    speech_lm.config.text_version = VERSION
    if speech_lm.speaker_projection is not None and speech_lm.config.speaker_dropout == 1:
        speech_lm.speaker_projection.ignore_vectors()  # the projection was not trained with it
    rows = [row for row in read_manifest(manifest, "train") if row.seconds > 2 * SHORTEST]
    recordings = {name: _recordings(name, rows) for name in origins}
    with quiet(), atomic_folder(output) as folder:
        torch.nn.Module.to(speech_lm, DTYPES[dtype])
        speech_lm.save_pretrained(folder)
        if (Path(model) / "tokenizer_config.json").is_file():  # of a pretrained backbone
            load_text_tokenizer(model).save_pretrained(folder)
        codec.save_pretrained(folder / "tokenizer", DTYPES[dtype])
        stored = load_tokenizer(folder / "tokenizer")  # with rounded weights
        (folder / "voices").mkdir()
        for name, origin in origins.items():
            consent = "" if origin.startswith(SYNTHETIC) else NO_CONSENT
            voice = make_voice(recordings[name], stored, name, origin, consent)
            voice.save(folder / "voices" / f"{name}.safetensors")
        (folder / "card.json").write_text(json.dumps(dict(card), indent=2) + "\n")
    return Path(output)


def export_published(model: Path | str, output: Path | str) -> Path:
    """Write a published model as a folder of our own, with all of its parts.

    Args:
        model: name or folder. Weights keep the number of bits in which they are published.
        output: folder to write.

    Raises:
        InputError: the folder is incomplete, or its speech tokenizer is not here.

    """
    speech_lm, parts = load_whole(model_folder(model), half=True)
    with quiet(), atomic_folder(output) as folder:
        speech_lm.save_pretrained(folder)
        parts.save_pretrained(folder)
    return Path(output)


def _recordings(name: str, rows: list[Utterance]) -> list[Path]:
    """Recordings of the voice `name`. Raises InputError if there is none."""
    if not name or Path(name).name != name or name.startswith("."):
        raise InputError(
            f"voice '{name}': names a file of the model; leave out slashes and dots",
            code="invalid_value",
        )
    recordings = [row.audio for row in rows if row.voice == name][:REFERENCES]
    if not recordings:
        voices = {row.voice for row in rows}
        raise InputError(
            f"voice '{name}': has no training utterances; {nearest(name, voices)}",
            code="not_found",
        )
    return recordings

"""Put a trained speech LM, its tokenizer and voices into one folder that `vocalmtp.load` reads."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vocalmtp.data.manifest import Utterance, read_manifest
from vocalmtp.errors import InputError, nearest
from vocalmtp.model.speech_lm import SpeechLM
from vocalmtp.text import VERSION
from vocalmtp.tokenizers import SpeechTokenizer, load_tokenizer
from vocalmtp.voices import SHORTEST, make_voice

REFERENCES = 24  # utterances of which a voice is the mean
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

    A voice is made for every name in `origins` (name -> where it comes from) out of training
    utterances of `manifest`; `card` says what users should know (see `vocalmtp info`). Weights are
    stored in `dtype`. Raises InputError if the tokenizer is not the one the model was trained on,
    or a voice has no utterances.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype '{dtype}': cannot be stored; {nearest(dtype, DTYPES)}")
    output = Path(output)
    codec = load_tokenizer(tokenizer)
    speech_lm = SpeechLM.from_pretrained(model, dtype=torch.float32)
    expected = speech_lm.config.tokenizer["hash"]
    if expected != codec.card.hash:
        raise InputError(
            f"tokenizer '{tokenizer}': is {codec.card.hash}; the model was trained on {expected}"
        )
    speech_lm.config.text_version = VERSION
    speech_lm.to(DTYPES[dtype]).save_pretrained(output)
    codec.save_pretrained(output / "tokenizer", DTYPES[dtype])
    stored = load_tokenizer(output / "tokenizer")  # rounded as users will have it
    rows = [row for row in read_manifest(manifest, "train") if row.seconds > 2 * SHORTEST]
    (output / "voices").mkdir(exist_ok=True)
    for name, origin in origins.items():
        _save_voice(name, origin, rows, stored, output / "voices" / f"{name}.safetensors")
    (output / "card.json").write_text(json.dumps(dict(card), indent=2) + "\n")
    return output


def _save_voice(
    name: str, origin: str, rows: list[Utterance], codec: SpeechTokenizer, path: Path
) -> None:
    mine = [row.audio for row in rows if row.voice == name][:REFERENCES]
    if not mine:
        raise InputError(
            f"voice '{name}': no training utterances of it; {nearest(name, _names(rows))}"
        )
    make_voice(mine, codec, name=name, origin=origin).save(path)


def _names(rows: list[Utterance]) -> set[str]:
    return {row.voice for row in rows}

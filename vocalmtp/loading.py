"""Loading of a text-to-speech model, on any engine."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vocalmtp.decoding.reading import TextReader
from vocalmtp.engines.base import AUTO, EngineSettings, find_engine
from vocalmtp.engines.threads import default_threads
from vocalmtp.errors import InputError
from vocalmtp.fetch.cards import fetched_folder
from vocalmtp.hub import DEFAULT_MODEL, model_folder, tokenizer_folder
from vocalmtp.io.read import read_object
from vocalmtp.model_card import read_card
from vocalmtp.published.base import (
    OWN,
    find_family,
    load_family_tokenizer,
    load_published,
    named_voices,
)
from vocalmtp.published.folder import PublishedFolder
from vocalmtp.text import ALPHABET, char_ids, char_text
from vocalmtp.text.ipa import PHONES
from vocalmtp.tts import TTS
from vocalmtp.voices import load_voices

if TYPE_CHECKING:
    import torch

    from vocalmtp.decoding.options import Decoding, SpeakerConditioning
    from vocalmtp.engines.eager import TorchEngine
    from vocalmtp.models.speech_decoding import SpeechDecoding
    from vocalmtp.text.lexicon import Lexicon
    from vocalmtp.tokenizers import SpeechTokenizer


def load(
    name: Path | str = DEFAULT_MODEL,
    device: "str | torch.device" = "cpu",
    int8: bool | None = None,
    speaker_conditioning: "SpeakerConditioning | None" = None,
    decoding: "Decoding | None" = None,
    engine: str = AUTO,
    threads: int | None = None,
    lexicon: "Lexicon | Mapping[str, str] | Path | str | None" = None,
    unknown_characters: str = "refuse",
) -> TTS:
    """Load a text-to-speech model.

    Args:
        name: a model that comes with the package, or a model's folder.
        device: a device of torch, or "auto": CUDA if this machine has it, else the CPU.
        int8: run the speech LM on 8-bit weights (CPU only); None: if the model's card recommends it
            and it is faster on this machine.
        speaker_conditioning: see TTS.
        decoding: see TTS.
        engine: how steps run, a name of `vocalmtp.engines.base.ENGINES`; "auto": the best for the
            device.
        threads: of a step; None: as many as are fastest, which is one for small models.
        lexicon: own pronunciations: words with their spellings, or the file of them.
        unknown_characters: what happens to letters of a script that is not read: "refuse", "skip" or
            "name", see `vocalmtp.text.normalize`.

    Raises:
        InputError: there is no such model, device or engine, or they do not go together, or the
            model's parts do not belong together.

    """
    reader = TextReader.of(lexicon, unknown_characters)
    chosen = find_engine(engine, device)
    folder = model_folder(name)
    family = find_family(folder)
    published = None if family is None else family.card_of(PublishedFolder.open(folder))
    card = facts_of(folder)
    settings = EngineSettings(
        device=device, threads=threads, int8=int8, recommended=card.get("int8", False)
    )
    loader = import_module(chosen.loader)
    model, tokenizer = loader.load_parts(chosen, folder, settings)
    _check_alphabet(model.config, name)
    voices = load_voices(folder / "voices")
    encode_text, decode_text, prompt_format = char_ids, char_text, None
    if family is not None and published is not None:
        prompt_format = family.prompt_format(PublishedFolder.open(folder))
        voices = named_voices(published, tokenizer.spec) | voices
    elif (folder / "tokenizer_config.json").is_file():  # that of a pretrained backbone
        from vocalmtp.models.checkpoint import load_text_tokenizer

        text_tokenizer = load_text_tokenizer(folder)
        encode_text = text_tokenizer.encode
        decode_text = partial(text_tokenizer.decode, skip_special_tokens=True)
    return TTS(
        model,
        tokenizer,
        voices,
        card,
        encode_text,
        speaker_conditioning,
        decoding,
        decode_text,
        default_threads(folder) if threads is None else threads,
        reader,
        prompt_format,
    )


def _check_alphabet(config: Any, name: Path | str) -> None:
    """Raise InputError if the text track of a model reads other ids than this version writes."""
    reads = (config.alphabet, config.phones or " ".join(PHONES))
    if config.has_text_track and reads != (ALPHABET, " ".join(PHONES)):
        raise InputError(
            f"model '{name}': reads another alphabet than this version writes; "
            "run: pip install --upgrade vocalmtp",
            code="version_too_new",
        )


def facts_of(folder: Path) -> dict[str, Any]:
    """Return the facts of a model for users: those of its family, and those of its card.json."""
    family = find_family(folder)
    known = {} if family is None else family.card_of(PublishedFolder.open(folder)).facts()
    return known | read_card(folder)


def load_speech_tokenizer(name: Path | str) -> "SpeechTokenizer":
    """Load the speech tokenizer of a model, or one by its folder, on the CPU.

    Raises:
        InputError: there is none.

    """
    from vocalmtp.tokenizers import load_tokenizer

    folder = fetched_folder(name) or Path(name)
    if (folder / "config.json").is_file() and (family := find_family(folder)) is not None:
        return load_family_tokenizer(family, folder)
    return load_tokenizer(tokenizer_folder(name))


def reads_any_language(name: Path | str) -> bool:
    """Whether a model reads text as it is written, in other languages than English too.

    What cannot be loaded does not; loading it says why.
    """
    try:
        folder = model_folder(name)
        family = find_family(folder)
    except InputError:
        return False
    return family is not None and bool(family.card_of(PublishedFolder.open(folder)).languages)


def list_voices(folder: Path) -> dict[str, str]:
    """Return the names of the voices of a model's folder, and their origins."""
    family, own = find_family(folder), load_voices(folder / "voices")
    known: dict[str, str] = {}
    if family is not None:
        card = family.card_of(PublishedFolder.open(folder))
        known = dict.fromkeys(card.voices, card.origin)
    return known | {name: voice.origin for name, voice in own.items()}


def load_parts(
    engine: "TorchEngine", folder: Path, settings: EngineSettings
) -> "tuple[SpeechDecoding, SpeechTokenizer]":
    """Load the speech LM and the tokenizer of a folder for an engine in torch, see Engine."""
    from vocalmtp.engines.device import float32_on_cpu, move
    from vocalmtp.models.inference_lm import InferenceLM
    from vocalmtp.tokenizers import load_tokenizer

    place = engine.place(settings.device)
    config = read_object(folder / "config.json", f"model '{folder}'")
    with float32_on_cpu():
        if config.get("model_type") == OWN:
            model: SpeechDecoding | None = InferenceLM.load(folder) if engine.fuses else None
            if model is None:
                from vocalmtp.models.speech_lm import SpeechLM

                model = SpeechLM.load(folder)
            tokenizer = load_tokenizer(folder / "tokenizer")
        else:
            model, tokenizer = load_published(folder, engine.keeps_half)
    stored = config.get("dtype", config.get("torch_dtype"))
    settings = replace(settings, half=stored in ("float16", "bfloat16"))
    move(model, place)
    move(tokenizer, place)
    with float32_on_cpu():
        engine.optimize(model, settings)
        tokenizer.optimize_for_inference()
    return model, tokenizer

"""`vocalmtp info`: the parts of a model."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vocalmtp.cli.console import print_facts
from vocalmtp.hub import DEFAULT_MODEL

if TYPE_CHECKING:
    from vocalmtp.models.config import SpeechLMConfig
    from vocalmtp.published.folder import PublishedFolder
    from vocalmtp.tokenizers import TokenizerSpec

Facts = Iterator[tuple[str, str]]
GIGA = 1e9


def info(
    model: Annotated[
        str, typer.Argument(help="Name of a bundled model, or a model folder.")
    ] = DEFAULT_MODEL,
) -> None:
    """Print the parts of a model, its training data and its figures.

    Example:

    vocalmtp info mini

    """
    from vocalmtp.hub import model_folder
    from vocalmtp.loading import facts_of, list_voices
    from vocalmtp.models.config import SpeechLMConfig
    from vocalmtp.published.base import OWN, find_family
    from vocalmtp.published.folder import PublishedFolder
    from vocalmtp.tokenizers import load_tokenizer

    folder = model_folder(model)
    opened, family = PublishedFolder.open(folder), find_family(folder)
    card = facts_of(folder)
    sections: list[tuple[str, Facts]]
    if family is None or opened.config.get("model_type") == OWN:
        spec = load_tokenizer(folder / "tokenizer").spec
        sections = [
            ("Speech tokenizer", tokenizer_facts(spec, folder / "tokenizer")),
            ("Speech LM", model_facts(SpeechLMConfig.load(folder), spec, folder)),
        ]
    else:
        sections = [
            ("Speech tokenizer", published_tokenizer_facts(family.card.tokenizer, opened)),
            ("Speech LM", published_facts(opened)),
        ]
    voices = ", ".join(list_voices(folder)) or "none"
    sections += [("Voices", iter([("built in", voices)])), ("Card", card_facts(card))]
    print_facts(sections, f"Model {card.get('name', model)}")


def tokenizer_facts(spec: "TokenizerSpec", folder: Path) -> Facts:
    """Names and values of a speech tokenizer, whose weights are in a folder."""
    yield "name", f"{spec.name} ({spec.hash})"
    yield from spec_facts(spec)
    yield "parameters", millions(count_parameters(folder))
    yield "licence", spec.licence


def spec_facts(spec: "TokenizerSpec") -> Facts:
    """Names and values of a speech tokenizer that do not depend on its weights."""
    yield "kind", spec.kind.replace("_", "-")
    yield "streams", ", ".join(f"{stream.name} ({stream.size})" for stream in spec.streams)
    yield (
        "rate",
        f"{spec.frame_rate:g} frames/s, {spec.bits_per_second:g} bit/s, {spec.sample_rate} Hz",
    )
    yield "voice", f"vector of {spec.speaker_dim}" if spec.speaker_dim else "in the streams"
    wait = spec.lookahead
    yield "streaming", "not possible" if wait is None else f"{wait * 1000:.0f} ms look-ahead"


def published_tokenizer_facts(name: str, folder: "PublishedFolder") -> Facts:
    """Names and values of the tokenizer `name` of a published model, which may not be here."""
    from vocalmtp.tokenizers import find_card, load_tokenizer
    from vocalmtp.tokenizers.registry import how_to_get, weights_folder

    own, card = folder.path / "tokenizer", find_card(name)
    if own.is_dir():
        yield from tokenizer_facts(load_tokenizer(own).spec, own)
        return
    found = weights_folder(card)
    yield "name", name
    yield from spec_facts(card.spec())
    yield "weights", str(found) if found else f"in the model's folder, or else: {how_to_get(card)}"
    yield "licence", card.licence.weights


def published_facts(folder: "PublishedFolder") -> Facts:
    """Names and values of a published speech LM, by its files' headers."""
    from math import prod

    from vocalmtp.published.folder import available_memory

    sizes = backbone_sizes(folder.config)
    kind = sizes.get("model_type", folder.config.get("model_type"))
    yield (
        "backbone",
        f"{kind}, {sizes.get('num_hidden_layers')} layers of width {sizes.get('hidden_size')}",
    )
    yield "parameters", millions(sum(map(prod, folder.shapes.values())))
    yield (
        "stored in",
        f"{len(folder.files)} files, {folder.num_bytes / GIGA:.2g} GB, {folder.bits} bits",
    )
    kept = {16: folder.memory(half=True), 32: folder.memory(half=False)}
    needed = ", ".join(
        f"{size / GIGA:.2g} GB in {bits} bits"
        for bits, size in kept.items()
        if bits >= min(folder.bits, 32)
    )
    free = available_memory()
    yield "memory to load", needed + (f"; {free / GIGA:.2g} GB available" if free else "")


def backbone_sizes(config: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a published configuration that describes the largest transformer."""
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    whole = [part for part in parts if "num_hidden_layers" in part and "hidden_size" in part]
    return max(whole, key=lambda part: part["num_hidden_layers"] * part["hidden_size"], default={})


def model_facts(config: "SpeechLMConfig", spec: "TokenizerSpec", folder: Path) -> Facts:
    """Names and values of a speech LM."""
    from vocalmtp.text import VERSION

    layout, backbone = config.layout, config.backbone
    width = backbone.get("hidden_size", backbone.get("n_embd"))
    layers = backbone.get("num_hidden_layers", backbone.get("n_layer"))
    yield "backbone", f"{backbone.get('model_type')}, {layers} layers of width {width}"
    for each in config.layouts:
        frames = each.frames_per_step
        steps = spec.frame_rate * (len(layout.streams) if layout.flat else 1 / frames)
        grouping = "one by one" if layout.flat else f"{frames} frames per step"
        choice = f"; --tokens-per-step {each.codec_tokens}" if len(config.layouts) > 1 else ""
        yield (
            "tokens per step" if each == config.layouts[0] else "",
            f"{each.tokens_per_step} ({grouping}), {steps:.3g} steps/s{choice}",
        )
    kind = config.head.get("kind")
    yield "head", config.head.get("name", "parallel") + (f" ({kind})" if kind else "")
    settings = {k: v for k, v in config.draft.items() if k != "name"}
    shown = ", ".join(f"{key} {value}" for key, value in settings.items())
    yield "draft head", config.draft.get("name", "none") + (f" ({shown})" if shown else "")
    if config.objectives:
        yield "objectives", ", ".join(config.objectives)
    yield (
        "text",
        {"track": "text track along the speech", "prompt": "prompt before the speech"}.get(
            config.text, "prompt and text track"
        ),
    )
    if config.audio_input:
        source = {"mels": "log-mels", "codes": "the tokenizer's codes"}[
            config.audio_input_config.source
        ]
        rate = config.audio_frame_rate / config.audio_frames_per_position
        yield "audio input", f"{source}, {rate:g} positions/s"
    yield "text version", f"{config.text_version or 'unknown'} (this package: {VERSION})"
    yield "parameters", millions(count_parameters(folder))


def card_facts(card: dict[str, Any], prefix: str = "") -> Facts:
    """The entries of a model's card; nested ones have dotted names."""
    for name, value in card.items():
        if isinstance(value, dict):
            yield from card_facts(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield prefix + name, ", ".join(str(item) for item in value)
        else:
            yield prefix + name, str(value)


def count_parameters(folder: Path) -> int:
    """Count the parameters in a folder's safetensors files, by their headers.

    Raises InputError if a file is damaged.
    """
    from math import prod

    from vocalmtp.io.read import read_shapes

    files = folder.glob("*.safetensors")
    shapes = (read_shapes(path, f"model '{folder}'").values() for path in files)
    return sum(prod(shape) for file in shapes for shape in file)


def millions(count: int) -> str:
    """17_049_000 -> "17.0 M"."""
    return f"{count / 1e6:.1f} M"

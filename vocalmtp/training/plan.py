"""What a run of `recipe: speech_lm` will train, without weights: `vocalmtp train --dry-run`."""

from contextlib import suppress
from pathlib import Path

import torch
from torch import nn

from vocalmtp.config import load_yaml, parse
from vocalmtp.data.shards import has_spec, read_spec
from vocalmtp.errors import InputError
from vocalmtp.hub import model_folder
from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.text import ALPHABET
from vocalmtp.tokenizers.base import TokenizerSpec
from vocalmtp.tokenizers.cards import find_card
from vocalmtp.training.build import model_config
from vocalmtp.training.recipe import SpeechLMRecipe
from vocalmtp.training.tasks import build_dataset

TRAINED_BYTES = 16  # a parameter: itself, its gradient and two moments in float32


def show_recipe(
    recipe: SpeechLMRecipe, tokenizer: str | None = None, folder: Path | None = None
) -> str:
    """The plan of a run, in lines; `tokenizer` is a name of the catalogue, for want of shards, and
    `folder` may have the recipe of the model to go on from, for want of that.

    Raises InputError for what the recipe has wrong, or if nothing says which codes there are.
    """
    config = planned_config(recipe, tokenizer, folder)
    with torch.device("meta"):
        model = SpeechLM(config)
    parts, total = {name: count(part) for name, part in model.named_children()}, count(model)
    optim, rate = recipe.optim, config.tokenizer["frame_rate"]
    speech = rate * config.layout.steps_per_frame
    heard = (
        f", heard {config.audio_frame_rate / config.audio_frames_per_position:g}"
        if config.audio_input
        else ""
    )
    hours = optim.max_steps * optim.batch_frames / rate / 3600
    sizes = ", ".join(f"{name} {size / 1e6:.1f} M" for name, size in parts.items() if size)
    lines = [
        f"model: {total / 1e6:.1f} M parameters ({sizes})",
        f"codes: {config.tokenizer['name']}, {config.layout.tokens_per_step} slots a step",
        f"positions a second: spoken {speech:g}{heard}",
        f"training: {optim.max_steps:,} updates of {optim.batch_frames:,} frames, {hours:,.1f} h",
        f"memory: {TRAINED_BYTES * total / 2**30:.2f} GiB and the activations of a batch",
    ]
    return "\n".join([*lines, *_rows(recipe, config)])


def count(module: nn.Module) -> int:
    """The parameters of a module."""
    return sum(p.numel() for p in module.parameters())


def planned_config(
    recipe: SpeechLMRecipe, tokenizer: str | None, folder: Path | None = None
) -> SpeechLMConfig:
    """The configuration of the model that the recipe trains; a pretrained one is its `shape`."""
    if recipe.model is None and recipe.init is None:
        raise InputError(
            "recipe: give either 'model' (a new one) or 'init' (one to go on from)", code="conflict"
        )
    if recipe.model is None:
        before = None if folder is None else maker_of(recipe.init, folder)
        if before is None:
            config = SpeechLMConfig.load(model_folder(recipe.init))
        else:
            config = planned_config(before, tokenizer, folder)
        audio_input, end = recipe.audio_input, len(ALPHABET)
    else:
        made = recipe.model
        if made.pretrained is not None:
            if made.pretrained_config is None:
                raise InputError(
                    f"model.pretrained_config: is missing; give the configuration of '{made.pretrained}'",
                    code="missing",
                )
            made = made.model_copy(update={"pretrained": None, "backbone": made.pretrained_config})
        config, audio_input = model_config(made, _spec(recipe, tokenizer)), made.audio_input
        end = len(ALPHABET) if recipe.model.pretrained is None else 0  # its tokenizer will tell
    if audio_input:
        config.audio_input = {"end_id": config.audio_input.get("end_id", end)} | audio_input
    return config


def maker_of(model: str, folder: Path) -> SpeechLMRecipe | None:
    """The recipe in `folder` that trains `model`, if that is not there yet."""
    if Path(model).is_dir():
        return None
    for file in sorted(folder.glob("*.yaml")):
        with suppress(InputError):  # recipes of other kinds, and files of data
            data = load_yaml(file)
            if data.get("output") == model:
                return parse(SpeechLMRecipe, data, str(file))
    return None


def _spec(recipe: SpeechLMRecipe, tokenizer: str | None) -> TokenizerSpec:
    folder = Path(recipe.data.shards)
    if has_spec(folder):
        return read_spec(folder, f"shards '{folder}'")
    if tokenizer is None:
        raise InputError(
            f"shards '{folder}': are not there; name their --tokenizer for a plan", code="not_found"
        )
    return find_card(tokenizer).spec()


def _rows(recipe: SpeechLMRecipe, config: SpeechLMConfig) -> list[str]:
    """What an epoch has, or that the data is not there."""
    try:
        rows = build_dataset(recipe.data, recipe.data.split, config, None)
    except InputError as error:
        return [f"data: {error}"]
    return [f"data: {len(rows):,} rows, {sum(rows.frames):,} frames an epoch"]

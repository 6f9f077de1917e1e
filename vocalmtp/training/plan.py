"""Plan of a speech LM's training, without weights: `vocalmtp train --dry-run`."""

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
from vocalmtp.tokenizers import load_tokenizer
from vocalmtp.tokenizers.cards import find_card
from vocalmtp.tokenizers.spec import TokenizerSpec
from vocalmtp.training.build import check_source, model_config
from vocalmtp.training.recipe import SpeechLMRecipe
from vocalmtp.training.tasks import build_dataset

BYTES_PER_PARAMETER = 16  # in training: itself, its gradient and two moments, in float32


def show_recipe(
    recipe: SpeechLMRecipe, tokenizer: str | None = None, folder: Path | None = None
) -> str:
    """Describe a training run in a few lines: model size, codes, updates, memory and data.

    Args:
        recipe: the run.
        tokenizer: name in the catalogue, or folder, for a recipe whose shards do not exist yet.
        folder: has the recipe of `init`, if that model does not exist yet.

    Raises:
        InputError: the recipe is invalid, or neither shards nor `tokenizer` give the codes.

    """
    config = planned_config(recipe, tokenizer, folder)
    with torch.device("meta"):
        model = SpeechLM(config)
    total = count_parameters(model)
    parts = {name: count_parameters(part) for name, part in model.named_children()}
    sizes = ", ".join(f"{name} {size / 1e6:.1f} M" for name, size in parts.items() if size)
    optim, rate = recipe.optim, config.tokenizer["frame_rate"]
    rates = f"speech {rate * config.layout.steps_per_frame:g}"
    if config.audio_input:
        rates += f", audio input {config.audio_frame_rate / config.audio_frames_per_position:g}"
    hours = optim.max_steps * optim.batch_frames / rate / 3600
    lines = [
        f"model: {total / 1e6:.1f} M parameters ({sizes})",
        f"codes: {config.tokenizer['name']}, {config.layout.tokens_per_step} slots per step",
        f"positions per second: {rates}",
        f"training: {optim.max_steps:,} updates of {optim.batch_frames:,} frames, {hours:,.1f} h",
        f"memory: {BYTES_PER_PARAMETER * total / 2**30:.2f} GiB and the activations of a batch",
        f"data: {_describe_data(recipe, config)}",
    ]
    return "\n".join(lines)


def count_parameters(module: nn.Module) -> int:
    """Number of parameters of a module."""
    return sum(p.numel() for p in module.parameters())


def planned_config(
    recipe: SpeechLMRecipe, tokenizer: str | None, folder: Path | None = None
) -> SpeechLMConfig:
    """Configuration of the model of a recipe, whose backbone is its `pretrained_config`.

    For the arguments and errors, see `show_recipe`.
    """
    check_source(recipe)
    if recipe.model is None:
        before = recipe_of(str(recipe.init), folder) if folder is not None else None
        if before is None:
            config = SpeechLMConfig.load(model_folder(str(recipe.init)))
        else:
            config = planned_config(before, tokenizer, folder)
        audio_input, end = recipe.audio_input, len(ALPHABET)
    else:
        model = recipe.model
        if model.pretrained is not None:
            if model.pretrained_config is None:
                raise InputError(
                    "model.pretrained_config: is missing; give the configuration of "
                    f"'{model.pretrained}'",
                    code="missing",
                )
            model = model.model_copy(
                update={"pretrained": None, "backbone": model.pretrained_config}
            )
        config, audio_input = model_config(model, _read_spec(recipe, tokenizer)), model.audio_input
        end = len(ALPHABET) if recipe.model.pretrained is None else 0  # its tokenizer is not read
    if audio_input:
        config.audio_input = {"end_id": config.audio_input.get("end_id", end)} | audio_input
    return config


def recipe_of(model: str, folder: Path) -> SpeechLMRecipe | None:
    """The recipe in `folder` whose output is `model`, if that does not exist yet."""
    if Path(model).is_dir():
        return None
    for file in sorted(folder.glob("*.yaml")):
        with suppress(InputError):  # recipes of other kinds, and other files
            data = load_yaml(file)
            if data.get("output") == model:
                return parse(SpeechLMRecipe, data, str(file))
    return None


def _read_spec(recipe: SpeechLMRecipe, tokenizer: str | None) -> TokenizerSpec:
    folder = Path(recipe.data.shards)
    if has_spec(folder):
        return read_spec(folder, f"shards '{folder}'")
    if tokenizer is None:
        raise InputError(
            f"shards '{folder}': do not exist; plan with --tokenizer NAME", code="not_found"
        )
    if Path(tokenizer).is_dir():
        return load_tokenizer(tokenizer).spec
    return find_card(tokenizer).spec()


def _describe_data(recipe: SpeechLMRecipe, config: SpeechLMConfig) -> str:
    try:
        rows = build_dataset(recipe.data, recipe.data.split, config, None)
    except InputError as error:
        return str(error)
    return f"{len(rows):,} rows, {sum(rows.frames):,} frames per epoch"

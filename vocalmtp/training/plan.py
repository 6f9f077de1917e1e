"""Plan of a speech LM's training, without weights: `vocalmtp train --dry-run`."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig

from vocalmtp.config import load_yaml, parse
from vocalmtp.data.shards import has_spec, read_spec
from vocalmtp.decoding.draft_state import check_layout
from vocalmtp.errors import InputError
from vocalmtp.hub import model_folder
from vocalmtp.io.read import reason
from vocalmtp.models.checkpoint import find_source
from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.models.speech_lm import SpeechLM, config_of
from vocalmtp.published.base import (
    FAMILIES,
    OWN,
    TransformersFamily,
    find_family,
    load_published,
)
from vocalmtp.published.folder import PublishedFolder
from vocalmtp.published.saving import outline
from vocalmtp.text import ALPHABET
from vocalmtp.tokenizers import load_tokenizer
from vocalmtp.tokenizers.cards import find_card
from vocalmtp.tokenizers.spec import TokenizerSpec
from vocalmtp.training.build import (
    changed_draft,
    check_source,
    model_config,
    speaking_model,
)
from vocalmtp.training.distributed import select_device
from vocalmtp.training.recipe import SpeechLMRecipe
from vocalmtp.training.regroup import published_folder, regrouped_config
from vocalmtp.training.tasks import build_dataset

BYTES_PER_PARAMETER = 16  # in training: itself, its gradient and two moments, in float32
BYTES_PER_FROZEN = 4
MATRIX = 1024  # rows and columns, to measure a speed


def show_recipe(
    recipe: SpeechLMRecipe, tokenizer: str | None = None, folder: Path | None = None
) -> str:
    """Describe a training run in a few lines: model size, codes, updates, memory, time and data.

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
        *_cost_lines(recipe, model),
        f"data: {_describe_data(recipe, config)}",
    ]
    return "\n".join(lines)


def _cost_lines(recipe: SpeechLMRecipe, model: SpeechLM) -> list[str]:
    """Memory and time of a training run.

    A weight takes 2 operations per position forwards and 4 backwards, of which 2 if it is frozen.
    """
    optim, layout = recipe.optim, model.config.layout
    total, trained = count_parameters(model), trained_parameters(recipe, model)
    memory = BYTES_PER_PARAMETER * trained + BYTES_PER_FROZEN * (total - trained)
    table = count_parameters(model.backbone.get_input_embeddings())
    backbone = count_parameters(model.backbone.base_model) - table
    head = count_parameters(model.head)
    if optim.trainable == "draft" and model.draft is not None:
        states = len(model.draft.offsets)
        operations = 2 * (backbone + head) + states * (4 * head + 6 * trained)
    else:
        operations = 6 * (backbone + head)
    positions = optim.max_steps * optim.batch_frames * layout.steps_per_frame
    speed = operations_per_second(recipe.device)
    hours = positions * operations / speed / 3600
    return [
        f"trained: {trained / 1e6:.1f} M of {total / 1e6:.1f} M parameters",
        f"memory: {memory / 2**30:.2f} GiB and the activations of a batch",
        f"computing: {positions * operations:.1e} operations, {hours:,.1f} h at the "
        f"{speed / 1e9:,.0f} GFLOP/s of matrix products here",
    ]


def trained_parameters(recipe: SpeechLMRecipe, model: SpeechLM) -> int:
    """Number of parameters that a recipe trains."""
    if recipe.optim.trainable == "draft":
        return 0 if model.draft is None else count_parameters(model.draft)
    frozen = 0 if model.trunk is None else count_parameters(model.trunk.lm)
    total = count_parameters(model) - frozen
    if recipe.lora is None:
        return total
    targets, rank = recipe.lora.targets, recipe.lora.rank
    layers = [
        layer
        for name, layer in model.backbone.base_model.named_modules()
        if isinstance(layer, nn.Linear) and (targets is None or name.rpartition(".")[2] in targets)
    ]
    adapters = sum(rank * (layer.in_features + layer.out_features) for layer in layers)
    return total - count_parameters(model.backbone) + adapters


def operations_per_second(device: str) -> float:
    """Measure the speed of products of matrices in float32."""
    place = select_device(device)
    matrix = torch.ones(MATRIX, MATRIX, device=place)
    seconds = []
    for _ in range(5):  # the first ones are slower
        start = time.perf_counter()
        float((matrix @ matrix)[0, 0])  # waits for the device
        seconds.append(time.perf_counter() - start)
    return 2 * MATRIX**3 / min(seconds)


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
            config = known_config(str(recipe.init))
        else:
            config = planned_config(before, tokenizer, folder)
        if recipe.trunk is not None:
            config.trunk, config.text = trunk_config(recipe.trunk, "trunk"), "both"
        if recipe.draft:
            check_layout(config.layout, "draft")
            config.draft = changed_draft(config.draft, recipe.draft)
        audio_input, end = recipe.audio_input, len(ALPHABET)
        config.interleave = dict(recipe.interleave) or config.interleave
    else:
        model = recipe.model
        if model.pretrained is not None and (
            model.pretrained in FAMILIES or published_folder(model.pretrained) is not None
        ):
            return regrouped_config(model, known_config(model.pretrained))
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
        config.interleave = dict(model.interleave)
        if model.trunk is not None:
            config.trunk = trunk_config(model.trunk, "model.trunk")
        end = len(ALPHABET) if recipe.model.pretrained is None else 0  # its tokenizer is not read
    if audio_input:
        config.audio_input = {"end_id": config.audio_input.get("end_id", end)} | audio_input
    return config


def trunk_config(name: str, key: str) -> dict[str, Any]:
    """Configuration of a text LM, with its `model_type`.

    Raises:
        InputError: it is not on this machine.

    """
    source = find_source(name, key)
    try:
        config = AutoConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{key} '{name}': its configuration cannot be read ({reason(error)}); fetch it first",
            code="unusable",
        ) from error
    return config_of(config)


def known_config(name: str) -> SpeechLMConfig:
    """Configuration of a model, given its name or folder, or of a family in its published size."""
    if name in FAMILIES:
        return outline(FAMILIES[name]).config
    folder = model_folder(name)
    family = find_family(folder)
    if family is None or PublishedFolder.open(folder).config.get("model_type") == OWN:
        return SpeechLMConfig.load(folder)
    if not isinstance(family, TransformersFamily):
        return load_published(folder, half=True)[0].config
    return outline(family, folder).config


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
    own = recipe.data.own_speech
    if own is not None and not has_spec(Path(recipe.data.shards)):
        return f"spoken before the training by '{speaking_model(recipe)}', of '{own.texts}'"
    try:
        rows = build_dataset(recipe.data, recipe.data.split, config, None)
    except InputError as error:
        return str(error)
    return f"{len(rows):,} rows, {sum(rows.frames):,} frames per epoch"

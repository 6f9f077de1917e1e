"""Several frames a step over the backbone of a published model: its configuration and first weights.

The new step embedding and head begin with the published rows of the codes, where they have the same
shape. Letters: V codes of a stream, D width.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from vocalmtp.errors import InputError
from vocalmtp.hub import model_folder
from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.models.embeddings import SlotEmbedding, SlotProjection
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.published.base import find_family
from vocalmtp.published.saving import PublishedParts, load_whole
from vocalmtp.training.recipe import ModelRecipe

KEPT = ("backbone", "prompt_format", "prompt_settings", "streams", "speaker_dim", "tokenizer")
OWN_KEYS = {"pretrained", "pretrained_config", "trunk", "audio_input", "phones", "backbone"}


def published_folder(name: str) -> Path | None:
    """Return the folder of a model of a published family; None for other models."""
    with suppress(InputError):  # a name that only Transformers knows
        folder = model_folder(name)
        return folder if find_family(folder) is not None else None
    return None


def regrouped_config(recipe: ModelRecipe, known: SpeechLMConfig) -> SpeechLMConfig:
    """Configuration of a model of `recipe` over the backbone of a published one, with its prompts.

    Raises:
        InputError: the recipe does not have the text before the speech, or the published model's
            prompts are more than text and recordings.

    """
    needed = ("trunk", "step_text", "step_encoder", "speaker_projection")
    more = [key for key in needed if getattr(known, key)]
    if more:
        raise InputError(
            f"model.pretrained: the prompts of {known.prompt_format} need its {more[0]}, which steps "
            "of several frames do not have; give another model, or train a draft head "
            "(recipes/published/drafts.yaml)",
            code="unsupported",
        )
    if recipe.text != "prompt" or recipe.phones:
        raise InputError(
            f"model.text '{recipe.text}': prompts of {known.prompt_format} precede the speech; set "
            "model.text=prompt, without phones",
            code="conflict",
        )
    kept: dict[str, Any] = {key: getattr(known, key) for key in KEPT}
    return SpeechLMConfig(**recipe.model_dump(exclude=OWN_KEYS), **kept)


def regroup(recipe: ModelRecipe, folder: Path) -> tuple[SpeechLM, PublishedParts]:
    """Build a model of `recipe` over the backbone of the published model in a folder.

    Raises:
        InputError: that model is incomplete, or the recipe does not fit it.

    """
    known, parts = load_whole(folder)
    model = SpeechLM(regrouped_config(recipe, known.config))
    model.take_backbone(known.backbone.requires_grad_(True))
    copy_codes(known, model)
    return model, parts


@torch.no_grad()
def copy_codes(known: SpeechLM, model: SpeechLM) -> None:
    """Copy the rows of all codes from one model's embedding and output layers to another's."""
    source, target = known.embedding, model.embedding
    assert isinstance(source, SlotEmbedding), "regrouped_config"
    assert isinstance(target, SlotEmbedding), "regrouped_config"
    outputs = [getattr(each.head, "projection", None) for each in (known, model)]
    for stream in range(len(model.layout.streams)):
        (slot, rows), (old_slot, old_rows) = (
            place_of(each.layout, stream) for each in (model, known)
        )
        start, old_start = int(target.offsets[slot]), int(source.offsets[old_slot])
        target.table[start + rows] = source.table[old_start + old_rows]
        theirs, ours = (
            cast(nn.Linear, each.free[str(each.part[place])])
            if isinstance(each, SlotProjection)
            else None
            for each, place in zip(outputs, (old_slot, slot), strict=True)
        )
        if theirs is not None and ours is not None and theirs.in_features == ours.in_features:
            ours.weight[rows], ours.bias[rows] = theirs.weight[old_rows], theirs.bias[old_rows]


def place_of(layout: TokenLayout, stream: int) -> tuple[int, Tensor]:
    """Return where a stream's ids are: a slot of the first frame, and the rows of its table [V + 2].

    The last two rows are those of the special ids.
    """
    number, slot = next(
        (k, s) for k, s in enumerate(layout.slots) if layout.flat or s.stream == stream
    )
    first = layout.offsets[stream] if layout.flat else 0
    codes = first + torch.arange(layout.streams[stream].size)
    return number, torch.cat([codes, slot.vocab_size - 2 + torch.arange(2)])

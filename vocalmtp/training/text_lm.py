"""Train a text LM and its draft head on texts, from a recipe: `train_text_lm(recipe)`.

The Trainer, schedules, draft heads, objectives and curricula are those of the speech LM.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from transformers import TrainerCallback

from vocalmtp.config import StrictModel
from vocalmtp.data.text_rows import TextRows, read_pieces
from vocalmtp.errors import InputError
from vocalmtp.models.checkpoint import load_backbone, load_text_tokenizer
from vocalmtp.models.text_lm import TextLM, new_backbone
from vocalmtp.training.distributed import flushed_denormals
from vocalmtp.training.drafts import freeze, give_draft
from vocalmtp.training.recipe import OptimRecipe
from vocalmtp.training.train import run_trainer


class TextDataRecipe(StrictModel):
    """Files of texts (.txt, .jsonl, .csv), see data/text_rows.py."""

    texts: tuple[str, ...]
    valid: tuple[str, ...] = ()  # held out; none, and nothing is evaluated
    valid_rows: int = Field(default=200, ge=1)
    length: int = Field(default=256, ge=2)  # tokens of a row
    packed: bool = True  # rows are windows of all texts; else a row is a text


class TextLMRecipe(StrictModel):
    """A whole run: `vocalmtp train recipe.yaml`. The model is written to the folder `output`.

    Either `init` names the causal LM to go on from, or `backbone` is the configuration of a new one
    and `tokenizer` the folder of its tokenizer. `optim.batch_frames` counts tokens.
    """

    recipe: Literal["text_lm"] = "text_lm"
    data: TextDataRecipe
    init: str | None = None
    backbone: dict[str, Any] | None = None
    tokenizer: str | None = None
    draft: dict[str, Any] = {}  # a draft head, or other settings of the one that `init` has
    objectives: dict[str, dict[str, Any]] = {}  # auxiliary losses, see model/objectives.py
    optim: OptimRecipe = OptimRecipe()
    device: str = "auto"  # the accelerator if there is one, else the CPU
    output: str


def build_text_lm(recipe: TextLMRecipe) -> tuple[TextLM, Any]:
    """The model to train, and its tokenizer.

    Raises InputError unless the recipe has either `init`, or `backbone` with `tokenizer`.
    """
    if recipe.init is not None:
        if recipe.backbone is not None or recipe.tokenizer is not None:
            raise InputError(
                "recipe: 'init' has a backbone and a tokenizer; leave those out", code="conflict"
            )
        tokenizer = load_text_tokenizer(recipe.init)
        model = TextLM(load_backbone(recipe.init), objectives=recipe.objectives)
        if (Path(recipe.init) / "draft.json").is_file():
            model.load_draft(Path(recipe.init))
        if recipe.draft:
            give_draft(model, recipe.draft, recipe.init)
        return model, tokenizer
    if recipe.backbone is None or recipe.tokenizer is None:
        raise InputError(
            "recipe: give 'init', or 'backbone' and 'tokenizer' of a new model",
            code="invalid_value",
        )
    tokenizer = load_text_tokenizer(recipe.tokenizer)
    ids = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
    backbone = new_backbone(ids | {"pad_token_id": None} | recipe.backbone, len(tokenizer))
    return TextLM(backbone, recipe.draft, recipe.objectives), tokenizer


@flushed_denormals()
def train_text_lm(recipe: TextLMRecipe, callbacks: Sequence[TrainerCallback] = ()) -> Path:
    """Train (or go on from the last checkpoint in `recipe.output`) and return the model's folder.

    Writes the model and tokenizer as Transformers has them, draft.json and draft.safetensors, the
    resolved recipe.yaml and log.jsonl there. Raises InputError for texts or models that cannot be
    read.
    """
    torch.manual_seed(recipe.optim.seed)
    model, tokenizer = build_text_lm(recipe)
    freeze(model, recipe.optim.trains)
    data = read_rows(recipe.data, recipe.data.texts, model, tokenizer)
    valid = None
    if recipe.data.valid:
        valid = read_rows(recipe.data, recipe.data.valid, model, tokenizer)
        valid.spans, valid.frames = (
            x[: recipe.data.valid_rows] for x in (valid.spans, valid.frames)
        )

    def save(folder: Path) -> None:
        model.save(folder)
        tokenizer.save_pretrained(folder)

    return run_trainer(recipe, model, model.collator(), data, valid, save, callbacks)


def read_rows(
    recipe: TextDataRecipe, files: Sequence[str], model: TextLM, tokenizer: Any
) -> TextRows:
    """The texts of `files` as rows. Raises InputError if there is none of two tokens or more."""
    rows = TextRows(
        read_pieces(files, tokenizer, model.layout.end_tokens), recipe.length, recipe.packed
    )
    if not len(rows):
        raise InputError(
            f"texts '{', '.join(files)}': are too short for rows of {recipe.length} tokens; "
            "give more, or make data.length smaller",
            code="wrong_length",
        )
    return rows

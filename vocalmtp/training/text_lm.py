"""Train a text LM and its draft head on texts, from a recipe: `train_text_lm(recipe)`.

Trainer, schedules, draft heads, objectives and curricula are those of the speech LM.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from vocalmtp.data.text_rows import TextRows, read_pieces
from vocalmtp.errors import InputError
from vocalmtp.models.checkpoint import load_backbone, load_text_tokenizer
from vocalmtp.models.text_lm import TextLM, new_backbone
from vocalmtp.training.build import add_draft, freeze
from vocalmtp.training.distributed import flushed_denormals, select_device
from vocalmtp.training.recipe import TextDataRecipe, TextLMRecipe
from vocalmtp.training.teacher import Teacher
from vocalmtp.training.train import run_trainer


@flushed_denormals()
def train_text_lm(recipe: TextLMRecipe, callbacks: Sequence[TrainerCallback] = ()) -> Path:
    """Train a text LM, or resume from the last checkpoint in `recipe.output`.

    Returns:
        That folder, with the model and tokenizer as Transformers saves them, draft.json and
        draft.safetensors, the resolved recipe.yaml and log.jsonl.

    Raises:
        InputError: texts or models cannot be read, or the folder holds another run.

    """
    torch.manual_seed(recipe.optim.seed)
    model, tokenizer = build_text_lm(recipe)
    finish = freeze(model, recipe)
    data = read_rows(recipe.data, recipe.data.texts, model, tokenizer)
    valid = None
    if recipe.data.valid:
        valid = read_rows(recipe.data, recipe.data.valid, model, tokenizer)
        valid.spans = valid.spans[: recipe.data.valid_rows]
        valid.frames = valid.frames[: recipe.data.valid_rows]

    def save(folder: Path) -> None:
        finish()
        model.save(folder)
        tokenizer.save_pretrained(folder)

    teacher = None
    if recipe.teacher is not None:
        teacher = Teacher(recipe.teacher, tokenizer, select_device(recipe.device))
    return run_trainer(recipe, model, model.collator(), data, valid, save, callbacks, teacher)


def build_text_lm(recipe: TextLMRecipe) -> tuple[TextLM, Any]:
    """Build the model to train, and load its tokenizer.

    Raises:
        InputError: the recipe needs either `init`, or `backbone` with `tokenizer`.

    """
    if recipe.init is not None:
        if recipe.backbone is not None or recipe.tokenizer is not None:
            raise InputError(
                "init: has a backbone and a tokenizer; leave out 'backbone' and 'tokenizer'",
                code="conflict",
            )
        tokenizer = load_text_tokenizer(recipe.init)
        model = TextLM(load_backbone(recipe.init), objectives=recipe.objectives)
        if (Path(recipe.init) / "draft.json").is_file():
            model.load_draft(Path(recipe.init))
        if recipe.draft:
            add_draft(model, recipe.draft, recipe.init)
        return model, tokenizer
    if recipe.backbone is None or recipe.tokenizer is None:
        raise InputError(
            "backbone: a new model needs this and 'tokenizer'; or give 'init'", code="missing"
        )
    tokenizer = load_text_tokenizer(recipe.tokenizer)
    ids = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.bos_token_id}
    backbone = new_backbone(ids | {"pad_token_id": None} | recipe.backbone, len(tokenizer))
    return TextLM(backbone, recipe.draft, recipe.objectives), tokenizer


def read_rows(
    recipe: TextDataRecipe, files: Sequence[str], model: TextLM, tokenizer: Any
) -> TextRows:
    """Read the texts of `files` as rows.

    Raises:
        InputError: no text has two tokens or more, or they are shorter than a packed row.

    """
    rows = TextRows(
        read_pieces(files, tokenizer, model.layout.end_tokens), recipe.length, recipe.packed
    )
    if not len(rows):
        raise InputError(
            f"texts '{', '.join(files)}': are too short for rows of {recipe.length} tokens; "
            "give more, or lower data.length",
            code="wrong_length",
        )
    return rows

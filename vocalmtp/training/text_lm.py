"""Train a text LM and its draft head on texts, from a recipe: `train_text_lm(recipe)`.

Trainer, schedules, draft heads, objectives and curricula are those of the speech LM.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from vocalmtp.data.text_rows import DraftVocabulary, TextRows, read_pieces
from vocalmtp.errors import InputError
from vocalmtp.io.read import digest
from vocalmtp.models.checkpoint import find_source, load_backbone, load_text_tokenizer, stored_dtype
from vocalmtp.models.text_lm import TextLM, new_backbone
from vocalmtp.training.build import add_draft, freeze
from vocalmtp.training.distributed import flushed_denormals, select_device
from vocalmtp.training.recipe import TextDataRecipe, TextLMRecipe
from vocalmtp.training.teacher import Teacher
from vocalmtp.training.train import run_trainer
from vocalmtp.training.trunk_states import StateRows, with_states


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
    rows = read_rows(recipe.data, recipe.data.texts, model, tokenizer)
    data = rows if recipe.data.states is None else add_states(recipe, rows, model)
    if recipe.draft_vocab is not None:
        restrict_drafts(recipe, model, tokenizer)
    valid = None
    if recipe.data.valid:
        valid = read_rows(recipe.data, recipe.data.valid, model, tokenizer)
        valid.spans = valid.spans[: recipe.data.valid_rows]
        valid.frames = valid.frames[: recipe.data.valid_rows]

    def save(folder: Path) -> None:
        finish()
        if recipe.init is not None and recipe.optim.trainable == "draft":
            model.backbone.to(stored_dtype(recipe.init))  # it is what it was
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


def add_states(recipe: TextLMRecipe, rows: TextRows, model: TextLM) -> StateRows:
    """Return the rows with the states of the frozen model `init`, see trunk_states.py.

    Raises:
        InputError: the model is not a frozen one, or the recipe needs more than its states.

    """
    name = f"data.states '{recipe.data.states}'"
    if recipe.init is None or recipe.optim.trainable != "draft":
        raise InputError(
            f"{name}: only the states of a frozen model stay the same; give 'init' and "
            "optim.trainable=draft, or leave it out",
            code="conflict",
        )
    source = find_source(recipe.init, "init")
    weights = digest(source) if isinstance(source, Path) else str(source)
    torch.nn.Module.to(model, select_device(recipe.device))
    return with_states(rows, model, weights, Path(str(recipe.data.states)), recipe.optim.precision)


def restrict_drafts(recipe: TextLMRecipe, model: TextLM, tokenizer: Any) -> None:
    """Restrict the losses of a model's draft head to a draft vocabulary.

    Raises:
        InputError: there is no draft head, or it has output layers of its own; or the file is not
            a draft vocabulary of this tokenizer.

    """
    vocabulary = DraftVocabulary.load(Path(str(recipe.draft_vocab))).check(tokenizer)
    if model.draft is None or len(model.draft.heads):
        raise InputError(
            f"draft_vocab '{recipe.draft_vocab}': needs a draft head that shares the model's output "
            "layer; set draft.own_heads=false, or leave it out",
            code="conflict",
        )
    model.restrict_drafts(vocabulary.ids)


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

"""Distillation of a text LM from a teacher: the losses, tokenizers that differ, a run."""

import json
import math

import pytest
import torch
from helpers.errors import raises_input_error
from text_lm.conftest import SENTENCES, recipe, save_tokenizer
from torch.nn import functional as F

from vocalmtp.config import parse
from vocalmtp.models.checkpoint import load_text_tokenizer
from vocalmtp.models.prompts import Text
from vocalmtp.training.recipe import TeacherRecipe
from vocalmtp.training.teacher import Teacher, token_starts
from vocalmtp.training.text_lm import build_text_lm, train_text_lm

CPU = torch.device("cpu")
DRAFT = {"name": "recursive", "steps": 2}


@pytest.fixture(scope="module")
def models(texts):
    """Folders of two models: `own` has the students' tokenizer, `other` one with more tokens."""
    save_tokenizer(texts / "other_tokenizer", (*SENTENCES, "the the the cat cat mat mat dog dog"))
    folders = {}
    for name, tokenizer in (("own", "tokenizer"), ("other", "other_tokenizer")):
        folders[name] = train_text_lm(
            recipe(texts, f"teachers-{name}", tokenizer=str(texts / tokenizer))
        )
    return folders


def make_teacher(folder, tokenizer, **settings):
    return Teacher(parse(TeacherRecipe, {"model": str(folder)} | settings), tokenizer, CPU)


def make_batch(model, tokenizer):
    rows = [[Text(tokenizer(text)["input_ids"], supervised=True)] for text in SENTENCES[:2]]
    return model.collator()(rows)


# -- distances -------------------------------------------------------------------------------------


def test_kl_of_two_tokens(models, texts):
    teacher = make_teacher(models["own"], load_text_tokenizer(texts / "tokenizer"))
    p, q = torch.tensor([[0.75, 0.25]]), torch.tensor([[0.5, 0.5]])
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert teacher.distance(p.log(), q.log()).item() == pytest.approx(expected)
    assert teacher.distance(q.log(), q.log()).item() == pytest.approx(0, abs=1e-7)
    assert teacher.distance(p[:0].log(), q[:0].log()).item() == 0  # nothing to compare


def test_temperature_softens_both(models, texts):
    teacher = make_teacher(models["own"], load_text_tokenizer(texts / "tokenizer"), temperature=2.0)
    p, q = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    soft = torch.tensor([1.0, 0.0]).softmax(0)
    expected = 4 * (soft * (soft / 0.5).log()).sum().item()
    assert teacher.distance(p, q).item() == pytest.approx(expected)


def test_uld_compares_sorted_probabilities(models, texts):
    tokenizer = load_text_tokenizer(texts / "tokenizer")
    teacher = make_teacher(models["own"], tokenizer, loss="uld")
    p = torch.tensor([[0.2, 0.7, 0.1]])
    assert teacher.distance(p.log(), p[:, [2, 0, 1]].log()).item() == pytest.approx(0, abs=1e-6)
    q = torch.tensor([[0.5, 0.5]])  # |.7 - .5| + |.2 - .5| + |.1 - 0|
    assert teacher.distance(p.log(), q.log()).item() == pytest.approx(0.6, abs=1e-6)


# -- losses of a batch -----------------------------------------------------------------------------


def test_own_predictions_add_no_loss(models, texts):
    model, tokenizer = build_text_lm(
        recipe(texts, "x", init=str(models["own"]), backbone=None, tokenizer=None)
    )
    batch = make_batch(model, tokenizer)
    plain = model(batch)
    taught = model(batch, teacher=make_teacher(models["own"], tokenizer, weight=0.25))
    assert taught.auxiliary["teacher"].item() == pytest.approx(0, abs=1e-6)
    assert taught.loss.item() == pytest.approx(0.75 * plain.loss.item(), rel=1e-5)


def test_states_of_the_draft_head_are_taught_at_their_offsets(models, texts):
    torch.manual_seed(0)
    model, tokenizer = build_text_lm(recipe(texts, "x", draft=DRAFT))
    teacher = make_teacher(models["own"], tokenizer, weight=1.0, decay=0.5)
    batch = make_batch(model, tokenizer)
    inputs = model.backbone.get_input_embeddings()(batch.ids)
    hidden = model.run_backbone(inputs)
    logits = teacher.model(input_ids=batch.ids).logits
    states, total = [hidden, *model.draft.states(hidden, inputs, 2)], 0.0
    for offset, state in zip((0, *model.draft.offsets), states, strict=True):
        rows = []
        for b, length in enumerate(batch.attention_mask.sum(1).tolist()):
            for t in range(length - 1 - offset):
                p = logits[b, t + offset].log_softmax(-1)
                q = model.head.output(state[b, t]).log_softmax(-1)
                rows.append(F.kl_div(q, p, reduction="sum", log_target=True))
        total += 0.5**offset / 1.75 * torch.stack(rows).mean()
    assert model(batch, teacher=teacher).loss.item() == pytest.approx(total.item(), rel=1e-4)
    active = model(batch, active_drafts=1, teacher=teacher)
    assert active.loss.item() != pytest.approx(total.item(), rel=1e-4)


def test_tokens_that_begin_together_are_compared(models, texts):
    model, tokenizer = build_text_lm(recipe(texts, "x"))
    teacher = make_teacher(models["other"], tokenizer, loss="uld")
    other = load_text_tokenizer(models["other"])
    batch = make_batch(model, tokenizer)
    logits, known = teacher.predictions(batch)
    compared = 0
    for b, text in enumerate(SENTENCES[:2]):
        encoded = other(text, return_offsets_mapping=True)
        expected = teacher.model(input_ids=torch.tensor([encoded["input_ids"]])).logits[0]
        starts = {start: j for j, (start, _) in enumerate(encoded["offset_mapping"])}
        _, own = token_starts(tokenizer, tokenizer(text)["input_ids"])
        for t, start in enumerate(own[1:]):
            assert bool(known[b, t]) == (start in starts)
            if start in starts:
                torch.testing.assert_close(logits[b, t], expected[starts[start] - 1])
                compared += 1
    assert compared > 8
    assert torch.isfinite(model(batch, teacher=teacher).loss)


# -- a run -----------------------------------------------------------------------------------------


def test_a_taught_run_comes_closer_to_its_teacher(models, texts):
    run = recipe(
        texts,
        "taught",
        draft=DRAFT,
        teacher={"model": str(models["own"]), "weight": 1.0},
        optim={"max_steps": 30, "batch_frames": 200, "learning_rate": 3e-3, "log_every": 10},
    )
    folder = train_text_lm(run)
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    distances = [row["teacher"] for row in rows if "teacher" in row]
    assert distances[-1] < distances[0]
    assert (
        not (folder / "teacher").exists() and "teacher" not in (folder / "config.json").read_text()
    )


def test_another_tokenizer_needs_uld(models, texts):
    with raises_input_error("mismatch", key="teacher.loss"):
        make_teacher(models["other"], load_text_tokenizer(texts / "tokenizer"))

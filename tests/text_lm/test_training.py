"""Text LMs in runs from a recipe, and the commands around them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.errors import raises_input_error
from transformers import TrainerCallback

from vocalmtp.cli import main
from vocalmtp.data.text_rows import DraftVocabulary, TextRows, choose, fingerprint
from vocalmtp.errors import ErrorCode
from vocalmtp.heads.base import SoftTargets
from vocalmtp.models.checkpoint import load_text_tokenizer
from vocalmtp.models.text_lm import TextLM
from vocalmtp.training import trunk_states
from vocalmtp.training.recipe import TextLMRecipe
from vocalmtp.training.text_lm import train_text_lm

Recipe = Callable[..., TextLMRecipe]
LEAP = {"name": "leap", "steps": 2, "stride": 1}


class Stop(TrainerCallback):
    """Ends a run after its second step, as a kill does."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        control.should_training_stop = control.should_save = state.global_step == 2
        return control


def test_a_run_goes_on_to_the_same_weights(text_recipe: Recipe, texts: Path) -> None:
    """Tied weights, a draft head, TOP and a curriculum, stopped on the way and not."""
    optim = {"max_steps": 4, "batch_frames": 200, "warmup_steps": 1, "curriculum": "forward"}
    tied = text_recipe("a").backbone | {"tie_word_embeddings": True}
    changes = {
        "backbone": tied,
        "draft": LEAP,
        "objectives": {"top": {"window": 4}},
        "optim": optim,
    }
    whole = TextLM.load(train_text_lm(text_recipe("whole", **changes))).state_dict()
    train_text_lm(text_recipe("parts", **changes), [Stop()])
    parts = TextLM.load(train_text_lm(text_recipe("parts", **changes))).state_dict()
    assert whole.keys() == parts.keys()
    for name, weight in whole.items():
        torch.testing.assert_close(parts[name], weight, msg=name)
    rows = [json.loads(line) for line in (texts / "parts/log.jsonl").read_text().splitlines()]
    assert sum(row["step"] == 4 for row in rows) == 1  # the second run took two steps


def test_a_draft_head_trains_alone(text_recipe: Recipe, trained: Path) -> None:
    new = {"init": str(trained), "backbone": None, "tokenizer": None}
    optim = {"max_steps": 2, "batch_frames": 200, "trainable": "draft"}
    changed = {"loss_weight": 0.5, "matched": False}
    output = train_text_lm(text_recipe("alone", **new, draft=changed, optim=optim))
    before, after = TextLM.load(trained), TextLM.load(output)
    for name, weight in before.backbone.state_dict().items():
        assert torch.equal(weight, after.backbone.state_dict()[name]), name
    old, new_ones = before.draft.state_dict(), after.draft.state_dict()
    assert any(not torch.equal(old[name], new_ones[name]) for name in old)
    assert not after.draft.config.matched and after.draft.config.steps == 3


ALONE = {"backbone": None, "tokenizer": None}
FROZEN = {"max_steps": 2, "batch_frames": 200, "trainable": "draft"}


@torch.inference_mode()
def test_rows_have_the_states_of_their_tokens(trained: Path, tmp_path: Path) -> None:
    model, file = TextLM.load(trained), tmp_path / "states.safetensors"
    pieces = [[([1, 2, 3], False), ([4, 5], True)], [([], False), ([6, 7, 8], True)]]
    rows = trunk_states.with_states(TextRows(pieces, 4, packed=False), model, "x", file, "fp32")
    assert rows.frames == [4, 3]
    batch = model.collator()([rows[0], rows[1]])
    want = model.run_backbone(model.embed(batch.ids))
    for row, length in enumerate(rows.frames):
        kept = batch.hidden[row, :length]
        torch.testing.assert_close(kept, want[row, :length], atol=1e-2, rtol=1e-2)
        assert not batch.hidden[row, length:].any()


def test_states_of_a_frozen_model_are_computed_once(
    text_recipe: Recipe, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "states.safetensors"
    data = text_recipe("x").data.model_dump() | {"packed": False, "states": str(file)}

    def run_once(name: str) -> float:
        changes = ALONE | {"init": str(trained), "optim": FROZEN, "data": data}
        log = (train_text_lm(text_recipe(name, **changes)) / "log.jsonl").read_text().splitlines()
        return json.loads(log[-1])["train_loss"]

    first, written = run_once("first"), file.read_bytes()
    monkeypatch.setattr(trunk_states, "compute_states", lambda *_: pytest.fail("computed again"))
    assert run_once("again") == pytest.approx(first, rel=1e-3)
    monkeypatch.undo()
    data["length"] = 4  # other rows
    assert run_once("other") != pytest.approx(first, rel=1e-3)
    assert file.read_bytes() != written


def test_drafts_are_trained_over_a_draft_vocabulary(
    text_recipe: Recipe, trained: Path, tmp_path: Path
) -> None:
    model, tokenizer = TextLM.load(trained), load_text_tokenizer(trained)
    ids = torch.arange(40, 280, 3)
    DraftVocabulary("x", fingerprint(tokenizer), ids, 0.5).save(tmp_path / "v.json")
    head = model.head.restricted(model.with_ends(ids))
    hidden, targets = torch.randn(1, 4, 32), torch.tensor([[[43], [44], [-100], [46]]])
    want = head.logits(hidden)[0].log_softmax(-1)[0, [0, 3], [43, 46]]  # 44 is not in it
    torch.testing.assert_close(head.loss(hidden, targets).loss, -want.mean())
    other = torch.randn(1, 4, 32)
    p, q = (head.output(x)[0, [0, 3]].log_softmax(-1) for x in (other, hidden))
    soft = head.loss(hidden, targets, soft=SoftTargets(head, other)).loss
    torch.testing.assert_close(soft, (p.exp() * (p - q)).sum(-1).mean())
    whole = SoftTargets(model.head, other)  # where impossible tokens do not count
    assert torch.isfinite(model.head.loss(hidden, targets, soft=whole).loss)
    changes = ALONE | {
        "init": str(trained),
        "optim": FROZEN,
        "draft_vocab": str(tmp_path / "v.json"),
    }
    output = train_text_lm(text_recipe("small", **changes))
    loaded = TextLM.load(output)
    assert loaded.drafting_head.ids.tolist() == model.with_ends(ids).tolist()
    log = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert all("text" not in row for row in log)  # the frozen head has no loss
    with raises_input_error("conflict", names="draft_vocab"):
        train_text_lm(text_recipe("own", **changes, draft=LEAP))


def test_states_need_a_frozen_model(text_recipe: Recipe, trained: Path) -> None:
    data = text_recipe("x").data.model_dump() | {"states": "states.safetensors"}
    with raises_input_error("conflict", names="data.states"):
        train_text_lm(text_recipe("all", **ALONE, init=str(trained), data=data))


@pytest.mark.parametrize(
    ("changes", "code", "named"),
    [
        ({"tokenizer": None}, "missing", "backbone"),
        ({"init": "x"}, "conflict", "init"),
        ({"backbone": {"model_type": "lama"}}, "unusable", "backbone"),
        ({"backbone": {"model_type": "llama", "vocab_size": 3}}, "conflict", "vocab_size"),
        ({"draft": {"name": "lep"}}, "unknown_name", "leap"),
        ({"data": {"texts": ["none.txt"]}}, "not_found", "none.txt"),
    ],
)
def test_wrong_recipe_is_refused(
    text_recipe: Recipe, changes: dict, code: ErrorCode, named: str
) -> None:
    with raises_input_error(code, names=named):
        train_text_lm(text_recipe("wrong", **changes))


def test_rows_learn_answers_and_not_prompts() -> None:
    pieces = [[([1, 2, 3], False), ([4, 5], True)], [([], False), ([6, 7, 8], True)]]
    rows = TextRows(pieces, 4, packed=False)
    assert rows.frames == [4, 3]
    assert [(list(text.ids), text.supervised) for text in rows[0]] == [
        ([1, 2, 3], False),
        ([4], True),
    ]
    packed = TextRows(pieces, 3, packed=True)
    assert [[i for text in row for i in text.ids] for row in packed] == [[1, 2, 3, 4], [4, 5, 6, 7]]
    assert rows.ids[rows.learned].tolist() == [4, 5, 6, 7, 8]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    return stopped.value.code


def test_the_commands_go_together(
    trained: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Answers, gone on with where they stopped; a draft vocabulary of them; the same text."""
    lines = (texts / "texts.txt").read_text().splitlines()[:6]
    (tmp_path / "few.txt").write_text("\n".join(lines) + "\n")
    asked = [str(tmp_path / "few.txt"), "-o", str(tmp_path / "answers"), "--model", str(trained)]
    options = ["--prompt-tokens", "2", "--max-tokens", "9", "--top-k", "9"]
    assert run("text", "distill", *asked, *options) == 0
    manifest = tmp_path / "answers/manifest.jsonl"
    whole = sorted(manifest.read_text().splitlines())
    manifest.write_text("\n".join(whole[:4]) + '\n{"torn')
    assert run("text", "distill", *asked, *options) == 0
    assert sorted(manifest.read_text().splitlines()) == whole
    row = json.loads(whole[0])
    assert row["seed"] == 1 and len(row["ids"][0]) == 2
    assert run("text", "distill", *asked, *options, "--seed", "5") == 2
    assert "was made with seed 0, not 5" in capsys.readouterr().err
    vocabulary = tmp_path / "v.json"
    assert (
        run("text", "draft-vocab", str(manifest), "-o", str(vocabulary), *asked[-2:], "--size", "5")
        == 0
    )
    assert len(DraftVocabulary.load(vocabulary).ids) == 5
    capsys.readouterr()
    said = []
    for drafting in (["--drafts", "0"], [], ["--draft-vocab", str(vocabulary)]):
        assert (
            run("text", "generate", "the", "--greedy", *asked[-2:], "--max-tokens", "9", *drafting)
            == 0
        )
        said.append(capsys.readouterr())
    assert said[0].out == said[1].out == said[2].out and said[0].out.strip()
    assert "tokens per forward pass" in said[1].err and not said[0].err
    typical = ("--accept", "typical", "--tolerance")
    assert run("text", "generate", "the", *asked[-2:], "--max-tokens", "9", *typical, "0.3") == 0
    for wrong in (["--accept", "sed"], ["--tolerance", "0.3"], [*typical, "1"]):
        assert run("text", "generate", "the", *asked[-2:], *wrong) == 2
    assert run("text", "generate", "the", *asked[-2:], "--device", "abacus") == 2


def test_the_vocabulary_that_knows_the_prompt_is_chosen() -> None:
    one, other = (DraftVocabulary("", "", torch.tensor(ids), 1.0) for ids in ([1, 2], [3, 4]))
    assert choose([one, other], [3, 4, 1]) == 1
    assert choose([one, other], [9]) == 0
    assert choose([], [9]) is None

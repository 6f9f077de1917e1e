"""Reinforcement learning of a tiny model on the template of thinking."""

import json
import sys
from dataclasses import replace

import pytest
import torch
from helpers import command_line
from helpers.errors import error_code, raises_input_error
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from vocalmtp.config import parse
from vocalmtp.text.thinking import TAGS, Reply, format_reply
from vocalmtp.training.rl.recipe import RLRecipe

pytest.importorskip("trl")

from vocalmtp.training.rl import trainer as rl

WORDS = ("<|end|>", *TAGS, "one", "many", "steps", "step", "2", "3", "4", "5", "+", "=")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random model over words, and two questions."""
    path = tmp_path_factory.mktemp("rl")
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<|end|>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<|end|>").save_pretrained(
        path / "lm"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=128,
        eos_token_id=0,
        bos_token_id=None,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(path / "lm")
    rows = [{"prompt": "2 + 2 =", "answer": "4"}, {"prompt": "2 + 3 =", "answer": "5"}]
    (path / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def recipe(folder, name, **changes):
    settings = {
        "questions": [str(folder / "questions.jsonl")],
        "init": str(folder / "lm"),
        "group_size": 4,
        "forced": 1,
        "questions_per_step": 2,
        "max_tokens": 12,
        "optim": {"max_steps": 2, "log_every": 1, "save_every": 1, "learning_rate": 1e-3},
        "device": "cpu",
        "output": str(folder / name),
    }
    return parse(RLRecipe, settings | changes)


@pytest.fixture
def make_trainer(folder, tmp_path):
    def make(**changes):
        config = recipe(folder, "unused", **changes)
        return rl.ThinkingTrainer(
            config,
            model=rl.load_backbone(config.init),
            args=rl.arguments(config, tmp_path),
            train_dataset=rl.Dataset.from_list(rl.read_questions(config.questions)),
            processing_class=rl.load_text_tokenizer(config.init),
        )

    return make


def encode(trainer, *replies):
    texts = (format_reply(reply) if isinstance(reply, Reply) else reply for reply in replies)
    return [trainer.text_tokenizer(text)["input_ids"] for text in texts]


ON = Reply(mode="on", judge="many steps", thoughts="2 + 2", answer="4")
OFF = Reply(mode="off", judge="one step", answer="4")
WRONG = Reply(mode="off", judge="one step", answer="5")


def test_decision_and_answer_have_advantages_of_their_own(make_trainer):
    trainer = make_trainer(forced=0)
    replies = encode(trainer, ON, OFF, WRONG, "2 2")
    trainer.group_rewards = torch.tensor([1.0, 1.0, 0.0, 0.0])
    advantages, thinks = trainer.advantages(replies, 16)
    assert thinks[:3].tolist() == [1, 0, 0] and thinks[3].isnan()
    # Thinking passes always, answering at once half of the time: the wanted mode is to think.
    ends = [replies[0].index(WORDS.index("<think_on>")) + 1] + [5, 5]
    assert advantages[0, : ends[0]].unique().item() == pytest.approx(3**0.5, abs=1e-3)
    assert advantages[1, :5].unique().item() == pytest.approx(-(3**-0.5), abs=1e-3)
    # One reply thinks, and cannot be compared; of the two others, one is right.
    assert advantages[0, ends[0] :].abs().max() == 0
    assert advantages[1, 5:].unique().item() == pytest.approx(1, abs=1e-3)
    assert advantages[2, 5:].unique().item() == pytest.approx(-1, abs=1e-3)


def test_forced_openings_have_no_advantage(make_trainer):
    replies = encode(make_trainer(), ON, OFF, OFF, WRONG)
    found = []
    for forced in (0, 1):  # the first two replies
        trainer = make_trainer(forced=forced)
        trainer.group_rewards = torch.tensor([1.0, 1.0, 1.0, 0.0])
        found.append(trainer.advantages(replies, 16)[0])
    assert found[0][:, 0].abs().min() > 0.5
    assert not found[1][:2, :5].any()
    assert torch.equal(found[1][:, 5:], found[0][:, 5:])
    assert torch.equal(found[1][2:], found[0][2:])


def test_without_a_judge_the_decision_has_the_advantage_of_the_answer(make_trainer):
    trainer = make_trainer(judge=False, forced=0)
    trainer.group_rewards = torch.tensor([1.0, 1.0, 0.0, 0.0])
    advantages, _ = trainer.advantages(encode(trainer, ON, OFF, WRONG, "2 2"), 16)
    assert advantages[:3, 0].tolist() == pytest.approx([1, 1, -1], abs=1e-3)


@pytest.mark.parametrize("algorithm", ["grpo", "degrpo"])
def test_thinking_has_a_cost(make_trainer, algorithm):
    trainer = make_trainer(algorithm=algorithm, think_cost=0.5, control_weight=0.1)
    trainer.group_rewards = torch.tensor([1.0, 1.0, 0.0, 0.0])
    replies = encode(trainer, ON, OFF, WRONG, "2 2")
    advantages, _ = trainer.advantages(replies, 16)
    assert advantages[0, 0] < advantages[1, 0] and advantages[2, 0] == advantages[3, 0] < 0
    ratio = advantages[1, 4] / advantages[1, 0]  # the token of the mode is the fifth
    expected = 1 if algorithm == "grpo" else 0.1 * len(replies[1])
    assert ratio.item() == pytest.approx(expected)


def test_forced_replies_begin_with_their_mode(make_trainer):
    trainer = make_trainer()
    prompts = [trainer.text_tokenizer("2 + 2 =")["input_ids"]] * 4
    replies, _ = trainer._generate_single_turn(prompts, None, {}, 4)
    on, off = encode(
        trainer, "<judge> many steps </judge> <think_on>", "<judge> one step </judge> <think_off>"
    )
    assert replies[0][: len(on)] == on and replies[1][: len(off)] == off
    assert all(len(reply) > len(on) for reply in replies[:2])


def test_a_run_is_resumed_and_logs_the_decisions(folder):
    run = recipe(folder, "run")
    output = rl.train_rl(run)
    rows = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert {"think_rate", "mode_entropy", "groups_used"} <= rows[0].keys()
    assert (output / "model.safetensors").is_file() and (output / "tokenizer.json").is_file()
    longer = recipe(folder, "run", optim=run.optim.model_dump() | {"max_steps": 3})
    rl.train_rl(longer)
    rows = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "think_rate" in row] == [1, 2, 3]
    with raises_input_error("other_run"):
        rl.train_rl(recipe(folder, "run", group_size=8))


def test_a_judge_that_contradicts_the_mode_breaks_the_template():
    reward = rl.answer_rewards({"on": "many steps", "off": "one step"})
    judges = ("many steps", "one step", "of its own")
    texts = [format_reply(replace(ON, judge=judge)) for judge in judges]
    assert reward(completions=texts, answer=["4"] * 3) == [1.0, 0.0, 1.0]
    assert reward(completions=texts, answer=["5"] * 3) == [0.0] * 3


def test_rewards_that_are_no_numbers_are_refused(make_trainer, monkeypatch):
    trainer = make_trainer()
    monkeypatch.setattr(
        trainer, "reward_funcs", [lambda prompts, **_: [float("nan")] * len(prompts)]
    )
    rows = [{"prompt": "2 + 2 =", "answer": "4"}] * 4
    with raises_input_error("invalid_value", key="reward"):
        trainer._calculate_rewards(rows, ["2 + 2 ="] * 4, ["4"] * 4, [[1]] * 4)


@pytest.mark.parametrize(
    ("change", "code", "name"),
    [
        ({"group_size": 1}, "invalid_value", "group_size"),
        ({"forced": 3}, "invalid_value", "forced"),
        ({"rationales": {"on": "a"}}, "invalid_value", "rationales"),
        ({"algorithm": "srpo"}, "invalid_value", "algorithm"),
        ({"temperatur": 1}, "unknown_name", "temperatur"),
    ],
)
def test_bad_recipes_are_refused(folder, change, code, name):
    with raises_input_error(code, names=name):
        recipe(folder, "bad", **change)


def test_questions_without_an_answer_are_refused(folder, tmp_path):
    (tmp_path / "q.jsonl").write_text('{"prompt": "2 + 2 ="}\n')
    with raises_input_error("missing", key="questions"):
        rl.read_questions([str(tmp_path / "q.jsonl")])
    with raises_input_error("not_found", key="questions"):
        rl.read_questions([str(tmp_path / "none.jsonl")])


def test_a_missing_package_is_named(monkeypatch, capsys, tmp_path):
    (tmp_path / "r.yaml").write_text("recipe: rl\nquestions: [q]\ninit: lm\noutput: o\n")
    monkeypatch.setitem(sys.modules, "trl", None)
    assert command_line.run("train", tmp_path / "r.yaml") != 0
    err = capsys.readouterr().err
    assert error_code(err) == "not_installed" and "vocalmtp[rl]" in err

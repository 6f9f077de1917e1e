"""Generation by a local model: equal to Transformers, and nothing of a prompt is run twice."""

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from vocalmtp.chat import drafting
from vocalmtp.chat.drafting import Drafter, Drafts
from vocalmtp.chat.generation import KEPT, LocalGenerator, is_loop
from vocalmtp.engines.weight_only import WeightOnlyLinear
from vocalmtp.models.text_lm import TextLM

FIRST, SECOND = list(range(3, 15)), list(range(20, 25))


def make_model(kind: str, positions: int = 256) -> nn.Module:
    torch.manual_seed(3)
    if kind == "gpt2":
        sizes = {"n_embd": 64, "n_layer": 2, "n_head": 2, "n_positions": positions}
        config = GPT2Config(vocab_size=64, eos_token_id=1, **sizes)
        return GPT2LMHeadModel(config).eval()
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    sizes["max_position_embeddings"] = positions
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=64, **sizes, **heads)).eval()


@pytest.fixture(params=["gpt2", "llama"])
def counted(request, monkeypatch) -> tuple[LocalGenerator, list[int]]:
    """A generator, and the numbers of positions that it runs at once."""
    generator, runs = LocalGenerator(make_model(request.param)), []
    runner = generator._runner
    for name in ("prefill", "steps"):
        real = getattr(runner, name)

        def run(inputs, *arguments, real=real, **settings):
            if inputs.shape[1] > 1:
                runs.append(inputs.shape[1])
            return real(inputs, *arguments, **settings)

        monkeypatch.setattr(runner, name, run)
    return generator, runs


def test_tokens_equal_those_of_transformers():
    model = make_model("gpt2")
    ids = torch.tensor([FIRST])
    settings = {"max_new_tokens": 16, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    want = model.generate(ids, **settings)[0, len(FIRST) :].tolist()
    assert list(LocalGenerator(model).tokens(FIRST, set(), 16)) == want
    assert list(LocalGenerator(model).tokens(FIRST, {want[5]}, 16)) == want[: want.index(want[5])]


def test_what_was_run_before_is_not_run_again(counted):
    generator, runs = counted
    generator.prepare(FIRST)
    answer = list(generator.tokens([*FIRST, *SECOND], set(), 6))
    assert runs == [len(FIRST), len(SECOND)]
    follow = [*FIRST, *SECOND, *answer[:-1], 7, 8, 9]  # another last token, as after a cut
    reused = list(generator.tokens(follow, set(), 6))
    assert runs[2:] == [3]
    generator._prompts._entries.clear()
    assert list(generator.tokens(follow, set(), 6)) == reused
    list(generator.tokens([*FIRST, 40, 41], set(), 2))  # another conversation
    assert runs[3:] == [len(follow), 2]


def test_an_abandoned_answer_leaves_a_usable_cache_and_old_ones_are_dropped(counted):
    generator, runs = counted
    tokens = generator.tokens(FIRST, set(), 100)
    made = [next(tokens), next(tokens)]
    tokens.close()
    again = generator.tokens([*FIRST, *made, 5], set(), 4)
    assert len(list(again)) == 4
    for number in range(KEPT + 3):
        list(generator.tokens([50 + number, 4, 5], set(), 1))
    assert len(generator._prompts._entries) == KEPT


HEADS = {
    "recursive": {"name": "recursive", "steps": 3, "heads": 2},
    "leap": {"name": "leap", "steps": 2, "stride": 2},
    "sequential": {"name": "sequential", "steps": 2, "heads": 2},
}


def make_drafter(model: nn.Module, head: str) -> Drafter:
    text_lm = TextLM(model, HEADS[head]).eval()
    text_lm.restrict_drafts(torch.arange(0, 64, 2))
    return Drafter(text_lm)


@pytest.mark.parametrize("confidence", [0.0, 0.04])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_drafts_change_no_answer(kind, head, confidence, monkeypatch):
    monkeypatch.setattr(drafting, "CONFIDENCE", confidence)
    model = make_model(kind)
    drafted = LocalGenerator(model, make_drafter(model, head))
    plain = LocalGenerator(make_model(kind))
    ids = FIRST
    for more in (SECOND, [7, 8, 9], [40]):  # three turns
        ids = [*ids, *more]
        answer = list(plain.tokens(ids, {11}, 12))
        assert list(drafted.tokens(ids, {11}, 12)) == answer
        ids = [*ids, *answer]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_drafts_stay_within_the_positions(kind, head, monkeypatch):
    """Of an answer that takes all of them; 70 is no multiple of what a cache is read in."""
    monkeypatch.setattr(drafting, "CONFIDENCE", 0.0)
    room = 70 - len(FIRST)
    want = list(LocalGenerator(make_model(kind, 70)).tokens(FIRST, set(), room))
    model = make_model(kind, 70)
    found = list(LocalGenerator(model, make_drafter(model, head)).tokens(FIRST, set(), room))
    assert found == want


def test_unsure_drafts_are_left_out(monkeypatch):
    generator = LocalGenerator(make_model("gpt2"), make_drafter(make_model("gpt2"), "recursive"))
    counts = []
    real = Drafts.draft
    monkeypatch.setattr(
        Drafts, "draft", lambda *given: counts.append(len(made := real(*given))) or made
    )
    for confidence in (0.0, 0.04, 2.0):
        monkeypatch.setattr(drafting, "CONFIDENCE", confidence)
        list(generator.tokens(FIRST, set(), 12))
        generator._prompts._entries.clear()
        counts.append(-1)
    every, some, none = " ".join(map(str, counts)).split(" -1")[:3]
    assert set(every.split()) == {"3"} and set(none.split()) == {"0"}
    assert 0 < sum(map(int, some.split())) < 3 * len(some.split())


class Oracle:
    """Drafts the two tokens of a known answer that follow, the second one wrong every other time."""

    def __init__(self, answer):
        self.answer, self.calls = answer, 0

    def begin(self, entry):
        self.start = len(entry.ids)
        return self

    def draft(self, entry, token):
        self.calls += 1
        place = len(entry.ids) - self.start + 1
        right = self.answer[place : place + 2]
        return [*right[:-1], *((token + self.calls % 2) % 64 for token in right[-1:])]

    def optimize_for_inference(self, convert):
        pass


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_accepted_drafts_save_passes_and_leave_a_usable_cache(kind):
    answer = list(LocalGenerator(make_model(kind)).tokens(FIRST, set(), 20))
    generator = LocalGenerator(make_model(kind), Oracle(answer))
    for limit in (20, 7):
        generator.drafter.calls = 0
        assert list(generator.tokens(FIRST, set(), limit)) == answer[:limit]
        assert generator.drafter.calls <= limit / 2
    (entry,) = generator._prompts._entries
    assert entry.ids == [*FIRST, *answer][: len(entry.ids)]
    assert entry.cache.lengths.tolist() == [len(entry.ids)] == [torch.cat(entry.hidden, 1).shape[1]]


def test_weight_only_linear_is_close_to_float():
    linear, x = nn.Linear(96, 64), torch.randn(2, 3, 96)
    want = linear(x)
    error = (WeightOnlyLinear(linear)(x) - want).norm() / want.norm()
    assert error < 0.02


@pytest.mark.parametrize(
    ("ids", "loop"),
    [
        ([1, 2] * 12, True),
        ([9, 8, *[1, 2, 3, 4, 5, 6, 7, 8, 9, 10] * 3], True),
        ([1, 2] * 8, False),  # "ha ha ha"
        (list(range(60)), False),
        ([*range(10), *range(10)], False),  # a refrain
    ],
)
def test_a_passage_that_repeats_is_a_loop(ids, loop):
    assert is_loop(ids) == loop

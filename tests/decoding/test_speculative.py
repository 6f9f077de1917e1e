"""Verified drafts change only the number of forward passes."""

from collections.abc import Callable
from itertools import product
from typing import Any, cast

import pytest
import torch
from helpers.errors import raises_input_error

from vocalmtp.decoding.acceptance import DraftSampler, RejectionVerifier
from vocalmtp.decoding.constraints import ConstrainedSampler
from vocalmtp.decoding.draft_state import DraftOnly
from vocalmtp.decoding.generate import Prompt, generate, prefill_prompts
from vocalmtp.decoding.sampling import RowSamplers, Sampler
from vocalmtp.decoding.speculative import Speculative
from vocalmtp.decoding.strategies import DecodeStrategy, Grouped
from vocalmtp.engines.linears import Int8Linear
from vocalmtp.models.backbone import KVCache
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.noise import RowNoise
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.models.state import DecodeState
from vocalmtp.models.streams import Stream

Make = Callable[..., Any]
GREEDY = Sampler(greedy=True)
PENALIZED = Sampler(greedy=True, repetition_penalty=1.3)
WARM = Sampler(temperature=1.5, top_k=5, top_p=0.95)
DRAFTS: dict[str, dict[str, Any]] = {
    "sequential": {"name": "sequential", "steps": 3, "heads": 2},
    "recursive": {"name": "recursive", "steps": 3, "heads": 2},
    "leap": {"name": "leap", "steps": 2, "stride": 2},
}
CASES: dict[str, dict[str, Any]] = {
    "track": {"draft": DRAFTS["recursive"]},
    "prompt": {"draft": DRAFTS["leap"], "text": "prompt", "backbone": "gpt2"},
    "flat": {"draft": DRAFTS["sequential"], "flat": True},
    "depth": {
        "draft": DRAFTS["recursive"],
        "head": {"name": "depth", "width": 32, "layers": 1, "heads": 2},
        "frames_per_step": 3,
        "speaker_every_step": True,
    },
}
FRAMES = (9, 5, 12)
TRAINED: dict[str, SpeechLM] = {}


@pytest.fixture(params=CASES)
def model(
    request: pytest.FixtureRequest, make_model: Make, make_rows: Make, collate: Make
) -> SpeechLM:
    """A model trained on some utterances until some of its drafts are right."""
    if request.param in TRAINED:
        return TRAINED[request.param]
    model = make_model(**CASES[request.param])
    batch = collate(model, make_rows(model, FRAMES))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for _ in range(15):
        optimizer.zero_grad()
        model(batch).loss.backward()
        optimizer.step()
    TRAINED[request.param] = model
    return model


def decode(
    model: SpeechLM,
    rows: list,
    samplers: list[Sampler],
    strategy: DecodeStrategy | None = None,
    batch_size: int = 1,
) -> list[torch.Tensor]:
    """Decoded steps [S, K] of every prompt; prompt b has seed b."""
    pairs = enumerate(zip(rows, samplers, strict=True))
    prompts = [Prompt(row, own, b, 30) for b, (row, own) in pairs]
    steps: dict[int, list[torch.Tensor]] = {}
    for event in generate(model, prompts, batch_size, strategy):
        for row, tokens in zip(event.rows, event.tokens, strict=True):
            steps.setdefault(row, []).append(tokens)
    return [torch.stack(steps[row]) for row in range(len(rows))]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("accept", ["rejection", "joint", "seed", "typical"])
def test_greedy_output_equals_output_without_drafts(
    model: SpeechLM, make_rows: Make, accept: str
) -> None:
    """One by one, and in a batch whose rows accept different numbers and are refilled."""
    rows = make_rows(model, (*FRAMES, 7, 3), spoken=False)
    greedy = [GREEDY, PENALIZED, GREEDY, PENALIZED, GREEDY]
    want = decode(model, rows, greedy)
    for batch_size in (1, 3):
        strategy = Speculative(3, accept)
        assert same(decode(model, rows, greedy, strategy, batch_size), want)
        assert sum(strategy.statistics.kept) > 5  # otherwise nothing was tested


def test_seeded_output_equals_output_without_drafts(model: SpeechLM, make_rows: Make) -> None:
    rows = make_rows(model, (*FRAMES, 7), spoken=False)
    samplers = [WARM, PENALIZED, Sampler(temperature=0.7, repetition_penalty=1.3), WARM]
    want = decode(model, rows, samplers)
    strategy = Speculative(2, "seed")
    assert same(decode(model, rows, samplers, strategy, batch_size=3), want)
    assert sum(strategy.statistics.kept) > 3


def test_unsure_drafts_are_left_out_without_changing_the_output(
    model: SpeechLM, make_rows: Make
) -> None:
    rows = make_rows(model, (*FRAMES, 7), spoken=False)
    samplers = [WARM, PENALIZED, GREEDY, WARM]
    want = decode(model, rows, samplers)
    every = Speculative(3, "seed", confidence=1e-9)
    assert same(decode(model, rows, samplers, every, batch_size=3), want)
    assert every.statistics.kept and not every.statistics.withheld
    some = Speculative(3, "seed", confidence=0.05)
    assert same(decode(model, rows, samplers, some, batch_size=3), want)
    counted = some.statistics
    assert 0 < counted.withheld < 3 * counted.forwards
    assert counted.summary()["wasted"] < every.statistics.summary()["wasted"]
    none = Speculative(3, "seed", confidence=2.0)
    assert same(decode(model, rows, samplers, none, batch_size=3), want)
    assert none.statistics.steps == none.statistics.forwards > 0
    with raises_input_error("conflict", names="confidence"):
        Speculative(3, "rejection", confidence=0.5)


@pytest.mark.parametrize("accept", ["rejection", "joint", "typical", "near"])
def test_acceptance_does_not_depend_on_the_batch(
    model: SpeechLM, make_rows: Make, accept: str
) -> None:
    rows = make_rows(model, (*FRAMES, 7), spoken=False)
    samplers = [WARM, PENALIZED, Sampler(temperature=0.7), WARM]
    alone = decode(model, rows, samplers, Speculative(3, accept))
    assert same(decode(model, rows, samplers, Speculative(3, accept), batch_size=3), alone)


@torch.inference_mode()
def test_cache_holds_only_emitted_steps(model: SpeechLM, make_rows: Make) -> None:
    rows = make_rows(model, FRAMES, spoken=False)
    prompts = [Prompt(row, WARM, b, 50) for b, row in enumerate(rows)]
    strategy = Speculative(3)
    state = prefill_prompts(model, prompts, strategy)
    start = state.cache.lengths.clone()
    taken = torch.zeros(len(rows), dtype=torch.long)
    for _ in range(4):
        emitted = strategy.emit(model, state)
        assert torch.equal(emitted.first, taken)
        taken += emitted.counts
        assert torch.equal(
            state.cache.lengths - start, taken - 1
        )  # the last step has not been read
        assert torch.equal(state.steps, taken - 1)
        strategy.forward(model, state, emitted)


def test_statistics_add_up(model: SpeechLM, make_rows: Make) -> None:
    rows = make_rows(model, FRAMES, spoken=False)
    strategy = Speculative(2)
    steps = decode(model, rows, [GREEDY] * len(rows), strategy, batch_size=2)
    counted, found = strategy.statistics, strategy.statistics.summary()
    assert counted.reached[0] >= counted.kept[0] >= counted.reached[1] >= counted.kept[1]
    assert counted.steps >= sum(len(made) - 1 for made in steps)  # some were cut off by the limit
    assert found["tokens_per_forward"] == found["steps_per_forward"] * model.layout.tokens_per_step
    assert 0 <= found["wasted"] <= 1
    assert found["acceptance"][1] == counted.kept[1] / counted.reached[1]


def test_draft_only_does_not_depend_on_the_batch(model: SpeechLM, make_rows: Make) -> None:
    """Without drafts, it is next-token decoding."""
    rows = make_rows(model, (*FRAMES, 7), spoken=False)
    samplers = [WARM, GREEDY, Sampler(temperature=0.7), WARM]
    assert same(decode(model, rows, samplers, DraftOnly(0)), decode(model, rows, samplers))
    alone = decode(model, rows, samplers, DraftOnly(2))
    assert same(decode(model, rows, samplers, DraftOnly(2), batch_size=3), alone)


# -- the distribution --------------------------------------------------------------------------


def view_of(rows: int, layout: TokenLayout) -> DecodeState:
    steps = torch.full((rows,), 3)
    state = DecodeState.start(cast(KVCache, None), steps)
    state.noise = RowNoise(steps, [torch.Generator()])
    state.samplers = RowSamplers(steps, [Sampler()] * rows)
    return state


def test_rejection_has_exactly_the_models_distribution() -> None:
    """All drafts and all noise, with probabilities in multiples of 1/64: no rounding."""
    layout = TokenLayout(streams=(Stream(name="a", size=2),))  # two codes, the end, the padding
    p = torch.tensor([20, 4, 24, 16]) / 64
    q = torch.tensor([8, 32, 16, 8]) / 64
    spare = int((p - q).clamp(min=0).sum() * 64)
    first = (torch.arange(64) + 0.5) / 64
    second = (torch.arange(spare * 4) + 0.5) / (spare * 4)
    made = torch.zeros(4, dtype=torch.float64)
    kept = 0.0
    for want, weight in enumerate(q.tolist()):
        noise = torch.tensor(list(product(first.tolist(), second.tolist())))[:, None]  # [N, 1, 2]
        rows = len(noise)
        sampler = RejectionVerifier(
            layout,
            view_of(rows, layout),
            torch.full((rows, 1), want),
            torch.ones(rows, dtype=torch.bool),
            [q.expand(rows, -1)],
        )
        sampler.noise = noise
        tokens = sampler.decide(0, p.expand(rows, -1))
        made += weight * torch.bincount(tokens, minlength=4).double() / rows
        kept += weight * sampler.agreed.double().mean().item()
    torch.testing.assert_close(made, p.double(), atol=1e-12, rtol=0)
    assert kept == pytest.approx(torch.minimum(p, q).sum().item())  # the optimum


def tiny(make_model: Make, **settings: Any) -> SpeechLM:
    """Two streams of two codes, with weights for uneven distributions."""
    model = make_model(
        streams=[{"name": "a", "size": 2}, {"name": "b", "size": 2}],
        text="prompt",
        frames_per_step=1,
        draft={"name": "recursive", "heads": 2},
        **settings,
    )
    for head in (model.head, model.draft):
        for parameter in head.parameters():
            torch.nn.init.normal_(parameter, std=0.4 if "head" in settings else 0.1)
    return model


@torch.inference_mode()
def sequences(model: SpeechLM, row: list, sampler: Sampler, steps: int) -> dict[tuple, float]:
    """Probability of every possible output of so many steps, without drafts."""
    found: dict[tuple, float] = {}

    def walk(past: list[list[int]], probability: float) -> None:
        state = prefill_prompts(model, [Prompt(row, sampler, 0, steps)], Grouped())
        for tokens in past:
            state.hidden = model.step(state, torch.tensor([tokens]))
        over = past and past[-1][0] == model.layout.slots[0].end_id
        if over or len(past) == steps:
            found[tuple(map(tuple, past))] = found.get(tuple(map(tuple, past)), 0) + probability
            return
        for tokens, part in step_probabilities(model, state):
            walk([*past, tokens], probability * part)

    walk([], 1.0)
    return found


def step_probabilities(model: SpeechLM, state: DecodeState) -> list[tuple[list[int], float]]:
    """All possible next steps with their probabilities."""

    class Forced(ConstrainedSampler):
        def all(self, logits: list[torch.Tensor]) -> Any:
            slots = [x for run in logits for x in run.unbind(1)]
            return torch.stack([self(k, x) for k, x in enumerate(slots)], 1)

        def draw(self, slots: Any, logits: torch.Tensor, must_pad: torch.Tensor) -> Any:
            (k,) = slots
            self.part *= self.distribution(slots, logits, must_pad)[0, 0, self.tokens[k]].item()
            return torch.tensor([[self.tokens[k]]])

    made = []
    for tokens in product(*(range(slot.vocab_size) for slot in model.layout.slots)):
        sampler = Forced(model.layout, state)
        sampler.tokens, sampler.part = tokens, 1.0
        model.head.propose(state.hidden, sampler)
        if sampler.part > 0:
            made.append((list(tokens), sampler.part))
    return made


@pytest.mark.parametrize("accept", ["rejection", "joint"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"head": {"name": "depth", "width": 16, "layers": 1, "heads": 2}}],
    ids=["parallel", "depth"],
)
@pytest.mark.parametrize(
    "sampler", [Sampler(), Sampler(temperature=1.5, top_k=2, top_p=0.9)], ids=["plain", "filtered"]
)
def test_sampled_output_has_the_distribution_without_drafts(
    accept: str, settings: dict, sampler: Sampler, make_model: Make, make_rows: Make
) -> None:
    """Three steps of two streams against their exact probabilities: chi-square at 0.001."""
    model = tiny(make_model, **settings)
    (row,) = make_rows(model, (4,), spoken=False)
    want = sequences(model, row, sampler, 3)
    assert sum(want.values()) == pytest.approx(1, abs=1e-4)
    count, strategy = 2000, Speculative(2, accept)
    prompts = (Prompt(row, sampler, seed, 3) for seed in range(count))
    steps: dict[int, list[tuple]] = {}
    for event in generate(model, prompts, 250, strategy):
        for number, tokens in zip(event.rows, event.tokens.tolist(), strict=True):
            steps.setdefault(number, []).append(tuple(tokens))
    seen: dict[tuple, int] = dict.fromkeys(want, 0)
    for made in steps.values():
        seen[tuple(made)] += 1  # a KeyError: an impossible output
    rare = [key for key, part in want.items() if part * count < 5]
    groups = [[key] for key in want if key not in rare] + ([rare] if rare else [])
    statistic = 0.0
    for keys in groups:
        expected = count * sum(want[key] for key in keys)
        statistic += (sum(seen[key] for key in keys) - expected) ** 2 / expected
    assert len(groups) > 5
    freedom = torch.tensor(len(groups) - 1.0)
    assert torch.special.gammaincc(freedom / 2, torch.tensor(statistic / 2)) > 0.001
    reached, kept = strategy.statistics.reached, strategy.statistics.kept
    assert 0.1 < kept[0] / reached[0] < 0.99


def test_distribution_test_rejects_unverified_drafts(make_model: Make, make_rows: Make) -> None:
    """The draft head's own distribution differs, so that the test above can fail."""
    model = tiny(make_model)
    (row,) = make_rows(model, (4,), spoken=False)
    want = sequences(model, row, Sampler(), 2)
    prompts = (Prompt(row, Sampler(), seed, 2) for seed in range(1000))
    seen: dict[tuple, int] = dict.fromkeys(want, 0)
    steps: dict[int, list[tuple]] = {}
    for event in generate(model, prompts, 250, DraftOnly(2)):
        for number, tokens in zip(event.rows, event.tokens.tolist(), strict=True):
            steps.setdefault(number, []).append(tuple(tokens))
    for made in steps.values():
        seen[tuple(made)] += 1
    statistic = sum((seen[k] - 1000 * p) ** 2 / (1000 * p) for k, p in want.items() if p > 0.005)
    assert statistic > 200


# -- bad input ---------------------------------------------------------------------------------


def test_too_many_drafts(make_model: Make, make_rows: Make) -> None:
    model = make_model(draft=DRAFTS["leap"])
    (row,) = make_rows(model, (4,), spoken=False)
    with raises_input_error("out_of_range", key="drafts", names="4"):
        next(generate(model, [Prompt(row, GREEDY)], strategy=Speculative(5)))
    with raises_input_error("missing", key="drafts"):
        plain = make_model()
        next(generate(plain, [Prompt(row, GREEDY)], strategy=Speculative(1)))


def test_fused_model_gives_equal_output(make_model: Make, make_rows: Make) -> None:
    torch.manual_seed(0)
    plain = make_model(draft=DRAFTS["sequential"])
    rows = make_rows(plain, FRAMES, spoken=False)
    want = decode(plain, rows, [GREEDY] * 3, Speculative(2), 2)
    plain.optimize_for_inference()
    assert same(decode(plain, rows, [GREEDY] * 3, Speculative(2), 2), want)


@pytest.mark.parametrize("name", DRAFTS)
def test_int8_seeded_output_equals_output_without_drafts(
    name: str, make_model: Make, make_rows: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vocalmtp.engines.linears.MIN_WEIGHTS", 1)
    model = make_model(draft=DRAFTS[name])
    model.optimize_for_inference(Int8Linear)
    rows = make_rows(model, FRAMES, spoken=False)
    samplers = [WARM, GREEDY, WARM]
    want = decode(model, rows, samplers)
    assert same(decode(model, rows, samplers, Speculative(2, "seed"), 2), want)


def test_draft_sampler_records_its_distributions() -> None:
    layout = TokenLayout(streams=(Stream(name="a", size=6), Stream(name="b", size=6)))
    state = view_of(1, layout)
    sampler, logits = DraftSampler(layout, state), torch.randn(2, 1, 8)
    tokens = sampler.all(layout.stack_runs(list(logits)))
    assert len(sampler.probs) == 2
    for k, probs in enumerate(sampler.probs):
        torch.testing.assert_close(probs.sum(), torch.ones(()))
        assert probs[0, tokens[0, k]] > 0

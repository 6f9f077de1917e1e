"""Draft trees: output and cache equal those without drafts; tree files and calibration."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
import torch
from helpers.errors import raises_input_error
from transformers import AutoConfig, AutoModelForCausalLM

from vocalmtp.decoding.generate import Prompt, generate, prefill_prompts
from vocalmtp.decoding.options import Decoding
from vocalmtp.decoding.sampling import RowSamplers, Sampler
from vocalmtp.decoding.speculative import Speculative
from vocalmtp.decoding.strategies import DecodeStrategy, Grouped, StepBatch
from vocalmtp.decoding.tree import DraftTree, choose_paths
from vocalmtp.decoding.tree_calibration import measure_ranks
from vocalmtp.decoding.tree_speculative import CandidateRanker, TreeSpeculative, check_tree
from vocalmtp.engines.linears import Int8Linear, keep_linear
from vocalmtp.errors import ErrorCode
from vocalmtp.models.backbone import KVCache
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.prompts import Text
from vocalmtp.models.state import DecodeState
from vocalmtp.models.streams import Stream
from vocalmtp.models.text_lm import TextLM

Make = Callable[..., Any]
GREEDY = Sampler(greedy=True)
WARM = Sampler(temperature=0.9, top_k=8, top_p=0.95)
DRAFTS: dict[str, dict[str, Any]] = {
    "recursive": {"name": "recursive", "steps": 3, "heads": 2},
    "leap": {"name": "leap", "steps": 2, "stride": 2},
    "sequential": {"name": "sequential", "steps": 3, "heads": 2},
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"intermediate_size": 64, "num_key_value_heads": 1},
    "gpt2": {},
}
TREE = DraftTree(((0,), (1,), (2,), (0, 0), (0, 1), (1, 0), (0, 1, 0), (0, 0, 0), (0, 0, 2)))
PROMPTS = ([5], [5, 6], [9, 2, 4], [1, 8], [7, 7, 7, 7, 7])


def text_lm(family: str, draft: dict[str, Any]) -> TextLM:
    """A model of 20 tokens, 2 of them end tokens, so peaked that some drafts are right."""
    torch.manual_seed(1)
    sizes = {"vocab_size": 20, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": [3, 7]}
    config = AutoConfig.for_model(family, **sizes, **ids, **FAMILIES[family])
    backbone = AutoModelForCausalLM.from_config(config)
    for parameter in backbone.parameters():
        parameter.data *= 4 if parameter.dim() > 1 else 1
    return TextLM(backbone, draft).eval()


def make_prompts(samplers: list[Sampler], most: int = 14) -> list[Prompt]:
    pairs = enumerate(zip(PROMPTS, samplers, strict=True))
    return [Prompt([Text(ids)], own, seed, most) for seed, (ids, own) in pairs]


def decode(
    model: Any, prompts: list[Prompt], strategy: DecodeStrategy | None = None, batch_size: int = 1
) -> list[list[int]]:
    """Tokens of every prompt, including the end token."""
    rows: dict[int, list[int]] = {}
    for event in generate(model, prompts, batch_size, strategy):
        for row, tokens in zip(event.rows, event.tokens[:, 0].tolist(), strict=True):
            rows.setdefault(row, []).append(tokens)
    return [rows[number] for number in range(len(prompts))]


def random_tree(random: Random, nodes: int = 12, depth: int = 3, ranks: int = 4) -> DraftTree:
    paths: list[tuple[int, ...]] = []
    while len(paths) < nodes:
        stem = random.choice([(), *paths])
        path = (*stem, random.randrange(ranks))
        if len(path) <= depth and path not in paths:
            paths.append(path)
    random.shuffle(paths)
    return DraftTree(tuple(paths))


# -- output -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fast", [False, True], ids=["transformers", "fast"])
@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_text_equals_text_without_drafts(family: str, draft: str, fast: bool) -> None:
    """Greedy and sampled, alone and in batches whose rows accept different numbers and are refilled."""
    model = text_lm(family, DRAFTS[draft])
    if fast:
        model.optimize_for_inference()
    prompts = make_prompts([WARM, GREEDY, Sampler(temperature=0.6), GREEDY, WARM])
    want = decode(model, prompts)
    kept = []
    for batch_size in (1, 3):
        strategy = TreeSpeculative(TREE)
        assert decode(model, prompts, strategy, batch_size) == want
        kept.append(strategy.statistics.kept)
    assert kept[0] == kept[1]  # acceptance does not depend on the batch
    assert kept[0][0] > 3


@pytest.mark.parametrize("draft", DRAFTS)
def test_speech_equals_speech_without_drafts(draft: str, make_model: Make, make_rows: Make) -> None:
    """One token per step, with a text track, whose pointers follow the path."""
    model = make_model(draft=DRAFTS[draft], flat=True)
    rows = make_rows(model, (9, 5, 7), spoken=False)
    samplers = [WARM, GREEDY, Sampler(temperature=1.5)]
    pairs = enumerate(zip(rows, samplers, strict=True))
    prompts = [Prompt(row, own, seed, 24) for seed, (row, own) in pairs]
    strategy = TreeSpeculative(TREE)
    assert decode(model, prompts, strategy, 2) == decode(model, prompts, batch_size=3)
    assert sum(strategy.statistics.kept) > 5


@pytest.mark.parametrize("draft", DRAFTS)
def test_int8_text_equals_text_without_drafts(draft: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vocalmtp.engines.linears.MIN_WEIGHTS", 1)
    model = text_lm("llama", DRAFTS[draft])
    model.optimize_for_inference(Int8Linear)
    prompts = make_prompts([WARM] * 5, 40)
    assert decode(model, prompts, TreeSpeculative(TREE), 2) == decode(model, prompts)


@pytest.mark.parametrize("draft", DRAFTS)
def test_chain_tree_equals_speculative_chain(draft: str) -> None:
    """Equal drafts, so equal acceptance."""
    model = text_lm("llama", DRAFTS[draft])
    prompts = make_prompts([WARM, GREEDY, WARM, GREEDY, WARM])
    chain, tree = Speculative(3, "seed"), TreeSpeculative(DraftTree.chain(3))
    assert decode(model, prompts, chain, 2) == decode(model, prompts, tree, 2)
    ours, theirs = tree.statistics, chain.statistics
    assert (ours.kept, ours.reached, ours.steps) == (theirs.kept, theirs.reached, theirs.steps)
    assert ours.forwards == theirs.forwards and sum(ours.kept) > 0


@pytest.mark.parametrize("seed", range(6))
def test_random_trees_do_not_change_output(seed: int) -> None:
    random = Random(seed)
    model = text_lm(random.choice([*FAMILIES]), DRAFTS[random.choice([*DRAFTS])])
    prompts = make_prompts([WARM, GREEDY, WARM, GREEDY, WARM])
    want = decode(model, prompts)
    assert (
        decode(model, prompts, TreeSpeculative(random_tree(random)), random.choice([1, 2, 5]))
        == want
    )


def test_draft_vocabulary_does_not_change_output() -> None:
    model = text_lm("llama", DRAFTS["leap"])
    prompts = make_prompts([GREEDY] * 5)
    view = model.with_draft_vocabulary(torch.tensor([1, 2, 5, 9]))
    assert decode(view, prompts, TreeSpeculative(TREE), 2) == decode(model, prompts)


# -- cache -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@torch.inference_mode()
def test_cache_holds_only_the_accepted_path(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After every pass it equals that of next-token decoding, bit by bit with our own runner."""
    monkeypatch.setattr("vocalmtp.engines.linears.MIN_WEIGHTS", 1)
    model = text_lm(family, DRAFTS["recursive"])
    model.optimize_for_inference(Int8Linear if family == "llama" else keep_linear)
    prompts = make_prompts([WARM, GREEDY, WARM, GREEDY, WARM], 60)
    strategy, plain = TreeSpeculative(TREE), Grouped()
    state = prefill_prompts(model, prompts, strategy)
    alone = [prefill_prompts(model, [prompt], plain) for prompt in prompts]
    before = state.cache.lengths.clone()
    longest = 0
    for _ in range(5):
        emitted = strategy.emit(model, state)
        longest = max(longest, int(emitted.counts.max()))
        for b, own in enumerate(alone):
            for step in range(int(emitted.counts[b]) - 1):
                taken = emitted.tokens[b : b + 1, step : step + 1]
                plain.forward(model, own, StepBatch(taken, own.steps))
            length = int(own.cache.lengths)
            assert int(state.cache.lengths[b]) == length
            if family == "llama":
                ours, theirs = state.cache.key_values[:, b], own.cache.key_values[:, 0]
                assert torch.equal(ours[:, :length], theirs[:, :length])
            else:
                for ours, theirs in zip(
                    state.cache.past.layers, own.cache.past.layers, strict=True
                ):
                    kept = ours.keys[b, :, -length:]
                    torch.testing.assert_close(kept, theirs.keys[0], atol=1e-5, rtol=1e-5)
                assert int(state.cache.mask[b].sum()) == length
        assert torch.equal(state.steps, state.cache.lengths)
        strategy.forward(model, state, emitted)
        for b, own in enumerate(alone):
            last = emitted.tokens[b : b + 1, int(emitted.counts[b]) - 1 :][:, :1]
            plain.forward(model, own, StepBatch(last, own.steps))
    assert longest > 2 and bool((state.cache.lengths > before).all())


# -- the tree ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_tree_tables_agree_with_its_paths(seed: int) -> None:
    """Ancestors, levels and the longest accepted path, derived from the paths alone."""
    tree = random_tree(Random(seed), nodes=1 + seed, depth=4, ranks=3)
    paths = [(), *tree.paths]
    assert tree.paths == tuple(sorted(tree.paths))
    for node, path in enumerate(paths):
        sees = {other for other, own in enumerate(paths) if path[: len(own)] == own}
        assert set(tree.sees[node].nonzero()[:, 0].tolist()) == sees
        assert paths[tree.parents[node]] == path[:-1]
    made = []
    for level in tree.levels:
        for node, parent, rank in zip(level.nodes, level.parents, level.ranks, strict=True):
            asked_for = level.path[parent][-1]
            made.append((int(asked_for), paths[node]))
            assert paths[node][-1] == rank
    assert sorted(path for _, path in made) == list(tree.paths)
    one_to_one = {(number, path[:-1]) for number, path in made}
    assert len({number for number, _ in one_to_one}) == len({path for _, path in one_to_one})
    generator = torch.Generator().manual_seed(seed)
    right = torch.rand(5, len(paths), generator=generator) < 0.6
    over = torch.rand(5, len(paths), generator=generator) < 0.2
    found, counts = tree.longest_path(right, over)
    for row in range(5):
        walk: list[int] = [0]
        while not (len(walk) > 1 and over[row, walk[-1]]):
            next_ = [n for n, p in enumerate(tree.parents) if n and p == walk[-1] and right[row, n]]
            if not next_:
                break
            walk.append(next_[0])
        assert found[row, : 1 + counts[row]].tolist() == walk


def test_chosen_tree_has_the_highest_expectation() -> None:
    """Of all trees of so many nodes, by exhaustive search."""
    acceptance = torch.tensor([[0.5, 0.3, 0.1], [0.4, 0.35, 0.05]])
    tree, expected = choose_paths(acceptance, 4)

    def worth(paths: tuple[tuple[int, ...], ...]) -> float:
        parts = [[float(acceptance[d, r]) for d, r in enumerate(path)] for path in paths]
        return 1 + sum(torch.tensor(part).prod().item() for part in parts)

    every = [(a,) for a in range(3)] + [(a, b) for a in range(3) for b in range(3)]
    trees = [c for c in combinations(every, 4) if all(p[:-1] in c for p in c if len(p) > 1)]
    assert expected == pytest.approx(max(map(worth, trees)))
    assert expected == pytest.approx(worth(tree.paths))
    never = torch.tensor([[0.5, 0.0], [0.0, 0.0]])
    assert choose_paths(never, 8)[0].paths == ((0,),)
    with raises_input_error("unusable", key="draft tree"):
        choose_paths(torch.zeros(2, 2), 8)


def test_candidates_are_ranked_by_distance_to_the_noise() -> None:
    """The sample, then its neighbours in the cumulative distribution; if greedy, by probability."""
    layout = TokenLayout(streams=(Stream(name="a", size=10),))
    steps = torch.full((3,), 3)
    state = DecodeState.start(cast(KVCache, None), steps)
    state.samplers = RowSamplers(state.steps, [Sampler(), Sampler(), GREEDY])
    logits = torch.zeros(3, 12)
    logits[:, 10:] = -torch.inf  # neither end nor padding
    logits[2] = torch.arange(12.0).roll(5)
    sampler = CandidateRanker(layout, state, torch.tensor([[0.42], [0.98], [0.5]]), 4)
    tokens = sampler.all(layout.stack_runs([logits]))
    assert sampler.candidates.tolist() == [[4, 3, 5, 2], [9, 8, 7, 6], [4, 3, 2, 1]]
    assert tokens[:, 0].tolist() == [4, 9, 4]


@pytest.mark.parametrize("draft", DRAFTS)
@torch.inference_mode()
def test_measured_ranks_are_those_of_decoding(draft: str) -> None:
    """Every token has a rank; rank 0 is accepted as often as a chain begun at every step."""
    model = text_lm("llama", DRAFTS[draft])
    prompts = make_prompts([GREEDY, GREEDY, GREEDY, GREEDY, GREEDY], 10)
    shares = measure_ranks(model, prompts, 2, 99, batch_size=2)
    torch.testing.assert_close(shares.sum(1), torch.ones(2))
    seen = measure_ranks(model, make_prompts([WARM] * 5, 10), 2, 4, batch_size=3)
    assert torch.equal(seen, measure_ranks(model, make_prompts([WARM] * 5, 10), 2, 4, batch_size=1))
    kept = total = 0
    for prompt, steps in zip(prompts, decode(model, prompts), strict=True):
        ids = prompt.segments[0].ids
        for root in range(len(steps) - 1):
            own = replace(prompt, segments=[Text([*ids, *steps[:root]])])
            strategy = Speculative(1)
            state = prefill_prompts(model, [own], strategy)
            strategy.forward(model, state, strategy.emit(model, state))
            if not bool(state.draft.tried):  # too little was read to draft
                continue
            kept += int(strategy.emit(model, state).drafts.kept.sum())
            total += 1
    assert shares[0, 0].item() == pytest.approx(kept / total)


def test_statistics_count_nodes() -> None:
    strategy = TreeSpeculative(TREE)
    decode(text_lm("llama", DRAFTS["leap"]), make_prompts([GREEDY] * 5), strategy, 2)
    counted, found = strategy.statistics, strategy.statistics.summary()
    assert found["drafts_per_forward"] == 9 and len(found["acceptance"]) == 3
    assert found["wasted"] == pytest.approx(1 - sum(counted.kept) / (9 * counted.forwards))
    assert found["steps_per_forward"] == pytest.approx(1 + sum(counted.kept) / counted.forwards)


# -- files, and bad input ----------------------------------------------------------------------


def test_tree_file_round_trip(tmp_path: Path) -> None:
    file = tmp_path / "tree.json"
    TREE.save(file, torch.tensor([[0.5, 0.25]]), 1.75)
    assert DraftTree.load(file) == TREE
    file.with_suffix(".yaml").write_text("paths:\n- [0]\n- [0, 0]\n")
    assert DraftTree.load(file.with_suffix(".yaml")) == DraftTree.chain(2)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("paths: []", "out_of_range"),
        ("paths: [[]]", "out_of_range"),
        ("paths: [[-1]]", "out_of_range"),
        ("paths: [[0, 1]]", "missing"),
        ("paths: [[0], [0]]", "conflict"),
        ("paths: [0]", "invalid_value"),
        ("path: [[0]]", "unknown_name"),
        ("acceptance: [[1]]", "missing"),
        ("{paths: [[0]], format: 9}", "version_too_new"),
        ("paths: {", "invalid_value"),
    ],
)
def test_invalid_tree_file(text: str, code: ErrorCode, tmp_path: Path) -> None:
    file = tmp_path / "tree.yaml"
    file.write_text(text)
    with raises_input_error(code, names=str(file)):
        DraftTree.load(file)


def test_tree_that_the_model_does_not_support(make_model: Make) -> None:
    with raises_input_error("unsupported", key="draft tree"):  # several tokens per step
        check_tree(make_model(draft=DRAFTS["leap"]), TREE)
    with raises_input_error("missing", key="drafts"):
        check_tree(make_model(flat=True), TREE)
    model = text_lm("llama", DRAFTS["sequential"])
    with raises_input_error("out_of_range", key="drafts", names="4"):
        check_tree(model, DraftTree.chain(4))
    with raises_input_error("mismatch", key="draft tree", names="20"):
        check_tree(model, DraftTree(((20,),)))
    with raises_input_error("out_of_range", key="depth", names="3"):
        measure_ranks(model, make_prompts([GREEDY] * 5, 3), 3, 4)
    model.backbone.config.layer_types = ["full_attention", "sliding_attention"]
    with raises_input_error("unsupported", key="draft tree"):
        check_tree(model, TREE)


def test_decoding_options_with_a_tree() -> None:
    with raises_input_error("conflict", key="accept"):
        Decoding(tree=TREE)
    with raises_input_error("conflict", key="drafts", names="2"):
        Decoding(tree=TREE, drafts=2, accept="seed")
    with raises_input_error("invalid_value", key="tree"):
        Decoding(tree="tree.json", accept="seed")
    assert Decoding(tree=TREE, accept="seed").drafts == 3

"""Passes of fixed shape: the tokens of the plain loop, for every head and strategy, and one read."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from helpers.recorded_graph import RecordingCapture
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vocalmtp import arrays
from vocalmtp.decoding.acceptance import code_points
from vocalmtp.decoding.draft_state import DraftOnly
from vocalmtp.decoding.generate import Prompt, RunningBatch, generate, prefill_prompts
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.speculative import Speculative
from vocalmtp.decoding.state_tensors import map_tensors
from vocalmtp.decoding.static import (
    StaticBatch,
    StaticStepper,
    position_bucket,
    row_bucket,
)
from vocalmtp.decoding.stepper import PassOutput
from vocalmtp.decoding.strategies import DecodeStrategy, Grouped
from vocalmtp.decoding.tree import DraftTree
from vocalmtp.decoding.tree_speculative import TreeSpeculative, tree_mask
from vocalmtp.engines.cuda import store_in_bf16
from vocalmtp.engines.graphs import Programs
from vocalmtp.models.speech_lm import SpeechLM

Make = Callable[..., Any]
GREEDY, WARM = Sampler(greedy=True), Sampler(temperature=1.5, top_k=5, top_p=0.95)
PENALIZED = Sampler(temperature=0.7, repetition_penalty=1.4)
RECURSIVE = {"name": "recursive", "steps": 3, "heads": 2}
TREE = DraftTree(((0,), (1,), (0, 0), (0, 1)))
COINS = [{"name": "a", "size": 2, "levels": (2,)}, {"name": "b", "size": 2}]  # often drafted well
DRAFTING = {"streams": COINS, "frames_per_step": 1, "text": "prompt"}
MODELS: dict[str, dict[str, Any]] = {
    "track": {"draft": RECURSIVE},
    "gpt2": DRAFTING | {"backbone": "gpt2", "draft": {"name": "leap", "steps": 2, "stride": 2}},
    "linear": DRAFTING
    | {
        "head": {"name": "parallel", "kind": "linear"},
        "draft": {"name": "sequential", "steps": 3, "heads": 2},
    },
    "transformer": {"head": {"name": "parallel", "kind": "transformer", "heads": 2}},
    "depth": DRAFTING
    | {
        "head": {"name": "depth", "width": 32, "layers": 1, "heads": 2},
        "speaker_every_step": True,
        "draft": RECURSIVE,
    },
    "flat": DRAFTING | {"flat": True, "backbone": "qwen2", "draft": RECURSIVE},
}
STRATEGIES: dict[str, Callable[[], DecodeStrategy]] = {
    "grouped": Grouped,
    "rejection": lambda: Speculative(3),
    "joint": lambda: Speculative(2, "joint"),
    "seed": lambda: Speculative(3, "seed"),
    "typical": lambda: Speculative(3, "typical"),
    "near": lambda: Speculative(3, "near"),
    "all": lambda: DraftOnly(2),
    "tree": lambda: TreeSpeculative(TREE),
}
CASES = [
    (model, strategy)
    for model, settings in MODELS.items()
    for strategy in STRATEGIES
    if (strategy == "grouped" or "draft" in settings) and (strategy != "tree" or model == "flat")
]
RECORDED = {  # whose passes are recorded and replayed, which takes longer
    ("track", "grouped"),
    ("track", "rejection"),
    ("flat", "seed"),
    ("flat", "all"),
    ("flat", "tree"),
}


def decode(
    model: SpeechLM, rows: list, samplers: list[Sampler], strategy: DecodeStrategy, batch_size: int
) -> dict[int, Tensor]:
    pairs = enumerate(zip(rows, samplers, strict=True))
    prompts = [Prompt(row, own, b, 6 + 2 * b) for b, (row, own) in pairs]
    steps: dict[int, list[Tensor]] = {}
    for event in generate(model, prompts, batch_size, strategy):
        for row, tokens in zip(event.rows, event.tokens, strict=True):
            steps.setdefault(row, []).append(tokens)
    return {row: torch.stack(own) for row, own in steps.items()}


@pytest.mark.parametrize(("name", "strategy"), CASES)
def test_tokens_equal_those_of_the_plain_loop(
    name: str, strategy: str, make_model: Make, make_rows: Make
) -> None:
    """Rows of several samplers that end, leave and are refilled."""
    model, make = make_model(**MODELS[name]), STRATEGIES[strategy]
    rows = make_rows(model, (9, 5, 12, 7), spoken=False)
    samplers = [WARM, GREEDY, WARM, GREEDY if strategy == "tree" else PENALIZED]
    plain, static = make(), make()
    want = decode(model, rows, samplers, plain, 3)
    capture = RecordingCapture()
    programs = Programs(capture) if (name, strategy) in RECORDED else Programs()
    model.use_programs(programs)
    made = decode(model, rows, samplers, static, 3)
    for row, steps in want.items():
        assert torch.equal(made[row], steps), row
    assert static.statistics.kept == plain.statistics.kept
    assert static.statistics.forwards == plain.statistics.forwards
    if name == "flat" and plain.statistics.kept:
        assert plain.statistics.kept[0] > 0  # otherwise nothing was tested
    assert bool(capture.recordings) == ((name, strategy) in RECORDED)


def test_rows_grow_join_and_leave(make_model: Make, make_rows: Make) -> None:
    """Between any two passes, and over the room that there was at first."""
    model = make_model(draft=RECURSIVE)
    rows = make_rows(model, (9, 5, 12, 3, 7, 8), spoken=False)
    limits = (20, 5, 150, 6, 3, 12)
    prompts = {
        b: Prompt(row, WARM, b, limit)
        for b, (row, limit) in enumerate(zip(rows, limits, strict=True))
    }
    alone = {}
    for b, prompt in prompts.items():
        alone[b] = torch.cat([event.tokens for event in generate(model, [prompt])])
    model.use_programs(Programs())
    batch, made = RunningBatch(model), {b: [] for b in prompts}
    arrivals = {0: [0], 2: [1, 2], 3: [3], 6: [4, 5]}
    removed = {5: 2}  # the longest
    for turn in range(40):
        batch.add({b: prompts[b] for b in arrivals.get(turn, ())})
        if not batch.rows:
            break
        if turn in removed:
            batch.remove([removed[turn]])
        for event in batch.step():
            for row, tokens in zip(event.rows, event.tokens, strict=True):
                made[row].append(tokens)
    for b, steps in made.items():
        steps = torch.stack(steps)
        assert torch.equal(steps, alone[b][: len(steps)])
        assert len(steps) == len(alone[b]) or b in removed.values()


def test_steps_launched_ahead_have_late_rows_wait(
    make_model: Make, make_rows: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU, the next pass runs while the host uses the output: rows that join wait for it."""
    model = make_model()
    rows = make_rows(model, (9, 5, 12), spoken=False)
    prompts = {b: Prompt(row, WARM, b, 9) for b, row in enumerate(rows)}
    alone = {b: torch.cat([e.tokens for e in generate(model, [p])]) for b, p in prompts.items()}
    model.use_programs(Programs(RecordingCapture()))
    monkeypatch.setattr("vocalmtp.decoding.static.runs_ahead", lambda model: True)
    batch, made = RunningBatch(model), {b: [] for b in prompts}
    for turn in range(40):
        batch.add({b: p for b, p in prompts.items() if b == turn})
        if turn == 5:
            batch.remove([1])
        for event in batch.step():
            for row, tokens in zip(event.rows, event.tokens, strict=True):
                made[row].append(tokens)
    assert not batch.rows
    for b, steps in made.items():
        assert torch.equal(torch.stack(steps), alone[b][: len(steps)])
        assert len(steps) == len(alone[b]) or b == 1


# -- reads ---------------------------------------------------------------------------------------

READS = (
    *("item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__"),
    *("nonzero", "unique", "equal", "masked_select"),
)


class ReadCounter(TorchFunctionMode):
    """Notes every call for which the host would have to wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in READS:
            self.found.append(name)
        if name in ("__getitem__", "__setitem__") and has_mask(args[1]):
            self.found.append("mask")
        if name == "to" and ("cpu" in args[1:]):
            self.found.append("to cpu")
        if func in (torch.tensor, torch.as_tensor):
            self.found.append("tensor")
        return func(*args, **(kwargs or {}))


def has_mask(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(x, list) or getattr(x, "dtype", None) == torch.bool for x in parts)


@pytest.fixture
def clean_constants() -> Iterator[None]:
    """Forget tensors without values."""
    yield
    for cached in (arrays._constant_tensor, code_points, tree_mask):
        cached.cache_clear()


@pytest.mark.parametrize(("name", "strategy"), CASES)
@torch.inference_mode()
def test_a_pass_has_no_read_and_stays_on_its_device(
    name: str, strategy: str, make_model: Make, make_rows: Make, clean_constants: None
) -> None:
    """Also in bfloat16, and with tensors without values, which refuse others from the CPU."""
    made = STRATEGIES[strategy]()
    if not made.has_fixed_shape:
        pytest.skip("samples as often as it takes")
    model = make_model(**MODELS[name])
    store_in_bf16(model)
    model.use_programs(Programs())
    rows = make_rows(model, (9, 5), spoken=False)
    other = GREEDY if strategy == "tree" else PENALIZED
    prompts = [Prompt(rows[0], WARM, 0, 9), Prompt(rows[1], other, 1, 9)]
    fresh = prefill_prompts(model, prompts, made)
    batch = StaticBatch(model, made, model.programs, fresh)
    batch.add(fresh)
    batch.launch()
    with ReadCounter() as counter:
        for _ in range(3):
            batch.launch()
    assert counter.found == []
    with ReadCounter() as counter:
        batch.launch().output.tolist()
    assert counter.found == ["tolist"]  # the counter counts
    nn.Module.to(model, "meta")
    state = map_tensors(
        fresh,
        lambda _, x: torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="meta"),
    )
    for _ in range(2):
        emitted = made.emit(model, state)
        output = PassOutput.of(emitted, model.layout, state)
        made.forward(model, state, emitted)
    assert output.pack().device.type == "meta"
    with pytest.raises(RuntimeError, match="meta"):  # the check checks
        output.pack().sum().item()


def test_bf16_keeps_rotary_frequencies(make_model: Make) -> None:
    model = make_model()
    before = model.backbone.model.rotary_emb.inv_freq.clone()
    store_in_bf16(model)
    assert torch.equal(model.backbone.model.rotary_emb.inv_freq, before)
    assert model.backbone.model.layers[0].mlp.up_proj.weight.dtype == torch.bfloat16


@torch.inference_mode()
def test_the_loop_reads_once_per_pass(make_model: Make, make_rows: Make) -> None:
    """Where no row joins or leaves: one copy of the output to the CPU."""
    model, strategy = make_model(draft=RECURSIVE), Speculative(2)
    model.use_programs(Programs())
    prompts = [Prompt(row, WARM, 0, 40) for row in make_rows(model, (9, 5), spoken=False)]
    stepper = StaticStepper(model, strategy, model.programs)
    stepper.add(prefill_prompts(model, prompts, strategy))
    stepper.next()
    copies: list[Any] = []
    device_output = stepper.batch.launch().output
    with ReadCounter() as counter:
        stepper.next()
    copies = [name for name in counter.found if name == "to cpu"]
    assert len(copies) == 1 and device_output is not None


# -- shapes --------------------------------------------------------------------------------------


def test_buckets() -> None:
    assert [row_bucket(n) for n in (1, 2, 3, 16, 17, 64, 65, 200)] == [
        1,
        2,
        4,
        16,
        32,
        64,
        128,
        256,
    ]
    assert [position_bucket(n) for n in (1, 128, 129, 1000)] == [128, 128, 256, 1024]


def test_programs_are_used_again(make_model: Make, make_rows: Make) -> None:
    """By the next generation, and after one that was given up."""
    model, capture = make_model(), RecordingCapture()
    model.use_programs(Programs(capture))
    (row,) = make_rows(model, (9,), spoken=False)
    prompt = Prompt(row, GREEDY, 0, 8)
    whole = [event.tokens for event in generate(model, [prompt])]
    assert capture.recordings == 1
    given_up = generate(model, [prompt])
    next(given_up)
    del given_up
    again = [event.tokens for event in generate(model, [prompt])]
    assert capture.recordings == 1
    assert torch.equal(torch.cat(whole), torch.cat(again))
    both = [generate(model, [prompt]) for _ in range(2)]  # at once: each has its own
    for first, second in zip(*both, strict=True):
        assert torch.equal(first.tokens, second.tokens)
    assert capture.recordings == 2


@torch.inference_mode()
def test_a_recorded_pass_has_the_same_operators_later(make_model: Make, make_rows: Make) -> None:
    """What a CUDA graph needs: the operators do not depend on how far the rows are."""
    model, captures = make_model(draft=RECURSIVE), []
    for steps in (0, 7):
        capture = RecordingCapture()
        model.use_programs(Programs(capture))
        batch = RunningBatch(model, Speculative(2))
        batch.add({0: Prompt(make_rows(model, (9,), spoken=False)[0], WARM, 0, 60)})
        for _ in range(steps):
            list(batch.step())
        batch._stepper.batch and batch._stepper.batch.compiled.clear()
        list(batch.step())
        captures.append(capture.operators)
    assert captures[0] == captures[1]

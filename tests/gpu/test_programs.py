"""Programs on a GPU: CUDA graphs and compiled backbones beside the same passes on the CPU.

The other tests for a GPU stand beside those of the same part for the CPU (`pytest -m gpu`).
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.toy_model import save_toy_model
from torch import Tensor

import vocalmtp
from vocalmtp.decoding.draft_state import DraftOnly
from vocalmtp.decoding.generate import Prompt, generate, prefill_prompts
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.speculative import Speculative
from vocalmtp.decoding.static import StaticBatch
from vocalmtp.decoding.strategies import DecodeStrategy, Grouped
from vocalmtp.engines.cuda import store_in_bf16
from vocalmtp.engines.graphs import MODES, Programs
from vocalmtp.models.speech_lm import SpeechLM

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]
Make = Callable[..., Any]
GREEDY, WARM = Sampler(greedy=True), Sampler(temperature=1.5, top_k=5, top_p=0.95)
STRATEGIES: dict[str, Callable[[], DecodeStrategy]] = {
    "grouped": Grouped,
    "rejection": lambda: Speculative(2),
    "seed": lambda: Speculative(2, "seed"),
    "all": lambda: DraftOnly(2),
}


@pytest.fixture(autouse=True)
def exact_products() -> Iterator[None]:
    """Products in full float32, which are near those of a CPU."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


@pytest.fixture(params=["llama", "gpt2"])
def model(request: pytest.FixtureRequest, make_model: Make) -> SpeechLM:
    return make_model(backbone=request.param, draft={"name": "recursive", "heads": 2})


def decode(model: SpeechLM, rows: list, strategy: DecodeStrategy) -> dict[int, Tensor]:
    samplers = (WARM, GREEDY, WARM, GREEDY, Sampler(temperature=0.7))
    pairs = enumerate(zip(rows, samplers, strict=True))
    prompts = [Prompt(row, own, b, 12 + 3 * b) for b, (row, own) in pairs]
    steps: dict[int, list[Tensor]] = {}
    for event in generate(model, prompts, 3, strategy):
        for row, tokens in zip(event.rows, event.tokens, strict=True):
            steps.setdefault(row, []).append(tokens)
    return {row: torch.stack(own) for row, own in steps.items()}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("mode", MODES)
def test_tokens_equal_those_of_the_cpu(
    model: SpeechLM, mode: str, strategy: str, make_rows: Make
) -> None:
    """Rows of several samplers that end, leave and are refilled, while the next pass runs."""
    rows = make_rows(model, (9, 5, 12, 3, 7), spoken=False)
    want = decode(model, rows, STRATEGIES[strategy]())
    model.to("cuda").use_programs(Programs.of(mode))
    for _ in range(2):  # the second time, by programs that are there
        made = decode(model, rows, STRATEGIES[strategy]())
        for row, steps in want.items():
            assert steps.device.type == made[row].device.type == "cpu"
            assert torch.equal(made[row], steps), row


@pytest.mark.parametrize("strategy", STRATEGIES)
@torch.inference_mode()
def test_a_pass_does_not_wait_for_the_device(
    model: SpeechLM, strategy: str, make_rows: Make
) -> None:
    model.to("cuda")
    store_in_bf16(model)
    model.use_programs(Programs())
    made = STRATEGIES[strategy]()
    prompts = [Prompt(row, WARM, 0, 9) for row in make_rows(model, (9, 5), spoken=False)]
    fresh = prefill_prompts(model, prompts, made)
    batch = StaticBatch(model, made, model.programs, fresh)
    batch.add(fresh)
    batch.launch()
    torch.cuda.set_sync_debug_mode("error")
    try:
        program = batch.launch()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert program.output.cpu().any()


def test_engine_speaks_as_the_plain_one(tmp_path: Path) -> None:
    """In float32; in bfloat16, other tokens are chosen, and the codec has a stream of its own."""
    folder = save_toy_model(tmp_path / "toy")
    plain = vocalmtp.load(folder, device="cuda", engine="eager")
    static = vocalmtp.load(folder, device="cuda", engine="static")
    graphs = vocalmtp.load(folder, device="cuda", engine="cuda")
    texts = ["Not two.", "Yes.", "A rather long sentence."]
    for ours, theirs in zip(static.batch(texts), plain.batch(texts), strict=True):
        assert np.abs(ours.samples - theirs.samples).max() <= 1e-2
    for text, whole in zip(texts, graphs.batch(texts), strict=True):
        streamed = np.concatenate([chunk.samples for chunk in graphs.stream(text)])
        assert len(whole.samples) and np.isfinite(whole.samples).all()
        assert np.isfinite(streamed).all() and len(streamed)

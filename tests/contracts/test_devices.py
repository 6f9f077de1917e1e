"""Contracts of models on other devices and in other dtypes.

The meta device refuses operations with tensors that were left on the CPU.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.toy_model import BACKBONE

from vocalmtp.decoding.generate import Prompt, collect_utterances, generate
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.speculative import Speculative
from vocalmtp.heads import DRAFTS, HEADS, DraftHead, SpeechHead, build_draft, build_head
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.models.state import DecodeState
from vocalmtp.models.streams import Stream

Make = Callable[..., Any]
CASES: dict[str, dict[str, Any]] = {
    "track": {"speaker_every_step": True},
    "prompt": {"text": "prompt", "backbone": "qwen2"},
    "flat": {"flat": True, "backbone": "gpt2"},
    "elastic": {"frames_per_step": [1, 2], "head": {"name": "depth", "width": 16, "heads": 2}},
    "drafts": {"draft": {"name": "recursive", "heads": 2}, "objectives": {"top": {}}},
}
LAYOUT = TokenLayout(
    streams=(
        Stream(name="advance", size=3, joint=True),
        Stream(name="a", size=8, levels=(2, 4)),
        Stream(name="b", size=5),
    ),
    frames_per_step=2,
)
WIDTH = 16
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


@pytest.fixture(params=CASES)
def model(request: pytest.FixtureRequest, make_model: Make) -> SpeechLM:
    return make_model(**CASES[request.param])


@pytest.fixture(params=HEADS)
def head(request: pytest.FixtureRequest) -> SpeechHead:
    settings = {"decoder": BACKBONE} if request.param.endswith("_decoder") else {}
    return build_head({"name": request.param} | settings, LAYOUT, WIDTH, {})


@pytest.fixture(params=DRAFTS)
def draft(request: pytest.FixtureRequest) -> DraftHead:
    own = lambda: build_head({"name": "parallel"}, LAYOUT, WIDTH, {})  # noqa: E731
    settings = {} if request.param == "leap" else {"heads": 2}
    return build_draft({"name": request.param} | settings, WIDTH, own)


def test_batch_embedding_on_meta(model: SpeechLM, make_rows: Make) -> None:
    batch = model.collator()(make_rows(model)).to("meta")
    inputs = model.to("meta").embed(batch).inputs
    assert inputs.device.type == "meta" and inputs.shape[:2] == batch.kinds.shape


def test_step_embedding_on_meta(model: SpeechLM) -> None:
    model.to("meta")
    steps = torch.zeros(2, dtype=torch.long, device="meta")
    state = DecodeState.start(None, steps)
    if model.track is not None:
        text = torch.zeros(2, 4, model.width, device="meta")
        state.start_text(text, torch.full_like(steps, 4), tracked=True)
    tokens = torch.zeros(2, model.layout.tokens_per_step, dtype=torch.long, device="meta")
    assert model.embed_step(state, tokens).device.type == "meta"


def test_head_logits_on_meta(head: SpeechHead) -> None:
    head.to("meta")
    targets = torch.zeros(2, 3, LAYOUT.tokens_per_step, dtype=torch.long, device="meta")
    logits = head.logits(torch.zeros(2, 3, WIDTH, device="meta"), targets)
    assert all(part.device.type == "meta" for part in logits)


def test_draft_states_on_meta(draft: DraftHead) -> None:
    draft.to("meta")
    hidden, inputs = torch.zeros(2, 2, 9, WIDTH, device="meta")
    states = draft.states(hidden, inputs, len(draft.offsets))
    assert all(state.device.type == "meta" for state in states)
    assert draft.start(2, hidden).vectors.device.type == "meta"


def test_bf16_losses_are_finite(model: SpeechLM, make_rows: Make) -> None:
    model.to(torch.bfloat16).train()
    output = model(model.collator()(make_rows(model)))
    output.loss.backward()
    assert torch.isfinite(output.loss)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.gpu
@needs_cuda
def test_losses_on_cuda_equal_those_on_cpu(model: SpeechLM, make_rows: Make) -> None:
    batch = model.collator()(make_rows(model))
    want = model(batch).loss
    output = model.to("cuda")(batch.to("cuda"))
    output.loss.backward()
    torch.testing.assert_close(output.loss.cpu(), want, atol=1e-4, rtol=1e-4)


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("drafts", [0, 2])
def test_greedy_tokens_on_cuda_equal_those_on_cpu(
    model: SpeechLM, make_rows: Make, drafts: int
) -> None:
    if drafts and model.draft is None:
        pytest.skip("no draft head")
    prompts = [
        Prompt(row, Sampler(greedy=True)) for row in make_rows(model, (9, 4, 6), spoken=False)
    ]

    def speech() -> dict[int, Any]:
        strategy = Speculative(drafts) if drafts else None
        events = generate(model, prompts, batch_size=2, strategy=strategy)
        return dict(collect_utterances(events, model.layout))

    want = speech()
    model.to("cuda")
    for row, made in speech().items():
        assert torch.equal(made.codes.cpu(), want[row].codes)


@pytest.mark.gpu
@needs_cuda
def test_bf16_losses_on_cuda_are_finite(model: SpeechLM, make_rows: Make) -> None:
    batch = model.collator()(make_rows(model)).to("cuda")
    with torch.autocast("cuda", torch.bfloat16):
        loss = model.to("cuda").train()(batch).loss
    loss.backward()
    assert torch.isfinite(loss)

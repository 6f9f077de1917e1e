"""Elastic models: every step size is a model like any other, and they share weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.errors import raises_input_error

from vocalmtp.decoding.generate import Prompt, StepUnpacker, generate, unpack
from vocalmtp.decoding.options import Decoding
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.speculative import Speculative
from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.models.speech_lm import SpeechLM

Make = Callable[..., Any]
STEP_SIZES = [1, 2, 3]
HEADS: dict[str, dict[str, Any]] = {
    "linear": {"name": "parallel", "kind": "linear"},
    "mlp": {"name": "parallel", "kind": "mlp"},
    "transformer": {"name": "parallel", "kind": "transformer", "heads": 2},
    "depth": {"name": "depth", "width": 32, "layers": 1, "heads": 2},
}
SAMPLER = Sampler(temperature=1.0, top_k=6)


@pytest.fixture(params=HEADS)
def model(request: pytest.FixtureRequest, make_model: Make) -> SpeechLM:
    return make_model(head=HEADS[request.param], frames_per_step=STEP_SIZES)


def separate_parameters(model: SpeechLM) -> set[str]:
    """Parameters that only smaller step sizes have."""
    return {name for name, _ in model.named_parameters() if name.startswith("smaller_steps.")}


@pytest.mark.parametrize("settings", [{}, {"text": "prompt"}, {"objectives": {"top": {}}}])
def test_one_step_size_equals_plain_model(
    settings: dict, make_model: Make, make_rows: Make, collate: Make, speak: Make
) -> None:
    torch.manual_seed(3)
    plain = make_model(frames_per_step=2, **settings)
    torch.manual_seed(3)
    one = make_model(frames_per_step=[2], **settings)
    assert plain.state_dict().keys() == one.state_dict().keys()
    for name, weight in plain.state_dict().items():
        assert torch.equal(weight, one.state_dict()[name]), name
    rows = make_rows(plain, (7, 4))
    assert torch.equal(plain(collate(plain, rows)).loss, one(collate(one, rows)).loss)
    prompts = make_rows(plain, (7, 4), spoken=False)
    made = [speak(m, prompts, SAMPLER, [1, 2]) for m in (plain, one.at_step_size(2))]
    for a, b in zip(*made, strict=True):
        assert torch.equal(a.codes, b.codes)


def test_only_joint_symbols_and_slot_positions_are_separate(
    model: SpeechLM, make_model: Make
) -> None:
    alone = {"smaller_steps.1.head.place", "smaller_steps.2.head.place"}
    alone |= {f"smaller_steps.{g}.head.maps.queries" for g in (1, 2)}
    for name in separate_parameters(model) - alone:
        assert model.get_parameter(name).shape[0] in (6 + 2, 36 + 2), name
    plain = make_model(head=model.config.head, frames_per_step=3)
    names = set(dict(plain.named_parameters()))
    assert set(dict(model.named_parameters())) - separate_parameters(model) == names | {
        "step_size_embedding.weight"
    }


def test_gradient_reaches_what_a_step_size_uses(
    model: SpeechLM, make_rows: Make, collate: Make
) -> None:
    for frames in STEP_SIZES:
        model.zero_grad()
        own = model.at_step_size(frames)
        model(collate(own, make_rows(model))).loss.backward()
        for part in (own.head, own.embedding):
            for name, parameter in part.named_parameters():
                beyond = name.startswith("table") or parameter.grad.any()
                assert parameter.grad is not None and beyond, (frames, name)
        assert model.step_size_embedding.weight.grad.any(1).tolist() == [
            g == frames for g in STEP_SIZES
        ]
        later = [order.weight.grad for order in model.embedding.frame_proj[frames - 1 :]]
        assert all(grad is None for grad in later)  # of frames that a step does not have
        others = [g for g in STEP_SIZES[:-1] if g != frames]
        assert all(
            model.get_parameter(name).grad is None
            for name in separate_parameters(model)
            if any(name.startswith(f"smaller_steps.{g}.") for g in others)
        )


@pytest.mark.parametrize("frames", STEP_SIZES)
@torch.no_grad()
def test_cached_steps_equal_full_forward(
    model: SpeechLM, frames: int, make_rows: Make, collate: Make
) -> None:
    own = model.at_step_size(frames)
    batch = collate(own, make_rows(model, (7,)))
    full = own.hidden_states(batch)
    _, hidden, state = own.prefill(collate(own, make_rows(model, (7,), spoken=False), left=True))
    prefix = int(state.cache.lengths)
    torch.testing.assert_close(hidden[:, -1], full[:, prefix - 1], atol=1e-5, rtol=1e-5)
    for place in range(prefix, full.shape[1]):
        hidden = own.step(state, batch.steps[:, place])
        torch.testing.assert_close(hidden, full[:, place], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("optimized", [False, True])
def test_saved_model_gives_same_speech_at_every_step_size(
    model: SpeechLM, make_rows: Make, speak: Make, tmp_path: Path, optimized: bool
) -> None:
    prompts = make_rows(model, (7, 4), spoken=False)
    want = {
        g: speak(model.at_step_size(g), prompts, Sampler(greedy=True), [0, 0]) for g in STEP_SIZES
    }
    model.save_pretrained(tmp_path)
    again = SpeechLM.load(tmp_path).eval()
    assert separate_parameters(again) == separate_parameters(model)
    assert again.smaller_steps["1"]["embedding"].table is again.embedding.table
    if optimized:
        again.optimize_for_inference()
    for frames, made in want.items():
        speech = speak(again.at_step_size(frames), prompts, Sampler(greedy=True), [0, 0])
        for one, other in zip(made, speech, strict=True):
            assert torch.equal(one.codes, other.codes)


@pytest.mark.parametrize("frames", STEP_SIZES)
def test_single_streamed_and_batched_decoding_agree(
    model: SpeechLM, frames: int, make_rows: Make, speak: Make
) -> None:
    own, rows, seeds = (
        model.at_step_size(frames),
        make_rows(model, (9, 3, 6), spoken=False),
        [3, 4, 5],
    )
    together = speak(own, rows, SAMPLER, seeds, 2)
    for row, seed, made in zip(rows, seeds, together, strict=True):
        (alone,) = speak(own, [row], SAMPLER, [seed])
        assert torch.equal(alone.codes, made.codes)
        steps = [event.tokens[0] for event in generate(own, [Prompt(row, SAMPLER, seed)])]
        unpacker = StepUnpacker(own.layout)
        streamed = torch.cat([*map(unpacker.push, steps), unpacker.flush()], 1)
        assert torch.equal(streamed[1:], unpack(torch.stack(steps), own.layout).codes)


@pytest.mark.parametrize("head", HEADS)
def test_overfitted_model_speaks_at_every_step_size(
    head: str, make_model: Make, make_rows: Make, collate: Make, speak: Make
) -> None:
    """Trained with each in turn, it generates the training data with any of them."""
    model = make_model(head=HEADS[head], frames_per_step=STEP_SIZES)
    rows = make_rows(model, (9, 6))
    batches = [collate(model.at_step_size(frames), rows) for frames in STEP_SIZES]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.5e-2, weight_decay=0.0)
    model.train()
    for step in range(75):
        for group in optimizer.param_groups:
            group["lr"] = 1.5e-2 * (1 - step / 75)
        optimizer.zero_grad()
        model(batches[step % 3]).loss.backward()
        optimizer.step()
    model.eval()
    prompts = make_rows(model, (9, 6), spoken=False)
    for frames in STEP_SIZES:
        speech = speak(model.at_step_size(frames), prompts, Sampler(greedy=True), [0, 0])
        for row, made in zip(rows, speech, strict=True):
            assert not made.truncated
            assert torch.equal(made.codes, row[-1].codes[1:]), frames


def test_objectives_are_dropped_at_every_step_size(make_model: Make, tmp_path: Path) -> None:
    model = make_model(frames_per_step=[1, 2], objectives={"top": {}})
    model.save_pretrained(tmp_path / "whole")
    assert "top" in SpeechLM.load(tmp_path / "whole").at_step_size(1).objectives
    model.drop_objectives()
    model.save_pretrained(tmp_path / "exported")
    assert not SpeechLM.load(tmp_path / "exported").at_step_size(1).objectives


def test_drafts_work_at_every_step_size(make_model: Make, make_rows: Make) -> None:
    model = make_model(frames_per_step=STEP_SIZES, draft={"name": "recursive", "heads": 2})
    (row,) = make_rows(model, (9,), spoken=False)
    for frames in STEP_SIZES:
        own, prompt = model.at_step_size(frames), Prompt(row, Sampler(greedy=True), 0, 12)
        plain, drafted = (
            torch.cat([e.tokens for e in generate(own, [prompt], 1, strategy)])
            for strategy in (None, Speculative(2, "joint"))
        )
        assert torch.equal(plain, drafted)


def test_draft_with_own_heads_needs_one_step_size(make_model: Make) -> None:
    with raises_input_error("conflict", "draft.own_heads"):
        make_model(frames_per_step=STEP_SIZES, draft={"name": "leap", "steps": 2})


def test_untrained_step_size_is_refused(make_model: Make) -> None:
    model = make_model(frames_per_step=[1, 3])
    assert Decoding(tokens_per_step=2).model(model).layout.frames_per_step == 1
    assert Decoding(tokens_per_step=6).model(model) is model
    with raises_input_error("unsupported", "tokens_per_step", "2 or 6"):
        Decoding(tokens_per_step=4).model(model)
    with raises_input_error("unsupported", "frames_per_step", "1 or 3"):
        model.at_step_size(2)
    flat = make_model(flat=True)
    assert Decoding(tokens_per_step=1).model(flat) is flat


@pytest.mark.parametrize("frames", [[], [1, 1], [0, 2], ["2"], [1, 99]])
def test_invalid_step_sizes_are_refused(frames: list) -> None:
    config = SpeechLMConfig(streams=[{"name": "a", "size": 4}], frames_per_step=frames)
    with raises_input_error("out_of_range", "frames_per_step"):
        _ = config.layouts


def test_flat_layout_has_one_step_size() -> None:
    streams = [{"name": "a", "size": 4}]
    config = SpeechLMConfig(streams=streams, frames_per_step=[1, 2], flat=True)
    with raises_input_error("out_of_range", "frames_per_step"):
        _ = config.layouts

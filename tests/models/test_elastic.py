"""One model, steps of several lengths: each is a model like any other, and they share weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from vocalmtp.decoding.generate import Prompt, StepUnpacker, generate, unpack
from vocalmtp.decoding.options import Decoding
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.speculative import Speculative
from vocalmtp.errors import InputError
from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.models.speech_lm import SpeechLM

Make = Callable[..., Any]
GROUPINGS = [1, 2, 3]
HEADS: dict[str, dict[str, Any]] = {
    "linear": {"name": "parallel", "kind": "linear"},
    "mlp": {"name": "parallel", "kind": "mlp"},
    "transformer": {"name": "parallel", "kind": "transformer", "heads": 2},
    "depth": {"name": "depth", "width": 32, "layers": 1, "heads": 2},
}
SAMPLER = Sampler(temperature=1.0, top_k=6)


@pytest.fixture(params=HEADS)
def model(request: pytest.FixtureRequest, make_model: Make) -> SpeechLM:
    return make_model(head=HEADS[request.param], frames_per_step=GROUPINGS)


def own_keys(model: SpeechLM) -> set[str]:
    """Parameters that the groupings of fewer frames have alone."""
    return {name for name, _ in model.named_parameters() if name.startswith("smaller_steps.")}


@pytest.mark.parametrize("settings", [{}, {"text": "prompt"}, {"objectives": {"top": {}}}])
def test_one_grouping_is_the_plain_model(
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


def test_what_is_shared_and_what_is_not(model: SpeechLM, make_model: Make) -> None:
    """Few weights are a grouping's own: its joint symbols, and the places of its slots."""
    alone = {"smaller_steps.1.head.place", "smaller_steps.2.head.place"}
    alone |= {f"smaller_steps.{g}.head.maps.queries" for g in (1, 2)}
    for name in own_keys(model) - alone:
        assert model.get_parameter(name).shape[0] in (6 + 2, 36 + 2), name
    plain = make_model(head=model.config.head, frames_per_step=3)
    names = set(dict(plain.named_parameters()))
    assert set(dict(model.named_parameters())) - own_keys(model) == names | {
        "step_size_embedding.weight"
    }


def test_gradient_reaches_what_a_grouping_uses(
    model: SpeechLM, make_rows: Make, collate: Make
) -> None:
    for frames in GROUPINGS:
        model.zero_grad()
        own = model.at_step_size(frames)
        model(collate(own, make_rows(model))).loss.backward()
        for part in (own.head, own.embedding):
            for name, parameter in part.named_parameters():
                beyond = name.startswith("table") or parameter.grad.any()
                assert parameter.grad is not None and beyond, (frames, name)
        assert model.step_size_embedding.weight.grad.any(1).tolist() == [
            g == frames for g in GROUPINGS
        ]
        later = [order.weight.grad for order in model.embedding.frame_proj[frames - 1 :]]
        assert all(grad is None for grad in later)  # of frames that a step has not
        others = [g for g in GROUPINGS[:-1] if g != frames]
        assert all(
            model.get_parameter(name).grad is None
            for name in own_keys(model)
            if any(name.startswith(f"smaller_steps.{g}.") for g in others)
        )


@pytest.mark.parametrize("frames", GROUPINGS)
@torch.no_grad()
def test_cached_steps_equal_the_full_forward(
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


@pytest.mark.parametrize("fused", [False, True])
def test_it_comes_back_from_its_folder(
    model: SpeechLM, make_rows: Make, speak: Make, tmp_path: Path, fused: bool
) -> None:
    """Saved, loaded and joined for decoding, every grouping says the same."""
    prompts = make_rows(model, (7, 4), spoken=False)
    want = {
        g: speak(model.at_step_size(g), prompts, Sampler(greedy=True), [0, 0]) for g in GROUPINGS
    }
    model.save_pretrained(tmp_path)
    again = SpeechLM.load(tmp_path).eval()
    assert own_keys(again) == own_keys(model)
    assert again.smaller_steps["1"]["embedding"].table is again.embedding.table
    if fused:
        again.optimize_for_inference(int8=False)
    for frames, made in want.items():
        said = speak(again.at_step_size(frames), prompts, Sampler(greedy=True), [0, 0])
        for one, other in zip(made, said, strict=True):
            assert torch.equal(one.codes, other.codes)


@pytest.mark.parametrize("frames", GROUPINGS)
def test_a_row_a_stream_and_a_batch_say_the_same(
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
def test_it_learns_to_speak_at_every_grouping(
    head: str, make_model: Make, make_rows: Make, collate: Make, speak: Make
) -> None:
    """Trained with each in turn, it then says what it learned, code for code, with any of them."""
    model = make_model(head=HEADS[head], frames_per_step=GROUPINGS)
    rows = make_rows(model, (9, 6))
    batches = [collate(model.at_step_size(frames), rows) for frames in GROUPINGS]
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
    for frames in GROUPINGS:
        said = speak(model.at_step_size(frames), prompts, Sampler(greedy=True), [0, 0])
        for row, made in zip(rows, said, strict=True):
            assert not made.truncated
            assert torch.equal(made.codes, row[-1].codes[1:]), frames


def test_objectives_go_before_a_model_is_saved(make_model: Make, tmp_path: Path) -> None:
    model = make_model(frames_per_step=[1, 2], objectives={"top": {}})
    model.save_pretrained(tmp_path / "whole")
    assert "top" in SpeechLM.load(tmp_path / "whole").at_step_size(1).objectives
    model.drop_objectives()
    model.save_pretrained(tmp_path / "exported")
    assert not SpeechLM.load(tmp_path / "exported").at_step_size(1).objectives


def test_drafts_with_the_models_own_head_compose(make_model: Make, make_rows: Make) -> None:
    model = make_model(frames_per_step=GROUPINGS, draft={"name": "recursive", "heads": 2})
    (row,) = make_rows(model, (9,), spoken=False)
    for frames in GROUPINGS:
        own, prompt = model.at_step_size(frames), Prompt(row, Sampler(greedy=True), 0, 12)
        plain, drafted = (
            torch.cat([e.tokens for e in generate(own, [prompt], 1, strategy)])
            for strategy in (None, Speculative(2, "joint"))
        )
        assert torch.equal(plain, drafted)
    with pytest.raises(InputError, match="draft.own_heads: would fit one number"):
        make_model(frames_per_step=GROUPINGS, draft={"name": "leap", "steps": 2})


def test_a_grouping_that_was_not_trained_names_those_that_were(make_model: Make) -> None:
    model = make_model(frames_per_step=[1, 3])
    assert Decoding(tokens_per_step=2).model(model).layout.frames_per_step == 1
    assert Decoding(tokens_per_step=6).model(model) is model
    with pytest.raises(InputError, match="tokens_per_step '4': this model was trained for 2 or 6"):
        Decoding(tokens_per_step=4).model(model)
    with pytest.raises(InputError, match="frames_per_step '2': this model was trained for 1 or 3"):
        model.at_step_size(2)
    flat = make_model(flat=True)
    assert Decoding(tokens_per_step=1).model(flat) is flat


@pytest.mark.parametrize("frames", [[], [1, 1], [0, 2], ["2"], [1, 99]])
def test_groupings_that_cannot_be_are_refused(frames: list) -> None:
    config = SpeechLMConfig(streams=[{"name": "a", "size": 4}], frames_per_step=frames)
    with pytest.raises(InputError, match="frames_per_step"):
        _ = config.layouts
    with pytest.raises(InputError, match="1 in a flat layout"):
        _ = SpeechLMConfig(
            streams=[{"name": "a", "size": 4}], frames_per_step=[1, 2], flat=True
        ).layouts

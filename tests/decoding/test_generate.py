"""The decode loop: layout rules, limits, refilling of rows, and text pointers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from vocalmtp.decoding.constraints import ConstrainedSampler
from vocalmtp.decoding.generate import Prompt, generate, prefill_prompts
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.strategies import Grouped

Make = Callable[..., Any]
WILD = Sampler(temperature=3.0)


@pytest.mark.parametrize(
    "settings",
    [{}, {"text": "prompt"}, {"flat": True}, {"text": "prompt", "frames_per_step": 3}],
    ids=["track", "prompt", "flat", "prompt of three frames"],
)
def test_decoded_steps_obey_the_layout(settings: dict, make_model: Make, make_rows: Make) -> None:
    """At a high temperature, unpacking and packing gives the steps back, but for held codes."""
    model = make_model(**settings)
    layout = model.layout
    for seed in range(5):
        rows = make_rows(model, (5, 3, 4), spoken=False, seed=seed)
        prompts = [Prompt(row, WILD, seed + 50 * n) for n, row in enumerate(rows)]
        steps: dict[int, list[torch.Tensor]] = {}
        for event in generate(model, prompts, batch_size=2):
            for row, tokens in zip(event.rows, event.tokens, strict=True):
                steps.setdefault(row, []).append(tokens)
        for decode in map(torch.stack, steps.values()):
            if not (decode[:, 0] == layout.slots[0].end_id).any():
                continue
            codes, lengths = layout.unpack(decode[None])
            packed = layout.pack(codes[:, :, : int(lengths)])
            assert int(packed.lengths) == len(decode)
            strays = (decode != packed.tokens[0]).nonzero()
            for (
                step,
                k,
            ) in strays.tolist():  # a padding within the speech repeats the frame before it
                assert layout.slots[k].frame > 0
                assert decode[step, k] == layout.slots[k].pad_id or layout.slots[k].joint


def test_end_token_waits_for_the_last_character(make_model: Make, make_rows: Make) -> None:
    model = make_model()
    (row,) = make_rows(model, (9,), spoken=False)
    state = prefill_prompts(model, [Prompt(row, Sampler())], Grouped())
    logits = torch.zeros(1, model.layout.slots[0].vocab_size)
    logits[0, model.layout.slots[0].end_id] = 100.0
    state.steps += 5
    last = state.character_lengths - 1
    for pointer, end in ((last - 1, False), (last, True)):
        state.pointers = pointer
        sampler = ConstrainedSampler(model.layout, state)
        assert (sampler(0, logits.clone()).item() == model.layout.slots[0].end_id) == end
    state.steps -= 5  # nothing was decoded yet
    sampler = ConstrainedSampler(model.layout, state)
    assert sampler(0, logits.clone()).item() != model.layout.slots[0].end_id


@pytest.mark.parametrize(
    "settings", [{}, {"flat": True}, {"text": "prompt"}], ids=["track", "flat", "prompt"]
)
def test_slots_sampled_together_equal_slots_sampled_one_by_one(
    settings: dict, make_model: Make, make_rows: Make
) -> None:
    model = make_model(**settings)
    rows = make_rows(model, (9, 4, 6), spoken=False)
    samplers = [WILD, Sampler(greedy=True), Sampler(temperature=0.5, top_k=3)]
    prompts = [Prompt(row, sampler, 7) for row, sampler in zip(rows, samplers, strict=True)]
    for steps in (0, 4):
        logits = [torch.randn(3, slot.vocab_size) for slot in model.layout.slots]
        picked = []
        for together in (True, False):
            state = prefill_prompts(model, prompts, Grouped())
            state.steps += steps
            state.ended[2] = 2 if steps else -1
            sampler = ConstrainedSampler(model.layout, state)
            if together:
                picked.append(sampler.all(model.layout.stack_runs(logits)))
            else:
                one_by_one = [sampler(k, x) for k, x in enumerate(logits)]
                picked.append(torch.stack(one_by_one, 1))
        assert torch.equal(*picked)


def test_every_row_has_its_own_sampler(make_model: Make, make_rows: Make, speak: Make) -> None:
    model = make_model()
    rows = make_rows(model, (9, 9), spoken=False)
    samplers = [Sampler(greedy=True), WILD]
    prompts = [Prompt(row, sampler, 3, 8) for row, sampler in zip(rows, samplers, strict=True)]
    steps: list[list[torch.Tensor]] = [[], []]
    for event in generate(model, prompts, batch_size=2):
        for row, tokens in zip(event.rows, event.tokens, strict=True):
            steps[row].append(tokens)
    for decode, prompt in zip(steps, prompts, strict=True):
        alone = [event.tokens[0] for event in generate(model, [prompt])]
        assert torch.equal(torch.stack(decode), torch.stack(alone))


def test_step_limits_are_per_row_and_reported(
    make_model: Make, make_rows: Make, speak: Make
) -> None:
    model = make_model()
    rows = make_rows(model, (30, 4), spoken=False)
    decode = speak(model, rows, WILD, [0, 0], max_steps=3)
    assert decode[0].truncated  # sixteen characters cannot be passed in two steps of two frames
    assert decode[0].codes.shape[1] == 4  # of three steps, one has no codes yet
    events = list(generate(model, [Prompt(row, Sampler(greedy=True)) for row in rows], 2))
    finished = [row for e in events for row, done in zip(e.rows, e.finished, strict=True) if done]
    assert sorted(finished) == [0, 1]
    for row, segments in enumerate(rows):
        letters = Prompt(segments, WILD).characters
        steps = sum(row in event.rows for event in events)
        assert steps <= -(-int((2 + 0.25 * letters) * 10) // 2)


def test_prompts_are_consumed_only_for_free_rows(make_model: Make, make_rows: Make) -> None:
    model = make_model()
    (row,) = make_rows(model, (4,), spoken=False)
    read = []

    def endless() -> Any:
        while True:
            read.append(len(read))
            yield Prompt(row, WILD, len(read), 2 + len(read) % 3)

    events = generate(model, endless(), batch_size=3)
    ended = 0
    for _ in range(12):
        event = next(events)
        assert len(read) == 3 + ended and len(event.rows) == 3  # the batch stays full
        ended += sum(event.finished)
    assert ended > 6


def test_pointers_are_monotonic_and_reach_the_end(
    make_model: Make, make_rows: Make, speak: Make
) -> None:
    model = make_model()
    rows = make_rows(model, (9, 5), spoken=False)
    for row, made in zip(rows, speak(model, rows, WILD, [1, 2]), strict=True):
        letters = Prompt(row, WILD).characters
        assert made.pointers.shape == (made.codes.shape[1],)
        assert made.codes.shape[0] == len(model.config.streams)
        assert (made.pointers.diff() >= 0).all()
        if not made.truncated:
            assert made.pointers[-1] >= letters - 1

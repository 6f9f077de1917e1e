"""The decode loop: its rules, its limits, and the pointers it returns."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from vocalmtp.decoding.generate import collect, generate, start
from vocalmtp.decoding.rules import RulePicker
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.model.speech_lm import SpeechLM

Make = Callable[..., Any]
WILD = Sampler(temperature=3.0)


@pytest.mark.parametrize(
    "settings",
    [{}, {"text": "prompt"}, {"flat": True}, {"text": "prompt", "frames_per_step": 3}],
    ids=["track", "prompt", "flat", "prompt of three frames"],
)
def test_whatever_is_said_obeys_the_layout(
    settings: dict, make_model: Make, make_rows: Make, collate: Make
) -> None:
    """Wild sampling: the steps are what `pack` makes of the unpacked codes, but for held codes."""
    model = make_model(**settings)
    layout = model.layout
    for seed in range(5):
        batch = collate(model, make_rows(model, (5, 3), spoken=False, seed=seed), left=True)
        events = list(generate(model, batch, WILD, [seed, seed + 50]))
        steps = torch.stack([event.tokens for event in events], 1)
        active = torch.stack([event.active for event in events], 1).sum(1)
        codes, lengths = layout.unpack(steps, active)
        for b in range(2):
            said = steps[b, : int(active[b])]
            ended = said[:, 0] == layout.slots[0].end_id
            if not ended.any():
                continue
            packed = layout.pack(codes[b : b + 1, :, : int(lengths[b])])
            assert int(packed.lengths) == len(said)
            strays = (said != packed.tokens[0]).nonzero()
            for step, k in strays.tolist():  # a lone "no such frame" is held over
                assert layout.slots[k].frame > 0
                assert said[step, k] == layout.slots[k].pad_id or layout.slots[k].joint


def test_the_end_waits_for_the_last_character(
    make_model: Make, make_rows: Make, collate: Make
) -> None:
    model = make_model()
    batch = collate(model, make_rows(model, (9,), spoken=False), left=True)
    with torch.no_grad():
        hidden, state = model.prefill(batch)
    start(state, [0])
    logits = torch.zeros(1, model.layout.slots[0].vocab_size)
    logits[0, model.layout.slots[0].end_id] = 100.0
    state.steps = 5
    last = state.character_lengths - 1
    for pointer, end in ((last - 1, False), (last, True)):
        state.pointers = pointer
        pick = RulePicker(model.layout, state, Sampler())
        assert (pick(0, logits)[0].item() == model.layout.slots[0].end_id) == end
    state.steps = 0  # nothing has been said yet
    pick = RulePicker(model.layout, state, Sampler())
    assert pick(0, logits)[0].item() != model.layout.slots[0].end_id


def test_limits_are_by_row_and_reported(make_model: Make, make_rows: Make, collate: Make) -> None:
    model: SpeechLM = make_model()
    rows = make_rows(model, (30, 4), spoken=False)
    batch = collate(model, rows, left=True)
    said = collect(generate(model, batch, WILD, [0, 0], max_steps=3), model.layout)
    assert said.truncated[0]  # sixteen characters cannot be passed in two steps of two frames
    assert said.lengths[0] == 4  # of three steps, one has no codes yet
    events = list(generate(model, batch, Sampler(greedy=True), [0, 0]))
    limits = ((2 + 0.25 * batch["character_lengths"]) * 10 / 2).ceil()
    active = torch.stack([event.active for event in events]).sum(0)
    assert (active <= limits).all()
    finished = torch.stack([event.finished for event in events])
    assert finished.sum(0).tolist() == [1, 1]


def test_pointers_say_where_each_frame_is(make_model: Make, make_rows: Make, collate: Make) -> None:
    model = make_model()
    batch = collate(model, make_rows(model, (9, 5), spoken=False), left=True)
    events = generate(model, batch, WILD, [1, 2])
    said = collect(events, model.layout, batch["character_lengths"])
    assert said.pointers.shape == (2, said.codes.shape[2])
    assert said.codes.shape[1] == len(model.config.streams)
    for b in range(2):
        pointers = said.pointers[b, : int(said.lengths[b])]
        assert (pointers.diff() >= 0).all()
        assert pointers.max() < batch["character_lengths"][b]
        if not said.truncated[b]:
            assert pointers[-1] == batch["character_lengths"][b] - 1

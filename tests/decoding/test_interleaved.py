"""Decoding of answers whose text and speech alternate, with random and overfitted models."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.errors import raises_input_error
from helpers.tiny_run import overfit

from vocalmtp.decoding.generate import Prompt, StepEvent, generate, prefill_prompts
from vocalmtp.decoding.interleaved import (
    NO_TEXT,
    InterleavedAnswer,
    InterleavedDecoding,
    collect_answers,
)
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.strategies import StepBatch
from vocalmtp.models.prompts import (
    ControlToken,
    Interleaved,
    Segment,
    Speaker,
    dialogue_turn,
    interleaved_answer,
)
from vocalmtp.models.speech_lm import SpeechLM

Make = Callable[..., Any]
END = 9
BASE = {
    "text": "prompt",
    "audio_input": {"width": 16, "layers": 1, "end_id": END},
    "interleave": {"text": 2, "steps": 3},
}
CASES = {
    "grouped": {},
    "flat": {"flat": True},
    "depth": {"head": {"name": "depth", "width": 32, "layers": 1, "heads": 2}},
    "gpt2": {"backbone": "gpt2", "frames_per_step": 3, "speaker_every_step": True},
    "delayed": {
        "streams": [{"name": "content", "size": 8}, {"name": "prosody", "size": 5, "delay": 2}]
    },
}
GREEDY = Sampler(greedy=True)
SAMPLERS = [
    GREEDY,
    Sampler(temperature=1.5),
    Sampler(temperature=1.5, top_k=3, repetition_penalty=1.4),
]


@pytest.fixture(params=CASES)
def model(request: pytest.FixtureRequest, make_model: Make) -> SpeechLM:
    return make_model(**BASE | CASES[request.param])


def question(seed: int) -> list[Segment]:
    """A written question of a few letters."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, END, (2 + seed,), generator=draw).tolist()
    return [Speaker(torch.randn(4, generator=draw).numpy()), *dialogue_turn(question=[*ids, END])]


def prompt(seed: int, sampler: Sampler, limit: int = 14) -> Prompt:
    return Prompt([*question(seed), ControlToken("answer")], sampler, seed, limit)


def answers(model: SpeechLM, prompts: list[Prompt], batch: int) -> list[InterleavedAnswer]:
    events = generate(model, prompts, batch, InterleavedDecoding(model))
    return [made for _, made in sorted(collect_answers(events, model.layout), key=lambda p: p[0])]


def kinds(events: list[StepEvent]) -> str:
    """One row as a string: t for a token of text, E for its end, s for a step of speech."""
    texts = [int(event.tokens[0, -1]) for event in events]
    return "".join({NO_TEXT: "s", END: "E"}.get(text, "t") for text in texts)


@torch.no_grad()
def test_cached_passes_equal_full_forward(model: SpeechLM) -> None:
    sizes = [stream["size"] for stream in model.config.streams]
    codes = torch.stack([torch.randint(0, size, (13,)) for size in sizes])
    ids = [1, 2, 3, 4, END]
    row = [*question(0), ControlToken("answer"), Interleaved(ids, codes)]
    whole = model.collator()([row])
    full = model.hidden_states(whole)[0]  # [L, D]
    strategy, start = InterleavedDecoding(model), prompt(0, GREEDY, limit=99)
    state = prefill_prompts(model, [start], strategy)
    place = model.collator()([start.segments]).kinds.shape[1]
    pads = torch.tensor([slot.pad_id for slot in model.layout.slots])
    for at in range(place, whole.kinds.shape[1]):
        torch.testing.assert_close(state.hidden[0], full[at - 1], atol=1e-5, rtol=1e-5)
        text = bool(state.writing) and bool(strategy.pattern.writes(state.written, state.steps))
        expected = pads if text else whole.steps[0, at]
        assert torch.equal(whole.steps[0, at], expected)
        token = whole.ids[0, at] if text else torch.tensor(NO_TEXT)
        step = torch.cat([expected, token[None]])[None, None]
        strategy.forward(model, state, StepBatch(step, state.steps))
    torch.testing.assert_close(state.hidden[0], full[-1], atol=1e-5, rtol=1e-5)
    assert int(state.written) == len(ids) and not bool(state.writing)


def end_by_chance(_: Any, inputs: tuple[torch.Tensor], logits: torch.Tensor) -> None:
    """End a text at a fifth of all hidden states, as if at random, for the row's own reasons."""
    ends = (inputs[0][:, 0] * 100) % 1 < 0.2
    logits[:, END] = torch.where(ends, torch.inf, -torch.inf)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=["greedy", "sampled", "penalized"])
def test_a_row_does_not_depend_on_its_batch(model: SpeechLM, sampler: Sampler) -> None:
    """Texts end at different times, so that rows of a batch write while others speak."""
    model.backbone.get_output_embeddings().register_forward_hook(end_by_chance)
    prompts = [prompt(seed, sampler) for seed in range(6)]
    together = answers(model, prompts, batch=3)
    assert len({len(made.ids) for made in together}) > 1
    for made, single in zip(together, (answers(model, [p], 1)[0] for p in prompts), strict=True):
        assert made.ids == single.ids and torch.equal(made.speech.codes, single.speech.codes)


def scripted(model: SpeechLM, script: list[int]) -> InterleavedDecoding:
    """A strategy for one row, which writes these tokens."""
    strategy, rest = InterleavedDecoding(model), iter(script)
    strategy.output = lambda hidden: torch.nn.functional.one_hot(torch.tensor([next(rest)]), 16)
    return strategy


def prefer(model: SpeechLM, token: int) -> None:
    """Make a token of all slots the most probable one, for a single row."""
    model.head.logits = lambda hidden, targets=None: [
        torch.nn.functional.one_hot(
            torch.tensor([min(token, slot.end_id)]), slot.vocab_size
        ).float()
        for slot in model.layout.slots
    ]


@pytest.mark.parametrize(
    ("script", "limit", "expected"),
    [
        ([1, 2, 3, 4, END], 9, "ttsssttsssEsss"),
        ([END], 4, "Essss"),
        ([1, END], 4, "tEssss"),
        ([1] * 9, 8, "ttsssttsssttss"),
    ],
)
def test_text_and_speech_alternate_until_the_text_ends(
    script: list[int], limit: int, expected: str, make_model: Make
) -> None:
    model = make_model(**BASE)
    prefer(model, 0)
    events = list(generate(model, [prompt(1, GREEDY, limit)], 1, scripted(model, script)))
    assert kinds(events) == expected
    assert [event.finished[0] for event in events] == [False] * (len(expected) - 1) + [True]
    texts = [int(event.tokens[0, -1]) for event in events if event.tokens[0, -1] != NO_TEXT]
    assert texts == script[: len(texts)]


def test_speech_is_cut_off_by_the_length_of_its_text(make_model: Make) -> None:
    """The limit of a text of two tokens, 2.5 s or 25 frames, is below that of the prompt."""
    model = make_model(**BASE)
    prefer(model, 0)
    events = generate(model, [prompt(1, GREEDY, 500)], 1, scripted(model, [1, END]))
    ((_, made),) = collect_answers(events, model.layout)
    assert made.speech.truncated and made.speech.codes.shape[1] == 26 and made.ids == [1, END]


def test_speech_does_not_end_before_the_text(make_model: Make) -> None:
    model = make_model(**BASE)
    end = model.layout.slots[0].end_id
    prefer(model, end)
    events = list(generate(model, [prompt(1, GREEDY, 99)], 1, scripted(model, [1, 2, 3, 4, END])))
    assert kinds(events) == "ttsssttsssEs" and int(events[-1].tokens[0, 0]) == end


@pytest.mark.parametrize("settings", [{}, {"flat": True}], ids=["grouped", "flat"])
def test_overfitted_model_writes_and_speaks_its_answers(settings: dict, make_model: Make) -> None:
    model = make_model(**BASE | settings).train()
    rows, expected = [], []
    for seed in range(3):
        draw = torch.Generator().manual_seed(9 + seed)
        codes = torch.stack([torch.randint(0, s, (10 + seed,), generator=draw) for s in (8, 5)])
        ids = [*torch.randint(0, END, (3 + seed,), generator=draw).tolist(), END]
        rows.append(interleaved_answer(question(seed)[1:], ids, codes, question(seed)[0].vector))
        expected.append((ids, codes))
    batch = model.collator()(rows)
    overfit(model, batch, 80)
    made = answers(model, [prompt(seed, GREEDY, 80) for seed in range(3)], 3)
    for answer, (ids, codes) in zip(made, expected, strict=True):
        assert answer.ids == ids and torch.equal(answer.speech.codes, codes)
        assert not answer.speech.truncated


def test_a_model_that_writes_first_has_no_interleaved_decoding(make_model: Make) -> None:
    with raises_input_error("unsupported", "model"):
        InterleavedDecoding(make_model(**BASE | {"interleave": {}}))

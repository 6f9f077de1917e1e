"""Answers whose text and speech alternate: the sequence, its targets, and settings that do not fit."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.errors import raises_input_error
from hypothesis import given
from hypothesis import strategies as st

from vocalmtp.config import parse
from vocalmtp.errors import ErrorCode
from vocalmtp.models.batch import Batch, Collator, PositionKind
from vocalmtp.models.interleaving import InterleaveConfig
from vocalmtp.models.layout import IGNORED, TokenLayout
from vocalmtp.models.prompts import ControlToken, Interleaved, interleaved_answer
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.models.streams import Stream

Make = Callable[..., Any]
SETTINGS = {
    "text": "prompt",
    "audio_input": {"width": 16, "layers": 1, "end_id": 9},
    "interleave": {"text": 2, "steps": 3},
}


@st.composite
def cases(draw: st.DrawFn) -> tuple[InterleaveConfig, TokenLayout, list[int], torch.Tensor]:
    """A pattern, a layout, and an answer of any lengths, whose ids and codes count up."""
    pattern = InterleaveConfig(text=draw(st.integers(1, 6)), steps=draw(st.integers(1, 6)))
    streams = [Stream(name=f"s{q}", size=99, delay=draw(st.integers(0, 2))) for q in range(2)]
    flat = draw(st.booleans())
    group = 1 if flat else draw(st.integers(1, 3))
    layout = TokenLayout(streams=tuple(streams), frames_per_step=group, flat=flat)
    frames = draw(st.integers(1, 30))
    return pattern, layout, list(range(draw(st.integers(1, 20)))), torch.arange(frames).repeat(2, 1)


def collate(case: tuple[InterleaveConfig, TokenLayout, list[int], torch.Tensor]) -> Batch:
    pattern, layout, ids, codes = case
    rows = [[ControlToken("question"), ControlToken("answer"), Interleaved(ids, codes)]]
    return Collator(layout, interleave=pattern)(rows)


@given(cases())
def test_every_token_and_step_is_there_once_in_the_pattern(
    case: tuple[InterleaveConfig, TokenLayout, list[int], torch.Tensor],
) -> None:
    pattern, layout, ids, codes = case
    batch = collate(case)
    kinds = batch.kinds[0, 2:]
    assert batch.ids[0, 2:][kinds == PositionKind.TEXT].tolist() == ids
    steps = layout.pack(codes[None]).tokens[0]
    assert torch.equal(batch.steps[0, 2:][kinds == PositionKind.SPEECH], steps)
    written = spoken = 0
    for kind in kinds.tolist():  # what decoding does, position by position
        more, text = written < len(ids), kind == PositionKind.TEXT
        if more and spoken < len(steps):
            assert text == pattern.writes(written, spoken)
        written, spoken = written + text, spoken + (not text)
    first = kinds[: pattern.text + pattern.steps].tolist()
    short = [PositionKind.TEXT] * min(len(ids), pattern.text)
    assert first[: len(short)] == short and first[len(short)] == PositionKind.SPEECH
    last_is_speech = kinds[-1] == PositionKind.SPEECH
    assert last_is_speech == pattern.text_leads(len(ids), len(steps))


@given(cases())
def test_a_position_has_the_target_of_what_follows_it(
    case: tuple[InterleaveConfig, TokenLayout, list[int], torch.Tensor],
) -> None:
    _, layout, ids, codes = case
    batch = collate(case)
    kinds, after = batch.kinds[0, 1:], batch.kinds[0, 2:]  # of "answer" and all that follows it
    text, steps = batch.text_targets[0, 1:], batch.step_targets[0, 1:]
    assert text[text != IGNORED].tolist() == ids
    follows = torch.cat([after, torch.zeros(1, dtype=torch.long)])
    assert torch.equal(text != IGNORED, follows == PositionKind.TEXT)
    assert not (steps != IGNORED).any(1)[follows != PositionKind.SPEECH].any()
    expected = layout.targets(layout.pack(codes[None]).tokens[0])
    assert torch.equal(steps[follows == PositionKind.SPEECH], expected)
    assert len(kinds) == len(follows) and batch.step_targets[0, 0].eq(IGNORED).all()


def test_losses_of_text_and_speech_are_those_of_all_targets(make_model: Make) -> None:
    model = make_model(**SETTINGS)
    turn = [ControlToken("question")]
    row = interleaved_answer(turn, [1, 2, 3, 9], torch.ones(2, 9, dtype=torch.long), torch.ones(4))
    output = model(model.collator()([row]))
    output.loss.backward()
    assert output.text_loss_parts[:, 1].tolist() == [0, 4] and output.head_loss > 0
    assert model.backbone.get_output_embeddings().weight.grad.any()


def test_interleaving_is_saved_and_loaded(make_model: Make, tmp_path: Any) -> None:
    make_model(**SETTINGS).save_pretrained(tmp_path)
    assert SpeechLM.load(tmp_path).config.interleave_config == InterleaveConfig(text=2, steps=3)


@pytest.mark.parametrize(
    ("settings", "code", "key", "names"),
    [
        ({"interleave": {"text": 0, "steps": 3}}, "invalid_value", "interleave", "text"),
        ({"interleave": {"text": 2}}, "missing", "interleave", "steps"),
        ({"interleave": {"text": 2, "step": 3}}, "unknown_name", "interleave", "steps"),
        ({"audio_input": {}}, "missing", "interleave", "audio_input"),
        ({"text": "track"}, "conflict", "interleave", "track"),
        ({"text": "both"}, "conflict", "interleave", "both"),
        ({"draft": {"name": "leap", "steps": 2}}, "conflict", "interleave", "draft"),
        ({"frames_per_step": [1, 2]}, "conflict", "interleave", "elastic"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    settings: dict, code: ErrorCode, key: str, names: str, make_model: Make
) -> None:
    with raises_input_error(code, key, names):
        make_model(**SETTINGS | settings)


def test_a_model_that_writes_first_refuses_interleaved_answers(make_model: Make) -> None:
    model = make_model(**SETTINGS | {"interleave": {}})
    row = [ControlToken("answer"), Interleaved([1, 9], torch.ones(2, 4, dtype=torch.long))]
    with raises_input_error("unsupported", "interleaved answer"):
        model.collator()([row])


def test_text_leads_if_it_is_over_before_the_last_step() -> None:
    pattern = parse(InterleaveConfig, {"text": 2, "steps": 3})
    assert pattern.text_leads(4, 4) and not pattern.text_leads(5, 6) and pattern.text_leads(5, 7)

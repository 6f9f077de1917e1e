"""Speech LMs with audio input: transcripts, answers and speech of tiny random models."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.errors import raises_input_error
from helpers.tiny_run import overfit

from vocalmtp.decoding.generate import Prompt, collect_utterances, generate
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.errors import ErrorCode
from vocalmtp.models.audio_encoder import FOLD, MEL_RATE, MELS, SAMPLE_RATE, log_mels, mel_frames
from vocalmtp.models.batch import PositionKind
from vocalmtp.models.layout import IGNORED
from vocalmtp.models.prompts import (
    AudioInput,
    ControlToken,
    Segment,
    Speaker,
    dialogue_turn,
    tts_prompt,
)
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.models.text_mode import TextDecodingView
from vocalmtp.models.text_track import frame_advances

Make = Callable[..., Any]
END = 9  # after the letters of the toy alphabet
AUDIO_INPUT = {"width": 16, "layers": 1, "kernel": 3, "end_id": END}
CASES = {
    "track": {},
    "prompt": {"text": "prompt", "backbone": "qwen2"},
    "gpt2": {"backbone": "gpt2", "frames_per_step": 1, "speaker_every_step": True},
    "elastic": {"frames_per_step": [1, 2]},
    "mels": {"audio_input": {**AUDIO_INPUT, "source": "mels"}},
}


@pytest.fixture(params=CASES)
def model(request: pytest.FixtureRequest, make_model: Make) -> SpeechLM:
    return make_model(**{"audio_input": AUDIO_INPUT, **CASES[request.param]})


def turn(model: SpeechLM, seed: int, letters: int = 3, num_frames: int = 7) -> dict[str, Any]:
    """A random spoken question with its spoken answer."""
    draw = torch.Generator().manual_seed(seed)

    def codes(frames: int) -> torch.Tensor:
        sizes = [stream["size"] for stream in model.config.streams]
        return torch.stack([torch.randint(0, s, (frames,), generator=draw) for s in sizes])

    def text(count: int) -> list[int]:
        return torch.randint(0, END, (count,), generator=draw).tolist()

    heard = codes(num_frames)
    if model.config.audio_input_config.source == "mels":
        heard = mel_frames(torch.randn(num_frames * FOLD, MELS, generator=draw))
    return {
        "audio": AudioInput(heard),
        "letters": torch.randint(0, END, (num_frames,), generator=draw),
        "question": text(letters + 1),
        "answer": text(letters),
        "codes": codes(2 * letters),
        "speaker": torch.randn(model.config.speaker_dim, generator=draw),
    }


def text_prompt(t: dict[str, Any], known: bool = False) -> list[Segment]:
    """The prompt of a transcript or, if the question is `known`, of the answer."""
    if not known:
        return dialogue_turn(audio=t["audio"])
    context = dialogue_turn(audio=t["audio"], question=[*t["question"], END])
    return [Speaker(t["speaker"]), *context, ControlToken("answer")]


def speech_prompt(model: SpeechLM, t: dict[str, Any], spoken: bool = True) -> list[Segment]:
    """The whole turn as in training, or the prompt of its speech if that is not `spoken` yet."""
    count = t["codes"].shape[1]
    ends = torch.linspace(0.1, count / 10, len(t["answer"]))
    return tts_prompt(
        model.config.text,
        characters=t["answer"],
        speaker=t["speaker"],
        codes=t["codes"] if spoken else None,
        advances=frame_advances(ends, count, 10.0),
        context=dialogue_turn(
            audio=replace(t["audio"], frame_characters=t["letters"]),
            question=[*t["question"], END],
            answer=[*t["answer"], END],
        ),
    )


def write(model: SpeechLM, rows: list[list[Segment]], limit: int = 12) -> list[list[int]]:
    view = TextDecodingView(model)
    prompts = [Prompt(row, Sampler(greedy=True), max_steps=limit) for row in rows]
    made = dict(collect_utterances(generate(view, prompts, batch_size=4), view.layout))
    return [made[row].codes[0].tolist() for row in range(len(rows))]


def test_dialogue_turn_has_targets_and_losses(model: SpeechLM) -> None:
    t = turn(model, 0)
    batch = model.collator()(
        [speech_prompt(model, t), dialogue_turn(audio=t["audio"], question=[1, END])]
    )
    assert (batch.kinds == PositionKind.AUDIO).sum(1).tolist() == [4, 4]
    supervised = batch.text_targets[0][batch.text_targets[0] != IGNORED]
    assert supervised.tolist() == [*t["question"], END, *t["answer"], END]
    assert batch.audio_characters.tolist() == [t["letters"].tolist(), [IGNORED] * 7]
    output = model(batch)
    output.loss.backward()
    assert output.text_loss_parts[:, 1].tolist() == [7, 4]
    mean = (output.text_loss_parts[:, 0] * output.text_loss_parts[:, 1]).sum() / 11
    torch.testing.assert_close(mean, output.text_loss.detach())
    heard = [name for name, p in model.audio_encoder.named_parameters() if not p.grad.any()]
    assert not heard and output.character_loss > 0


@pytest.mark.parametrize(
    "settings",
    [
        {"head": {"name": "depth", "width": 32, "layers": 1, "heads": 2}},
        {"head": {"name": "parallel", "kind": "transformer", "heads": 2}},
        {"draft": {"name": "recursive", "steps": 2, "heads": 2}, "objectives": {"top": {}}},
        {"draft": {"name": "leap", "steps": 2}},
        {"draft": {"name": "sequential", "steps": 2, "heads": 2}},
        {"flat": True},
    ],
)
def test_batch_of_transcripts_alone_is_trained_with_every_head(
    settings: dict, make_model: Make
) -> None:
    model = make_model(audio_input=AUDIO_INPUT, **settings)
    prompt = dialogue_turn(audio=turn(model, 0)["audio"], question=[1, END])
    output = model(model.collator()([prompt]))
    output.loss.backward()
    assert torch.isfinite(output.loss) and output.head_loss == 0


def test_written_questions_are_not_targets(model: SpeechLM) -> None:
    segments = [Speaker(None), *dialogue_turn(question=[1, 2, END], answer=[3, END])]
    batch = model.collator()([segments])
    assert batch.audio is None
    kept = batch.text_targets[batch.text_targets != IGNORED]
    assert kept.tolist() == [3, END]


@torch.no_grad()
def test_cached_text_steps_equal_full_forward(model: SpeechLM, make_model: Make) -> None:
    t = turn(model, 1)
    whole = model.collator()(
        [[*text_prompt(t, known=True), *dialogue_turn(answer=t["answer"])[-1:]]]
    )
    full = model.hidden_states(whole)  # [1, L, D]
    view = TextDecodingView(model)
    _, hidden, state = view.prefill(view.collator()([text_prompt(t, known=True)], left=True))
    prefix = hidden.shape[1]
    torch.testing.assert_close(hidden[:, -1], full[:, prefix - 1], atol=1e-5, rtol=1e-5)
    for place, token in enumerate(t["answer"], start=prefix):
        hidden = view.step(state, torch.tensor([[token]]))
        torch.testing.assert_close(hidden, full[:, place], atol=1e-5, rtol=1e-5)


def test_row_gives_same_text_in_any_batch(model: SpeechLM) -> None:
    turns = [turn(model, seed, num_frames=5 + 3 * seed) for seed in range(3)]
    rows = [text_prompt(t, known=seed != 1) for seed, t in enumerate(turns)]
    rows.append(
        [Speaker(None), *dialogue_turn(question=[1, 2, END]), ControlToken("answer")]
    )  # written
    assert write(model, rows) == [write(model, [row])[0] for row in rows]


def test_optimized_model_gives_same_text(make_model: Make) -> None:
    model = make_model(audio_input=AUDIO_INPUT)
    rows = [text_prompt(turn(model, seed)) for seed in range(2)]
    before = write(model, rows)
    model.optimize_for_inference()
    assert write(model, rows) == before


def test_audio_encoding_does_not_depend_on_padding(make_model: Make) -> None:
    encoder = make_model(audio_input=AUDIO_INPUT).audio_encoder
    codes = torch.randint(0, 4, (2, 2, 9))
    encoded = encoder(codes, torch.tensor([9, 5]))
    torch.testing.assert_close(encoded[1:, :3], encoder(codes[1:, :, :5], torch.tensor([5])))


def test_log_mels_do_not_depend_on_level_or_later_audio() -> None:
    wav = torch.randn(SAMPLE_RATE)
    mel = log_mels(wav)
    assert mel_frames(mel).shape == (FOLD * MELS, MEL_RATE)
    torch.testing.assert_close(log_mels(0.01 * wav), mel, atol=1e-4, rtol=1e-4)
    assert mel_frames(log_mels(wav[: SAMPLE_RATE // 2 + 1])).shape[1] == MEL_RATE // 2 + 1
    assert torch.isfinite(log_mels(torch.zeros(1))).all()


@pytest.mark.parametrize(
    "settings",
    [{}, {"text": "prompt"}, {"audio_input": {**AUDIO_INPUT, "source": "mels"}}],
    ids=["track", "prompt", "mels"],
)
def test_overfitted_model_transcribes_answers_and_speaks(
    settings: dict, make_model: Make, speak: Make
) -> None:
    model = make_model(**{"audio_input": AUDIO_INPUT, **settings}).train()
    turns = [turn(model, seed) for seed in range(3)]
    heard = [dialogue_turn(audio=t["audio"], question=[*t["question"], END]) for t in turns]
    batch = model.collator()([*heard, *(speech_prompt(model, t) for t in turns)])
    overfit(model, batch, 70)
    assert write(model, [text_prompt(t) for t in turns]) == [t["question"] for t in turns]
    assert write(model, [text_prompt(t, known=True) for t in turns]) == [t["answer"] for t in turns]
    speech = speak(
        model, [speech_prompt(model, t, False) for t in turns], Sampler(greedy=True), [0] * 3
    )
    for t, made in zip(turns, speech, strict=True):
        assert not made.truncated and torch.equal(made.codes, t["codes"])


def test_audio_encoder_is_saved_and_loaded(make_model: Make, tmp_path: Any) -> None:
    model = make_model(audio_input=AUDIO_INPUT)
    rows = [text_prompt(turn(model, 0))]
    model.save_pretrained(tmp_path)
    again = SpeechLM.load(tmp_path).eval()
    assert again.config.audio_input == AUDIO_INPUT and write(again, rows) == write(model, rows)


def test_audio_input_can_be_added_without_changing_speech(
    make_model: Make, make_rows: Make, collate: Make
) -> None:
    model = make_model()
    batch = collate(model, make_rows(model))
    before = model(batch).loss
    model.add_audio_input(AUDIO_INPUT)
    assert torch.equal(model(batch).loss, before)
    assert len(write(model, [text_prompt(turn(model, 0))], limit=5)) == 1


def test_new_audio_encoder_starts_with_weights_that_fit(make_model: Make) -> None:
    model = make_model(audio_input=AUDIO_INPUT)
    model.control_tokens.weight.data[1:] = 0.5
    before = {name: weight.clone() for name, weight in model.audio_encoder.state_dict().items()}
    model.add_audio_input({**AUDIO_INPUT, "source": "mels", "layers": 2})
    after = model.audio_encoder.state_dict()
    for name in (
        "convolutions.0.weight",
        "norm.weight",
        "output.weight",
        "character_output.weight",
    ):
        assert torch.equal(after[name], before[name])
    assert after.keys() - before.keys() and (model.control_tokens.weight[1:] == 0.5).all()
    assert len(write(model, [text_prompt(turn(model, 0))], limit=5)) == 1


@pytest.mark.parametrize(
    ("settings", "code", "key", "names"),
    [
        ({"end_id": 16}, "out_of_range", "backbone.vocab_size", "17"),
        (
            {"end_id": 9, "streams": ("contant",)},
            "unknown_name",
            "audio_input.streams",
            "content",
        ),
        ({"end_id": 9, "frames": 2}, "unknown_name", "audio_input", "frames"),
    ],
)
def test_invalid_audio_input_settings_are_refused(
    settings: dict, code: ErrorCode, key: str, names: str, make_model: Make
) -> None:
    with raises_input_error(code, key, names):
        make_model().add_audio_input(settings)


def test_models_without_audio_input_refuse_audio_and_text_decoding(make_model: Make) -> None:
    model = make_model()
    with raises_input_error("unsupported", "model"):
        TextDecodingView(model)
    with raises_input_error("unsupported", "audio input"):
        model.collator()([dialogue_turn(audio=AudioInput(torch.zeros(2, 3, dtype=torch.long)))])

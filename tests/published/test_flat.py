"""Llasa and NeuTTS: prompts, voices that are recordings, and greedy tokens as in Transformers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from helpers.command_line import run
from helpers.errors import raises_input_error
from helpers.published_lms import save_flat
from helpers.sounds import buzz
from tokenizers import Tokenizer
from transformers import PreTrainedModel

import vocalmtp
from vocalmtp.decoding.generate import Prompt, generate
from vocalmtp.models.prompts import Speech
from vocalmtp.tts import TTS, SynthesisRequest
from vocalmtp.voices import Voice

FAMILIES = {"llasa": ("<|s_{}|>", "xcodec2"), "neutts": ("<|speech_{}|>", "neucodec")}
FIRST = 256 + 4 + 6  # id of code 0, behind bytes and marks
END = FIRST - 1


@pytest.fixture(scope="module", params=FAMILIES)
def published(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[Path, PreTrainedModel, TTS]:
    folder = tmp_path_factory.mktemp(request.param)
    model = save_flat(folder, *FAMILIES[request.param])
    return folder, model, vocalmtp.load(folder, engine="eager")


def recorded(tts: TTS, transcript: str = "We do.") -> Voice:
    codes, spec = np.array([[7, 65_535, 0, 7]]), tts.tokenizer.spec
    return Voice("me", np.zeros(0, np.float32), "test", spec.name, spec.hash, "", codes, transcript)


def prompt_of(tts: TTS, voice: Voice | None, **sampling: object) -> Prompt:
    request = SynthesisRequest(text="Yes.", voice=voice, sampling={"greedy": True} | sampling)
    return replace(tts.prompt(tts.plan(request)[0]), max_steps=12)


def test_prompt_is_the_publishers(published: tuple[Path, PreTrainedModel, TTS]):
    folder, _, tts = published
    segments = prompt_of(tts, recorded(tts)).segments
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    text = tokenizer.decode(list(segments[0].ids), skip_special_tokens=False)
    assert text in (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nConvert the text to speech:"
        "<|TEXT_UNDERSTANDING_START|>We do. Yes.<|TEXT_UNDERSTANDING_END|><|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n<|SPEECH_GENERATION_START|>",
        "user: Convert the text to speech:<|TEXT_PROMPT_START|>wi dˈu. jˈɛs.<|TEXT_PROMPT_END|>"
        "\nassistant:<|SPEECH_GENERATION_START|>",
    )
    assert isinstance(segments[1], Speech) and segments[1].goes_on


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_goes_on_after_a_recording_as_transformers(
    published: tuple[Path, PreTrainedModel, TTS], penalty: float
):
    """The penalty counts the codes of the recording too."""
    _, model, tts = published
    prompt = prompt_of(tts, recorded(tts), repetition_penalty=penalty)
    given = [FIRST + code for code in (7, 65_535, 0, 7)]
    ids = torch.tensor([[*prompt.segments[0].ids, *given]])

    def restrict(_: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores[:, :END] = -torch.inf
        return scores

    with torch.inference_mode():
        expected = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=END,
            pad_token_id=END,
            logits_processor=[restrict],
            repetition_penalty=penalty,
        )[0, ids.shape[1] :]
    steps = [int(event.tokens[0, 0]) for event in generate(tts.model, [prompt])]
    assert [FIRST + step for step in steps] == expected.tolist()
    other = prompt_of(tts, replace(recorded(tts), codes=np.array([[9, 9, 9, 9]])))
    assert [int(event.tokens[0, 0]) for event in generate(tts.model, [other])] != steps


def test_batch_mixes_rows_with_and_without_recordings(
    published: tuple[Path, PreTrainedModel, TTS],
):
    tts = published[2]
    prompts = [prompt_of(tts, recorded(tts)) for _ in range(2)]
    text, _ = prompts[1].segments
    prompts[1] = replace(prompts[1], segments=[text, Speech(None)])
    rows: dict[int, list[int]] = {0: [], 1: []}
    for event in generate(tts.model, prompts, batch_size=2):
        for row, tokens in zip(event.rows, event.tokens, strict=True):
            rows[row].append(int(tokens[0]))
    for row, prompt in enumerate(prompts):
        assert rows[row] == [int(e.tokens[0, 0]) for e in generate(tts.model, [prompt])]


def test_voice_file_of_a_recording_speaks(
    published: tuple[Path, PreTrainedModel, TTS], tmp_path: Path
):
    folder, _, tts = published
    wav = tmp_path / "me.wav"
    soundfile.write(wav, buzz(1.2), 16_000)
    made = ["voices", "make", wav, "--model", folder, "--i-have-consent"]
    assert run(*made, "-o", tmp_path / "no.safetensors") == 2
    assert run(*made, "--transcript", "We do.", "-o", tmp_path / "me.safetensors") == 0
    voice = Voice.load(tmp_path / "me.safetensors")
    assert voice.transcript == "We do." and voice.codes is not None and len(voice.codes[0]) > 50
    assert tts("Yes.", voice=voice, seed=1).duration > 0.5
    with raises_input_error("unsupported", "tokenizer"):
        tts("Yes.", voice=wav)
    wav.with_suffix(".txt").write_text("We\n do.\n", encoding="utf-8")
    direct = tts.find_voice(wav)
    assert direct is not None and direct.transcript == "We do."
    np.testing.assert_array_equal(direct.codes, voice.codes)


def test_neutts_needs_a_recording_and_llasa_does_not(
    published: tuple[Path, PreTrainedModel, TTS],
):
    folder, _, tts = published
    if folder.name.startswith("llasa"):
        assert tts("Yes.").duration > 0.5
        return
    with raises_input_error("missing", "voice"):
        tts("Yes.")
    spoken = SynthesisRequest(text="Yes.", voice=recorded(tts), seed=1)
    results = dict(tts.each(["No.", spoken, "No."], batch_size=3))
    assert results[0].code == results[2].code == "missing"
    assert results[1].duration > 0.5  # the refused ones do not end it

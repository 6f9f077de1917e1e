"""Qwen3-TTS: logits, greedy codes and speaker vectors equal to the authors' on the same weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from helpers.command_line import run
from helpers.errors import error_code, raises_input_error
from helpers.published_weights import buzz
from helpers.qwen3_tts import GOLDEN, save_qwen3_tts, write_json

import vocalmtp
from vocalmtp.decoding.generate import Prompt, collect_utterances, generate
from vocalmtp.decoding.reading import LONGEST, TextReader
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.published.folder import PublishedFolder
from vocalmtp.published.qwen3_tts import PromptSettings
from vocalmtp.tts import TTS, SynthesisRequest
from vocalmtp.voices import Voice, make_voice

OUTPUTS, FRAMES = GOLDEN["outputs"], 6
PROBED = [0, 500, 1000, 1500, 2047, 2048]  # codes, and the end


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {kind: tmp_path_factory.mktemp(kind) for kind in ("custom_voice", "base")}
    for kind, folder in made.items():
        save_qwen3_tts(folder, kind)
    return made


@pytest.fixture(scope="module", params=["eager", "cpu"])
def tts(folders: dict[str, Path], request: pytest.FixtureRequest) -> TTS:
    return vocalmtp.load(folders["custom_voice"], engine=request.param)


@pytest.fixture(scope="module")
def base(folders: dict[str, Path]) -> TTS:
    return vocalmtp.load(folders["base"], engine="eager")


def prompt_of(tts: TTS, text: str, voice: Voice | str | None) -> Prompt:
    request = SynthesisRequest(text=text, voice=voice, sampling={"temperature": 0.0})
    return replace(tts.prompt(tts.plan(request)[0]), max_steps=FRAMES)


def codes_of(tts: TTS, *prompts: Prompt) -> list[list[list[int]]]:
    """Codes [T, Q] of every prompt, decoded together."""
    made = collect_utterances(generate(tts.model, prompts, len(prompts)), tts.model.layout)
    return [codes.codes.T.tolist() for _, codes in sorted(made, key=lambda pair: pair[0])]


def cloned(tts: TTS, codes: torch.Tensor | None, transcript: str) -> Voice:
    spec, vector = tts.tokenizer.spec, np.array(OUTPUTS["speaker"], np.float32)
    heard = None if codes is None else codes.numpy()
    return Voice("me", vector, "test", spec.name, spec.hash, "", heard, transcript)


def recording(frames: int) -> torch.Tensor:
    """Codes [16, frames]."""
    return torch.tensor([[(91 * t + 137 * k + 5) % 2048 for t in range(frames)] for k in range(16)])


@pytest.mark.parametrize(("golden", "voice"), [("ryan", "ryan"), ("dialect", "Dylan")])
def test_greedy_codes_of_named_voices(tts: TTS, golden: str, voice: str):
    assert codes_of(tts, prompt_of(tts, "Pay $5.", voice)) == [OUTPUTS[golden]]


def test_rows_of_a_batch_are_the_single_ones(tts: TTS):
    prompts = [prompt_of(tts, "Two.", "vivian"), prompt_of(tts, "Pay $5.", "ryan")]
    assert codes_of(tts, *prompts) == [codes_of(tts, prompt)[0] for prompt in prompts]
    assert codes_of(tts, *prompts)[1] == OUTPUTS["ryan"]


def test_teacher_forced_logits(tts: TTS):
    if tts.model.runner is not None:
        pytest.skip("an optimized head has no layers to be trained")
    hidden = torch.linspace(-2, 2, 32)[None].sin() * 2
    codes = torch.tensor([[(137 * k + 11) % 2048 for k in range(16)]])
    with torch.inference_mode():
        first, *later = tts.model.head.logits(hidden[:, None], codes[:, None])
    assert first[0, 0, PROBED].tolist() == pytest.approx(OUTPUTS["logits"]["hidden"], abs=1e-4)
    for found, expected in zip(later, OUTPUTS["logits"]["depth"], strict=True):
        assert found[0, 0, [0, 700, 2047]].tolist() == pytest.approx(expected, abs=1e-4)
        assert found[0, 0, 2048:].max() == -torch.inf


def test_clone_by_vector_and_by_recording(base: TTS):
    by_vector = prompt_of(base, "Pay $5.", cloned(base, None, ""))
    by_recording = prompt_of(base, "Pay $5.", cloned(base, recording(5), "I am."))
    assert codes_of(base, by_vector, by_recording) == [OUTPUTS["x_vector"], OUTPUTS["icl"]]


def test_recording_that_is_longer_than_the_text(base: TTS):
    codes = recording(2).repeat(1, 9)
    prompt = prompt_of(base, "Pay $5.", cloned(base, codes, "I am."))
    assert codes_of(base, prompt) == [OUTPUTS["icl_long"]]


def test_speaker_vector(base: TTS, tmp_path: Path):
    vector = base.tokenizer.embed_speaker(buzz(24_000))[0]
    assert vector.tolist() == pytest.approx(OUTPUTS["speaker"], abs=2e-4)
    soundfile.write(tmp_path / "me.wav", buzz(48_000)[0].numpy(), 24_000)
    voice = make_voice(tmp_path / "me.wav", base.tokenizer, transcript="Yes.")
    assert np.linalg.norm(voice.vector) > 2  # as the model was trained, not of unit length
    assert voice.codes is not None and voice.codes.shape == (16, 25)


def test_saved_model_speaks_the_same(folders: dict[str, Path], tmp_path: Path):
    tts = vocalmtp.load(folders["custom_voice"], engine="eager")
    tts.model.save_pretrained(tmp_path)
    prompt = prompt_of(tts, "Pay $5.", "ryan")
    tts.model = SpeechLM.load(tmp_path)
    assert codes_of(tts, prompt) == [OUTPUTS["ryan"]]
    saved, opened = tts.model.config.prompt_settings, PublishedFolder.open(tmp_path)
    assert PromptSettings.of(opened).dialects == saved["dialects"] == {"dylan": "beijing_dialect"}


def test_audio_is_the_codecs_of_the_folder(tts: TTS):
    audio = tts("Two.", voice="ryan", greedy=True)
    chunks = [chunk.samples for chunk in tts.stream("Two.", voice="ryan", greedy=True)]
    assert len(audio.samples) > 5000
    np.testing.assert_allclose(np.concatenate(chunks), audio.samples, atol=1e-5)


def test_bad_folders(folders: dict[str, Path], tmp_path: Path):
    published = GOLDEN["custom_voice"]["config"]
    for file in folders["custom_voice"].iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "config.json").unlink()
    talker = {**published["talker_config"], "num_hidden_layers": 3}
    for changed, code in (
        (published | {"talker_config": talker}, "mismatch"),
        (published | {"talker_config": None}, "damaged"),
        (published | {"tts_pad_token_id": None}, "damaged"),
    ):
        write_json(tmp_path / "config.json", changed)
        with raises_input_error(code):
            vocalmtp.load(tmp_path, engine="eager")


def test_recordings_are_for_models_that_clone(tts: TTS):
    voice = replace(cloned(tts, recording(3), "I am."), vector=np.zeros(0, np.float32))
    with raises_input_error("unsupported"):
        prompt_of(tts, "Yes.", voice)


def test_language_and_instructions(folders: dict[str, Path], tmp_path: Path):
    tts = vocalmtp.load(folders["custom_voice"], engine="eager")
    request = SynthesisRequest(
        text="Two, three.", voice="vivian", language="English", sampling={"temperature": 0.0}
    )
    prompt = replace(tts.prompt(tts.plan(request)[0]), max_steps=FRAMES)
    assert codes_of(tts, prompt) == [OUTPUTS["english"]]
    for changes, code in (
        ({"language": "klingon"}, "unknown_name"),
        ({"language": "beijing_dialect"}, "unknown_name"),  # of a voice
    ):
        with raises_input_error(code):
            tts.plan(replace(request, **changes))
    save_qwen3_tts(tmp_path, "voice_design")
    designs = vocalmtp.load(tmp_path, engine="eager")
    request = SynthesisRequest(
        text="Pay $5.", instructions="Old and slow.", sampling={"temperature": 0.0}
    )
    prompt = replace(designs.prompt(designs.plan(request)[0]), max_steps=FRAMES)
    assert codes_of(designs, prompt) == [OUTPUTS["design"]]


def test_verbs_take_language_and_instructions(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture
):
    options = ["--model", folders["custom_voice"], "--engine", "eager", "-o", tmp_path / "a.wav"]
    assert run("tts", "你好。", "--language", "Chinese", "--instructions", "Slow.", *options) == 0
    assert soundfile.info(tmp_path / "a.wav").duration > 0.1
    assert run("tts", "你好。", "--language", "Chinesisch", *options) == 2
    assert error_code(capsys.readouterr().err) == "unknown_name"


def test_long_plain_texts_are_cut_at_sentences():
    text = "Один, два. " * 90 + "三四五六。" * 90 + "x" * 900
    pieces = [own.text for own in TextReader(plain=True).sentences(text)]
    assert max(map(len, pieces)) <= LONGEST and min(map(len, pieces)) > 90
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert pieces[0].endswith(".") and "。Один" not in "".join(pieces)


def test_any_language_is_read_as_it_is_written(base: TTS):
    voice = cloned(base, None, "")
    text = "Дверь  открыта! Grüße. 你好。再见。"
    (planned,) = base.plan(SynthesisRequest(text=text, voice=voice))
    assert planned.sentence.original == "Дверь открыта! Grüße. 你好。再见。"
    assert len(codes_of(base, replace(base.prompt(planned), max_steps=2))[0]) == 2
    with raises_input_error("empty"):
        base.plan(SynthesisRequest(text="...", voice=voice))
    with raises_input_error("unsupported"):
        base.plan(SynthesisRequest(text="Yes.", voice=voice, instructions="Fast."))

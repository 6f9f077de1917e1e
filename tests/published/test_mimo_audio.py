"""MiMo-Audio: prompts and greedy codes equal to those of the authors' code.

golden/mimo_audio.json has the configuration, names and shapes of a tiny model, and what the released
classes made of it: text ids of prompts and replies, and codes until the end. The released `generate`
was run with a sampler of text tokens that returns the text to be spoken, in the order in which the
released training format has it, and then the likelier one of a group and the end.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.command_line import run
from helpers.errors import raises_input_error
from helpers.published_lms import save_mimo
from tokenizers import decoders, pre_tokenizers

import vocalmtp
from vocalmtp.decoding.draft_state import check_layout
from vocalmtp.decoding.generate import Prompt, StepUnpacker, collect_utterances, generate
from vocalmtp.engines.graphs import Programs
from vocalmtp.models.prompts import Speech, Text
from vocalmtp.training.export import export_published
from vocalmtp.tts import TTS, SynthesisRequest
from vocalmtp.voices import Voice

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parent / "golden" / "mimo_audio.json").read_text(encoding="utf-8")
)
OUTPUTS = GOLDEN["outputs"]
TEXT, EMPTY, END = "Pay $5 now.", 258, 260


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("mimo")
    save_mimo(made, GOLDEN["config"], GOLDEN["shapes"])
    return made


@pytest.fixture(scope="module", params=["eager", "cpu"])
def tts(folder: Path, request: pytest.FixtureRequest) -> TTS:
    return vocalmtp.load(folder, engine=request.param, int8=False)


def prompt_of(tts: TTS, **options: Any) -> Prompt:
    request = SynthesisRequest(text=TEXT, sampling={"greedy": True}, **options)
    return replace(tts.prompt(tts.plan(request)[0]), max_steps=100)


def with_reference(tts: TTS) -> Prompt:
    sizes = [stream.size for stream in tts.tokenizer.spec.streams]
    frames = [[(91 * t + 137 * k + 5) % size for t in range(6)] for k, size in enumerate(sizes)]
    spec = tts.tokenizer.spec
    vector = np.zeros(0, np.float32)
    return prompt_of(
        tts, voice=Voice("me", vector, "test", spec.name, spec.hash, "", np.array(frames), "I am.")
    )


def text_ids(prompt: Prompt) -> list[int]:
    """The text ids of a prompt's positions, as the release has them."""
    ids: list[int] = []
    for segment in prompt.segments:
        if isinstance(segment, Text):
            ids += segment.ids
        elif isinstance(segment, Speech) and segment.codes is not None:
            ids += [EMPTY] * (segment.codes.shape[1] // 4)
    return ids


def codes_of(tts: TTS, *prompts: Prompt) -> list[list[list[int]]]:
    """Codes [T, Q] of every prompt, decoded together."""
    made = collect_utterances(generate(tts.model, prompts, len(prompts)), tts.model.layout)
    return [codes.codes.T.tolist() for _, codes in sorted(made, key=lambda pair: pair[0])]


@pytest.mark.parametrize("name", ["plain", "reference"])
def test_prompts_and_texts_are_the_publishers(tts: TTS, name: str):
    """The prompt here has the first five tokens of the reply too."""
    prompt = prompt_of(tts) if name == "plain" else with_reference(tts)
    published = OUTPUTS[name]
    assert text_ids(prompt) == published["prompt"] + published["text"][:5]
    along = [EMPTY if id_ < 0 else id_ for id_ in prompt.segments[-1].characters]
    rest = published["text"][5:]
    assert [*along, *[EMPTY] * (len(rest) - len(along) - 1), END] == rest


def test_greedy_codes_to_the_end_in_a_batch(tts: TTS):
    expected = [OUTPUTS[name]["codes"] for name in ("plain", "reference")]
    assert codes_of(tts, prompt_of(tts), with_reference(tts)) == expected
    assert [len(codes) for codes in expected] == [44, 44]
    assert len({tuple(frame) for codes in expected for frame in codes}) == 88


def test_logits(folder: Path):
    tts = vocalmtp.load(folder, engine="eager")
    prompt = prompt_of(tts)
    batch = tts.model.collator()([prompt.segments], left=True)
    group = torch.tensor(OUTPUTS["plain"]["codes"][:4]).flatten()
    step = torch.cat([torch.zeros(1, dtype=torch.long), group])[None, None]  # [1, 1, K]
    head = tts.model.head
    with torch.inference_mode():
        logits = head.logits(tts.model.prefill(batch)[1][:, -1:], step)
    found = logits[0][0, 0, [0, 2]].tolist()
    assert found == pytest.approx(OUTPUTS["logits"]["group_or_end"], abs=1e-4)
    for k, expected in zip(head.draw_order[1:], OUTPUTS["logits"]["codes"], strict=True):
        size = tts.model.layout.slots[k].size
        own = logits[k][0, 0, [0, size // 2, size - 1]]
        assert own.tolist() == pytest.approx(expected, abs=1e-4)


def test_same_codes_with_fixed_shapes(folder: Path):
    tts = vocalmtp.load(folder, engine="eager")
    prompts = prompt_of(tts), with_reference(tts)
    tts.model.use_programs(Programs())
    assert codes_of(tts, *prompts) == [OUTPUTS[name]["codes"] for name in ("plain", "reference")]


def test_steps_unpack_as_they_come(tts: TTS):
    unpacker = StepUnpacker(tts.model.layout)
    steps = [event.tokens[0] for event in generate(tts.model, [prompt_of(tts)])]
    frames = [unpacker.push(tokens) for tokens in steps] + [unpacker.flush()]
    assert torch.cat(frames, 1).T.tolist() == OUTPUTS["plain"]["codes"]


def test_speaks_as_a_model_of_ours_too(tts: TTS, folder: Path, tmp_path: Path):
    audio = tts(TEXT, temperature=0.0)
    assert audio.sample_rate == 24_000 and audio.duration > 0.5
    if tts.model.runner is None:
        export_published(folder, tmp_path / "own")
        own = vocalmtp.load(tmp_path / "own", engine="eager")
        assert np.array_equal(own(TEXT, temperature=0.0).samples, audio.samples)
        assert codes_of(own, with_reference(own)) == [OUTPUTS["reference"]["codes"]]


def test_short_and_chinese_texts(tts: TTS):
    request = SynthesisRequest(text="Hi.", sampling={"greedy": True})
    (text, speech) = tts.prompt(tts.plan(request)[0]).segments
    assert text.ids[-1] == 261 and list(speech.characters) == [-1]  # <|eot|>
    chinese = tts.prompt(tts.plan(SynthesisRequest(text="你好。"))[0]).segments[0].ids
    assert bytes_of(chinese[6:]).startswith("请将这段文字转换为语音: 你好。".encode())


def bytes_of(ids: Any) -> bytes:
    """The bytes of ids of the tiny tokenizer, whose first 256 tokens are bytes in its own order."""
    characters = sorted(pre_tokenizers.ByteLevel.alphabet())
    text = "".join(characters[id_] for id_ in ids if id_ < 256)
    return decoders.ByteLevel().decode([text]).encode()


def test_weights_of_other_sizes(tmp_path: Path):
    shapes = GOLDEN["shapes"] | {"speech_embeddings.3.weight": [129, 8]}
    save_mimo(tmp_path, GOLDEN["config"], shapes)
    with raises_input_error("mismatch", key="weights"):
        vocalmtp.load(tmp_path)


def test_tokenizer_with_other_codes(tmp_path: Path):
    sizes = {"speech_zeroemb_idx": "1024", "speech_vocab_size": "1025"}
    save_mimo(tmp_path, GOLDEN["config"] | sizes, GOLDEN["shapes"])
    with raises_input_error("mismatch", key="audio_channels"):
        vocalmtp.load(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"delay_pattern": "a-b"},
        {"input_local_dim": "y"},
        {"local_attn_heads": 0},
        {"local_attn_heads": 5},
        {"rope_theta": "x"},
    ],
)
def test_damaged_configurations(tmp_path: Path, wrong: dict[str, Any]):
    save_mimo(tmp_path, GOLDEN["config"] | wrong, GOLDEN["shapes"])
    with raises_input_error("damaged", key="model"):
        vocalmtp.load(tmp_path)


def test_fewer_rows_than_text_tokens(tmp_path: Path):
    save_mimo(tmp_path, GOLDEN["config"], GOLDEN["shapes"] | {"lm_head.weight": [259, 32]})
    with raises_input_error("mismatch", key="model"):
        vocalmtp.load(tmp_path)


def test_cannot_be_trained_on_or_drafted_for(tts: TTS):
    speech = Speech(torch.zeros(8, 4, dtype=torch.long), [5, -1])
    with raises_input_error("unsupported", key="end_slots"):
        tts.model.collator()([[speech]])
    with raises_input_error("unsupported", key="draft"):
        check_layout(tts.model.layout, "draft")


def test_plan_of_drafts_is_refused(folder: Path, capsys: pytest.CaptureFixture):
    recipe = Path(__file__).parents[2] / "recipes" / "published" / "drafts.yaml"
    assert run("train", recipe, "--dry-run", f"init={folder}") == 2
    assert "[unsupported]" in capsys.readouterr().err

"""MOSS-TTS with the delay pattern: prompts, logits and greedy codes equal to the authors'.

golden/moss_tts.json has the configuration, names and shapes of a tiny model, and what the released
classes made of it: text ids of prompts, logits, and codes until the end, without delays. The released
`generate` was run after the mark that begins speech, with an id that is written in it replaced by that
of the configuration.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.errors import raises_input_error
from helpers.published_lms import save_moss

import vocalmtp
from vocalmtp.decoding.generate import Prompt, StepUnpacker, collect_utterances, generate
from vocalmtp.models.prompts import Speech, Text
from vocalmtp.training.export import export_published
from vocalmtp.tts import TTS, SynthesisRequest
from vocalmtp.voices import Voice

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parent / "golden" / "moss_tts.json").read_text(encoding="utf-8")
)
OUTPUTS = GOLDEN["outputs"]
USER_SLOT = 261


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("moss")
    save_moss(made, GOLDEN["config"], GOLDEN["shapes"])
    return made


@pytest.fixture(scope="module", params=["eager", "cpu"])
def tts(folder: Path, request: pytest.FixtureRequest) -> TTS:
    return vocalmtp.load(folder, engine=request.param, int8=False)


def prompt_of(tts: TTS, **options: Any) -> Prompt:
    request = SynthesisRequest(text="Pay $5.", sampling={"greedy": True}, **options)
    return replace(tts.prompt(tts.plan(request)[0]), max_steps=45)


def with_reference(tts: TTS) -> Prompt:
    codes = np.array([[(91 * t + 137 * k + 5) % 1024 for t in range(5)] for k in range(32)])
    spec = tts.tokenizer.spec
    vector = np.zeros(0, np.float32)
    voice = Voice("me", vector, "test", spec.name, spec.hash, "", codes, "I am.")
    return prompt_of(tts, voice=voice, language="english", instructions="Slow.")


def text_ids(prompt: Prompt) -> list[int]:
    """The text ids of a prompt's positions, as the release has them."""
    ids: list[int] = []
    for segment in prompt.segments:
        if isinstance(segment, Text):
            ids += segment.ids
        elif isinstance(segment, Speech) and segment.codes is not None:
            streams, frames = segment.codes.shape
            ids += [USER_SLOT] * (frames + streams - 1)
    return ids


def codes_of(tts: TTS, *prompts: Prompt) -> list[list[list[int]]]:
    """Codes [T, K] of every prompt, decoded together."""
    made = collect_utterances(generate(tts.model, prompts, len(prompts)), tts.model.layout)
    return [codes.codes.T.tolist() for _, codes in sorted(made, key=lambda pair: pair[0])]


def test_prompts_are_the_publishers(tts: TTS):
    assert text_ids(prompt_of(tts)) == OUTPUTS["plain"]["prompt"]
    assert text_ids(with_reference(tts)) == OUTPUTS["reference"]["prompt"]


def test_logits(folder: Path):
    tts = vocalmtp.load(folder, engine="eager")
    batch = tts.model.collator()([prompt_of(tts).segments], left=True)
    with torch.inference_mode():
        text, *codes = tts.model.head.logits(tts.model.prefill(batch)[1][:, -1:])
    assert text[0, 0, [0, 2]].tolist() == pytest.approx(OUTPUTS["logits"]["text"], abs=1e-4)
    for found, expected in zip(codes, OUTPUTS["logits"]["codes"], strict=True):
        assert found[0, 0, [0, 511, 1023]].tolist() == pytest.approx(expected, abs=1e-4)


def test_greedy_codes_to_the_end_in_a_batch(tts: TTS):
    expected = [OUTPUTS[name]["codes"] for name in ("plain", "reference")]
    assert codes_of(tts, prompt_of(tts), with_reference(tts)) == expected
    assert len(expected[0]) == 11 and len(np.unique(expected[0])) == 178


def test_steps_unpack_as_they_come(tts: TTS):
    unpacker = StepUnpacker(tts.model.layout)
    steps = [event.tokens[0] for event in generate(tts.model, [prompt_of(tts)])]
    frames = [unpacker.push(tokens) for tokens in steps] + [unpacker.flush()]
    assert torch.cat(frames, 1).T.tolist() == OUTPUTS["plain"]["codes"]


def test_speaks_as_a_model_of_ours_too(tts: TTS, folder: Path, tmp_path: Path):
    audio = tts("Pay $5.", temperature=0.0)
    assert audio.sample_rate == 24_000 and audio.duration > 0.5
    if tts.model.runner is None:
        export_published(folder, tmp_path / "own")
        own = vocalmtp.load(tmp_path / "own", engine="eager")
        assert np.array_equal(own("Pay $5.", temperature=0.0).samples, audio.samples)


def test_weights_of_other_sizes(tmp_path: Path):
    name = "emb_ext.3.weight"
    shapes = GOLDEN["shapes"] | {name: [1025, 16]}
    save_moss(tmp_path, GOLDEN["config"], shapes)
    with raises_input_error("mismatch", key="model"):
        vocalmtp.load(tmp_path)


def test_tokenizer_with_fewer_streams(folder: Path, tmp_path: Path):
    save_moss(tmp_path, GOLDEN["config"] | {"n_vq": 16}, GOLDEN["shapes"])
    with raises_input_error("mismatch", key="n_vq"):
        vocalmtp.load(tmp_path)

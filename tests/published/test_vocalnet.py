"""VocalNet: logits and greedy units equal to those of the authors' code on the same weights.

golden/vocalnet.json has the sizes, names and shapes of a tiny model, and what the released classes
made of it: an answer of its text LM to `context`, the units of `predict` and, by the number of modules,
of `predict_mtp` without its penalty, and four logits of every position. `predict_mtp` has all modules
read the speech decoder's states of the text, which only the first has learned; `chained` are the units
with the chain that training has.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.errors import raises_input_error
from helpers.published_lms import save_vocalnet
from helpers.published_weights import make_published

import vocalmtp
from vocalmtp.decoding.draft_state import DraftOnly
from vocalmtp.decoding.generate import Prompt, generate
from vocalmtp.decoding.options import Decoding
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.models.prompts import Context, ControlToken, Segment, Speech, Text
from vocalmtp.tts import TTS, SynthesisRequest
from vocalmtp.voices import Voice

RELEASED: dict[str, Any] = json.loads(
    (Path(__file__).parent / "golden" / "vocalnet.json").read_text(encoding="utf-8")
)
END = 257


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vocalnet")
    save_vocalnet(folder, RELEASED["config"], RELEASED["shapes"])
    return folder


@pytest.fixture(scope="module", params=["eager", "cpu"])
def tts(folder: Path, request: pytest.FixtureRequest) -> TTS:
    return vocalmtp.load(folder, engine=request.param, int8=False)


@pytest.fixture
def voice(tts: TTS) -> Voice:
    spec = tts.tokenizer.spec
    vector = np.random.default_rng(0).standard_normal(spec.speaker_dim).astype(np.float32)
    return Voice("me", vector, "test", spec.name, spec.hash)


def answer(codes: torch.Tensor | None = None) -> list[Segment]:
    """The prompt of the answer that the released text LM wrote; its last token ended it."""
    context = RELEASED["context"]
    text = [context[-1], context[-1], *RELEASED["answer"][:-1], END]
    return [Context(context[:-1]), Text(text), ControlToken("speech"), Speech(codes)]


def units(tts: TTS, drafts: int, steps: int) -> list[int]:
    prompt = Prompt(answer(), Sampler(greedy=True), max_steps=steps)
    strategy = DraftOnly(drafts) if drafts else None
    events = generate(tts.model, [prompt], strategy=strategy)
    return [int(step[0]) for event in events for step in event.tokens]


def test_logits_of_all_modules(folder: Path):
    model = vocalmtp.load(folder, engine="eager").model
    codes = torch.tensor([RELEASED["units"]["0"][:10]])
    batch = model.collator()([answer(codes)])
    with torch.inference_mode():
        inputs = model.embed(batch).inputs
        hidden = model.run_backbone(inputs)
        states = [hidden, *model.draft.states(hidden, inputs, 5)]
        start = len(answer()[1].ids)  # the beginning of the speech
        for state, head, expected in zip(
            states, (model.head, *model.draft.heads), RELEASED["logits"], strict=True
        ):
            (logits,) = head.logits(state[:, start:-1])
            found = logits[0, :, :6561:1500][:, :4]
            torch.testing.assert_close(found, torch.tensor(expected), atol=2e-5, rtol=1e-5)


def test_greedy_units(tts: TTS):
    assert units(tts, 0, 30) == RELEASED["units"]["0"]


@pytest.mark.parametrize("modules", [1, 2, 5])
def test_several_units_a_step(tts: TTS, modules: int):
    expected = RELEASED["chained"][str(modules)]
    assert units(tts, modules, len(expected)) == expected
    if modules == 1:  # whose text states are those of its training in the release, too
        assert expected == RELEASED["units"]["1"]


def test_rows_of_a_batch_are_the_single_ones(tts: TTS, voice: Voice):
    requests = [SynthesisRequest(text=text, voice=voice) for text in ("One.", "Two, three, four.")]
    prompts = [replace(tts.prompt(tts.plan(each)[0]), max_steps=6) for each in requests]
    assert [s.ids[-1] for p in prompts for s in p.segments if isinstance(s, Text)] == [END, END]
    rows: dict[int, list[int]] = {0: [], 1: []}
    for event in generate(tts.model, prompts, batch_size=2):
        for row, tokens in zip(event.rows, event.tokens, strict=True):
            rows[row].append(int(tokens[0]))
    assert rows[0] != rows[1]
    for row, prompt in enumerate(prompts):
        assert rows[row] == [int(e.tokens[0, 0]) for e in generate(tts.model, [prompt])]


def test_speaks_with_a_voice(tts: TTS, voice: Voice):
    with raises_input_error("missing", key="voice"):
        tts("Yes.")
    audio = tts("Yes.", voice=voice)
    assert audio.sample_rate == 24_000 and audio.duration > 0.2


def test_saved_model_is_the_same(folder: Path, tmp_path: Path):
    tts = vocalmtp.load(folder, engine="eager")
    tts.model.save_pretrained(tmp_path)
    shutil.copytree(folder / "tokenizer", tmp_path / "tokenizer")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / name, tmp_path)
    saved = vocalmtp.load(tmp_path, engine="eager")
    assert units(saved, 2, 9) == RELEASED["chained"]["2"][:9]
    assert saved.prompt_format is not None


def with_config(folder: Path, place: Path, **changes: Any) -> Path:
    """A copy of a folder with other settings."""
    shutil.copytree(folder, place)
    config = RELEASED["config"] | {"model_type": "omni_speech2s_llama"} | changes
    (place / "config.json").write_text(json.dumps(config))
    return place


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"hidden_size": None}, "damaged"),
        ({"decoder_num_heads": 5}, "damaged"),
        ({"mtp_num": "five"}, "damaged"),
        ({"mtp_num": 6}, "mismatch"),
        ({"unit_vocab_size": 4096}, "mismatch"),
    ],
)
def test_damaged_configuration(folder: Path, tmp_path: Path, changes: Any, code: Any):
    with raises_input_error(code):
        vocalmtp.load(with_config(folder, tmp_path / "other", **changes))


def test_speech_ends_where_the_positions_do(folder: Path, tmp_path: Path, voice: Voice):
    short = with_config(folder, tmp_path / "short", speech_max_position_embeddings=24)
    tts = vocalmtp.load(short, engine="cpu", int8=False, decoding=Decoding(drafts=2, accept="all"))
    assert tts("Two, three.", voice=voice).truncated
    with raises_input_error("out_of_range", key="text"):
        tts("Two, three, four, five, six.", voice=voice)


def test_weights_of_another_size(folder: Path, tmp_path: Path):
    other = with_config(folder, tmp_path / "other", decoder_ffn_dim=96)
    with raises_input_error("mismatch", key="weights"):
        vocalmtp.load(other)
    make_published("s3-v2").save_pretrained(tmp_path / "tokenizer")
    shutil.rmtree(other / "tokenizer")
    shutil.copytree(tmp_path / "tokenizer", other / "tokenizer")
    with raises_input_error("mismatch", key="tokenizer"):
        vocalmtp.load(other)

"""Orpheus: greedy tokens equal to Transformers' on the same weights, audio equal to SNAC's."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.errors import raises_input_error
from helpers.published_lms import save_orpheus
from helpers.tiny_codecs import make_tiny
from tokenizers import Tokenizer
from transformers import LogitsProcessorList, PreTrainedModel

import vocalmtp
from vocalmtp.decoding.generate import Prompt, collect_utterances, generate
from vocalmtp.tts import TTS, SynthesisRequest

TEXT = "Pay $5."
FIRST, END = 268, 260  # ids of code 0 and of the end, behind 256 bytes, two marks and ten tokens


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PreTrainedModel]:
    folder = tmp_path_factory.mktemp("orpheus")
    return folder, save_orpheus(folder)


@pytest.fixture(scope="module")
def tts(published: tuple[Path, PreTrainedModel]) -> TTS:
    return vocalmtp.load(published[0], engine="eager")


def reference(
    model: PreTrainedModel, prompt: list[int], count: int, **settings: float
) -> list[int]:
    """Tokens of `generate` of Transformers, restricted to the codes that may follow."""

    def restrict(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        place = ids.shape[1] - len(prompt)
        codes = slice(FIRST + 4096 * (place % 7), FIRST + 4096 * (place % 7 + 1))
        kept = torch.full_like(scores, -torch.inf)
        kept[:, codes] = scores[:, codes]
        if place and place % 7 == 0:
            kept[:, END] = scores[:, END]
        return kept

    ids = torch.tensor([prompt])
    with torch.inference_mode():
        made = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=count,
            do_sample=False,
            eos_token_id=END,
            pad_token_id=END,
            logits_processor=LogitsProcessorList([restrict]),
            **settings,
        )
    return made[0, len(prompt) :].tolist()


def regroup(tokens: list[int]) -> torch.Tensor:
    """Codes [1, 7, T] of SNAC, coarse ones first, of the ids of whole frames."""
    frames = len(tokens) // 7
    codes = torch.tensor(tokens[: 7 * frames]).view(frames, 7) - FIRST - 4096 * torch.arange(7)
    coarse, middle, fine = codes[:, [0]], codes[:, [1, 4]], codes[:, [2, 3, 5, 6]]
    return torch.cat([coarse, middle, fine], 1).T[None]


def first_steps(tts: TTS, prompt: Prompt, count: int) -> list[int]:
    limited = replace(prompt, max_steps=count)
    return [int(event.tokens[0, 0]) for event in generate(tts.model, [limited])]


def prompt_of(tts: TTS, **settings: object) -> Prompt:
    return tts.prompt(
        tts.plan(SynthesisRequest(text=TEXT, sampling={"greedy": True} | settings))[0]
    )


def test_prompt_is_the_publishers(tts: TTS, published: tuple[Path, PreTrainedModel]):
    text = tts.prompt(tts.plan(SynthesisRequest(text=TEXT, voice="leo"))[0]).segments[0]
    tokenizer = Tokenizer.from_file(str(published[0] / "tokenizer.json"))
    assert tokenizer.decode(text.ids, skip_special_tokens=False) == (
        "<custom_token_3><|begin_of_text|>leo: Pay $5.<|eot_id|>"
        "<custom_token_4><custom_token_5><custom_token_1>"
    )


def test_marks_in_a_text_are_plain_characters(tts: TTS):
    marked = tts.plan(SynthesisRequest(text="Say <custom_token_2> <|eot_id|> now."))[0]
    ids = tts.prompt(marked).segments[0].ids
    plain = tts.prompt(tts.plan(SynthesisRequest(text="Say now."))[0]).segments[0].ids
    assert [i for i in ids if i >= 256] == [i for i in plain if i >= 256]


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy_tokens_are_those_of_transformers(
    tts: TTS, published: tuple[Path, PreTrainedModel], penalty: float
):
    prompt = prompt_of(tts, repetition_penalty=penalty)
    steps = first_steps(tts, prompt, 56)
    expected = reference(published[1], list(prompt.segments[0].ids), 56, repetition_penalty=penalty)
    assert [FIRST + step for step in steps] == expected
    assert len(set(expected)) > (40 if penalty > 1 else 5)


def test_audio_is_that_of_snac(tts: TTS, published: tuple[Path, PreTrainedModel]):
    audio = tts(TEXT, greedy=True)
    prompt = prompt_of(tts)
    expected = reference(
        published[1], list(prompt.segments[0].ids), prompt.max_steps, repetition_penalty=1.3
    )
    wav = tts.tokenizer.decode(regroup(expected))[0].numpy()
    assert len(expected) == prompt.max_steps and len(audio.samples) > 10_000
    np.testing.assert_array_equal(audio.samples, wav)


def test_end_token_ends_the_speech(published: tuple[Path, PreTrainedModel], tmp_path: Path):
    """The row of the end in the embedding is the hidden state of the third frame's beginning."""
    folder = shutil.copytree(published[0], tmp_path / "ending")
    tts = vocalmtp.load(folder, engine="eager")
    prompt = prompt_of(tts, repetition_penalty=1.0)
    tokens = reference(published[1], list(prompt.segments[0].ids), 14)
    with torch.inference_mode():
        ids = torch.tensor([[*prompt.segments[0].ids, *tokens]])
        hidden = published[1].model(input_ids=ids).last_hidden_state[0, -1]
    head = tts.model.head.projection.free["0"]
    head.weight[28_672] = hidden * 100
    events = list(generate(tts.model, [prompt]))
    ((_, made),) = collect_utterances(events, tts.model.layout)
    assert not made.truncated and made.codes.shape[1] in (1, 2)
    frames = made.codes.shape[1]
    assert torch.equal(made.codes[None], regroup(tokens)[..., :frames])


def test_seed_batch_and_stream_agree(tts: TTS):
    texts = ["I.", "A B."]
    alone = [tts(text, voice="zoe", seed=7) for text in texts]
    for one, row in zip(alone, tts.batch(texts, voice="zoe", seed=7), strict=True):
        np.testing.assert_array_equal(one.samples, row.samples)
    chunks = list(tts.stream(texts[1], voice="zoe", seed=7))
    assert len(chunks) > 1
    joined = np.concatenate([chunk.samples for chunk in chunks])
    np.testing.assert_allclose(joined, alone[1].samples, atol=1e-6)


def test_voice_and_seed_matter(tts: TTS):
    made = []
    for voice, seed in (("zoe", 7), ("zoe", 8), ("dan", 7), ("Zoe", 7)):
        request = SynthesisRequest(
            text="I.", voice=voice, seed=seed, sampling={"temperature": 3.0, "top_p": 1.0}
        )
        made.append(first_steps(tts, tts.prompt(tts.plan(request)[0]), 14))
    assert made[0] == made[3] and len({tuple(each) for each in made}) == 3


def test_fused_engine_on_half_precision_agrees(tmp_path: Path):
    """Weights in bfloat16 are exact in float32, in which the fused layers compute."""
    save_orpheus(tmp_path, torch.bfloat16)
    eager = vocalmtp.load(tmp_path, engine="eager")
    fused = vocalmtp.load(tmp_path, engine="cpu")
    assert fused.model.backbone.get_input_embeddings().weight.dtype == torch.bfloat16
    assert eager.model.backbone.get_input_embeddings().weight.dtype == torch.float32
    steps = [first_steps(tts, prompt_of(tts), 70) for tts in (eager, fused)]
    assert steps[0] == steps[1]


def test_missing_shards_are_named(published: tuple[Path, PreTrainedModel], tmp_path: Path):
    folder = shutil.copytree(published[0], tmp_path / "copy")
    lost = sorted(folder.glob("model-*.safetensors"))[1]
    lost.unlink()
    with raises_input_error("missing", names=lost.name):
        vocalmtp.load(folder)


def test_folders_of_pickles_or_without_vocabulary(
    published: tuple[Path, PreTrainedModel], tmp_path: Path
):
    folder = shutil.copytree(published[0], tmp_path / "copy")
    for file in folder.glob("model*"):
        file.unlink()
    (folder / "pytorch_model.bin").touch()
    with raises_input_error("unsupported", names="safetensors"):
        vocalmtp.load(folder)
    (folder / "tokenizer.json").unlink()
    with raises_input_error("missing", names="tokenizer.json"):
        vocalmtp.load(folder)
    (folder / "config.json").write_text("{}")
    with raises_input_error("unsupported", names="model_type"):
        vocalmtp.load(folder)


def test_half_download_is_damaged(published: tuple[Path, PreTrainedModel], tmp_path: Path):
    folder = shutil.copytree(published[0], tmp_path / "copy")
    torn = sorted(folder.glob("model-*.safetensors"))[0]
    torn.write_bytes(torn.read_bytes()[:-100])
    with raises_input_error("damaged", names=torn.name):
        vocalmtp.load(folder)


def test_weights_of_another_configuration_are_named(
    published: tuple[Path, PreTrainedModel], tmp_path: Path
):
    folder = shutil.copytree(published[0], tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 96}))
    with raises_input_error("mismatch", names="layers.0.mlp.down_proj.weight"):
        vocalmtp.load(folder)


def test_text_tokenizer_of_another_model(published: tuple[Path, PreTrainedModel], tmp_path: Path):
    folder = shutil.copytree(published[0], tmp_path / "copy")
    data = json.loads((folder / "tokenizer.json").read_text())
    data["added_tokens"] = [t for t in data["added_tokens"] if "custom" not in t["content"]]
    (folder / "tokenizer.json").write_text(json.dumps(data))
    with raises_input_error("unsupported"):
        vocalmtp.load(folder)


def test_too_little_memory_is_known_before_loading(
    published: tuple[Path, PreTrainedModel], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("vocalmtp.published.folder.available_memory", lambda: 1000)
    with raises_input_error("unusable"):
        vocalmtp.load(published[0])


def test_another_speech_tokenizer(published: tuple[Path, PreTrainedModel], tmp_path: Path):
    folder = shutil.copytree(published[0], tmp_path / "copy")
    shutil.rmtree(folder / "tokenizer")
    make_tiny("bigcodec").save_pretrained(folder / "tokenizer")
    with raises_input_error("mismatch", "tokenizer"):
        vocalmtp.load(folder)

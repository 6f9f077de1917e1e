"""CSM: logits, greedy codes, embeddings and audio equal to Transformers' on the same weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.published_lms import save_csm
from transformers import CsmForConditionalGeneration

import vocalmtp
from vocalmtp.decoding.generate import Prompt, collect_utterances, generate
from vocalmtp.tts import TTS, SynthesisRequest
from vocalmtp.voices import Voice

FRAMES = 4


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CsmForConditionalGeneration]:
    folder = tmp_path_factory.mktemp("csm")
    return folder, save_csm(folder)


@pytest.fixture(scope="module", params=["eager", "cpu"])
def tts(published: tuple[Path, CsmForConditionalGeneration], request: pytest.FixtureRequest) -> TTS:
    return vocalmtp.load(published[0], engine=request.param)


def prompt_of(tts: TTS, text: str = "Pay $5.", voice: Voice | str | None = None) -> Prompt:
    request = SynthesisRequest(text=text, voice=voice, sampling={"greedy": True})
    return replace(tts.prompt(tts.plan(request)[0]), max_steps=FRAMES)


def reference(model: CsmForConditionalGeneration, prompt: Prompt) -> torch.Tensor:
    """Codes [1, K, T] of `generate` of Transformers."""
    ids = torch.tensor([list(prompt.segments[0].ids)])
    with torch.inference_mode():
        codes = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            depth_decoder_do_sample=False,
            max_new_tokens=FRAMES,
        )
    return codes.transpose(1, 2)


def test_greedy_codes_and_audio(tts: TTS, published: tuple[Path, CsmForConditionalGeneration]):
    prompt, model = prompt_of(tts), published[1]
    expected = reference(model, prompt)
    ((_, made),) = collect_utterances(generate(tts.model, [prompt]), tts.model.layout)
    assert torch.equal(made.codes[None], expected)
    assert len(expected.unique()) > 60
    with torch.inference_mode():
        wav = model.codec_model.decode(expected).audio_values[0, 0]
    np.testing.assert_allclose(tts.tokenizer.decode(made.codes[None])[0], wav, atol=1e-5)


def test_rows_of_a_batch_are_the_single_ones(tts: TTS):
    prompts = [prompt_of(tts, text) for text in ("One.", "Two, three, four.")]
    together = dict(collect_utterances(generate(tts.model, prompts, 2), tts.model.layout))
    for number, prompt in enumerate(prompts):
        ((_, alone),) = collect_utterances(generate(tts.model, [prompt]), tts.model.layout)
        assert torch.equal(together[number].codes, alone.codes)


def test_teacher_forced_logits(published: tuple[Path, CsmForConditionalGeneration]):
    tts, model = vocalmtp.load(published[0], engine="eager"), published[1]
    hidden, codes = torch.randn(3, 32), torch.randint(2048, (3, 32))
    with torch.inference_mode():
        found = tts.model.head.logits(hidden[:, None], codes[:, None])
        ids = torch.nn.functional.pad(codes[:, :-1], (1, 0))
        expected = model.depth_decoder(ids, backbone_last_hidden_state=hidden).logits
        first = model.lm_head(hidden)
    torch.testing.assert_close(found[0][:, 0, :2048], first[:, :2048], atol=1e-5, rtol=1e-5)
    for k in range(1, 32):
        torch.testing.assert_close(
            found[k][:, 0, :2048], expected[:, k - 1, :2048], atol=1e-4, rtol=1e-5
        )


def test_recording_of_a_voice_is_embedded_as_published(
    published: tuple[Path, CsmForConditionalGeneration],
):
    tts, model = vocalmtp.load(published[0], engine="eager"), published[1]
    codes, spec = torch.randint(2048, (32, 3)), tts.tokenizer.spec
    nothing = np.zeros(0, np.float32)
    voice = Voice("me", nothing, "test", spec.name, spec.hash, "", codes.numpy(), "I am.")
    segments = tts.prompt(tts.plan(SynthesisRequest(text="Yes.", voice=voice))[0]).segments
    with torch.inference_mode():
        inputs = tts.model.embed(tts.model.collator()([segments], left=True)).inputs[0]
        texts = [model.embed_text_tokens(torch.tensor(list(segments[i].ids))) for i in (0, 2)]
        frames = torch.cat([codes.T, torch.zeros(1, 32, dtype=torch.long)])  # and the end
        heard = model.backbone_model.embed_tokens(frames[None])[0]
    torch.testing.assert_close(inputs, torch.cat([texts[0], heard, texts[1]]), atol=1e-4, rtol=1e-5)


def test_frame_of_zeros_ends_the_speech(published: tuple[Path, CsmForConditionalGeneration]):
    tts = vocalmtp.load(published[0], engine="eager")
    for layer in (tts.model.head.first, *tts.model.head.outputs):
        layer.weight.zero_()  # the lowest of equal logits is that of code 0
    ((_, made),) = collect_utterances(generate(tts.model, [prompt_of(tts)]), tts.model.layout)
    assert made.codes.shape[1] == 0 and not made.truncated

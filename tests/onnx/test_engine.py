"""The ONNX engine against the one in torch: the same tokens for a seed, the same audio."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.toy_model import BACKBONE

from vocalmtp.arrays import host
from vocalmtp.audio.io import join
from vocalmtp.decoding.generate import collect_utterances, generate
from vocalmtp.loading import load
from vocalmtp.onnx.manifest import EXACT
from vocalmtp.text.ipa import PHONES
from vocalmtp.tts import TTS, SynthesisRequest

TEXTS = ["Hi.", "One two.", "A."]
MOST_STEPS = 40
STREAMS = [
    {"name": f"content{i}", "size": 1024, "levels": [4] * 5, "delay": i} for i in (1, 2, 3)
] + [{"name": "prosody", "size": 1024, "levels": [4] * 5}]
QWEN = BACKBONE | {"model_type": "qwen2", "num_key_value_heads": 1, "use_sliding_window": False}
SETTINGS: dict[str, dict[str, Any]] = {
    "track": {},
    "speaker at every step": {"speaker_every_step": True, "frames_per_step": 3},
    "text prompt": {"text": "prompt"},
    "text prompt and track": {"text": "both", "frames_per_step": 1},
    "flat": {"text": "prompt", "flat": True, "frames_per_step": 1},
    "delays": {"streams": STREAMS},
    "linear head": {"head": {"name": "parallel", "kind": "linear"}},
    "qwen2": {"backbone": QWEN},
    "elastic": {"frames_per_step": [1, 2]},
    "phones": {"phones": " ".join(PHONES)},
}
SAMPLING: dict[str, dict[str, Any]] = {
    "greedy": {"greedy": True},
    "sampled": {"temperature": 0.9, "top_k": 20, "top_p": 0.95},
}
Both = Callable[..., tuple[TTS, TTS]]


def codes(tts: TTS, sampling: dict[str, Any], batch_size: int = 8) -> list[np.ndarray]:
    """Codes of TEXTS, each with a seed of its own."""
    return codes_of(tts, TEXTS, sampling, batch_size)


def codes_of(
    tts: TTS, texts: list[str], sampling: dict[str, Any], batch_size: int = 8
) -> list[np.ndarray]:
    """Codes [Q, T] of short texts, each with a seed of its own."""
    requests = [
        SynthesisRequest(text=text, seed=seed, sampling=sampling)
        for seed, text in enumerate(texts, start=2**40)
    ]
    sentences = [sentence for each in requests for sentence in tts.plan(each)]
    prompts = [replace(tts.prompt(sentence), max_steps=MOST_STEPS) for sentence in sentences]
    made = collect_utterances(generate(tts.model, prompts, batch_size), tts.model.layout)
    return [host(utterance.codes) for _, utterance in sorted(made, key=lambda pair: pair[0])]


@pytest.mark.parametrize("settings", SETTINGS)
def test_tokens_and_audio_equal_those_of_torch(both: Both, settings: str) -> None:
    onnx, cpu = both(**SETTINGS[settings])
    for sampling in SAMPLING.values():
        ours, theirs = codes(onnx, sampling), codes(cpu, sampling)
        assert all(np.array_equal(*pair) for pair in zip(ours, theirs, strict=True)), sampling
        assert min(part.shape[1] for part in ours) > 0
        vector, own = onnx.voices["ann"].vector, ours[0][None]
        one = onnx.tokenizer.decode(own, onnx.tokenizer.speaker_batch(vector))
        other = cpu.tokenizer.decode(torch.from_numpy(own), cpu.tokenizer.speaker_batch(vector))
        np.testing.assert_allclose(one, other, atol=1e-3)


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "coupled"},
        {"kind": "semi_decoupled"},
        {"sample_rate": 24_000, "prosody_levels": (8, 8), "pitch_range": (60.0, 600.0)},
    ],
    ids=["coupled", "semi_decoupled", "24 kHz"],
)
def test_audio_of_other_tokenizers_equals_that_of_torch(
    changes: dict[str, Any], exported: Any, tmp_path: Any
) -> None:
    from helpers.toy_model import tokenizer_config

    from vocalmtp.onnx.builder import Weights
    from vocalmtp.onnx.codec import OnnxTokenizer
    from vocalmtp.onnx.codec_graphs import frames_graph, samples_graph
    from vocalmtp.onnx.manifest import OnnxManifest
    from vocalmtp.tokenizers.neural import NeuralTokenizer

    torch.manual_seed(0)
    config = tokenizer_config().model_copy(update=changes)
    tokenizer = NeuralTokenizer(config).eval()
    tokenizer.save_pretrained(tmp_path / "codec")
    weights = Weights(tmp_path / "codec")
    frames_graph(config, weights).save(tmp_path / "codec" / "frames.onnx")
    samples_graph(config, weights).save(tmp_path / "codec" / "samples.onnx")
    manifest = OnnxManifest.load(exported)
    found = {"codec": tokenizer.spec, "decoupled": config.kind == "decoupled"}
    found["delay"] = tokenizer.decoder.vocoder.delay
    made = OnnxTokenizer(tmp_path / "codec", manifest.model_copy(update=found), threads=1)
    tokens = torch.randint(0, 64, (1, 4, 9))
    speaker = torch.nn.functional.normalize(torch.randn(1, config.speaker_dim), dim=-1)
    wanted = tokenizer.decode(tokens, speaker).numpy()
    np.testing.assert_allclose(made.decode(tokens.numpy(), speaker.numpy()), wanted, atol=1e-3)


@pytest.mark.parametrize("int8", [False, True])
def test_a_row_of_a_batch_equals_the_single_call(exported: Any, int8: bool) -> None:
    onnx = load(exported, engine="onnx", int8=int8)
    for sampling in SAMPLING.values():
        together, alone = codes(onnx, sampling), codes(onnx, sampling, batch_size=1)
        assert all(np.array_equal(*pair) for pair in zip(together, alone, strict=True))


@pytest.mark.parametrize("int8", [False, True])
def test_streamed_audio_equals_offline_audio(exported: Any, int8: bool) -> None:
    onnx = load(exported, engine="onnx", int8=int8)
    arguments: dict[str, Any] = {"voice": "bob", "seed": 3, "temperature": 0.8}
    whole, chunks = onnx(TEXTS[1], **arguments), list(onnx.stream(TEXTS[1], **arguments))
    assert len(chunks) > 2
    joined = join(chunks)
    np.testing.assert_allclose(joined.samples, whole.samples, atol=1e-5)
    assert [word.text for word in joined.words] == [word.text for word in whole.words]


def test_the_bundled_model_equals_torch_and_8_bits_are_near() -> None:
    pytest.importorskip("onnxruntime")
    text = "The birch canoe slid on the smooth planks."
    reference = load("mini", engine="eager", int8=False)  # cpu may take float16
    reference.tokenizer = _float_tokenizer()
    exact, rounded = (load("mini", engine="onnx", int8=int8) for int8 in (False, True))
    for sampling in ({}, {"temperature": 0.7, "top_k": 20, "seed": 3}):
        one, other = exact(text, **sampling), reference(text, **sampling)
        np.testing.assert_allclose(one.samples, other.samples, atol=1e-3)
        assert one.words == other.words
    prompt = rounded.prompt(rounded.plan(SynthesisRequest(text=text))[0])
    logits = [tts.model.prefill([prompt.segments])[1] for tts in (exact, rounded)]
    assert 0 < np.abs(logits[0] - logits[1]).max() < 0.8  # of a range of some tens
    if not rounded.full_model.exact:
        return  # the decoder's products stay in floats on this CPU
    (codes,) = codes_of(exact, [text], {})
    vector = exact.find_voice(None).vector[None]
    wanted, found = (tts.tokenizer.decode(codes[None], vector) for tts in (exact, rounded))
    noise = ((found - wanted) ** 2).sum() / (wanted**2).sum()
    assert 0 < noise < 1e-4  # 40 dB below the speech


def test_the_decoder_has_floats_where_products_of_8_bits_are_wrong(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vocalmtp.onnx import speech_lm

    def saturated(*arguments: Any) -> dict[str, np.ndarray]:
        return run_once(*arguments) | {EXACT: np.zeros((16, 16), bool)}

    exact, run_once = load(exported, engine="onnx", int8=False), speech_lm.run_once
    monkeypatch.setattr(speech_lm, "run_once", saturated)
    tokenizer = load(exported, engine="onnx", int8=True).tokenizer
    made = np.arange(48).reshape(1, 4, 12) * 7 % 64
    assert np.array_equal(tokenizer.decode(made), exact.tokenizer.decode(made))


def test_the_bundled_graphs_are_those_that_the_exporter_writes(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from vocalmtp.hub import model_folder
    from vocalmtp.onnx.export import export_onnx

    bundled = model_folder("mini")
    copy = Path(shutil.copytree(bundled, tmp_path / "mini"))
    written = [*export_onnx(copy), copy / "onnx.json"]
    for path in written:
        assert path.read_bytes() == (bundled / path.relative_to(copy)).read_bytes(), path.name


def _float_tokenizer() -> Any:
    """The tokenizer of the bundled model without bfloat16, which some CPUs have."""
    from vocalmtp.hub import tokenizer_folder
    from vocalmtp.tokenizers import load_tokenizer

    return load_tokenizer(tokenizer_folder("mini")).eval()

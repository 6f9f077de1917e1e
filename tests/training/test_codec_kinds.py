"""The three kinds of the trainable tokenizer: equal bit rates, different losses and streams."""

import math
from dataclasses import replace

import pytest
import torch
from helpers.errors import raises_input_error
from helpers.tiny_codec_run import TINY, tiny_codec_recipe
from helpers.tiny_codecs import make_tiny

from vocalmtp.config import parse
from vocalmtp.tokenizers import load_tokenizer
from vocalmtp.tokenizers.neural import NeuralTokenizer
from vocalmtp.training.codec import TokenizerTrainer, train_tokenizer
from vocalmtp.training.recipe import TokenizerRecipe

KINDS = ("coupled", "semi_decoupled", "decoupled")
LOSSES = {
    "coupled": {"residual"},
    "semi_decoupled": {"residual", "phone"},
    "decoupled": {"phone", "leak_pitch", "leak_timbre"},
}


@pytest.fixture
def recipe(tmp_path):
    """A recipe that takes the speaker encoder of another tokenizer, which is in `tmp_path`."""
    of_kind("decoupled").save_pretrained(tmp_path / "other")
    update = {"speaker_encoder": str(tmp_path / "other")}
    return tiny_codec_recipe(tmp_path).model_copy(update=update)


def of_kind(kind: str, **changes: object) -> NeuralTokenizer:
    torch.manual_seed(0)
    return NeuralTokenizer(TINY.model_copy(update={"kind": kind, **changes})).eval()


def with_kind(recipe: TokenizerRecipe, kind: str, **changes: object) -> TokenizerRecipe:
    """A recipe of another kind."""
    model = recipe.model.model_copy(update={"kind": kind})
    return recipe.model_copy(update={"model": model, **changes})


def count(*parts: torch.nn.Module) -> int:
    return sum(p.numel() for part in parts for p in part.parameters())


def test_kinds_share_encoder_decoder_and_bit_rate():
    models = [of_kind(kind) for kind in KINDS]
    shapes = [
        {name: t.shape for name, t in model.state_dict().items() if ".quantizer." not in name}
        for model in models
    ]
    assert shapes[0] == shapes[1] == shapes[2]
    assert len({model.spec.bits_per_second for model in models}) == 1
    assert len({len(model.spec.streams) for model in models}) == 1
    assert len({model.spec.hash for model in models}) == 3
    split = NeuralTokenizer()
    joint = NeuralTokenizer(split.config.model_copy(update={"kind": "coupled"}))
    assert count(joint) - count(split) == count(joint.encoder.quantizer) < 1e-3 * count(split)


@pytest.mark.parametrize("kind", KINDS)
def test_loss_falls_with_the_losses_of_each_kind(recipe, kind):
    trainer = TokenizerTrainer(with_kind(recipe, kind, discriminator_start=9))
    losses = [trainer.update() for _ in range(8)]
    assert set(losses[0]) == {"spectral", "pitch"} | LOSSES[kind]
    assert losses[-1]["spectral"] < 0.9 * losses[0]["spectral"]
    assert all(math.isfinite(value) for row in losses for value in row.values())


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_resumes_and_loads(recipe, kind):
    train_tokenizer(with_kind(recipe, kind, steps=1))
    first = load_tokenizer(recipe.output)
    again = TokenizerTrainer(with_kind(recipe, kind, steps=2))
    again.run()
    saved = load_tokenizer(recipe.output)
    assert again.step == 2 and saved.spec == first.spec and saved.spec.kind == kind
    wanted = again.averaged.module.state_dict()
    assert all(torch.equal(t, wanted[name].float()) for name, t in saved.state_dict().items())
    other = next(name for name in KINDS if name != kind)
    with raises_input_error("mismatch", "init"):
        changes = {"init": recipe.output, "output": recipe.output / "x"}
        train_tokenizer(with_kind(recipe, other, **changes))


def test_phone_loss_reaches_first_stream_only(recipe):
    trainer = TokenizerTrainer(with_kind(recipe, "semi_decoupled"))
    batch = trainer.crops.batch()
    features = trainer.model.features(batch.wav, batch.lengths)
    coded, speaker = trainer.model.encoder(features), trainer.model.encoder.speaker(features)
    trainer.probes.losses(coded, features, speaker, batch.phones)["phone"].backward()
    down = trainer.model.encoder.quantizer.down
    assert down[0].weight.grad.abs().sum() > 0
    assert all(layer.weight.grad.abs().sum() == 0 for layer in down[1:])


@pytest.mark.parametrize("kind", ["coupled", "decoupled"])
def test_speaker_encoder_of_another_tokenizer_is_used(recipe, kind):
    train_tokenizer(with_kind(recipe, kind, steps=2))
    wav = torch.randn(2, 16_000) * 0.1
    made, other = load_tokenizer(recipe.output), load_tokenizer(recipe.speaker_encoder)
    assert torch.equal(made.embed_speaker(wav), other.embed_speaker(wav))
    assert torch.equal(made.encode(wav).speaker, other.embed_speaker(wav))


def test_speaker_encoder_of_joint_kinds_is_that_of_the_bundled_model(recipe):
    for kind in KINDS:
        own = with_kind(recipe, kind, speaker_encoder=None)
        assert own.speaker_encoder_source == (None if kind == "decoupled" else "mini")
    with raises_input_error("invalid_value", "speaker_encoder", names="sample_rate"):
        TokenizerTrainer(with_kind(recipe, "coupled", speaker_encoder=None))


@pytest.mark.parametrize("kind", KINDS)
def test_speaker_vector_changes_decoupled_audio_only(kind):
    model = of_kind(kind)
    for parameter in model.decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    made = model.encode(torch.randn(2, 8_000) * 0.1)
    wav = model.decode(made.codes, made.speaker)
    other = model.decode(made.codes, -made.speaker)
    assert torch.equal(wav, other) == (kind != "decoupled")
    if kind != "decoupled":
        assert torch.equal(model.decode(made.codes), wav)
        stream = model.stream()
        joined = torch.cat([stream.push(made.codes), stream.flush()], dim=-1)
        assert torch.allclose(joined, wav, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_pitch_depends_on_prosody_or_on_all_streams(kind):
    model = of_kind(kind)
    codes = model.encode(torch.randn(1, 8_000) * 0.1).codes
    before = model.values(codes)[..., -model.decoder.digits :]
    changes_pitch = []
    for stream in range(codes.shape[1]):
        changed = codes.clone()
        changed[:, stream] = (changed[:, stream] + 341) % 1024  # every digit by one
        after = model.values(changed)[..., -model.decoder.digits :]
        changes_pitch.append(not torch.equal(before, after))
    assert changes_pitch == ([False, False, False, True] if kind == "decoupled" else [True] * 4)


def test_mean_pitch_changes_joint_codes_only():
    time = torch.arange(16_000) / 16_000
    buzz = [sum(torch.sin(2 * torch.pi * f * h * time) for h in range(1, 9)) for f in (100, 200)]
    for kind in KINDS:
        model = of_kind(kind)
        low, high = (model.features(0.1 * wav[None]) for wav in buzz)
        same = replace(high, mel=low.mel, prosody=low.prosody)  # but for the mean pitch
        equal = torch.equal(model.encoder(low).codes, model.encoder(same).codes)
        assert equal == (kind == "decoupled")


def test_unfit_speaker_encoder_is_refused(recipe, tmp_path):
    small = recipe.model.model_copy(update={"kind": "coupled", "speaker_dim": 8})
    with raises_input_error("invalid_value", "speaker_encoder"):
        TokenizerTrainer(recipe.model_copy(update={"model": small}))
    make_tiny("encodec-24khz-2").save_pretrained(tmp_path / "encodec")
    with raises_input_error("mismatch", "speaker_encoder"):
        TokenizerTrainer(recipe.model_copy(update={"speaker_encoder": str(tmp_path / "encodec")}))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"kind": "couple"}, "'coupled'"),
        ({"model": {"kind": "semi-decoupled"}}, "'semi_decoupled'"),
        ({"kind": "coupled", "model": {"kind": "decoupled"}}, "'coupled'"),
    ],
)
def test_wrong_kind_is_refused(tmp_path, change, named):
    data = {"corpus": str(tmp_path), "output": str(tmp_path)} | change
    with raises_input_error("invalid_value", names=named):
        parse(TokenizerRecipe, data, "recipe")


def test_kind_is_set_in_recipe_or_model(tmp_path):
    base = {"corpus": str(tmp_path), "output": str(tmp_path)}
    for change in ({"kind": "coupled"}, {"model": {"kind": "coupled"}}):
        assert parse(TokenizerRecipe, base | change).model.kind == "coupled"
    assert parse(TokenizerRecipe, base).model.kind == "decoupled"

import pytest
import torch
from helpers.errors import raises_input_error
from helpers.tiny_codec_run import TINY, tiny_codec_recipe

from vocalmtp.tokenizers import load_tokenizer
from vocalmtp.tokenizers.neural.layers import reverse_gradient
from vocalmtp.training.codec import TokenizerTrainer, train_tokenizer


@pytest.fixture
def recipe(tmp_path):
    return tiny_codec_recipe(tmp_path)


def test_loss_falls_and_discriminators_join(recipe):
    trainer = TokenizerTrainer(recipe)
    losses = [trainer.update()]
    for _ in range(29):
        trainer.step += 1
        losses.append(trainer.update())
    assert losses[-1]["spectral"] < 0.8 * losses[0]["spectral"]
    assert "adversarial" not in losses[0] and "adversarial" in losses[-1]
    assert all(value.isfinite() for row in losses for value in row.values())


def test_extended_run_saves_averaged_weights(recipe):
    train_tokenizer(recipe.model_copy(update={"steps": 4}))
    again = TokenizerTrainer(recipe.model_copy(update={"steps": 6}))
    again.run()
    assert again.step == 6
    saved = load_tokenizer(recipe.output)
    wanted = again.averaged.module.state_dict()
    assert all(
        torch.allclose(t.float(), wanted[name].float(), atol=1e-6)
        for name, t in saved.state_dict().items()
    )


def test_decoder_training_keeps_codes(recipe):
    train_tokenizer(recipe.model_copy(update={"steps": 2}))
    first = load_tokenizer(recipe.output)
    update = {
        "steps": 3,
        "init": recipe.output,
        "output": recipe.output / "more",
        "train_only": "decoder",
    }
    train_tokenizer(recipe.model_copy(update=update))
    second = load_tokenizer(recipe.output / "more")
    assert second.spec.hash == first.spec.hash
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b) == name.startswith("encoder") or "scale" in name
    wav = torch.randn(1, 16_000) * 0.1
    assert torch.equal(first.encode(wav).codes, second.encode(wav).codes)


def test_resumed_run_keeps_codes_id_and_new_encoder_gets_another(recipe):
    train_tokenizer(recipe.model_copy(update={"steps": 1}))
    first = load_tokenizer(recipe.output).spec
    train_tokenizer(recipe.model_copy(update={"steps": 2}))
    assert load_tokenizer(recipe.output).spec == first  # resumed
    other = {"steps": 1, "output": recipe.output / "new"}
    train_tokenizer(recipe.model_copy(update=other))
    assert load_tokenizer(recipe.output / "new").spec.hash != first.hash


def test_run_of_other_model_sizes_is_refused(recipe):
    train_tokenizer(recipe.model_copy(update={"steps": 1}))
    other = recipe.model_copy(update={"model": TINY.model_copy(update={"decoder_dim": 16})})
    with raises_input_error("other_run", "output"):
        train_tokenizer(other)


def test_reversed_gradient_is_negated():
    x = torch.ones(3, requires_grad=True)
    (reverse_gradient(x, 0.5) * 2).sum().backward()
    assert torch.equal(x.grad, torch.full((3,), -1.0))

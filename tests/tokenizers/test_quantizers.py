"""Quantisers of the trainable tokenizer: codes, values and gradients agree."""

import pytest
import torch

from vocalmtp.tokenizers.neural.quantizers import (
    FiniteScalarQuantizer,
    ResidualQuantizer,
    SplitQuantizer,
)

LEVELS = (4, 3, 5)


def test_fsq_codes_and_values_agree_and_pass_gradients():
    quantizer = FiniteScalarQuantizer(LEVELS)
    x = torch.randn(50, 3, requires_grad=True)
    values, codes = quantizer(x)
    assert torch.equal(quantizer.values(codes), values)
    assert codes.min() >= 0 and codes.max() < 60
    values.sum().backward()
    assert (x.grad > 0).all()


@pytest.mark.parametrize(
    "quantizer",
    [SplitQuantizer([LEVELS] * 4), ResidualQuantizer(4, LEVELS)],
    ids=["split", "residual"],
)
def test_codes_have_the_values_that_training_decodes(quantizer):
    torch.manual_seed(0)
    latent = torch.randn(2, 9, 12, requires_grad=True)
    quantised = quantizer(latent)
    assert quantised.codes.shape == (2, 9, 4) and quantised.digits.shape == (2, 9, 12)
    assert quantised.codes.min() >= 0 and quantised.codes.max() < 60
    assert torch.allclose(quantizer.values(quantised.codes), quantised.values, atol=1e-5)
    quantised.values.square().sum().backward()
    assert (latent.grad.abs().sum((0, 1)) > 0).all()


def test_values_do_not_depend_on_the_number_of_frames():
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(4, LEVELS)
    codes = torch.randint(0, 60, (1, 64, 4))
    pieces = torch.cat([quantizer.values(piece) for piece in codes.split(3, dim=1)], dim=1)
    assert torch.equal(pieces, quantizer.values(codes))


def test_every_stream_reduces_the_residual_after_training():
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(3, (4, 4, 4))
    mixing = torch.randn(9, 9) * torch.linspace(1.5, 0.1, 9)
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=1e-2)
    first = quantizer(torch.randn(500, 9) @ mixing.T).residual.item()
    for _ in range(150):
        loss = quantizer(torch.randn(500, 9) @ mixing.T).residual
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.7 * first
    latent = torch.randn(2000, 9) @ mixing.T
    rest, power = latent, [latent.square().mean().item()]
    digits = quantizer(latent).digits.unflatten(-1, (3, 3))
    for stream, up in enumerate(quantizer.up):
        rest = rest - up(digits[:, stream])
        power.append(rest.square().mean().item())
    assert all(after < 0.8 * before for before, after in zip(power, power[1:], strict=False))


def test_streams_of_a_split_latent_are_independent():
    quantizer = SplitQuantizer([LEVELS, LEVELS])
    latent = torch.randn(20, 6)
    changed = latent.clone()
    changed[:, 3:] = torch.randn(20, 3)
    before, after = quantizer(latent), quantizer(changed)
    assert torch.equal(before.codes[:, 0], after.codes[:, 0])
    assert not torch.equal(before.codes[:, 1], after.codes[:, 1])


def test_streams_of_a_split_latent_may_have_other_levels():
    quantizer = SplitQuantizer([LEVELS, (8, 2)])
    quantised = quantizer(3 * torch.randn(200, 5))
    assert quantised.codes[:, 0].max() >= 16 > quantised.codes[:, 1].max()
    assert torch.equal(quantizer.values(quantised.codes), quantised.values)

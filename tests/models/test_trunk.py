"""A backbone over a frozen text LM: it reads what the text LM makes of a text, and never changes it."""

import pytest
import torch
from helpers.errors import raises_input_error
from transformers import GPT2Config, GPT2LMHeadModel

from vocalmtp.models.prompts import Context, Text
from vocalmtp.models.speech_lm import SpeechLM

TRUNK = {"model_type": "gpt2", "vocab_size": 16, "n_embd": 24, "n_layer": 1, "n_head": 2}


@pytest.fixture
def model(make_model) -> SpeechLM:
    return make_model(trunk=TRUNK, text="prompt")


def test_training_leaves_the_text_lm_as_it_is(model, make_rows, collate):
    before = {name: x.clone() for name, x in model.trunk.lm.state_dict().items()}
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1.0)
    batch = collate(model, make_rows(model))
    projection = model.trunk.projection.weight.detach().clone()
    model(batch).loss.backward()
    optimizer.step()
    assert all(torch.equal(x, before[name]) for name, x in model.trunk.lm.state_dict().items())
    assert not torch.equal(model.trunk.projection.weight, projection)
    assert not model.trunk.lm.training  # GPT-2 has dropout


def test_inputs_of_a_word_depend_on_the_words_before_it(model):
    is_text = torch.tensor([[False, True, True, True, False]])
    ids = torch.tensor([[0, 3, 4, 5, 0]])
    changed = ids.clone()
    changed[0, 1] = 7
    one, other = model.trunk(ids, is_text), model.trunk(changed, is_text)
    assert not torch.allclose(one[0, 3], other[0, 3])
    assert not one[0, [0, 4]].any()
    assert torch.equal(model.trunk(ids, torch.zeros_like(is_text)), torch.zeros_like(one))


def test_rows_alone_and_together_are_read_alike(model):
    is_text = torch.tensor([[True, True, False], [True, True, True]])
    ids = torch.tensor([[3, 4, 0], [5, 6, 7]])
    together = model.trunk(ids, is_text)
    torch.testing.assert_close(together, model.trunk(ids, is_text, row_by_row=True))


def test_a_pretrained_text_lm_is_taken_over(model, tmp_path):
    settings = {key: value for key, value in TRUNK.items() if key != "model_type"}
    text_lm = GPT2LMHeadModel(GPT2Config(**settings))
    text_lm.save_pretrained(tmp_path)
    taken = SpeechLM.over_trunk(str(tmp_path), model.config)
    assert torch.equal(taken.trunk.lm.wte.weight, text_lm.transformer.wte.weight)
    assert not any(p.requires_grad for p in taken.trunk.lm.parameters())


@pytest.mark.parametrize(
    ("settings", "code", "key"),
    [
        ({"text": "track"}, "conflict", "text"),
        ({"text": "prompt", "audio_input": {"source": "codes"}}, "unsupported", "audio_input"),
    ],
)
def test_what_a_trunk_cannot_do_is_refused(make_model, settings, code, key):
    with raises_input_error(code, key=key):
        make_model(trunk=TRUNK, **settings)


@pytest.mark.parametrize("layered", [False, True])
def test_context_is_read_before_the_text(make_model, collate, layered):
    settings = {"trunk": TRUNK | {"n_embd": 32}, "text": "prompt"}
    if layered:
        settings["trunk_layers"] = {"layers": 1, "heads": 2, "hidden": 48}
    model = make_model(**settings)
    batch = collate(model, [[Context([3, 4]), Text([5, 6, 7])], [Text([5, 6, 7, 8])]])
    assert batch.ids.tolist() == [[5, 6, 7, 0], [5, 6, 7, 8]]
    read = model.embed(batch).inputs
    alone = model.embed(collate(model, [[Text([5, 6, 7])]])).inputs
    assert torch.equal(read[0, 0], alone[0, 0]) == layered  # in place of the first token
    assert not torch.allclose(read[0, 1], alone[0, 1], atol=1e-3)
    if not layered:
        whole = model.embed(collate(model, [[Text([3, 4, 5, 6, 7])]])).inputs
        torch.testing.assert_close(read[0, :3], whole[0, 2:])


def test_layers_need_a_trunk_of_the_width_of_the_backbone(make_model):
    with raises_input_error("mismatch", key="trunk_layers"):
        make_model(trunk=TRUNK, trunk_layers={"hidden": 48}, text="prompt")

"""Draft heads over a text LM (recipes/mtp_methods/assistant): acceptance along given answers."""

from typing import Any

import pytest
import torch
from helpers.recipe_files import importing
from transformers import AutoConfig, AutoModelForCausalLM

from vocalmtp.decoding.generate import Prompt, collect_utterances, generate
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.speculative import Speculative
from vocalmtp.models.prompts import Text
from vocalmtp.models.text_lm import TextLM

SIZE = {"vocab_size": 6, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
ENDS = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"))
HEADS: dict[str, dict[str, Any]] = {
    "fastmtp": {"name": "recursive", "steps": 3, "heads": 2, "from_hidden": True},
    "sequential": {"name": "sequential", "steps": 3, "heads": 2, "own_heads": False},
    "medusa": {"name": "leap", "steps": 3, "stride": 1, "own_heads": False},
    "leap": {"name": "leap", "steps": 2, "stride": 2, "own_heads": False},
}
PROMPT, TOKENS = [1, 2, 5, 3], 60


@pytest.mark.parametrize("name", HEADS)
def test_acceptance_along_an_answer_is_that_of_decoding(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    config = AutoConfig.for_model("llama", **SIZE, **ENDS, intermediate_size=64)
    model = TextLM(AutoModelForCausalLM.from_config(config), HEADS[name]).eval()
    for parameter in model.backbone.parameters():
        parameter.data *= 4 if parameter.dim() > 1 else 1
    assert model.draft is not None
    most = model.draft.offsets[-1]
    strategy = Speculative(most, "seed")
    prompt = Prompt([Text(PROMPT)], Sampler(greedy=True), 0, TOKENS)
    ((_, made),) = collect_utterances(generate(model, [prompt], 1, strategy), model.layout)
    answer = made.codes[0].tolist()
    names = ("acceptance", "measure")
    with importing(monkeypatch, ("mtp_methods/assistant",), names) as imported:
        found = imported("acceptance")
        right = found.right_drafts(model, *found.read(model, PROMPT + answer), PROMPT, answer)
        kept = found.passes(right)
    counted = strategy.statistics
    assert sum(counted.kept) > 0, "otherwise this shows nothing"
    assert counted.kept == [sum(count > n for count in kept) for n in range(most)]
    assert counted.forwards == len(kept)

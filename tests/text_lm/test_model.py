"""Text generation equals that of Transformers, with and without drafts; model folders."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.errors import raises_input_error
from transformers import AutoConfig, AutoModelForCausalLM

from vocalmtp.data.text_rows import DraftVocabulary
from vocalmtp.decoding.generate import Prompt, collect_utterances, generate
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.speculative import Speculative
from vocalmtp.decoding.strategies import DecodeStrategy
from vocalmtp.decoding.text_generation import GenerationRequest, TextGenerator
from vocalmtp.models.checkpoint import load_backbone, load_text_tokenizer
from vocalmtp.models.prompts import Text
from vocalmtp.models.text_lm import TextLM, check_output

SIZE = {
    "vocab_size": 20,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": [3, 7],
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"intermediate_size": 64},
    "qwen2": {"intermediate_size": 64, "num_key_value_heads": 1, "tie_word_embeddings": True},
    "gpt2": {},
    "gpt_neox": {"intermediate_size": 64},
    "phi": {"intermediate_size": 64},
}
DRAFTS: dict[str, dict[str, Any]] = {
    "recursive": {"name": "recursive", "steps": 3, "heads": 2},
    "leap": {"name": "leap", "steps": 2, "stride": 2},
    "sequential": {"name": "sequential", "steps": 2, "heads": 2},
}
PROMPTS = ([5], [5, 6], [9, 2, 4])
GREEDY = Sampler(greedy=True)


def make(family: str, draft: dict[str, Any]) -> TextLM:
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **SIZE, **FAMILIES[family])
    backbone = AutoModelForCausalLM.from_config(config)
    for parameter in backbone.parameters():  # freshly initialised, all logits are alike
        parameter.data *= 4 if parameter.dim() > 1 else 1
    return TextLM(backbone, draft).eval()


def decode(
    model: TextLM, sampler: Sampler, strategy: DecodeStrategy | None = None, batch_size: int = 2
) -> list[list[int]]:
    prompts = [Prompt([Text(ids)], sampler, n, 14) for n, ids in enumerate(PROMPTS)]
    events = generate(model, prompts, batch_size, strategy)
    made = [own.codes[0].tolist() for _, own in sorted(collect_utterances(events, model.layout))]
    return [ids[:-1] if ids[-1:] == [7] else ids for ids in made]  # the second end


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_text_equals_that_of_transformers(family: str) -> None:
    model = make(family, DRAFTS["recursive"])
    check_output(model, family)
    want = []
    for ids in PROMPTS:
        made = model.backbone.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=14)
        made = made[0, len(ids) :].tolist()
        end = next((n for n, token in enumerate(made) if token in (3, 7)), len(made))
        want.append(made[:end])
    assert decode(model, GREEDY) == want
    assert decode(model, GREEDY, Speculative(3)) == want
    model.optimize_for_inference()
    assert decode(model, GREEDY, Speculative(3), batch_size=3) == want


@pytest.mark.parametrize("draft", DRAFTS)
def test_seeded_text_equals_text_without_drafts(draft: str) -> None:
    model, sampler = make("llama", DRAFTS[draft]), Sampler(temperature=0.8, top_k=8, top_p=0.95)
    assert decode(model, sampler, Speculative(2, "seed")) == decode(model, sampler)


@pytest.mark.parametrize("draft", DRAFTS)
def test_draft_vocabulary_does_not_change_the_text(draft: str) -> None:
    """Drafts are of its tokens and the ends alone, and the model itself is as before."""
    model = make("llama", DRAFTS[draft])
    view = model.with_draft_vocabulary(torch.tensor([1, 2, 5, 9]))
    for head in (view.drafting_head, *view.draft.heads):
        logits = head.logits(torch.randn(2, 32))[0]
        assert sorted(logits[0].isfinite().nonzero()[:, 0].tolist()) == [1, 2, 5, 7, 9, 20]
    assert decode(view, GREEDY, Speculative(2)) == decode(model, GREEDY)
    hidden = torch.randn(2, 32)
    full = model.drafting_head.logits(hidden)[0]
    assert int(full.isfinite().sum()) == 2 * 20
    for one, other in zip(view.draft.heads, model.draft.heads, strict=True):
        kept = torch.tensor([1, 2, 5, 9])
        torch.testing.assert_close(one.logits(hidden)[0][:, kept], other.logits(hidden)[0][:, kept])


def texts_of_five(model: TextLM) -> dict[tuple[int, ...], float]:
    """The probability of every text of up to two tokens after [1], by Transformers alone."""
    found: dict[tuple[int, ...], float] = {}
    first = model.backbone(torch.tensor([[1]])).logits[0, -1].softmax(-1).double()
    found[()] = float(first[3])
    for a in (0, 1, 2, 4):
        second = model.backbone(torch.tensor([[1, a]])).logits[0, -1].softmax(-1).double()
        found[(a,)] = float(first[a] * second[3])
        for b in (0, 1, 2, 4):
            found[(a, b)] = float(first[a] * second[b])
    return found


@torch.inference_mode()
def test_sampled_texts_have_the_models_distribution() -> None:
    """All texts of two tokens over five ids, with a draft head of a reduced vocabulary: chi-square
    at a significance of 0.001, of a fixed seed."""
    torch.manual_seed(0)
    sizes = SIZE | {"vocab_size": 5, "eos_token_id": 3, "num_hidden_layers": 1}
    config = AutoConfig.for_model("llama", **sizes, intermediate_size=32)
    model = TextLM(AutoModelForCausalLM.from_config(config), DRAFTS["recursive"]).eval()
    for parameter in model.parameters():
        parameter.data *= 3 if parameter.dim() > 1 else 1
    want = texts_of_five(model)
    view = model.with_draft_vocabulary(torch.tensor([0, 1]))
    count, strategy = 3000, Speculative(2, "rejection")
    prompts = (Prompt([Text([1])], Sampler(), seed, 2) for seed in range(count))
    counts = dict.fromkeys(want, 0)
    for _, made in collect_utterances(generate(view, prompts, 500, strategy), model.layout):
        counts[tuple(made.codes[0].tolist())] += 1
    assert 0 < strategy.statistics.kept[0] < strategy.statistics.reached[0]
    chi = sum((counts[text] - count * p) ** 2 / (count * p) for text, p in want.items())
    assert len(want) == 1 + 4 + 16
    assert chi < 45.3  # 20 degrees of freedom


def test_folder_has_model_and_draft_head(trained: Path, tmp_path: Path) -> None:
    model = TextLM.load(trained)
    plain = AutoModelForCausalLM.from_pretrained(trained)  # to Transformers it is a usual folder
    assert torch.equal(plain.lm_head.weight, model.backbone.lm_head.weight)
    model.save(tmp_path)
    again = TextLM.load(tmp_path)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
    assert again.draft.config.steps == 3


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("mini", "invalid_value"),
        *((name, "not_found") for name in ("gpt5", "./none", "/none/such", "a/b/c", "../x", "a b")),
    ],
)
def test_what_is_no_name_of_the_hub_is_refused_at_once(monkeypatch, model: str, code: str) -> None:
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", None)
    for load in (load_backbone, load_text_tokenizer):
        with raises_input_error(code, key="model"):
            load(model)


def test_invalid_folders_and_requests(trained: Path, texts: Path, tmp_path: Path) -> None:
    with raises_input_error("unusable", key="model"):
        TextLM.load(tmp_path)
    without = tmp_path / "without"
    shutil.copytree(trained, without, ignore=shutil.ignore_patterns("draft.*", "checkpoints"))
    with raises_input_error("not_found", key="draft head"):
        TextLM.load(trained, without)
    other = tmp_path / "other"
    shutil.copytree(trained, other, ignore=shutil.ignore_patterns("checkpoints"))
    facts = json.loads((other / "draft.json").read_text())
    (other / "draft.json").write_text(json.dumps(facts | {"width": 48}))
    with raises_input_error("mismatch", key="draft head"):
        TextLM.load(trained, other)
    (other / "draft.json").write_text(json.dumps(facts | {"format": 99}))
    with raises_input_error("version_too_new"):
        TextLM.load(other)
    (other / "draft.json").write_text(json.dumps(facts))
    (other / "draft.safetensors").write_bytes(b"torn")
    with raises_input_error("damaged"):
        TextLM.load(other)
    generator = TextGenerator.load(without)
    with raises_input_error("missing", key="drafts"):
        list(generator.generate([GenerationRequest(text="the")], GREEDY, strategy=Speculative(2)))
    with raises_input_error("wrong_length", key="text"):
        list(generator.generate([GenerationRequest(text="the cat" * 200)], GREEDY))
    with raises_input_error("empty", key="text"):
        list(generator.generate([GenerationRequest(text="")], GREEDY))
    with raises_input_error("missing", key="chat"):
        TextGenerator.load(trained, chat=True)
    vocabulary = DraftVocabulary("x", "0", torch.tensor([1]), 1.0)
    vocabulary.save(tmp_path / "x.json")
    with raises_input_error("mismatch"):
        TextGenerator.load(trained, vocabularies=[tmp_path / "x.json"])
    (tmp_path / "x.json").write_text('{"ids": [true]}')
    with raises_input_error("empty", key="draft vocabulary"):
        DraftVocabulary.load(tmp_path / "x.json")

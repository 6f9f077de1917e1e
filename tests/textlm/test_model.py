"""A causal LM of Transformers says here what it says there, with drafts and without."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from vocalmtp.data.text_rows import DraftVocabulary
from vocalmtp.decoding.generate import Prompt, collect_utterances, generate
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.speculative import Speculative
from vocalmtp.decoding.strategies import DecodeStrategy
from vocalmtp.decoding.text_generation import GenerationRequest, TextWriter
from vocalmtp.engines.cpu import optimize_for_inference
from vocalmtp.errors import InputError
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
    for parameter in backbone.parameters():  # as they start, all logits are the same
        parameter.data *= 4 if parameter.dim() > 1 else 1
    return TextLM(backbone, draft).eval()


def said(
    model: TextLM, sampler: Sampler, strategy: DecodeStrategy | None = None, batch_size: int = 2
) -> list[list[int]]:
    prompts = [Prompt([Text(ids)], sampler, n, 14) for n, ids in enumerate(PROMPTS)]
    events = generate(model, prompts, batch_size, strategy)
    made = [own.codes[0].tolist() for _, own in sorted(collect_utterances(events, model.layout))]
    return [ids[:-1] if ids[-1:] == [7] else ids for ids in made]  # the second end


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_is_that_of_transformers(family: str) -> None:
    model = make(family, DRAFTS["recursive"])
    check_output(model, family)
    want = []
    for ids in PROMPTS:
        made = model.backbone.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=14)
        made = made[0, len(ids) :].tolist()
        end = next((n for n, token in enumerate(made) if token in (3, 7)), len(made))
        want.append(made[:end])
    assert said(model, GREEDY) == want
    assert said(model, GREEDY, Speculative(3)) == want
    optimize_for_inference(model, int8=False)
    assert said(model, GREEDY, Speculative(3), batch_size=3) == want


@pytest.mark.parametrize("draft", DRAFTS)
def test_a_seed_says_what_it_says_without_drafts(draft: str) -> None:
    model, sampler = make("llama", DRAFTS[draft]), Sampler(temperature=0.8, top_k=8, top_p=0.95)
    assert said(model, sampler, Speculative(2, "seed")) == said(model, sampler)


@pytest.mark.parametrize("draft", DRAFTS)
def test_a_draft_vocabulary_changes_nothing_that_is_said(draft: str) -> None:
    """Drafts are of its tokens and the ends alone, and the model itself is as before."""
    model = make("llama", DRAFTS[draft])
    view = model.with_draft_vocabulary(torch.tensor([1, 2, 5, 9]))
    for head in (view.drafting_head, *view.draft.heads):
        logits = head.logits(torch.randn(2, 32))[0]
        assert sorted(logits[0].isfinite().nonzero()[:, 0].tolist()) == [1, 2, 5, 7, 9, 20]
    assert said(view, GREEDY, Speculative(2)) == said(model, GREEDY)
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


def test_a_folder_holds_both_parts(trained: Path, tmp_path: Path) -> None:
    model = TextLM.load(trained)
    plain = AutoModelForCausalLM.from_pretrained(trained)  # to Transformers it is a usual folder
    assert torch.equal(plain.lm_head.weight, model.backbone.lm_head.weight)
    model.save(tmp_path)
    again = TextLM.load(tmp_path)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
    assert again.draft.config.steps == 3


def test_what_is_wrong_is_told_in_a_line(trained: Path, texts: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be loaded .* folder of a causal LM"):
        TextLM.load(tmp_path)
    without = tmp_path / "without"
    shutil.copytree(trained, without, ignore=shutil.ignore_patterns("draft.*", "checkpoints"))
    with pytest.raises(InputError, match=r"has no draft.json; train one"):
        TextLM.load(trained, without)
    other = tmp_path / "other"
    shutil.copytree(trained, other, ignore=shutil.ignore_patterns("checkpoints"))
    facts = json.loads((other / "draft.json").read_text())
    (other / "draft.json").write_text(json.dumps(facts | {"width": 48}))
    with pytest.raises(InputError, match="is for a model of width 48, and this one has 32"):
        TextLM.load(trained, other)
    (other / "draft.json").write_text(json.dumps(facts | {"format": 99}))
    with pytest.raises(InputError, match="pip install --upgrade"):
        TextLM.load(other)
    (other / "draft.json").write_text(json.dumps(facts))
    (other / "draft.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match=r"draft.safetensors is torn"):
        TextLM.load(other)
    writer = TextWriter.load(without)
    with pytest.raises(InputError, match="model has no draft head"):
        list(writer.write([GenerationRequest(text="the")], GREEDY, strategy=Speculative(2)))
    with pytest.raises(InputError, match=r"text of .* tokens: the model has 256 positions"):
        list(writer.write([GenerationRequest(text="the cat" * 200)], GREEDY))
    with pytest.raises(InputError, match="is empty"):
        list(writer.write([GenerationRequest(text="")], GREEDY))
    with pytest.raises(InputError, match="has no chat template"):
        TextWriter.load(trained, chat=True)
    vocabulary = DraftVocabulary("x", "0", torch.tensor([1]), 1.0)
    vocabulary.save(tmp_path / "x.json")
    with pytest.raises(InputError, match=r"'x': is of another tokenizer \(0\)"):
        TextWriter.load(trained, vocabularies=[tmp_path / "x.json"])
    (tmp_path / "x.json").write_text('{"ids": [true]}')
    with pytest.raises(InputError, match="has no ids of a tokenizer"):
        DraftVocabulary.load(tmp_path / "x.json")

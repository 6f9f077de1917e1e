"""Drafts that are right along greedy answers to held-out prompts, without decoding with every head.

A draft counts only if those before it are right, and then it follows the tokens of the answer. So one
pass over prompt and answer gives the drafts of all positions, and with them the passes that decoding
takes; samples can be larger than where seconds are measured.
Letters: L positions, D width, n tokens of an answer, k drafts.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from measure import GREEDY
from vocalmtp.data.text_rows import DraftVocabulary
from vocalmtp.decoding.text_generation import GenerationRequest, TextGenerator
from vocalmtp.evaluation.statistics import bootstrap_ratio
from vocalmtp.heads.draft.leap import look_back
from vocalmtp.models.text_lm import TextLM

BATCH = 16  # prompts that are answered together
PROMPTS = 40
TOKENS = 64  # of an answer, at most

Row = dict[str, Any]


def measure_acceptance(model: str, heads: Sequence[str], vocabularies: Sequence[Path]) -> None:
    """Write acceptance.json, unless it exists."""
    file = Path("acceptance.json")
    if file.is_file():
        return
    lines = Path("prompts/test.jsonl").read_text(encoding="utf-8").splitlines()[:PROMPTS]
    requests = [GenerationRequest(text=json.loads(line)["text"]) for line in lines]
    generator = TextGenerator.load(model)
    answered = generator.generate(requests, GREEDY, max_tokens=TOKENS, batch_size=BATCH)
    texts = [(found.prompt_ids, found.ids) for _, found in answered]
    plain = TextLM.load(model)
    states = [read(plain, prompt + answer) for prompt, answer in texts]
    rows: list[Row] = []
    for head in heads:
        drafting = TextLM.load(model, Path("runs") / head)
        for path in vocabularies:
            vocabulary = DraftVocabulary.load(path).ids
            view = drafting.with_draft_vocabulary(vocabulary)
            right = [
                right_drafts(view, *own, prompt, answer)
                for own, (prompt, answer) in zip(states, texts, strict=True)
            ]
            rows += rows_of(head, len(vocabulary), right)
    file.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


@torch.inference_mode()
def read(model: TextLM, ids: list[int]) -> tuple[Tensor, Tensor]:
    """Hidden states and inputs [1, L, D] of a text."""
    inputs = model.backbone.get_input_embeddings()(torch.tensor([ids]))
    return model.run_backbone(inputs), inputs


@torch.inference_mode()
def right_drafts(
    model: TextLM, hidden: Tensor, inputs: Tensor, prompt: list[int], answer: list[int]
) -> Tensor:
    """Where the drafts [n - 1, k] after every token of an answer are right, given those before them."""
    draft = model.draft
    assert draft is not None
    states = draft.states(hidden, inputs, len(draft.offsets))
    ids = torch.tensor(prompt + answer)
    first = len(prompt) - 1  # the position that predicts the answer's first token
    columns = []
    for ahead in range(1, draft.offsets[-1] + 1):
        number, back = look_back(ahead, draft.offsets[0])
        positions = torch.arange(first, len(ids) - 1 - ahead)
        state = states[number - 1][0, positions - back]
        drafted = draft.head_of(number - 1, model.drafting_head).logits(state)[0].argmax(-1)
        missing = torch.zeros(len(answer) - 1 - len(positions), dtype=torch.bool)
        columns.append(torch.cat([drafted == ids[positions + 1 + ahead], missing]))
    return torch.stack(columns, 1)


def rows_of(head: str, vocabulary: int, right: Sequence[Tensor]) -> list[Row]:
    """Tokens per pass with every number of drafts, and the share of passes that keep each draft."""
    rows: list[Row] = []
    for drafts in range(1, right[0].shape[1] + 1):
        kept = [passes(own[:, :drafts]) for own in right]
        every = torch.tensor([count for own in kept for count in own])
        tokens = bootstrap_ratio([len(own) + sum(own) for own in kept], list(map(len, kept)))
        row: Row = {"head": head, "vocabulary": vocabulary, "drafts": drafts}
        row |= {"passes": len(every), "tokens_per_pass": tokens.value}
        row["interval"] = [tokens.low, tokens.high]
        row["accepted"] = [float((every >= n).float().mean()) for n in range(1, drafts + 1)]
        rows.append(row)
    return rows


def passes(right: Tensor) -> list[int]:
    """Drafts that every pass over an answer keeps, by where they are right [n - 1, k]."""
    runs = right.int().cumprod(1).sum(1).tolist()
    kept, place = [], 0
    while place < len(runs):
        kept.append(runs[place])
        place += 1 + runs[place]
    return kept

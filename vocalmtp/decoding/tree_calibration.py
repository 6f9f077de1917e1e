"""Calibration of draft trees: how often a draft head's candidates are right, by depth and rank.

Letters: B rows, S steps, K = 1 slot, D hidden size.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vocalmtp.decoding.draft_state import DraftOnly, DraftState, read_verified
from vocalmtp.decoding.generate import Prompt, generate, prefill_prompts
from vocalmtp.decoding.speculative import draw_noise
from vocalmtp.decoding.tree import DraftTree
from vocalmtp.decoding.tree_speculative import CandidateRanker, check_tree
from vocalmtp.errors import InputError
from vocalmtp.models.base import GenerativeModel
from vocalmtp.models.state import DecodeState


@torch.inference_mode()
def measure_ranks(
    model: GenerativeModel, prompts: Sequence[Prompt], depth: int, ranks: int, batch_size: int = 1
) -> Tensor:
    """Measure the share of steps where the candidate of a rank is what the model generates.

    The model continues every prompt without drafts; then the draft head predicts, at every step, up
    to `depth` steps of that output, each after the true ones before it. So the shares are of drafts
    whose predecessors are right, with the ranks that a tree has (decoding/tree.py).

    Returns:
        Shares [depth, ranks], in float32 on the CPU.

    Raises:
        InputError: the model cannot draft so, or no output is as long as `depth`.

    """
    check_tree(model, DraftTree.chain(depth))
    ranks = min(ranks, model.layout.slots[0].size)
    generated: dict[int, list[Tensor]] = {}
    for event in generate(model, prompts, batch_size):
        for row, tokens in zip(event.rows, event.tokens, strict=True):
            generated.setdefault(row, []).append(tokens)
    right = torch.zeros(depth, ranks, dtype=torch.float32, device="cpu")
    tried = torch.zeros(depth, dtype=torch.float32, device="cpu")
    for start in range(0, len(prompts), batch_size):
        rows = range(start, min(start + batch_size, len(prompts)))
        steps = [torch.stack(generated[row]) for row in rows]  # [S, 1] each
        _replay(model, [prompts[row] for row in rows], steps, right, tried)
    if not tried[-1]:
        raise InputError(
            f"depth '{depth}': no text is as long as that; give more or longer ones, or less depth",
            code="out_of_range",
        )
    return right / tried[:, None]


def _replay(
    model: GenerativeModel,
    prompts: list[Prompt],
    generated: list[Tensor],
    right: Tensor,
    tried: Tensor,
) -> None:
    """Draft along the `generated` steps; count hits in `right` [depth, ranks] and drafts in `tried`.

    `tried` is [depth]; both are changed in place.
    """
    depth, ranks = right.shape
    state = prefill_prompts(model, prompts, DraftOnly(depth))
    draft: DraftState = state.draft
    head = draft.head
    lengths = torch.tensor([len(steps) for steps in generated], device=model.device)
    tokens = pad_sequence(generated, batch_first=True)  # [B, S, 1]
    count = tokens.shape[1]
    noise = draw_noise(state, count, model.layout)
    before: list[DecodeState] = []  # the state before every step
    inputs = []
    for step in tokens.unbind(1):
        before.append(replace(state))
        inputs.append(model.embed_step(state, step))
    hidden = model.steps(state, torch.stack(inputs, 1))  # [B, S, D]
    for root in range(count - 1):
        read_verified(draft, inputs[root])
        for k in range(1, min(depth, count - 1 - root) + 1):
            target = root + k
            vector, number = head.draft_step(draft.cache, k, inputs[target - 1])
            ranker = CandidateRanker(model.layout, before[target], noise[:, target], ranks)
            head.head_of(number, model.drafting_head).propose(vector, ranker)
            there = head.ready(draft.cache) & (target < lengths)
            hits = (ranker.candidates == tokens[:, target]) & there[:, None]  # [B, ranks]
            right[k - 1] += hits.sum(0).cpu()
            tried[k - 1] += int(there.sum())
        draft.inputs, draft.hidden = inputs[root][:, None], hidden[:, root : root + 1]
        draft.counts = torch.ones_like(lengths)

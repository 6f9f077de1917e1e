"""How often a draft head's candidates are right, by depth and rank: what a tree is chosen by.

Letters: B rows, S steps, K = 1 slot, D hidden size.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vocalmtp.decoding.draft_state import DraftOnly, read_verified
from vocalmtp.decoding.generate import Prompt, generate, prefill_prompts
from vocalmtp.decoding.speculative import noise_of
from vocalmtp.decoding.tree import DraftTree
from vocalmtp.decoding.tree_speculative import CandidateRanker, check_tree
from vocalmtp.errors import InputError
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.models.state import DecodeState


@torch.inference_mode()
def measure_ranks(
    model: SpeechLM, prompts: Sequence[Prompt], depth: int, ranks: int, batch_size: int = 1
) -> Tensor:
    """The share of steps whose candidate of a rank is what the model says, [depth, ranks].

    The model goes on from every prompt without drafts; then the draft head guesses, at every step,
    up to `depth` steps of that, each after what was really said: so the shares are of drafts whose
    predecessors are right, with the ranks that a tree has (decoding/tree.py).
    Raises InputError if the model cannot draft so, or nothing was said that could be drafted.
    """
    check_tree(model, DraftTree.chain(depth))
    ranks = min(ranks, model.layout.slots[0].size)
    said: dict[int, list[Tensor]] = {}
    for event in generate(model, prompts, batch_size):
        for row, tokens in zip(event.rows, event.tokens, strict=True):
            said.setdefault(row, []).append(tokens)
    right, tried = torch.zeros(depth, ranks), torch.zeros(depth)
    for start in range(0, len(prompts), batch_size):
        rows = range(start, min(start + batch_size, len(prompts)))
        steps = [torch.stack(said[row]) for row in rows]  # [S, 1] each
        found = _replay(model, [prompts[row] for row in rows], steps, right.shape)
        right, tried = right + found[0], tried + found[1]
    if not tried[-1]:
        raise InputError(
            f"depth '{depth}': no text is as long as that; give more or longer ones, or less depth",
            code="invalid_value",
        )
    return right / tried[:, None]


def _replay(
    model: SpeechLM, prompts: list[Prompt], said: list[Tensor], shape: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Candidates that were right, [depth, ranks], and how many steps were drafted, [depth]."""
    (depth, ranks), draft = shape, model.draft
    state = prefill_prompts(model, prompts, DraftOnly(depth))
    ahead = state.draft
    lengths = torch.tensor([len(steps) for steps in said], device=model.device)
    tokens = pad_sequence(said, batch_first=True)  # [B, S, 1]
    count = tokens.shape[1]
    noise = noise_of(state, count, model.layout)
    before: list[DecodeState] = []  # the state before every step
    inputs = []
    for step in tokens.unbind(1):
        before.append(replace(state))
        inputs.append(model.embed_step(state, step))
    hidden = model.steps(state, torch.stack(inputs, 1))  # [B, S, D]
    right, tried = torch.zeros(shape), torch.zeros(depth)
    for root in range(count - 1):
        read_verified(draft, ahead, inputs[root])
        for k in range(1, min(depth, count - 1 - root) + 1):
            own = root + k
            vector, number = draft.draft_step(ahead.memory, k, inputs[own - 1])
            pick = CandidateRanker(model.layout, before[own], noise[:, own], ranks)
            draft.head_of(number, model.drafting_head).propose(vector, pick)
            there = draft.ready(ahead.memory) & (own < lengths)
            hits = (pick.candidates == tokens[:, own]) & there[:, None]  # [B, ranks]
            right[k - 1] += hits.sum(0).cpu()
            tried[k - 1] += int(there.sum())
        ahead.inputs, ahead.hidden = inputs[root][:, None], hidden[:, root : root + 1]
        ahead.counts = torch.ones_like(lengths)
    return right, tried

"""Speculative decoding with trees of drafts that one forward pass of the backbone verifies.

Letters: B rows, L positions, N nodes of the tree with its root, n and m of them at one depth, K = 1
slot, D hidden size, V vocabulary.
"""

from dataclasses import dataclass, field, replace
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor

from vocalmtp.arrays import constant
from vocalmtp.decoding.constraints import ConstrainedSampler
from vocalmtp.decoding.draft_state import DraftState, begin_drafting, check_drafts, read_verified
from vocalmtp.decoding.sampling import inverse_cdf
from vocalmtp.decoding.speculative import draw_noise, shift_noise
from vocalmtp.decoding.statistics import DecodeStatistics
from vocalmtp.decoding.strategies import DraftOutcome, StepBatch
from vocalmtp.decoding.tree import DraftTree, Level
from vocalmtp.engines.cache import TreeMask
from vocalmtp.errors import InputError
from vocalmtp.models.base import GenerativeModel
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.state import DecodeState

NOISE_SCALE = 0.05  # of a logistic, in cumulative probability; 0.02 to 0.1 accept about as many
TIE_BREAK = 1e-6  # weight of the probability itself, where no interval is near the noise


@dataclass
class TreeSpeculative:
    """A tree of drafts from the model's draft head, verified by one forward pass.

    At every node, the model samples the next step with the noise that this step has without drafts;
    if a child was drafted with that token, the walk continues from the child. So every seed, and
    every greedy row, gives exactly the output that it gives without drafts: this is `Speculative`
    with accept "seed" and several candidates per step. (Of sampled rows, a chain accepted by
    `rejection` keeps more than a chain by `seed`; trees have no such rule here.)
    """

    tree: DraftTree
    statistics: DecodeStatistics = field(default_factory=DecodeStatistics)
    has_fixed_shape: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.statistics.drafts, self.statistics.nodes = self.tree.depth, len(self.tree.paths)

    def begin(
        self, inputs: Tensor, hidden: Tensor, state: DecodeState, model: GenerativeModel
    ) -> None:
        """See DecodeStrategy."""
        check_tree(model, self.tree)
        if state.seen is not None:
            raise InputError(
                "repetition_penalty: does not go with draft trees; leave one of the two out, or give "
                "drafts",
                code="unsupported",
            )
        nodes = len(self.tree.depths)
        draft = begin_drafting(inputs, hidden, state, model, self.tree.depth, nodes - 1)
        draft.tokens = draft.tokens.new_zeros(len(hidden), nodes, 1)
        draft.ended = state.ended[:, None].repeat(1, nodes)
        if state.pointers is not None:
            draft.pointers = state.pointers[:, None].repeat(1, nodes)
        draft.noise = draw_noise(state, self.tree.depth + 1, model.layout)
        state.draft = draft
        self.statistics.slots = 1

    def emit(self, model: GenerativeModel, state: DecodeState) -> StepBatch:
        """See DecodeStrategy."""
        draft: DraftState = state.draft
        tree, layout, first = self.tree, model.layout, state.steps
        assert draft.noise is not None
        nodes = torch.arange(len(tree.depths), device=first.device)
        rows = torch.arange(len(first), device=first.device)[:, None]
        tried = draft.tried > 0
        place = (draft.counts - 1 - draft.tried)[:, None] + nodes  # [B, N]
        hidden = draft.hidden[rows, place.clamp(max=draft.hidden.shape[1] - 1)]  # [B, N, D]
        with self.statistics.timed("heads"):
            noise = draft.noise[:, constant(first, tree.depths)].flatten(0, 1)
            sampler = ConstrainedSampler(layout, states_at_nodes(state, tree), noise)
            sampled = model.head.propose(hidden.flatten(0, 1), sampler)
        sampled = sampled.view_as(draft.tokens)
        parents = constant(first, tree.parents)
        accepted = (sampled[:, parents] == draft.tokens).all(2) & tried[:, None]  # [B, N]
        path, count = tree.longest_path(accepted, layout.ends(draft.tokens[..., 0]))
        tokens = sampled[rows, path]  # [B, 1 + depth, 1]
        outcome = self._outcome(state, layout, first, tokens, count)
        state.cache.keep_path(draft.tried, path[:, 1:] - 1, count)
        pointers = None if draft.pointers is None else draft.pointers[rows, path[:, 1:]]
        state.advance(count, pointers)
        keep_path(draft, path, count)
        draft.noise = shift_noise(state, count + 1, tree.depth + 1, layout)
        return StepBatch(tokens, first, count + 1, outcome)

    def _outcome(
        self,
        state: DecodeState,
        layout: TokenLayout,
        first: Tensor,
        tokens: Tensor,
        accepted: Tensor,
    ) -> DraftOutcome:
        """Describe a pass that yields 1 + `accepted` steps of `tokens` [B, 1 + depth, 1]."""
        number = torch.arange(self.tree.depth, device=first.device)
        kept = number < accepted[:, None]  # [B, depth]
        ended = layout.ends(tokens[:, :-1, 0]) & kept
        over = ended.cumsum(1) - ended.int() > 0
        inside = ~over & (first[:, None] + number < state.limits[:, None])
        return DraftOutcome(state.draft.tried > 0, kept, inside)

    def forward(self, model: GenerativeModel, state: DecodeState, emitted: StepBatch) -> None:
        """See DecodeStrategy."""
        draft: DraftState = state.draft
        drafts = len(self.tree.paths)
        with self.statistics.timed("drafts"):
            inputs = self._draft(model, state, emitted.last)
        ready = draft.head.ready(draft.cache)
        with self.statistics.timed("backbone"):
            draft.hidden = model.steps(state, inputs, tree_mask(self.tree, inputs.device))
        draft.inputs = inputs
        draft.tried = torch.where(ready, drafts, 0)
        draft.counts = draft.tried + 1
        state.cache.crop(drafts - draft.tried)

    def _draft(self, model: GenerativeModel, state: DecodeState, last: Tensor) -> Tensor:
        """Draft the tree after the steps `last` [B, 1], depth by depth: inputs [B, N, D]."""
        draft: DraftState = state.draft
        head, root = draft.head, model.embed_step(state, last)  # [B, D]
        assert draft.noise is not None and draft.ended is not None
        read_verified(draft, root)
        inputs = root[:, None].repeat(1, len(self.tree.depths), 1)
        draft.ended[:, 0] = state.ended
        if draft.pointers is not None and state.pointers is not None:
            draft.pointers[:, 0] = state.pointers
        here, entered, states = state, root[:, None], None
        for depth, level in enumerate(self.tree.levels, start=1):
            width, count = entered.shape[1], len(level.above)
            origin, parents = (constant(root, x) for x in (level.origin, level.above))
            before = None if states is None else states[:, origin]
            states, number = head.branch(
                draft.cache, depth, before, entered[:, parents], level.path
            )  # [B, n, D]
            above = here.without_cache(flat_indices(len(root), width, parents))
            noise = draft.noise[:, depth - 1].repeat_interleave(count, 0)
            ranker = CandidateRanker(model.layout, above, noise, 1 + max(level.ranks))
            head.head_of(number, model.drafting_head).propose(states.flatten(0, 1), ranker)
            candidates = ranker.candidates.unflatten(0, (-1, count))  # [B, n, ranks]
            parents, ranks = (constant(root, x) for x in (level.parents, level.ranks))
            chosen = candidates[:, parents, ranks]  # [B, m]
            here = above.without_cache(flat_indices(len(root), count, parents))
            entered = self._enter(model, here, chosen, level, draft)
            inputs[:, constant(root, level.nodes)] = entered
        return inputs

    def _enter(
        self,
        model: GenerativeModel,
        here: DecodeState,
        chosen: Tensor,
        level: Level,
        draft: DraftState,
    ) -> Tensor:
        """Enter the tokens `chosen` [B, m] of a depth into copies `here` of their parents' states.

        Returns the backbone's inputs [B, m, D].
        """
        nodes = constant(chosen, level.nodes)
        tokens, numbers = chosen.flatten()[:, None], here.steps
        assert draft.ended is not None
        ends = model.layout.ends(tokens[:, 0]) & (here.ended < 0)
        entered = model.embed_step(here, tokens)  # [B m, D]
        here.ended = torch.where(ends, numbers, here.ended)
        draft.tokens[:, nodes, 0] = chosen
        draft.ended[:, nodes] = here.ended.view_as(chosen)
        if draft.pointers is not None and here.pointers is not None:
            draft.pointers[:, nodes] = here.pointers.view_as(chosen)
        return entered.unflatten(0, chosen.shape)


class CandidateRanker(ConstrainedSampler):
    """Samples as ConstrainedSampler, and ranks the tokens that the model is likely to sample.

    The model samples the token whose interval of the cumulative probabilities contains the noise.
    The draft's intervals lie about where the model's do, so that the model samples the draft's own
    token, or one whose interval is near. Candidates are ranked by the probability that the noise,
    plus a logistic of scale `NOISE_SCALE`, falls into their interval. In a greedy row, one token has
    the whole interval, and the others are ranked by probability.

    Attributes:
        candidates: [B, count] token ids, the sampled one first.

    """

    def __init__(self, layout: TokenLayout, state: DecodeState, noise: Tensor, count: int):
        super().__init__(layout, state, noise)
        self.count = count
        self.candidates = noise.long()

    def draw(self, slots: tuple[int, ...], logits: Tensor, must_pad: Tensor) -> Tensor:
        """See ConstrainedSampler."""
        probs = self.distribution(slots, logits, must_pad)[:, 0]  # [B, V]
        noise = self.noise[:, slots[0], None]
        tokens = inverse_cdf(probs, noise[:, 0])[:, None]
        stop = probs.cumsum(1)
        near = ((stop - noise) / NOISE_SCALE).sigmoid()
        near = near - ((stop - probs - noise) / NOISE_SCALE).sigmoid()
        near = near + TIE_BREAK * logits[:, 0].softmax(1)
        self.candidates = near.scatter(1, tokens, torch.inf).topk(self.count).indices
        return tokens


def keep_path(draft: DraftState, path: Tensor, accepted: Tensor) -> None:
    """Remove the nodes off the path [B, 1 + depth] from what the draft head has to read.

    In a row that tried no drafts, the positions to read are consecutive.
    """
    draft.counts = draft.counts - draft.tried + accepted
    order = torch.arange(path.shape[1], device=path.device)
    order = torch.where((draft.tried > 0)[:, None], path, order)
    rows = torch.arange(len(path), device=path.device)[:, None]
    draft.inputs, draft.hidden = draft.inputs[rows, order], draft.hidden[rows, order]


def states_at_nodes(state: DecodeState, tree: DraftTree) -> DecodeState:
    """The state after every node of every row, as B N rows for the rules."""
    draft: DraftState = state.draft
    count = len(tree.depths)
    assert draft.ended is not None
    depths = constant(state.steps, tree.depths)
    rows = torch.arange(len(state.steps), device=state.steps.device).repeat_interleave(count)
    pointers, lengths = draft.pointers, state.character_lengths
    return replace(
        state,
        steps=(state.steps[:, None] + depths).flatten(),
        ended=draft.ended.flatten(),
        pointers=None if pointers is None else pointers.flatten(),
        character_lengths=None if lengths is None else lengths.repeat_interleave(count),
        samplers=None if state.samplers is None else state.samplers.at(rows),
    )


def flat_indices(batch: int, width: int, chosen: Tensor) -> Tensor:
    """Indices of the `chosen` [n] of `width` per row in a batch [B, width] flattened to one axis."""
    rows = torch.arange(batch, device=chosen.device)[:, None]
    return (rows * width + chosen).flatten()  # [B n]


@cache
def tree_mask(tree: DraftTree, device: torch.device) -> TreeMask:
    """Return the attention mask of a tree on a device."""
    return TreeMask.of(tree.sees, device)


def check_tree(model: GenerativeModel, tree: DraftTree) -> None:
    """Raise InputError if the model cannot draft or verify such a tree."""
    slots = model.layout.tokens_per_step
    if slots != 1:
        raise InputError(
            f"draft tree: this model emits {slots} tokens per step, and trees are for one (text, "
            "flat layouts); leave the tree out and give drafts",
            code="unsupported",
        )
    check_drafts(model, tree.depth)
    size = model.layout.slots[0].size
    if tree.ranks > size:
        raise InputError(
            f"draft tree: has rank {tree.ranks - 1}, and the model only {size} tokens, from rank 0 "
            "on; choose its paths for this model (vocalmtp draft-tree)",
            code="mismatch",
        )
    model.check_tree_support()

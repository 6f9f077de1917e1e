"""Trees of drafts that the backbone verifies in one pass: `TreeSpeculative`.

Letters: B rows, L positions, N nodes of the tree with its root, n and m of them at one depth, K = 1
slot, D hidden size, V vocabulary.
"""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from vocalmtp.decoding.constraints import ConstrainedSampler
from vocalmtp.decoding.draft_state import DraftState, begin_ahead, check_drafts, read_verified
from vocalmtp.decoding.sampling import draw
from vocalmtp.decoding.speculative import moved_on, noise_of
from vocalmtp.decoding.statistics import DecodeStatistics
from vocalmtp.decoding.strategies import StepBatch
from vocalmtp.decoding.tree import DraftTree, Level
from vocalmtp.errors import InputError
from vocalmtp.heads.draft.base import last_of
from vocalmtp.models.backbone import in_windows
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.models.state import DecodeState

APART = 0.05  # of cumulative probabilities: 0.02 to 0.1 keep about as many (scale of a logistic)
FAR = 1e-6  # the say of the probability itself, where nothing is near


@dataclass
class TreeSpeculative:
    """The drafts of a tree from the model's draft head, verified by one forward pass.

    At every node the model draws the step that follows, with the noise that this step has without
    drafts; the child that was drafted so, if there is one, is said, and the walk goes on from it.
    So a seed says exactly what it says without drafts, and so do greedy rows, whatever is drafted:
    it is `Speculative` with accept "seed", with more than one guess at a step. (A chain that is
    accepted by `rejection` keeps more of sampled rows than a chain by the seed, and of greedy ones
    as many; trees have no such rule here.)
    """

    tree: DraftTree
    statistics: DecodeStatistics = field(default_factory=DecodeStatistics)

    def __post_init__(self) -> None:
        self.statistics.drafts, self.statistics.nodes = self.tree.depth, len(self.tree.paths)

    def begin(self, inputs: Tensor, hidden: Tensor, state: DecodeState, model: SpeechLM) -> None:
        check_tree(model, self.tree)
        ahead = begin_ahead(inputs, hidden, state, model, self.tree.depth)
        nodes = len(self.tree.depths)
        ahead.tokens = ahead.tokens.new_zeros(len(hidden), nodes, 1)
        ahead.ended = state.ended[:, None].repeat(1, nodes)
        if state.pointers is not None:
            ahead.pointers = state.pointers[:, None].repeat(1, nodes)
        ahead.noise = noise_of(state, self.tree.depth + 1, model.layout)
        state.draft = ahead
        self.statistics.slots = 1

    def emit(self, model: SpeechLM, state: DecodeState) -> StepBatch:
        ahead, tree, layout, first = state.draft, self.tree, model.layout, state.steps
        nodes = torch.arange(len(tree.depths), device=first.device)
        rows = torch.arange(len(first), device=first.device)[:, None]
        tried = ahead.tried > 0
        place = (ahead.counts - 1 - ahead.tried)[:, None] + nodes  # [B, N]
        hidden = ahead.hidden[rows, place.clamp(max=ahead.hidden.shape[1] - 1)]  # [B, N, D]
        with self.statistics.timed("heads"):
            pick = ConstrainedSampler(
                layout, nodes_of(state, tree), ahead.noise[:, tree.depths].flatten(0, 1)
            )
            drawn = model.head.propose(hidden.flatten(0, 1), pick).tokens.view_as(ahead.tokens)
        right = (drawn[:, tree.parents] == ahead.tokens).all(2) & tried[:, None]
        path, accepted = tree.follow(right, layout.ends(ahead.tokens[..., 0]))
        self._count(state, layout, first, drawn[rows, path], accepted)
        state.cache.keep_path(ahead.tried, path[:, 1:] - 1, accepted)
        pointers = None if ahead.pointers is None else ahead.pointers[rows, path[:, 1:]]
        state.advance(accepted, pointers)
        keep_path(ahead, path, accepted)
        ahead.noise = moved_on(ahead.noise, accepted + 1, state, layout)
        return StepBatch(drawn[rows, path], first, accepted + 1)

    def _count(
        self, state: DecodeState, layout: TokenLayout, first: Tensor, said: Tensor, accepted: Tensor
    ) -> None:
        """Tell the statistics of a pass that says 1 + `accepted` steps of [B, 1 + depth, 1]."""
        number = torch.arange(self.tree.depth, device=first.device)
        kept = number < accepted[:, None]  # [B, depth]
        ended = layout.ends(said[:, :-1, 0]) & kept
        over = ended.cumsum(1) - ended.int() > 0
        inside = ~over & (first[:, None] + number < state.limits[:, None])
        tried = state.draft.tried > 0
        self.statistics.count(kept[tried], inside[tried])

    def forward(self, model: SpeechLM, state: DecodeState, said: StepBatch) -> None:
        ahead, drafts = state.draft, len(self.tree.paths)
        with self.statistics.timed("drafts"):
            inputs = self._draft(model, state, last_of(said.tokens, said.counts))
        ready = model.draft.ready(ahead.memory)
        with self.statistics.timed("backbone"):
            ahead.hidden = model.steps(state, inputs, self.tree.sees.to(inputs.device))
        ahead.inputs = inputs
        ahead.tried = torch.where(ready, drafts, 0)
        ahead.counts = ahead.tried + 1
        if not bool(ready.all()):
            state.cache.crop(drafts - ahead.tried)

    def _draft(self, model: SpeechLM, state: DecodeState, last: Tensor) -> Tensor:
        """Draft the tree behind a step `last` [B, 1], depth by depth: inputs [B, N, D]."""
        ahead, draft = state.draft, model.draft
        fed = model.embed_step(state, last)  # [B, D]
        read_verified(draft, ahead, fed)
        inputs = fed[:, None].repeat(1, len(self.tree.depths), 1)
        ahead.ended[:, 0] = state.ended
        if ahead.pointers is not None:
            ahead.pointers[:, 0] = state.pointers
        here, entered, states = state, fed[:, None], None
        for depth, level in enumerate(self.tree.levels, start=1):
            width, count = entered.shape[1], len(level.above)
            before = None if states is None else states[:, level.origin]
            path = level.path.to(fed.device)
            states, number = draft.branch(
                ahead.memory, depth, before, entered[:, level.above], path
            )  # [B, n, D]
            above = here.without_cache(of_rows(len(fed), width, level.above))
            noise = ahead.noise[:, depth - 1].repeat_interleave(count, 0)
            pick = CandidateRanker(model.layout, above, noise, 1 + max(level.ranks))
            draft.head_of(number, model.drafting_head).propose(states.flatten(0, 1), pick)
            found = pick.candidates.unflatten(0, (-1, count))[:, level.parents, level.ranks]
            here = above.without_cache(of_rows(len(fed), count, level.parents))
            entered = self._enter(model, here, found, level, ahead)
            inputs[:, level.nodes] = entered
        return inputs

    def _enter(
        self, model: SpeechLM, here: DecodeState, found: Tensor, level: Level, ahead: DraftState
    ) -> Tensor:
        """Let the nodes [B, m] of a depth enter the copies of their parents' states `here`."""
        tokens, numbers = found.flatten()[:, None], here.steps
        said = model.layout.ends(tokens[:, 0]) & (here.ended < 0)
        entered = model.embed_step(here, tokens)  # [B m, D]
        here.ended = torch.where(said, numbers, here.ended)
        ahead.tokens[:, level.nodes, 0] = found
        ahead.ended[:, level.nodes] = here.ended.view_as(found)
        if ahead.pointers is not None:
            ahead.pointers[:, level.nodes] = here.pointers.view_as(found)
        return entered.unflatten(0, found.shape)


class CandidateRanker(ConstrainedSampler):
    """Draws as ConstrainedSampler, and keeps the `count` tokens that a like distribution may well draw.

    The model's own draw takes the token in whose stretch of the cumulative probabilities the noise
    falls. Its stretches lie about where the draft's do, so it draws the same, or one whose stretch
    is near: candidates are ranked by the probability that the noise, moved by about `APART`, falls
    on them. A greedy row has one stretch, and ranks the others by probability.
    """

    def __init__(self, layout: TokenLayout, state: DecodeState, noise: Tensor, count: int):
        super().__init__(layout, state, noise)
        self.count = count
        self.candidates = noise.long()  # [B, count]

    def _draw(self, first: int, logits: Tensor, must_pad: Tensor) -> tuple[Tensor, Tensor]:
        probs = self.distribution(first, logits, must_pad)[:, 0]  # [B, V]
        noise = self.noise[:, first : first + 1]
        tokens = draw(probs, noise[:, 0])[:, None]
        stop = probs.cumsum(1)
        near = ((stop - noise) / APART).sigmoid() - ((stop - probs - noise) / APART).sigmoid()
        near = near + FAR * logits[:, 0].softmax(1)
        self.candidates = near.scatter(1, tokens, torch.inf).topk(self.count).indices
        return tokens, probs.gather(1, tokens).log()


def keep_path(ahead: DraftState, path: Tensor, accepted: Tensor) -> None:
    """Leave of the last pass what the draft head has to read: no nodes off the path [B, depth + 1].

    A row that tried none has other positions to read, all of them in a row.
    """
    ahead.counts = ahead.counts - ahead.tried + accepted
    longest = int(ahead.counts.max())
    order = torch.arange(longest, device=path.device).repeat(len(path), 1)
    own = path[:, :longest]
    width = own.shape[1]
    order[:, :width] = torch.where((ahead.tried > 0)[:, None], own, order[:, :width])
    rows = torch.arange(len(path), device=path.device)[:, None]
    ahead.inputs, ahead.hidden = ahead.inputs[rows, order], ahead.hidden[rows, order]


def nodes_of(state: DecodeState, tree: DraftTree) -> DecodeState:
    """The state after every node of every row, as B N rows for the rules."""
    ahead, count = state.draft, len(tree.depths)
    depths = torch.tensor(tree.depths, device=state.steps.device)
    pointers, lengths = ahead.pointers, state.character_lengths
    return replace(
        state,
        steps=(state.steps[:, None] + depths).flatten(),
        ended=ahead.ended.flatten(),
        pointers=None if pointers is None else pointers.flatten(),
        character_lengths=None if lengths is None else lengths.repeat_interleave(count),
        samplers=tuple(sampler for sampler in state.samplers for _ in range(count)),
    )


def of_rows(batch: int, width: int, chosen: list[int]) -> list[int]:
    """Where the `chosen` ones of `width` are in every row of a batch that is laid out in a row."""
    return [row * width + place for row in range(batch) for place in chosen]


def check_tree(model: SpeechLM, tree: DraftTree) -> None:
    """Raise InputError if the model cannot draft or verify such a tree."""
    slots = model.layout.tokens_per_step
    if slots != 1:
        raise InputError(
            f"draft tree: this model says {slots} tokens a step, and trees are for one (text, flat "
            "layouts); leave the tree out and give drafts",
            code="invalid_value",
        )
    check_drafts(model, tree.depth)
    size = model.layout.slots[0].size
    if tree.ranks > size:
        raise InputError(
            f"draft tree: has rank {tree.ranks - 1}, and the model only {size} tokens, from rank 0 "
            "on; choose its paths for this model (vocalmtp draft-tree)",
            code="invalid_value",
        )
    if model.runner is None and in_windows(model.backbone.config):
        raise InputError(
            f"draft tree: a {model.backbone.config.model_type} attends within windows, which trees "
            "do not know; leave the tree out and give drafts",
            code="invalid_value",
        )

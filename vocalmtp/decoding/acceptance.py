"""Which drafted tokens are kept: pickers that draft, and pickers that verify.

Letters: B rows, n drafts, N = B (n + 1) places to verify, K slots, V vocabulary, F digits.
"""

import torch
from torch import Tensor

from vocalmtp.decoding.constraints import ConstrainedSampler
from vocalmtp.decoding.sampling import draw
from vocalmtp.models.embeddings import digits_of
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.state import DecodeState

APART = 1 << 20  # more than any two codes of a stream are apart


class DraftPicker(ConstrainedSampler):
    """Draws as the rules and the sampler say, and keeps what it drew from."""

    def __init__(self, layout: TokenLayout, state: DecodeState):
        super().__init__(layout, state)
        self.probs: list[Tensor] = []  # [B, V] of the slots picked so far

    def _draw(self, first: int, logits: Tensor, must_pad: Tensor) -> tuple[Tensor, Tensor]:
        probs = self.distribution(first, logits, must_pad)  # [B, n, V]
        self.probs += probs.unbind(1)
        noise = self.noise[:, first : first + logits.shape[1]]
        tokens = draw(probs.flatten(0, 1), noise.flatten()).view_as(noise)
        return tokens, probs.gather(2, tokens[..., None])[..., 0].log()


def seeded(noise: Tensor) -> type[ConstrainedSampler]:
    """Makes a ConstrainedSampler whose noise [B, K] is given."""

    def make(layout: TokenLayout, state: DecodeState) -> ConstrainedSampler:
        return ConstrainedSampler(layout, state, noise)

    return make


class Verify(ConstrainedSampler):
    """Picks the tokens of N places from the model, some of which have `drafted` tokens [N, K].

    `agreed` [N] says where all tokens so far are the drafted ones.
    """

    def __init__(
        self, layout: TokenLayout, view: DecodeState, drafted: Tensor, tried: Tensor, noise: Tensor
    ):
        super().__init__(layout, view, noise)
        self.drafted, self.agreed = drafted, tried


class SharedNoiseVerifier(Verify):
    """Draws from the model with the noise that the draft had, [N, K]."""

    def _draw(self, first: int, logits: Tensor, must_pad: Tensor) -> tuple[Tensor, Tensor]:
        tokens, log_probs = super()._draw(first, logits, must_pad)
        want = self.drafted[:, first : first + tokens.shape[1]]
        self.agreed = self.agreed & (tokens == want).all(1)
        return tokens, log_probs


class FSQToleranceVerifier(Verify):
    """As SharedNoiseVerifier, but keeps a drafted code that is `tolerance` levels or less off in every digit.

    Codes of finite scalar quantisation that differ little in their digits are decoded to nearly the
    same. Codes without digits, the text track's advances and the special ids have to be equal.
    """

    def __init__(
        self,
        layout: TokenLayout,
        view: DecodeState,
        drafted: Tensor,
        tried: Tensor,
        noise: Tensor,
        tolerance: float,
    ):
        super().__init__(layout, view, drafted, tried, noise)
        self.tolerance = tolerance

    def _draw(self, first: int, logits: Tensor, must_pad: Tensor) -> tuple[Tensor, Tensor]:
        tokens, log_probs = super()._draw(first, logits, must_pad)
        chosen = []
        for i, (token, want) in enumerate(
            zip(tokens.unbind(1), self.drafted[:, first:].unbind(1), strict=False)
        ):
            places = code_places(self.layout, first + i).to(token.device)  # [V, F]
            near = (places[token] - places[want]).abs().amax(-1) <= self.tolerance
            self.agreed = self.agreed & near
            chosen.append(torch.where(self.agreed, want, token))
        return torch.stack(chosen, 1), log_probs


def code_places(layout: TokenLayout, k: int) -> Tensor:
    """Where the ids of slot `k` are, [V, F]: codes whose digits are near are near each other."""
    slot = layout.slots[k]
    streams = layout.streams if layout.flat else (layout.streams[slot.stream],)
    width = 1 + max(len(stream.levels) for stream in streams)
    places = torch.zeros(slot.vocab_size, width)
    start = 0
    for number, stream in enumerate(streams):
        rows = slice(start, start + stream.size)
        start += stream.size
        if stream.levels and not slot.joint:
            places[rows, 1 : 1 + len(stream.levels)] = digits_of(stream).float()
            places[rows, 0] = -APART * (1 + number)
    alone = places[:, 0] == 0  # everything else is far from all others
    places[alone, 0] = APART * (1 + torch.arange(slot.vocab_size)[alone]).float()
    return places


class OneByOne(Verify):
    """Decides slot by slot, each with noise for the decision and for another token."""

    def __init__(self, layout: TokenLayout, view: DecodeState, drafted: Tensor, tried: Tensor):
        super().__init__(layout, view, drafted, tried, pairs_of_noise(layout, view, len(drafted)))

    def _draw(self, first: int, logits: Tensor, must_pad: Tensor) -> tuple[Tensor, Tensor]:
        model = self.distribution(first, logits, must_pad)  # [N, n, V]
        tokens = [self._keep_or_draw(first + i, p) for i, p in enumerate(model.unbind(1))]
        chosen = torch.stack(tokens, 1)
        return chosen, model.gather(2, chosen[..., None])[..., 0].log()

    def _keep_or_draw(self, k: int, p: Tensor) -> Tensor:
        """The token [N] of slot `k`, which the model gives the distribution `p` [N, V]."""
        raise NotImplementedError


class Rejection(OneByOne):
    """Keeps or replaces drafted tokens one by one; they were drawn from `probs`, K of [N, V]."""

    def __init__(
        self,
        layout: TokenLayout,
        view: DecodeState,
        drafted: Tensor,
        tried: Tensor,
        probs: list[Tensor],
    ):
        super().__init__(layout, view, drafted, tried)
        self.probs = probs

    def _keep_or_draw(self, k: int, p: Tensor) -> Tensor:
        q, want = self.probs[k], self.drafted[:, k]
        ours, theirs = (x.gather(1, want[:, None])[:, 0] for x in (p, q))
        keep = self.agreed & (self.noise[:, k, 0] * theirs < ours)
        rest = torch.where(self.agreed[:, None], (p - q).clamp(min=0), p)
        rest = torch.where(rest.sum(1, keepdim=True) > 0, rest, p)  # p = q but for rounding
        self.agreed = keep
        return torch.where(keep, want, draw(rest, self.noise[:, k, 1]))


class Typical(OneByOne):
    """Keeps tokens that the model finds likely enough for its own uncertainty; others are drawn.

    A token is kept if p >= min(t, sqrt(t) exp(-H)), with H the entropy of p and t the `tolerance`
    (Medusa, arXiv 2401.10774, section 2.3.1). What it was drawn from does not count, so what is
    said has another distribution than without drafts. Greedy rows keep the likeliest token alone.
    """

    def __init__(
        self,
        layout: TokenLayout,
        view: DecodeState,
        drafted: Tensor,
        tried: Tensor,
        tolerance: float,
    ):
        super().__init__(layout, view, drafted, tried)
        self.tolerance = tolerance

    def _keep_or_draw(self, k: int, p: Tensor) -> Tensor:
        want = self.drafted[:, k]
        entropy = torch.special.entr(p).sum(1)
        least = (self.tolerance**0.5 * torch.exp(-entropy)).clamp(max=self.tolerance)
        likely = p.gather(1, want[:, None])[:, 0] >= least
        self.agreed = self.agreed & likely
        return torch.where(self.agreed, want, draw(p, self.noise[:, k, 1]))


class LogProbScorer(ConstrainedSampler):
    """Draws, or takes the `given` tokens [N, K], and adds up their log-probabilities, [N]."""

    def __init__(
        self,
        layout: TokenLayout,
        view: DecodeState,
        noise: Tensor | None = None,
        given: Tensor | None = None,
    ):
        super().__init__(layout, view, given if noise is None else noise)
        self.given = given
        self.total = torch.zeros(len(self.noise), dtype=torch.float64, device=self.noise.device)

    def _draw(self, first: int, logits: Tensor, must_pad: Tensor) -> tuple[Tensor, Tensor]:
        probs = self.distribution(first, logits, must_pad)  # [N, n, V]
        if self.given is None:
            noise = self.noise[:, first : first + logits.shape[1]]
            tokens = draw(probs.flatten(0, 1), noise.flatten()).view_as(noise)
        else:
            tokens = self.given[:, first : first + logits.shape[1]]
        chosen = probs.gather(2, tokens[..., None])[..., 0].double().log()
        self.total = self.total + chosen.sum(1)
        return tokens, chosen


def pairs_of_noise(layout: TokenLayout, view: DecodeState, places: int) -> Tensor:
    """Two numbers for every slot of N places, of each row's own noise: [N, K, 2]."""
    shape = (places // len(view.generators), layout.tokens_per_step, 2)
    noise = torch.stack([torch.rand(shape, generator=g) for g in view.generators])
    return noise.flatten(0, 1).to(view.steps.device)

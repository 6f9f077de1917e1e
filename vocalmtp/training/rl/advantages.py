"""Advantages of reinforcement learning with a decision whether to think, per token.

Step-SRPO of KAT-V1 (arXiv 2507.08297) rewards the decision and the answer apart; its formulas are not
published. Those here are "KAT-style": in a group of replies to one question,

- the wanted mode is not to think if the pass rate without thinking is at least that with thinking,
  less a margin; it is unknown if the group has only one mode;
- the judge reward is 1 for a reply in the wanted mode, and -1 for one in the other mode or with a judge
  that breaks the template or contradicts the mode, normalized over the group;
  it is the advantage of all tokens up to and including the mode, unless these were forced;
- the answer reward is normalized over the replies of one mode, and is the advantage of all tokens
  after the mode.

DeGRPO is that of Thinkless (arXiv 2505.13379): one reward, in which thinking has a cost, and a weight
of its own for the token of the mode.
Letters: B replies, T tokens of a reply.
"""

import torch
from torch import Tensor

EPSILON = 1e-6  # beside a standard deviation


def normalize(rewards: Tensor, groups: Tensor) -> Tensor:
    """Normalize rewards to zero mean and unit variance within groups.

    Args:
        rewards: [B]; NaN = none.
        groups: [B] number of the group of every reply.

    Returns:
        [B]; 0 where there is no reward, and in groups without variance.

    """
    _, index = groups.unique(return_inverse=True)
    known = ~rewards.isnan()
    values = torch.where(known, rewards, 0)

    def mean(x: Tensor) -> Tensor:
        sums = torch.zeros(int(index.max()) + 1, dtype=x.dtype).index_add(0, index, x * known)
        counts = torch.zeros_like(sums).index_add(0, index, known.to(x.dtype))
        return (sums / counts.clamp(min=1))[index]

    centred = values - mean(values)
    deviation = mean(centred**2).sqrt()
    return torch.where(known & (deviation > EPSILON), centred / (deviation + EPSILON), 0)


def wanted_modes(thinks: Tensor, correct: Tensor, groups: Tensor, margin: float) -> Tensor:
    """Estimate for every reply's question whether it needs thinking.

    Args:
        thinks: [B] 1 with thinking, 0 without, NaN if the reply has no mode.
        correct: [B] 1 or 0.
        groups: [B] number of the question of every reply.
        margin: by how much the pass rate without thinking may be lower.

    Returns:
        [B] 1 to think, 0 not to, NaN if the replies to a question have only one mode.

    """
    wanted = torch.full_like(correct, torch.nan)
    for group in groups.unique():
        rates = [correct[(groups == group) & (thinks == mode)] for mode in (0, 1)]
        if all(map(len, rates)):
            off, on = (rate.mean() for rate in rates)
            wanted[groups == group] = float(off < on - margin)
    return wanted


def judge_rewards(thinks: Tensor, wanted: Tensor) -> Tensor:
    """Reward the decision: [B] 1 if it is the wanted one, else -1; NaN if that is unknown."""
    rewards = torch.where(thinks == wanted, 1.0, -1.0)
    return torch.where(wanted.isnan(), torch.nan, rewards)


def step_advantages(judge: Tensor, answer: Tensor, ends: Tensor, length: int) -> Tensor:
    """Give the tokens up to the mode the judge's advantage, and those after it the answer's.

    Args:
        judge: [B] advantage of the decision.
        answer: [B] advantage of the answer.
        ends: [B] number of tokens up to and including the mode.
        length: T.

    Returns:
        [B, T].

    """
    before = torch.arange(length) < ends[:, None]
    return torch.where(before, judge[:, None], answer[:, None])


def decoupled_advantages(
    advantages: Tensor, ends: Tensor, lengths: Tensor, length: int, weight: float
) -> Tensor:
    """Weigh the token of the mode by `weight`, and all others by one over the reply's length.

    The loss that takes them is a mean over the tokens of every reply, so that the token's weight is
    multiplied by their number.

    Args:
        advantages: [B].
        ends: [B] number of tokens up to and including the mode; 0 for none.
        lengths: [B] tokens of every reply.
        length: T.
        weight: of the mode's token.

    Returns:
        [B, T].

    """
    control = torch.arange(length) == ends[:, None] - 1
    return torch.where(control, weight * lengths[:, None], 1.0) * advantages[:, None]


def mode_entropy(thinks: Tensor) -> float:
    """Entropy in bits of the decision over replies [B] that have one; 0 if it has collapsed."""
    rate = thinks[~thinks.isnan()].mean()
    parts = torch.stack([rate, 1 - rate])
    entropy = -torch.special.xlogy(parts, parts).sum() / torch.log(torch.tensor(2.0))
    return 0.0 if rate.isnan() else float(entropy)

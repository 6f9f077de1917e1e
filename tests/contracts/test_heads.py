"""Contracts of heads, over all kinds, layouts and numbers of slots."""

from typing import Any

import pytest
import torch
from helpers.toy_model import BACKBONE

from vocalmtp.heads import HEADS, SpeechHead, build_head
from vocalmtp.heads.base import SoftTargets
from vocalmtp.models.layout import IGNORED, TokenLayout
from vocalmtp.models.streams import Stream

WIDTH = 16
CONFIGS: dict[str, dict[str, Any]] = {
    "linear": {"name": "parallel", "kind": "linear"},
    "slot_mlp": {"name": "parallel", "kind": "slot_mlp"},
    "slot_transformer": {"name": "parallel", "kind": "slot_transformer", "hidden": 8},
    "mlp": {"name": "parallel", "kind": "mlp"},
    "transformer": {"name": "parallel", "kind": "transformer", "heads": 2},
    "depth": {"name": "depth", "width": 16, "layers": 2, "heads": 2},
    "depth_decoder": {"name": "depth_decoder", "decoder": BACKBONE},
    "patch_decoder": {"name": "patch_decoder", "decoder": BACKBONE, "table_width": 8},
    "normed": {"name": "normed", "head": {"name": "depth", "width": 16, "layers": 1, "heads": 2}},
}
A = Stream(name="a", size=8, levels=(2, 4))
B = Stream(name="b", size=5, delay=1)
ADVANCE = Stream(name="advance", size=3, joint=True)
LAYOUTS = {
    "one slot": TokenLayout(streams=(A,)),
    "frame-parallel": TokenLayout(streams=(A, B)),
    "grouped": TokenLayout(streams=(A, B), frames_per_step=3),
    "joint": TokenLayout(streams=(ADVANCE, A, B), frames_per_step=2),
    "flat": TokenLayout(streams=(A, B), flat=True),
    "end apart": TokenLayout(streams=(A, B), frames_per_step=2, end_slots="own"),
}


def test_every_head_is_covered() -> None:
    assert {config["name"] for config in CONFIGS.values()} == set(HEADS)


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> TokenLayout:
    return LAYOUTS[request.param]


@pytest.fixture(params=CONFIGS)
def head(request: pytest.FixtureRequest, layout: TokenLayout) -> SpeechHead:
    return build_head(CONFIGS[request.param], layout, WIDTH, {}).eval()


def batch(layout: TokenLayout) -> tuple[torch.Tensor, torch.Tensor]:
    codes = torch.stack([torch.randint(0, s.size, (2, 9)) for s in layout.streams], 1)
    targets = layout.targets(layout.pack(codes).tokens)
    return torch.randn(*targets.shape[:2], WIDTH, requires_grad=True), targets


class GreedyPick:
    """The best id of every slot, or the given ones; keeps the logits it saw."""

    def __init__(self, layout: TokenLayout, tokens: torch.Tensor | None = None):
        self.layout, self.tokens = layout, tokens
        self.seen: dict[int, torch.Tensor] = {}

    def __call__(self, k: int, logits: torch.Tensor) -> torch.Tensor:
        self.seen[k] = logits
        return logits.argmax(-1) if self.tokens is None else self.tokens[:, k]

    def all(self, logits: list[torch.Tensor]) -> torch.Tensor:
        slots: dict[int, torch.Tensor] = {}
        for run, together in zip(self.layout.runs, logits, strict=True):
            slots |= zip(run, together.unbind(1), strict=True)
        return torch.stack([self(k, slots[k]) for k in sorted(slots)], 1)


def test_loss_is_finite_and_reaches_all_parameters(head: SpeechHead, layout: TokenLayout) -> None:
    hidden, targets = batch(layout)
    output = head.loss(hidden, targets)
    assert torch.isfinite(output.loss)
    assert output.per_slot.shape == (layout.tokens_per_step,)
    output.loss.backward()
    for name, parameter in head.named_parameters():
        if not parameter.requires_grad:
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_loss_is_mean_of_slots(head: SpeechHead, layout: TokenLayout) -> None:
    hidden, targets = batch(layout)
    logits = head.logits(hidden, targets)
    means = torch.stack(
        [
            torch.nn.functional.cross_entropy(x.flatten(0, 1), targets[..., k].flatten())
            for k, x in enumerate(logits)
        ]
    )
    output = head.loss(hidden, targets)
    torch.testing.assert_close(output.per_slot, means.detach())
    joint = sum(slot.joint for slot in layout.slots)
    torch.testing.assert_close(output.loss, means[:joint].sum() + means[joint:].mean())


def test_soft_targets_are_what_another_head_predicts(head: SpeechHead, layout: TokenLayout) -> None:
    hidden, targets = batch(layout)
    other = torch.randn_like(hidden)
    same = head.loss(hidden, targets, soft=SoftTargets(head, hidden)).loss
    torch.testing.assert_close(same, torch.zeros(()), atol=1e-6, rtol=0)
    soft = head.loss(hidden, targets, soft=SoftTargets(head, other))
    pairs = zip(head.logits(hidden, targets), head.logits(other, targets), strict=True)
    wanted = [(p.softmax(-1) * (p.log_softmax(-1) - q.log_softmax(-1))).sum(-1) for q, p in pairs]
    known = (targets != IGNORED).unbind(-1)
    means = torch.stack([x[there].mean() for x, there in zip(wanted, known, strict=True)])
    torch.testing.assert_close(soft.per_slot, means.detach())
    mixed = head.loss(hidden, targets, soft=SoftTargets(head, other, 0.25)).loss
    torch.testing.assert_close(mixed, 0.75 * head.loss(hidden, targets).loss + 0.25 * soft.loss)


def test_logits_do_not_depend_on_other_positions_or_later_slots(
    head: SpeechHead, layout: TokenLayout
) -> None:
    hidden, targets = batch(layout)
    before = head.logits(hidden, targets)
    changed_hidden, changed = hidden.detach().clone(), targets.clone()
    changed_hidden[:, 2] += 1
    changed[:, 2] = torch.where(targets[:, 2] == 0, 1, 0)
    after = head.logits(changed_hidden, changed)
    others = [place for place in range(targets.shape[1]) if place != 2]
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one[:, others], other[:, others])
    assert sorted(head.draw_order) == list(range(layout.tokens_per_step))
    for place, k in enumerate(head.draw_order):  # slot k never sees its own target, nor later ones
        rest = list(head.draw_order[place:])
        later = targets.clone()
        later[..., rest] = torch.where(targets[..., rest] == 0, 1, 0)
        torch.testing.assert_close(head.logits(hidden, later)[k], before[k])


def test_masked_positions_do_not_count(head: SpeechHead, layout: TokenLayout) -> None:
    hidden, targets = batch(layout)
    mask = torch.ones(targets.shape[:2], dtype=torch.bool)
    mask[0, 2:] = False
    ignored = torch.where(mask[..., None], targets, IGNORED)
    spoiled = torch.where(mask[..., None], hidden, torch.nan)
    masked = head.loss(spoiled, targets, mask)
    torch.testing.assert_close(masked.loss, head.loss(hidden, ignored).loss)
    masked.loss.backward()
    assert hidden.grad[0, 2:].abs().sum() == 0


def test_propose_has_teacher_forced_logits(head: SpeechHead, layout: TokenLayout) -> None:
    """Decoding slot by slot (with a cache, where there is one) equals the teacher-forced pass."""
    hidden = torch.randn(3, WIDTH)
    tokens = torch.stack([torch.randint(0, s.vocab_size, (3,)) for s in layout.slots], -1)
    pick = GreedyPick(layout, tokens)
    assert torch.equal(head.propose(hidden, pick), tokens)
    want = head.logits(hidden[:, None], tokens[:, None])
    for k, logits in enumerate(want):
        torch.testing.assert_close(pick.seen[k], logits[:, 0])


def test_optimized_head_proposes_the_same(head: SpeechHead, layout: TokenLayout) -> None:
    hidden = torch.randn(3, WIDTH)
    before, after = GreedyPick(layout), GreedyPick(layout)
    want = head.propose(hidden, before)
    with torch.no_grad():
        head.optimize_for_inference(lambda linear: linear)
        got = head.propose(hidden, after)
    for k in range(layout.tokens_per_step):
        torch.testing.assert_close(before.seen[k], after.seen[k])
    assert torch.equal(want, got)


def test_row_proposes_the_same_in_any_batch(head: SpeechHead, layout: TokenLayout) -> None:
    hidden = torch.randn(3, WIDTH)
    together = head.propose(hidden, GreedyPick(layout))
    alone = [head.propose(hidden[b : b + 1], GreedyPick(layout)) for b in range(3)]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("kind", ["linear", "slot_mlp", "mlp", "transformer"])
def test_one_slot_is_next_token_prediction(kind: str) -> None:
    layout = LAYOUTS["one slot"]
    head = build_head(CONFIGS[kind], layout, WIDTH, {})
    hidden, targets = batch(layout)
    (logits,) = head.logits(hidden)
    want = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    torch.testing.assert_close(head.loss(hidden, targets).loss, want)


def test_stream_weights_scale_the_loss() -> None:
    layout = LAYOUTS["joint"]
    hidden, targets = batch(layout)
    torch.manual_seed(1)
    plain = build_head(CONFIGS["mlp"], layout, WIDTH, {})
    torch.manual_seed(1)
    weighted = build_head(CONFIGS["mlp"], layout, WIDTH, {"advance": 0.3})
    one, other = plain.loss(hidden, targets), weighted.loss(hidden, targets)
    torch.testing.assert_close(one.loss - other.loss, 0.7 * one.per_slot[0])


def test_flat_weights_equal_grouped_weights() -> None:
    """With one cross-entropy for every token, the weights give the same loss flat and grouped."""
    streams = LAYOUTS["joint"].streams
    flat = build_head(
        CONFIGS["linear"], TokenLayout(streams=streams, flat=True), 2, {"advance": 0.3}
    )
    codes = torch.stack([torch.randint(0, s.size, (1, 50)) for s in streams], 1)
    targets = flat.layout.targets(flat.layout.pack(codes).tokens)[:, :-1]  # without the end
    logits = torch.zeros(*targets.shape[:2], flat.layout.slots[0].vocab_size)
    output = flat.cross_entropy([logits], targets)
    torch.testing.assert_close(output.loss, output.per_slot[0] * 1.3)

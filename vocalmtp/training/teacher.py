"""Distillation of a text LM and its draft head from a teacher, at several offsets.

KAT-V1 (arXiv 2507.08297) distils with multi-token prediction, and publishes no formula. This one is
"KAT-style": with a_k = decay^k, normalized over the next token (k = 0) and the states of the draft
head, and teacher-forced predictions p of token t + 1 + k,

    loss = (1 - weight) * cross-entropy losses + weight * sum over k of a_k * T^2 * D(p_teacher, p)

D is the Kullback-Leibler divergence if both have one tokenizer. Otherwise it is the L1 distance of
the sorted probabilities (universal logit distillation, arXiv 2402.12030), at the tokens that begin
at the same character in both.
Letters: B rows, L positions, V vocabulary.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.data.text_rows import fingerprint
from vocalmtp.errors import InputError
from vocalmtp.heads.draft.base import later_targets
from vocalmtp.heads.text import TextHead
from vocalmtp.models.base import LossShares, TrainingOutput
from vocalmtp.models.batch import Batch
from vocalmtp.models.checkpoint import load_backbone, load_text_tokenizer
from vocalmtp.models.layout import IGNORED
from vocalmtp.models.text_lm import TextLM
from vocalmtp.training.recipe import TeacherRecipe


class Teacher:
    """A frozen causal LM that supervises the predictions of a text LM.

    Args:
        recipe: which model, and the weights of its losses.
        tokenizer: of the student.
        device: torch device of both.

    Raises:
        InputError: the model cannot be loaded, or has another tokenizer and the loss is "kl".

    """

    def __init__(self, recipe: TeacherRecipe, tokenizer: Any, device: torch.device):
        self.recipe = recipe
        self.model = load_backbone(recipe.model).eval().requires_grad_(False).to(device)
        self._tokenizer = tokenizer
        self._own_tokenizer = load_text_tokenizer(recipe.model)
        self._same = fingerprint(self._own_tokenizer) == fingerprint(tokenizer)
        if recipe.loss == "kl" and not self._same:
            raise InputError(
                f"teacher.loss 'kl': '{recipe.model}' has another tokenizer than the student; "
                "set teacher.loss: uld",
                code="mismatch",
            )

    def add_loss(
        self,
        output: TrainingOutput,
        student: TextLM,
        batch: Batch,
        hidden: Tensor,
        inputs: Tensor,
        active_drafts: int | None,
        shares: LossShares | None,
    ) -> TrainingOutput:
        """Mix the teacher's losses into those of a batch; see `TextLM.forward`."""
        teacher, known = self.predictions(batch)  # [B, L, V], [B, L]
        states: list[tuple[int, Tensor, nn.Module]] = [(0, hidden, student.head)]
        if student.draft is not None:
            count = len(student.draft.offsets) if active_drafts is None else active_drafts
            made = student.draft.states(hidden, inputs, count)
            states += [
                (student.draft.offsets[n], state, student.draft.head_of(n, student.head))
                for n, state in enumerate(made)
            ]
        factors = [1.0] * len(states) if shares is None else [*shares.slots, *shares.drafts[:, 0]]
        scale = sum(self.recipe.decay**k for k in range(len(states)))
        total = hidden.new_zeros(())
        for k, (offset, state, head) in enumerate(states):
            assert isinstance(head, TextHead)
            targets = later_targets(batch.step_targets, offset)[..., 0]  # [B, L]
            wanted = F.pad(teacher[:, offset:], (0, 0, 0, offset))
            counted = F.pad(known[:, offset:], (0, offset)) & (targets != IGNORED)
            distance = self.distance(wanted[counted], head.output(state[counted]))
            total = total + factors[k] * self.recipe.decay**k / scale * distance
        weight = self.recipe.weight
        return replace(
            output,
            loss=(1 - weight) * output.loss + weight * total,
            auxiliary=output.auxiliary | {"teacher": total.detach()},
        )

    @torch.no_grad()
    def predictions(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits of the teacher for the token that every position of a batch predicts.

        Returns:
            [B, L, V] logits, and [B, L] where there are some.

        """
        if self._same:
            logits = self.model(input_ids=batch.ids).logits
            return logits, torch.ones_like(batch.ids, dtype=torch.bool)
        rows, places = [], torch.full_like(batch.ids, -1)  # [B, L] positions of the teacher
        for b, (ids, mask) in enumerate(zip(batch.ids, batch.attention_mask, strict=True)):
            own = ids[mask.bool()].tolist()
            text, starts = token_starts(self._tokenizer, own)
            encoded = self._own_tokenizer(text, return_offsets_mapping=True)
            rows.append(encoded["input_ids"])
            there = {start: j for j, (start, _) in enumerate(encoded["offset_mapping"]) if j}
            for t, start in enumerate(starts[1:]):
                places[b, t] = there.get(start, 0) - 1
        longest = max(map(len, rows))
        padded = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        logits = self.model(input_ids=padded.to(batch.ids.device)).logits  # [B, L', V]
        index = places.clamp(min=0)[..., None].expand(-1, -1, logits.shape[-1])
        return logits.gather(1, index), places >= 0

    def distance(self, teacher: Tensor, student: Tensor) -> Tensor:
        """Mean distance [] of the predictions of two models, logits [n, V] and [n, V']."""
        if not len(student):
            return student.sum()
        temperature = self.recipe.temperature
        if self.recipe.loss == "uld":
            p, q = ((x / temperature).softmax(-1).sort(-1, True)[0] for x in (teacher, student))
            most = max(p.shape[-1], q.shape[-1])
            p, q = (F.pad(x, (0, most - x.shape[-1])) for x in (p, q))
            return temperature**2 * (p - q).abs().sum(-1).mean()
        shared = min(teacher.shape[-1], student.shape[-1])  # a vocabulary may be padded
        p, q = ((x[:, :shared] / temperature).log_softmax(-1) for x in (teacher, student))
        return temperature**2 * F.kl_div(q, p, reduction="batchmean", log_target=True)


def token_starts(tokenizer: Any, ids: list[int]) -> tuple[str, list[int]]:
    """Decode tokens: their text, and the character at which each of them begins."""
    starts = [len(tokenizer.decode(ids[:n])) for n in range(len(ids))]
    return tokenizer.decode(ids), starts

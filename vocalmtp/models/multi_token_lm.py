"""What speech and text LMs have in common in training, as models of Transformers.

Letters: B rows, L positions, K slots, D width.
"""

from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from vocalmtp.heads.base import HeadOutput
from vocalmtp.models.base import DecodableLM, LossShares, TrainingOutput


class MultiTokenLM(DecodableLM, PreTrainedModel):
    """A causal LM of Transformers with a slot head, and by settings a draft head and objectives."""

    objectives: nn.ModuleDict

    @property
    def skips_head(self) -> bool:
        """Whether the head's loss is not computed: in training that changes nothing it is made of."""
        return self.training and not any(p.requires_grad for p in self.backbone.parameters())

    def run_backbone(self, inputs: Tensor) -> Tensor:
        """Run whole sequences [B, L, D], padded on the right: hidden states [B, L, D].

        Attention is causal, so that padding on the right needs no mask.
        """
        output = self.backbone.base_model(inputs_embeds=inputs, use_cache=False)
        hidden: Tensor = output.last_hidden_state
        return hidden

    def step_losses(
        self,
        hidden: Tensor,
        inputs: Tensor,
        targets: Tensor,
        active_drafts: int | None,
        shares: LossShares | None = None,
    ) -> TrainingOutput:
        """Compute the losses of the head, the draft head and the objectives, and their sum.

        Args:
            hidden: hidden states [B, L, D].
            inputs: the backbone's inputs [B, L, D], from which they were made.
            targets: the step that every position predicts [B, L, K], -100 = none.
            active_drafts: how many states of the draft head count; None for all.
            shares: factors of the losses; None for 1.
        """
        slots, drafts = (None, None) if shares is None else (shares.slots, shares.drafts)
        if self.skips_head:
            zero = hidden.new_zeros(())
            head = HeadOutput(zero, zero.expand(self.head.num_slots))
        else:
            head = self.head.loss(hidden, targets, shares=slots)
        loss, per_draft = head.loss, None
        if self.draft is not None:
            own = self.drafting_head
            drafted = self.draft.loss(hidden, inputs, targets, own, active_drafts, drafts)
            loss, per_draft = loss + drafted.loss, drafted.per_state
        auxiliary = {
            name: own(hidden, targets, None if shares is None else shares.objectives[name])
            for name, own in self.objectives.items()
        }
        return TrainingOutput(
            loss=sum(auxiliary.values(), loss),
            head_loss=head.loss.detach(),
            per_slot=head.per_slot,
            per_draft=per_draft,
            auxiliary={name: value.detach() for name, value in auxiliary.items()},
        )

    def _init_weights(self, module: Any) -> None:
        """Keep torch's initial values; the backbone initializes its own modules."""
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()

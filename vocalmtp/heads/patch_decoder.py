"""The patch decoder of published models: a transformer over the frames of one step (MiMo-Audio).

It reads the backbone's hidden state at place 0, and at place t the sum of the embeddings of the codes
drawn at place t - 1. Frame f of a stream is drawn at place f + d, d being the stream's delay within the
step, so that a step takes G places and the largest delay, not K. Slots that are no codes, such as that
of the end, have layers over the hidden state.
Letters: B rows, S steps, K slots, G frames of a step, Q streams, P places, D width of the backbone,
W width of the decoder, V_k vocabulary of slot k.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.config import StrictModel
from vocalmtp.engines.linears import LinearFactory
from vocalmtp.engines.llama import LlamaRunner
from vocalmtp.errors import InputError
from vocalmtp.heads.base import HEADS, SlotSampler, SpeechHead
from vocalmtp.models.backbone import TransformersRunner
from vocalmtp.models.layout import TokenLayout


class PatchDecoderConfig(StrictModel):
    """Settings of a patch decoder.

    Attributes:
        decoder: configuration of a causal LM of Transformers, with its `model_type`.
        delays: frames by which each stream follows within a step; None: each stream one frame after
            the one before it.
        table_width: width of the embeddings of codes, which a layer leads to W; None: W.
        published_ids: whether the ends and padding of codes are never predicted.

    """

    decoder: dict[str, Any]
    delays: tuple[int, ...] | None = None
    table_width: int | None = Field(default=None, ge=1)
    published_ids: bool = False


@HEADS.register("patch_decoder")
class PatchDecoderHead(SpeechHead):
    """Predicts the codes of a step place by place, each from those of all places before."""

    Config = PatchDecoderConfig
    in_order = True

    def __init__(
        self,
        config: PatchDecoderConfig,
        layout: TokenLayout,
        width: int,
        loss_weights: Mapping[str, float],
    ):
        from transformers import AutoConfig, AutoModelForCausalLM

        super().__init__(layout, loss_weights)
        self.published_ids = config.published_ids
        joint = sum(slot.joint for slot in layout.slots)
        framed = [slot for slot in layout.slots if not slot.joint]
        first = [slot for slot in framed if slot.frame == 0]
        self.places = slot_places(joint, len(first), layout.frames_per_step, config.delays)
        self.draw_order = (*range(joint), *(k for place in self.places for k in place))
        self.table_of = [k % len(first) for k in range(-joint, len(framed))]  # of every slot
        settings = AutoConfig.for_model(**({"vocab_size": 1} | config.decoder))
        inner: int = settings.hidden_size
        read = config.table_width or inner
        self.leading = nn.ModuleList(
            nn.Linear(width, slot.vocab_size) for slot in layout.slots[:joint]
        )
        self.projection = nn.Linear(width, inner, bias=False)
        self.decoder: Any = AutoModelForCausalLM.from_config(settings)
        for unused in ("get_input_embeddings", "get_output_embeddings"):
            getattr(self.decoder, unused)().requires_grad_(False)
        self.outputs = nn.ModuleList(
            nn.Linear(inner, slot.vocab_size, bias=False) for slot in first
        )
        before = {self.table_of[k] for place in self.places[:-1] for k in place}
        self.tables = nn.ModuleDict(  # of the streams that later places read
            {str(q): nn.Embedding(first[q].vocab_size, read) for q in sorted(before)}
        )
        self.table_projection: nn.Module = nn.Identity()
        if before and read != inner:
            self.table_projection = nn.Linear(read, inner, bias=False)
        self.runner: Any = None  # of an optimized head

    def logits(self, hidden: Tensor, targets: Tensor | None = None) -> list[Tensor]:
        """Hidden [B, S, D] to K logits [B, S, V_k], teacher-forced.

        Raises:
            ValueError: there are several places and no `targets` [B, S, K] of the ones before.

        """
        if len(self.places) > 1 and targets is None:
            raise ValueError("all slots at once need the step's targets")
        inputs = [self.projection(hidden)]
        for slots in self.places[:-1]:
            assert targets is not None
            inputs.append(self._embed(slots, [targets[..., k] for k in slots]))
        places = torch.stack(inputs, -2)  # [B, S, P, W]
        length = places.shape[-2]
        causal = torch.ones(length, length, dtype=torch.bool, device=hidden.device).tril()
        mixed = self.decoder.base_model(
            inputs_embeds=places.flatten(0, -3),  # [B S, P, W]
            attention_mask=causal[None, None],
            use_cache=False,
        )
        states = mixed.last_hidden_state.view(places.shape)
        found = {k: layer(hidden) for k, layer in enumerate(self.leading)}
        for place, slots in enumerate(self.places):
            found |= {k: self._codes(k, states[..., place, :]) for k in slots}
        return [found[k] for k in range(self.num_slots)]

    def propose(self, hidden: Tensor, pick: SlotSampler) -> Tensor:
        """Draw the step [B, K] that hidden states [B, D] predict, place by place with a cache."""
        tokens = {k: pick(k, layer(hidden)) for k, layer in enumerate(self.leading)}
        if self._have_no_frames(tokens):
            sizes = [(k, self.layout.slots[k].vocab_size) for k in self.draw_order[len(tokens) :]]
            tokens |= {k: pick(k, hidden.new_zeros(len(hidden), size)) for k, size in sizes}
            return torch.stack([tokens[k] for k in range(self.num_slots)], -1)
        runner = TransformersRunner(self.decoder) if self.runner is None else self.runner
        inputs = self.projection(hidden)
        mask = torch.ones(len(hidden), 1, dtype=torch.long, device=hidden.device)
        states, cache = runner.prefill(inputs[:, None], mask)
        state = states[:, 0]
        for place, slots in enumerate(self.places):
            if place:
                before = self.places[place - 1]
                inputs = self._embed(before, [tokens[k] for k in before])
                state = runner.step(inputs, cache)
            tokens |= {k: pick(k, self._codes(k, state)) for k in slots}
        return torch.stack([tokens[k] for k in range(self.num_slots)], -1)

    def _have_no_frames(self, leading: Mapping[int, Tensor]) -> bool:
        """Whether all codes of a step with these `leading` tokens [B] are padding; False on a GPU."""
        known = self.layout.has_text_steps and leading[0].device.type == "cpu"
        return known and bool((leading[0] != 0).all())

    def _embed(self, slots: Sequence[int], tokens: list[Tensor]) -> Tensor:
        """Embed tokens [..] of each of the `slots` as their sum [.., W]; none (-100) is padding."""
        vectors = []
        for k, own in zip(slots, tokens, strict=True):
            ids = torch.where(own < 0, self.layout.slots[k].pad_id, own)
            table: Any = self.tables[str(self.table_of[k])]
            vectors.append(F.embedding(ids, table.weight))
        summed: Tensor = self.table_projection(torch.stack(vectors).sum(0))
        return summed

    def _codes(self, k: int, states: Tensor) -> Tensor:
        """Logits [.., V_k] of a slot of codes from decoder states [.., W]."""
        logits: Tensor = self.outputs[self.table_of[k]](states)
        if not self.published_ids:
            return logits
        size = self.layout.slots[k].size
        excluded = torch.full_like(logits[..., size:], -torch.inf)
        return torch.cat([logits[..., :size], excluded], -1)

    def optimize_for_inference(self, convert: LinearFactory) -> None:
        """Fuse the layers of a decoder that LlamaRunner supports."""
        if LlamaRunner.supports(self.decoder):
            self.runner = LlamaRunner(self.decoder, convert)
            self.decoder.base_model.layers = nn.ModuleList()


def slot_places(
    first: int, streams: int, frames: int, delays: Sequence[int] | None
) -> tuple[tuple[int, ...], ...]:
    """Return the numbers of the slots that are drawn at each place.

    Args:
        first: number of the first slot of codes.
        streams: Q.
        frames: G.
        delays: of the streams; None: one frame more for each.

    Raises:
        InputError: there is not one delay of 0 or more for each stream, or a place without a slot.

    """
    own = tuple(range(streams)) if delays is None else tuple(delays)
    places: dict[int, list[int]] = {}
    if len(own) == streams and min(own) == 0:
        for q, delay in enumerate(own):
            for frame in range(frames):
                places.setdefault(frame + delay, []).append(first + frame * streams + q)
    if not places or len(places) <= max(places):
        raise InputError(
            f"delays '{list(own)}': one of 0 or more for each of the {streams} streams, of which one "
            f"is 0 and none is more than {frames} after the next smaller one; mend them",
            code="invalid_value",
        )
    return tuple(tuple(places[place]) for place in sorted(places))

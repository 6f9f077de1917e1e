"""Embeddings and projections: of a step's slots, of their logits, and of speaker vectors.

Slots share one table over the frames of a step. Codes of finite scalar quantization (FSQ) are also
tuples of digits, so codes that differ in one digit are similar from the start.
Letters: B rows, L positions, S steps, K slots, G frames per step, D width, V_k vocabulary of slot k,
F digits, D_s size of the speaker vector.
"""

import math
from collections.abc import Sequence
from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.config import StrictModel
from vocalmtp.engines.linears import LinearFactory, join_linears
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.streams import Stream

# How the embeddings of a step's K slots are joined: their sum over sqrt(K), their sum, or their mean,
# in which the frames of a step are alike.
StepEmbedding = Literal["normalized", "sum", "mean"]


class TextEmbeddingConfig(StrictModel):
    """Settings of a TextEmbedding: the number of ids, and the width of their table."""

    size: int = Field(ge=1)
    width: int = Field(ge=1)


class SlotEmbedding(nn.Module):
    """Embeds a step's K tokens as one vector: by default, the sum of their embeddings over sqrt(K).

    Frames share their tables; a linear map for every frame but the first distinguishes them.
    Streams with FSQ levels add a two-layer map of their digits.

    Args:
        layout: the slots of a step.
        width: D.
        layouts: the layouts of an elastic model (elastic.py), among them `layout`; the table then
            has rows for the joint symbols of all, so that it can be shared.
        joined: how the embeddings are joined.

    """

    offsets: Tensor
    digits: Tensor

    def __init__(
        self,
        layout: TokenLayout,
        width: int,
        layouts: tuple[TokenLayout, ...] = (),
        joined: StepEmbedding = "normalized",
    ):
        super().__init__()
        self.frames = layout.frames_per_step
        self.num_joint = sum(slot.joint for slot in layout.slots)
        first = [slot for slot in layout.slots if slot.frame == 0]
        framed = first[self.num_joint :]
        tables = [list(layout.order)] if layout.flat else [[s.stream] for s in framed]
        joint = [count_joint_ids(each) for each in layouts or (layout,)]
        end = sum(joint[: layouts.index(layout)]) if layouts else 0  # of rows for smaller layouts
        starts = {}
        for number, slot in enumerate(first):
            end = sum(joint) if number == self.num_joint else end
            starts[slot.stream], end = end, end + slot.vocab_size
        offsets = torch.tensor([starts[slot.stream] for slot in layout.slots])
        self.register_buffer("offsets", offsets)
        self.table = nn.Parameter(torch.empty(end, width))
        alike = joined == "mean"
        self.frame_proj = nn.ModuleList(
            nn.Identity() if alike else nn.Linear(width, width, bias=False)
            for _ in range(self.frames - 1)
        )
        digits = centred_digits(layout, tables)
        self.digit_map: nn.Sequential | None = None
        if digits.shape[1]:
            self.register_buffer("digits", F.pad(digits, (0, 0, sum(joint), 0)))
            self.digit_map = nn.Sequential(
                nn.Linear(digits.shape[1], width), nn.GELU(), nn.Linear(width, width)
            )
        self.scale = layout.tokens_per_step ** -{"normalized": 0.5, "sum": 0.0, "mean": 1.0}[joined]
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table anew."""
        nn.init.normal_(self.table, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed steps [.., K], the ids of each slot: [.., D]."""
        ids = tokens + self.offsets
        vectors = F.embedding(ids, self.table)  # [.., K, D]
        joint = vectors[..., : self.num_joint, :].sum(-2)  # [.., D]
        framed = vectors[..., self.num_joint :, :].unflatten(-2, (self.frames, -1)).sum(-2)
        if self.digit_map is not None:  # [.., G, D]
            digits = F.embedding(ids[..., self.num_joint :], self.digits)
            framed = framed + self.digit_map(digits.unflatten(-2, (self.frames, -1)).sum(-2))
        total = joint + framed[..., 0, :]
        for frame, project in enumerate(self.frame_proj, start=1):
            total = total + project(framed[..., frame, :])
        return total * self.scale


class SlotProjection(nn.Module):
    """Projects hidden vectors to the logits of a slot.

    A code's logit is its own ("free") plus, for FSQ codes, the sum of its digits' logits. The two
    special ids have free logits alone.

    Args:
        layout: the slots of a step.
        width: D.
        shared: whether the frames of a step share their weights; otherwise every slot has its own.

    """

    def __init__(self, layout: TokenLayout, width: int, *, shared: bool = True):
        super().__init__()
        self.slots = layout.slots
        self.part = [s.stream if shared else k for k, s in enumerate(self.slots)]
        firsts = {
            part: slot for part, slot in reversed(list(zip(self.part, self.slots, strict=True)))
        }
        self.free = nn.ModuleDict(
            {str(part): nn.Linear(width, slot.vocab_size) for part, slot in firsts.items()}
        )
        self.digit = nn.ModuleDict()
        for part, slot in firsts.items():
            members = [layout.streams[q] for q in layout.order if layout.flat or q == slot.stream]
            spread = digit_matrix(members) if not slot.joint else torch.zeros(0)
            if spread.shape[0]:
                self.digit[str(part)] = nn.Linear(width, spread.shape[0], bias=False)
                self.register_buffer(f"spread_{part}", spread)

    def forward(self, hidden: Tensor, slot: int) -> Tensor:
        """Project hidden vectors [.., D] to the logits [.., V_k] of slot number `slot`."""
        part = str(self.part[slot])
        flat = hidden.reshape(-1, hidden.shape[-1])  # [N, D]
        logits: Tensor = self.free[part](flat)
        if part in self.digit:
            spread = getattr(self, f"spread_{part}")
            logits = torch.addmm(logits, self.digit[part](flat), spread)
        return logits.view(*hidden.shape[:-1], logits.shape[-1])

    def step(self, parts: list[Tensor]) -> list[Tensor]:
        """Project K hidden vectors [.., D], one for each slot, to logits [.., V_k]."""
        return [self(part, k) for k, part in enumerate(parts)]

    def merged(self, part: str) -> nn.Linear:
        """Merge the free and the digit logits of one table into a single layer, for inference."""
        free = cast(nn.Linear, self.free[part])
        if part not in self.digit:
            return free
        digit = cast(nn.Linear, self.digit[part])
        device, dtype = free.weight.device, free.weight.dtype
        merged = nn.Linear(free.in_features, free.out_features, device=device, dtype=dtype)
        spread = getattr(self, f"spread_{part}")
        with torch.no_grad():
            merged.weight.copy_(free.weight + spread.T @ digit.weight)
            merged.bias.copy_(free.bias)
        return merged


class FusedProjection(nn.Module):
    """A shared SlotProjection for inference, with one product for all slots of all frames.

    Args:
        projection: what it replaces.
        convert: makes the module that replaces a linear layer.

    """

    def __init__(self, projection: SlotProjection, convert: LinearFactory):
        super().__init__()
        slots = projection.slots
        self.num_joint = sum(slot.joint for slot in slots)
        self.joint = nn.ModuleList(
            convert(projection.merged(str(slot.stream))) for slot in slots[: self.num_joint]
        )
        framed = [slot for slot in slots[self.num_joint :] if slot.frame == 0]
        sizes = [slot.vocab_size for slot in framed]
        order = sorted(range(len(framed)), key=lambda i: (sizes.index(sizes[i]), i))
        self.sizes = [sizes[i] for i in order]  # those of one vocabulary follow each other
        self.places = [order.index(i) for i in range(len(order))]
        merged = (projection.merged(str(framed[i].stream)) for i in order)
        self.framed = convert(join_linears(merged))
        self.leading = sizes[0]
        self.later = tuple(dict.fromkeys(slot.vocab_size for slot in slots[1:]))

    def step(self, parts: list[Tensor]) -> list[Tensor]:
        """Project as `SlotProjection.step`; the slots of one frame have one hidden vector."""
        logits = [table(part) for table, part in zip(self.joint, parts, strict=False)]
        frames = parts[self.num_joint :: len(self.sizes)]
        for of_frame in self.framed(torch.stack(frames)):  # [.., sum of V_k]
            split = of_frame.split(self.sizes, -1)
            logits += [split[place] for place in self.places]
        return logits

    def runs(self, parts: list[Tensor]) -> list[Tensor]:
        """Project K vectors [B, D] as `step` to logits [B, n, V] of the layout's runs.

        There is one joint slot at most.
        """
        frames = torch.stack(parts[self.num_joint :: len(self.sizes)], 1)  # [B, G, D]
        vocabularies = list(dict.fromkeys(self.sizes))
        widths = [size * self.sizes.count(size) for size in vocabularies]
        joined = self.framed(frames).split(widths, -1)  # [B, G, ..] each
        runs = {
            size: x.reshape(len(frames), -1, size)
            for size, x in zip(vocabularies, joined, strict=True)
        }
        if self.num_joint:
            leading = self.joint[0](parts[0])[:, None]
        else:
            run = runs[self.leading]
            leading, runs[self.leading] = run[:, :1], run[:, 1:]
        return [leading, *(runs[size] for size in self.later)]


class SpeakerProjectionConfig(StrictModel):
    """Settings of a SpeakerProjection.

    The release of arXiv 2506.12537 has 1,024 hidden units, silu, and vectors as they are.

    Attributes:
        hidden: units of the hidden layer; None: as many as the backbone is wide.
        activation: of the hidden layer.
        scaled: whether vectors of unit length are scaled to unit variance.

    """

    hidden: int | None = Field(default=None, ge=1)
    activation: Literal["gelu", "silu"] = "gelu"
    scaled: bool = True


class TextEmbedding(nn.Module):
    """Embeds text ids in another width than the backbone's, and projects them to it.

    Args:
        config: settings.
        width: D.

    """

    def __init__(self, config: TextEmbeddingConfig, width: int):
        super().__init__()
        self.table = nn.Embedding(config.size, config.width)
        self.projection = nn.Sequential(
            nn.Linear(config.width, config.width), nn.SiLU(), nn.Linear(config.width, width)
        )

    def forward(self, ids: Tensor, is_text: Tensor, row_by_row: bool = False) -> Tensor:
        """Embed ids [B, L] where `is_text` [B, L]; the arguments are those of `Trunk.forward`."""
        groups = zip(ids, is_text, strict=True) if row_by_row else [(ids, is_text)]
        made = [self.projection(self.table(row[text])) for row, text in groups]
        inputs = made[0].new_zeros(*ids.shape, made[0].shape[-1])
        return inputs.index_put(torch.nonzero(is_text, as_tuple=True), torch.cat(made))


class SpeakerProjection(nn.Module):
    """Projects speaker vectors [B, D_s] to [B, D]; rows without one get a learned vector.

    Args:
        speaker_dim: D_s.
        width: D.
        dropout: share of rows whose vector is left out in training.
        config: the settings.

    """

    def __init__(
        self, speaker_dim: int, width: int, dropout: float, config: SpeakerProjectionConfig
    ):
        super().__init__()
        self.dropout = dropout
        hidden = width if config.hidden is None else config.hidden
        activation = nn.GELU() if config.activation == "gelu" else nn.SiLU()
        self.projection = nn.Sequential(
            nn.Linear(speaker_dim, hidden), activation, nn.Linear(hidden, width)
        )
        # not zeros: the norms of the backbone have huge gradients at a zero vector
        self.no_speaker = nn.Parameter(torch.randn(width) * 0.5)
        self.scale = speaker_dim**0.5 if config.scaled else 1.0

    @torch.no_grad()
    def ignore_vectors(self) -> None:
        """Give every vector the output of rows without one, exactly."""
        last = self.projection[-1]
        assert isinstance(last, nn.Linear)
        last.weight.zero_()
        last.bias.copy_(self.no_speaker)

    def forward(self, speaker: Tensor, has_speaker: Tensor) -> Tensor:
        """Project `speaker` [B, D_s] where `has_speaker` [B]: [B, D]."""
        if self.training and self.dropout > 0:
            kept = torch.rand(has_speaker.shape, device=has_speaker.device) >= self.dropout
            has_speaker = has_speaker & kept
        projected = self.projection((speaker * self.scale).to(self.no_speaker.dtype))
        return torch.where(has_speaker[:, None], projected, self.no_speaker)


def count_joint_ids(layout: TokenLayout) -> int:
    """Count the ids of all joint slots."""
    return sum(slot.vocab_size for slot in layout.slots if slot.joint)


def digits_of(stream: Stream) -> Tensor:
    """Return the digits of every code of a stream, [V, F], least significant first."""
    codes = torch.arange(stream.size)
    weights = [math.prod(stream.levels[:i]) for i in range(len(stream.levels))]
    columns = [codes // w % n for w, n in zip(weights, stream.levels, strict=True)]
    return torch.stack(columns, 1) if columns else torch.zeros(stream.size, 0, dtype=torch.long)


def centred_digits(layout: TokenLayout, tables: list[list[int]]) -> Tensor:
    """Return the digits of all ids scaled to [-1, 1]; every stream has its own columns.

    Args:
        layout: of the streams.
        tables: the streams that each table joins; a table ends with the two special ids, whose
            digits are 0.

    Returns:
        [sum of the table sizes, F of all streams].

    """
    total = sum(len(stream.levels) for stream in layout.streams)
    starts = [sum(len(s.levels) for s in layout.streams[:q]) for q in range(len(layout.streams))]
    rows = []
    for members in tables:
        for q in members:
            stream = layout.streams[q]
            block = torch.zeros(stream.size, total)
            if stream.levels:
                top = torch.tensor(stream.levels) - 1
                scaled = 2 * digits_of(stream) / top.clamp(min=1) - 1
                block[:, starts[q] : starts[q] + len(stream.levels)] = scaled
            rows.append(block)
        rows.append(torch.zeros(2, total))
    return torch.cat(rows)


def digit_matrix(streams: Sequence[Stream]) -> Tensor:
    """Return the 0/1 matrix [sum of all levels, V + 2] that adds digit logits to code logits."""
    rows, start = [], 0
    width = sum(stream.size for stream in streams) + 2
    for stream in streams:
        for column, levels in zip(digits_of(stream).T, stream.levels, strict=True):
            block = torch.zeros(levels, width)
            block[:, start : start + stream.size] = F.one_hot(column, levels).T
            rows.append(block)
        start += stream.size
    return torch.cat(rows) if rows else torch.zeros(0, width)

"""Codes in and codes out: the embedding of a step's slots, and the projection to a slot's logits.

Both share one table over the frames of a step, and both know finite scalar quantisation: a code is
also a tuple of digits, so codes that differ in one digit are neighbours from the start.
Letters: B batch, S steps, K slots, G frames per step, D width.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.engines.linears import Make, join_linears
from vocalmtp.models.layout import Stream, TokenLayout


def digits_of(stream: Stream) -> Tensor:
    """Digits of every code of a stream, [V, number of levels], least significant first."""
    codes = torch.arange(stream.size)
    weights = [math.prod(stream.levels[:i]) for i in range(len(stream.levels))]
    columns = [codes // w % n for w, n in zip(weights, stream.levels, strict=True)]
    return torch.stack(columns, 1) if columns else torch.zeros(stream.size, 0, dtype=torch.long)


def centred_digits(layout: TokenLayout, vocab: list[list[int]]) -> Tensor:
    """Digits scaled to [-1, 1] for tables of some streams each; every stream has its own columns.

    `vocab` lists the streams that every table joins; a table ends with its two special ids, whose
    digits are 0. Returns [sum of the table sizes, F].
    """
    total = sum(len(stream.levels) for stream in layout.streams)
    starts = [sum(len(s.levels) for s in layout.streams[:q]) for q in range(len(layout.streams))]
    rows = []
    for members in vocab:
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


class SlotEmbedding(nn.Module):
    """A step's K tokens to one vector: the sum of its slots' embeddings over sqrt(K).

    Frames share their tables; a linear map per frame (none for the first) keeps their order.
    Streams with FSQ levels add a two-layer map of their digits. `family` are the layouts of an
    elastic model (model/elastic.py), among them this one: its table has the joint rows of all.
    """

    def __init__(self, layout: TokenLayout, width: int, family: tuple[TokenLayout, ...] = ()):
        super().__init__()
        self.frames = layout.frames_per_step
        self.num_joint = sum(slot.joint for slot in layout.slots)
        first = [slot for slot in layout.slots if slot.frame == 0]
        framed = first[self.num_joint :]
        members = (
            [list(range(len(layout.streams)))] if layout.flat else [[s.stream] for s in framed]
        )
        joint = [joint_rows(each) for each in family or (layout,)]
        own = sum(joint[: family.index(layout)]) if family else 0  # where this one's joint rows are
        starts, end = {}, own
        for number, slot in enumerate(first):
            end = sum(joint) if number == self.num_joint else end
            starts[slot.stream], end = end, end + slot.vocab_size
        offsets = torch.tensor([starts[slot.stream] for slot in layout.slots])
        self.register_buffer("offsets", offsets)
        self.table = nn.Parameter(torch.empty(end, width))
        self.frame_proj = nn.ModuleList(
            nn.Linear(width, width, bias=False) for _ in range(self.frames - 1)
        )
        digits = centred_digits(layout, members)
        self.digit_map = None
        if digits.shape[1]:
            self.register_buffer("digits", F.pad(digits, (0, 0, sum(joint), 0)))
            self.digit_map = nn.Sequential(
                nn.Linear(digits.shape[1], width), nn.GELU(), nn.Linear(width, width)
            )
        self.scale = layout.tokens_per_step**-0.5
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.table, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Steps [.., K] (ids of each slot) to [.., D]."""
        ids = tokens + self.offsets
        vectors = F.embedding(ids, self.table)  # [.., K, D]
        joint = vectors[..., : self.num_joint, :].sum(-2)  # [.., D]
        framed = vectors[..., self.num_joint :, :].unflatten(-2, (self.frames, -1)).sum(-2)
        if self.digit_map is not None:  # [.., G, D]
            digits = F.embedding(ids[..., self.num_joint :], self.digits)
            framed = framed + self.digit_map(digits.unflatten(-2, (self.frames, -1)).sum(-2))
        total = joint + framed[..., 0, :]
        for frame, order in enumerate(self.frame_proj, start=1):
            total = total + order(framed[..., frame, :])
        return total * self.scale


def joint_rows(layout: TokenLayout) -> int:
    """Ids of all joint slots."""
    return sum(slot.vocab_size for slot in layout.slots if slot.joint)


class SlotProjection(nn.Module):
    """Hidden vectors to the logits of a slot: free logits plus, for FSQ codes, a sum over digits.

    The weights of a stream serve all frames of a step, unless `shared` is false (then every slot
    has its own, as independent heads have). The two special ids always have free logits.
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
            members = layout.streams if layout.flat else (layout.streams[slot.stream],)
            spread = spread_digits(members) if not slot.joint else torch.zeros(0)
            if spread.shape[0]:
                self.digit[str(part)] = nn.Linear(width, spread.shape[0], bias=False)
                self.register_buffer(f"spread_{part}", spread)

    def step(self, parts: list[Tensor]) -> list[Tensor]:
        """K hidden vectors [.., D], one for each slot, to the logits [.., V_k] of the slots."""
        return [self(part, k) for k, part in enumerate(parts)]

    def merged(self, part: str) -> nn.Linear:
        """Free and digit logits of one table as a single linear layer, for inference."""
        free = self.free[part]
        if part not in self.digit:
            return free
        merged = nn.Linear(free.in_features, free.out_features)
        spread = getattr(self, f"spread_{part}")
        with torch.no_grad():
            merged.weight.copy_(free.weight + spread.T @ self.digit[part].weight)
            merged.bias.copy_(free.bias)
        return merged

    def forward(self, hidden: Tensor, slot: int) -> Tensor:
        """Hidden [.., D] to the logits [.., V_k] of slot number `slot`."""
        part = str(self.part[slot])
        flat = hidden.reshape(-1, hidden.shape[-1])  # [N, D]
        logits = self.free[part](flat)
        if part in self.digit:
            spread = getattr(self, f"spread_{part}")
            logits = torch.addmm(logits, self.digit[part](flat), spread)
        return logits.view(*hidden.shape[:-1], logits.shape[-1])


class JoinedProjection(nn.Module):
    """A shared SlotProjection for inference: one product for all slots of all frames of a step.

    `make` turns a linear layer into what multiplies.
    """

    def __init__(self, projection: SlotProjection, make: Make):
        super().__init__()
        slots = projection.slots
        self.num_joint = sum(slot.joint for slot in slots)
        self.joint = nn.ModuleList(
            make(projection.merged(str(slot.stream))) for slot in slots[: self.num_joint]
        )
        framed = [slot for slot in slots[self.num_joint :] if slot.frame == 0]
        self.sizes = [slot.vocab_size for slot in framed]
        tables = [projection.merged(str(slot.stream)) for slot in framed]
        self.framed = make(join_linears(tables))

    def step(self, parts: list[Tensor]) -> list[Tensor]:
        """As `SlotProjection.step`; the slots of one frame have one hidden vector."""
        logits = [table(part) for table, part in zip(self.joint, parts, strict=False)]
        frames = parts[self.num_joint :: len(self.sizes)]
        for of_frame in self.framed(torch.stack(frames)):  # [.., sum of V_k]
            logits += of_frame.split(self.sizes, -1)
        return logits


def spread_digits(streams: tuple[Stream, ...]) -> Tensor:
    """The 0/1 matrix [sum of all levels, V + 2] that adds digit logits to the logits of codes."""
    rows, start = [], 0
    width = sum(stream.size for stream in streams) + 2
    for stream in streams:
        for column, levels in zip(digits_of(stream).T, stream.levels, strict=True):
            block = torch.zeros(levels, width)
            block[:, start : start + stream.size] = F.one_hot(column, levels).T
            rows.append(block)
        start += stream.size
    return torch.cat(rows) if rows else torch.zeros(0, width)

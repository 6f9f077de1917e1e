"""Which utterances make up a batch, and which of them a process of several reads."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch.utils.data import Sampler


class FrameBatches(Sampler[list[int]]):
    """Batches of utterances of like length within a budget of frames; ends after `num_batches`.

    Order is a function of the seed alone, so a resumed run skips exactly what it has seen.
    """

    POOL = 40  # batches sorted by length together

    def __init__(self, frames: Sequence[int], batch_frames: int, num_batches: int, seed: int = 0):
        self.frames, self.batch_frames = torch.tensor(frames), batch_frames
        self.num_batches, self.seed = num_batches, seed

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed)
        made = 0
        while True:
            for batch in self._epoch(generator):
                yield batch
                made += 1
                if made == self.num_batches:
                    return

    def _epoch(self, generator: torch.Generator) -> list[list[int]]:
        order = torch.randperm(len(self.frames), generator=generator)
        mean = max(1.0, self.frames.float().mean().item())
        pool = max(1, int(self.POOL * self.batch_frames / mean))
        batches: list[list[int]] = []
        for part in order.split(pool):
            part = part[self.frames[part].argsort()]
            batches += cut(part.tolist(), self.frames[part].tolist(), self.batch_frames)
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def cut(indices: list[int], frames: list[int], budget: int) -> list[list[int]]:
    """Cut utterances sorted by length into batches whose padded size stays within `budget`."""
    batches: list[list[int]] = [[]]
    for index, length in zip(indices, frames, strict=True):
        if batches[-1] and (len(batches[-1]) + 1) * length > budget:
            batches.append([])
        batches[-1].append(index)
    return [batch for batch in batches if batch]


class Shares(Sampler[list[int]]):
    """The rows that process `rank` of `processes` reads of every batch of `batches`.

    The processes read all rows of a batch between them, or, if they are more than its rows, each
    reads all of it. Either way their losses average to the batch's, see training/distributed.py.
    """

    def __init__(self, batches: Iterable[list[int]], rank: int, processes: int):
        self.batches, self.rank, self.processes = batches, rank, processes

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.batches:
            yield batch if len(batch) < self.processes else batch[self.rank :: self.processes]

"""Batches of a speech LM: by length, shared by the processes, with a step size if it is elastic."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import torch
from torch.utils.data import Dataset, Sampler

from vocalmtp.models.batch import Batch, Collator
from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.models.prompts import Segment

Sized = tuple[int, int]  # index of a row, and the frames per step to pack it with


class SizedDataset(Protocol):
    """Prompts, and the length of each in codec frames (tokens of a text LM)."""

    frames: list[int]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sequence[Segment]: ...


class FrameBatches(Sampler[list[int]]):
    """Batches of rows of similar length, of at most `batch_frames` padded frames.

    The order is a function of the seed alone: a resumed run skips exactly what it has seen.

    Args:
        frames: length of every row.
        batch_frames: most frames of a batch; a longer row is a batch of its own.
        num_batches: number of batches, over as many epochs as that takes.
        seed: of the order.

    """

    POOL = 40  # batches that are sorted by length together

    def __init__(self, frames: Sequence[int], batch_frames: int, num_batches: int, seed: int = 0):
        self.frames, self.batch_frames = torch.tensor(frames), batch_frames
        self.num_batches, self.seed = num_batches, seed

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed)
        count = 0
        while True:
            for batch in self.epoch(generator):
                yield batch
                count += 1
                if count == self.num_batches:
                    return

    def epoch(self, generator: torch.Generator) -> list[list[int]]:
        """Batches of one epoch, in random order."""
        order = torch.randperm(len(self.frames), generator=generator)
        mean = max(1.0, self.frames.float().mean().item())
        pool = max(1, int(self.POOL * self.batch_frames / mean))
        batches: list[list[int]] = []
        for part in order.split(pool):
            part = part[self.frames[part].argsort()]
            batches += cut_batches(part.tolist(), self.frames[part].tolist(), self.batch_frames)
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def cut_batches(indices: list[int], frames: list[int], budget: int) -> list[list[int]]:
    """Cut rows, sorted by length, into batches of at most `budget` padded frames."""
    batches: list[list[int]] = [[]]
    for index, length in zip(indices, frames, strict=True):
        if batches[-1] and (len(batches[-1]) + 1) * length > budget:
            batches.append([])
        batches[-1].append(index)
    return [batch for batch in batches if batch]


class BatchShares(Sampler[list[int]]):
    """Rows of every batch that process `rank` of `processes` reads.

    Each process reads its share of a batch, or all of a batch with fewer rows than processes.
    Either way, the losses of the processes average to that of the batch, see `share_of_counts`.
    """

    def __init__(self, batches: FrameBatches | list[list[int]], rank: int, processes: int):
        self.batches, self.rank, self.processes = batches, rank, processes

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.batches:
            yield batch if len(batch) < self.processes else batch[self.rank :: self.processes]


# -- elastic models --------------------------------------------------------------------------------


class RandomStepSizes(Sampler[list[Sized]]):
    """Batches with a random number of frames per step for each, out of `step_sizes`.

    It depends on the seed and the number of the batch alone: resumed runs draw the same numbers,
    and so do all processes of a run.
    """

    def __init__(
        self, batches: BatchShares | list[list[int]], step_sizes: Sequence[int], seed: int
    ):
        self.batches, self.step_sizes, self.seed = batches, step_sizes, seed

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Sized]]:
        generator = torch.Generator().manual_seed(self.seed)
        for batch in self.batches:
            drawn = int(torch.randint(len(self.step_sizes), (), generator=generator))
            yield [(index, self.step_sizes[drawn]) for index in batch]


def every_step_size(batches: Iterable[list[int]], step_sizes: Sequence[int]) -> list[list[Sized]]:
    """All batches with each step size in turn, for validation."""
    batches = list(batches)
    return [[(index, frames) for index in batch] for frames in step_sizes for batch in batches]


class StepSizeDataset(Dataset):
    """Rows of `dataset`, each with its number of frames per step."""

    def __init__(self, dataset: SizedDataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, item: Sized) -> tuple[Sequence[Segment], int]:
        index, frames = item
        return self.dataset[index], frames


class StepSizeCollator:
    """Collate rows of a `StepSizeDataset` in the layout of their step size."""

    def __init__(self, config: SpeechLMConfig):
        self.collators = {
            frames: Collator(
                config.layout_for(frames), config.speaker_dim, config.audio_frames_per_position
            )
            for frames in config.step_sizes
        }

    def __call__(self, rows: list[tuple[Sequence[Segment], int]]) -> Batch:
        """Collate rows of one step size."""
        segments, frames = zip(*rows, strict=True)
        return self.collators[frames[0]](list(segments))

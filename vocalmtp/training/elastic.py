"""Batches of an elastic model (model/elastic.py): how many frames a step has in each of them.

Letters: G frames per step.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch.utils.data import Dataset, Sampler

from vocalmtp.models.batch import Batch, Collator
from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.models.prompts import Segment

Grouped = tuple[int, int]  # an utterance's index, and G


class DrawnGroupings(Sampler[list[Grouped]]):
    """`batches` of utterances, each with one G of `choices` for all of it.

    The draw is a function of the seed and the number of the batch, so a resumed run draws as it
    would have, and all processes of a run draw the same.
    """

    def __init__(self, batches: Iterable[list[int]], choices: Sequence[int], seed: int):
        self.batches, self.choices, self.seed = batches, choices, seed

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Grouped]]:
        generator = torch.Generator().manual_seed(self.seed)
        for batch in self.batches:
            drawn = int(torch.randint(len(self.choices), (), generator=generator))
            yield [(index, self.choices[drawn]) for index in batch]


def every_grouping(batches: Iterable[list[int]], choices: Sequence[int]) -> list[list[Grouped]]:
    """All batches with every G in turn, for validation."""
    batches = list(batches)
    return [[(index, frames) for index in batch] for frames in choices for batch in batches]


class GroupedDataset(Dataset):
    """The utterances of `dataset`, each with the G that it is asked for with."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, asked: Grouped) -> tuple[list[Segment], int]:
        index, frames = asked
        return self.dataset[index], frames


class GroupedCollator:
    """Batches of utterances and their G, in the layout of that G."""

    def __init__(self, config: SpeechLMConfig):
        self.of = {
            g: Collator(config.layout_for(g), config.speaker_dim, config.audio_frames_per_position)
            for g in config.step_sizes
        }

    def __call__(self, rows: list[tuple[list[Segment], int]]) -> Batch:
        segments, frames = zip(*rows, strict=True)
        return self.of[frames[0]](list(segments))

"""Which shard of a teacher says what in which voice: a pure function of the seed and the texts."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import texts
from render import Item, Shard
from teachers import Misread, Teacher, random_for
from vocalmtp.text.letter_phones import Chunk, Table, learn

SHARD_ITEMS = 200
VALID_ITEMS = 200
OTHER_VOICES_SAY = 40  # sentences of each test list; the teacher's main voices say all
LEARN_TEXTS = 4000  # texts whose words teach the letters' phones: about ten thousand types
SAME_SPEED = 0.7  # of the training items have the voice's own speed
SPEEDS = (0.9, 1.12)  # the range of the others


def training_shards(teacher: Teacher, pool: list[tuple[str, str]], seed: int) -> Iterator[Shard]:
    """``valid``, then ``00000``, ``00001`` and so on without end.

    Every teacher has its own order of the pool: the n-th item takes the n-th text, and starts
    over, in other voices, where more hours are asked for than the pool has.
    """
    said = texts.mixed(pool, random_for(seed, f"{teacher.name}/order"))
    size = min(VALID_ITEMS, len(said) // 10)
    valid, said = said[:size], said[size:]
    yield Shard(
        f"{teacher.name}-valid",
        [_item(teacher, text, "valid", seed, f"valid/{i}") for i, text in enumerate(valid)],
    )
    number = 0
    while True:
        numbers = range(number * SHARD_ITEMS, (number + 1) * SHARD_ITEMS)
        items = [_item(teacher, said[i % len(said)], "train", seed, f"train/{i}") for i in numbers]
        yield Shard(f"{teacher.name}-{number:05d}", items)
        number += 1


def word_shards(teacher: Teacher, lists: list[str], seed: int) -> Iterator[Shard]:
    """``words-00000`` and so on: the dictionary, for the pronunciation of what is rare."""
    items = [
        _item(teacher, ("list", text), "train", seed, f"words/{i}") for i, text in enumerate(lists)
    ]
    for start in range(0, len(items), SHARD_ITEMS):
        name = f"{teacher.name}-words-{start // SHARD_ITEMS:05d}"
        yield Shard(name, items[start : start + SHARD_ITEMS])


def _item(teacher: Teacher, sourced: tuple[str, str], split: str, seed: int, key: str) -> Item:
    """A training item in a drawn voice and speed."""
    random = random_for(seed, f"{teacher.name}/{key}")
    source, text = sourced
    voice = teacher.draw(random)
    return Item(text, voice, split, _speed(random), source)


def _speed(random: Random) -> float:
    return 1.0 if random.random() < SAME_SPEED else round(random.uniform(*SPEEDS), 2)


def evaluation_shards(teacher: Teacher) -> Iterator[Shard]:
    """The shards ``test``, ``rare`` and ``heldout``: the committed lists, whole or in part."""
    lists = {"test": texts.read_lines("test.txt"), "rare": texts.read_lines("rare.txt")}
    heldout: list[Item] = []
    for split, lines in lists.items():
        items: list[Item] = []
        for voice in teacher.voices.values():
            said = lines if voice.name in teacher.main_voices else lines[:OTHER_VOICES_SAY]
            if voice.share:
                items += [Item(text, voice, split, source=split) for text in said]
            else:
                heldout += [Item(text, voice, "heldout", source=split) for text in said]
        yield Shard(f"{teacher.name}-{split}", items)
    if heldout:
        yield Shard(f"{teacher.name}-heldout", heldout)


def learn_letters(teacher: Teacher, pool: list[tuple[str, str]]) -> Table:
    """Learn which letters stand for which phones from the reading of the pool's start."""
    pairs: list[tuple[str, Chunk]] = []
    for _, text in pool[:LEARN_TEXTS]:
        try:
            pairs += teacher.pronounce(text)
        except Misread:
            continue
    return learn(pairs)

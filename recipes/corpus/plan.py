"""Which shard says what in which voice: a pure function of the seed and the sources."""

from __future__ import annotations

from collections.abc import Iterator

import align
import flite
import texts
from render import Item, Shard
from voices import Voice, draw

SHARD_ITEMS = 500
VALID_ITEMS = 300
MAIN_VOICES = ("slt", "rms", "awb")  # these say every test sentence, the other voices the first
OTHER_VOICES_SAY = 40
LEARN_TEXTS = 4000  # texts whose words teach the letters' phones: about ten thousand types


def evaluation_shards(voices: dict[str, Voice]) -> Iterator[Shard]:
    """The shards ``test``, ``rare`` and ``heldout``: the committed lists, whole or in part."""
    lists = {"test": texts.read_lines("test.txt"), "rare": texts.read_lines("rare.txt")}
    heldout = []
    for split, lines in lists.items():
        items = []
        for voice in voices.values():
            said = lines if voice.name in MAIN_VOICES else lines[:OTHER_VOICES_SAY]
            if voice.share:
                items += [Item(text, voice, split) for text in said]
            else:
                heldout += [Item(text, voice, "heldout") for text in said]
        yield Shard(split, items)
    yield Shard("heldout", heldout)


def training_shards(
    voices: dict[str, Voice], pool: list[tuple[str, str]], seed: int
) -> Iterator[Shard]:
    """``valid``, then ``00000``, ``00001`` and so on without end.

    The pool has been shuffled: the n-th item takes its n-th text, and starts over, in other
    voices, where more hours are asked for than the pool has.
    """
    said = [text for _, text in pool]
    valid, said = said[:VALID_ITEMS], said[VALID_ITEMS:]
    drawn = [draw(voices, seed, f"valid/{index}") for index in range(VALID_ITEMS)]
    pairs = zip(valid, drawn, strict=True)
    yield Shard("valid", [Item(text, voice, "valid") for text, voice in pairs])
    number = 0
    while True:
        items = []
        for index in range(number * SHARD_ITEMS, (number + 1) * SHARD_ITEMS):
            voice = draw(voices, seed, f"train/{index}")
            items.append(Item(said[index % len(said)], voice, "train"))
        yield Shard(f"{number:05d}", items)
        number += 1


def word_shards(voices: dict[str, Voice], lists: list[str], seed: int) -> Iterator[Shard]:
    """``words-00000`` and so on: the dictionary, for the pronunciation of what is rare."""
    items = [
        Item(text, draw(voices, seed, f"words/{index}"), "train")
        for index, text in enumerate(lists)
    ]
    for start in range(0, len(items), SHARD_ITEMS):
        yield Shard(f"words-{start // SHARD_ITEMS:05d}", items[start : start + SHARD_ITEMS])


def learn_letters(pool: list[tuple[str, str]]) -> align.Table:
    """Learn which letters stand for which phones from flite's reading of the pool's start.

    kal16 reads: it takes a millisecond a sentence, and every voice has the same dictionary.
    """
    pairs = []
    for _, text in pool[:LEARN_TEXTS]:
        speech = flite.synthesize(text, "kal16")
        try:
            spelled = align.read_words(text, speech)
        except align.Misread:
            continue
        for word, places in zip(speech.words, spelled, strict=True):
            letters = "".join(text[place] for place in places)
            pairs.append((letters, tuple(speech.phones[word.first : word.last])))
    return align.learn(pairs)

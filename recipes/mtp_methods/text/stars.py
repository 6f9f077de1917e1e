"""Star graphs: path finding that next-token prediction does not learn.

Bachmann and Nagarajan, arXiv 2403.06963, as measured by TOP (arXiv 2508.19228, section 5). A graph
has `arms` paths of `length` edges from one node. The prompt lists the edges in random order, the
start and the goal, the end of one arm; the answer is that arm. Only its first node needs planning;
chance is one in `arms`.
"""

import json
from pathlib import Path
from random import Random

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

LABELS = 20
MARKS = ("<|end|>", "|", "/", "=")


def star(random: Random, arms: int, length: int) -> dict[str, str]:
    """Draw a graph: a prompt and its answer."""
    labels = random.sample(range(LABELS), 1 + arms * length)
    start, others = labels[0], labels[1:]
    paths = [others[i * length : (i + 1) * length] for i in range(arms)]
    edges = [pair for path in paths for pair in zip([start, *path], path, strict=False)]
    random.shuffle(edges)
    goal = random.choice(paths)
    listed = " ".join(f"n{a} n{b} |" for a, b in edges)
    return {
        "prompt": f"{listed} / n{start} n{goal[-1]} =",
        "answer": " ".join(f"n{node}" for node in goal),
    }


def write_stars(folder: Path, arms: int, length: int, train: int, test: int, seed: int = 0) -> None:
    """Write train.jsonl, test.jsonl and the tokenizer `labels`; no graph is in both splits."""
    folder.mkdir(parents=True, exist_ok=True)
    random, seen = Random(seed), set()
    for name, count in (("test", test), ("train", train)):
        lines = []
        while len(lines) < count:
            row = star(random, arms, length)
            if row["prompt"] not in seen:
                seen.add(row["prompt"])
                lines.append(json.dumps(row))
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    vocabulary = {word: i for i, word in enumerate((*MARKS, *(f"n{i}" for i in range(LABELS))))}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token=MARKS[0]))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token=MARKS[0])
    tokenizer.save_pretrained(folder / "labels")

"""Tokens per pass and seconds of greedy decoding with draft heads, and without them in turns."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.speculative import Speculative
from vocalmtp.decoding.text_generation import GenerationRequest, TextGenerator

GREEDY = Sampler(greedy=True)
BATCHES = (1, 4)
VOCABULARY = 4096  # that the heads were trained on
NEXT = "next token"

Row = dict[str, Any]


@dataclass
class Arm:
    """A way to decode, with what it took so far.

    Attributes:
        name: of its row.
        generator: the model with its draft head.
        tokens: of an answer, at most.
        drafts: tokens drafted per pass; 0: next-token decoding.

    """

    name: str
    generator: TextGenerator
    tokens: int
    drafts: int = 0
    seconds: float = 0.0
    answers: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.strategy = Speculative(self.drafts, "seed") if self.drafts else None

    def answer(self, requests: Sequence[GenerationRequest], timed: bool = True) -> None:
        """Answer a batch of prompts, and count its CPU time unless it is a warm-up."""
        start = time.process_time()
        found = self.generator.generate(
            requests,
            GREEDY,
            max_tokens=self.tokens,
            batch_size=len(requests),
            strategy=self.strategy if timed else self.strategy and Speculative(self.drafts, "seed"),
        )
        answers = [answer.ids for _, answer in sorted(found, key=lambda pair: pair[0])]
        if timed:
            self.seconds += time.process_time() - start
            self.answers += answers

    def row(self, batch: int, plain: "Arm") -> Row:
        """Figures, compared with next-token decoding of the same prompts."""
        tokens = sum(map(len, self.answers))
        row: Row = {"arm": self.name, "batch": batch, "drafts": self.drafts}
        row["tokens_per_second"] = round(tokens / self.seconds, 1)
        row["speed"] = round(plain.seconds / self.seconds, 2)
        if self.strategy is not None:
            counted = self.strategy.statistics
            row["tokens_per_pass"] = round(counted.summary()["tokens_per_forward"], 2)
            row["accepted"] = [round(kept / counted.forwards, 3) for kept in counted.kept]
            row["identical"] = self.answers == plain.answers
        return row


def arms(model: str, heads: Sequence[str], tokens: int) -> Iterator[Arm]:
    """Next-token decoding, every head with its drafts, and FastMTP's by vocabulary and drafts."""
    yield Arm(NEXT, TextGenerator.load(model), tokens)
    for head in heads:
        for size in (1024, VOCABULARY, 16_384, 49_152) if head == "fastmtp" else (VOCABULARY,):
            files = [Path(f"vocabulary_{size}.json")]
            generator = TextGenerator.load(model, Path("runs") / head, vocabularies=files)
            assert generator.model.draft is not None, head
            most = generator.model.draft.offsets[-1]
            for drafts in range(1, most + 1) if size == VOCABULARY else (most,):
                yield Arm(f"{head}, {size} tokens", generator, tokens, drafts)


def measure(model: str, heads: Sequence[str], prompts: int, tokens: int) -> None:
    """Write figures.json, unless it exists."""
    file = Path("figures.json")
    if file.is_file():
        return
    lines = Path("prompts/test.jsonl").read_text(encoding="utf-8").splitlines()
    requests = [GenerationRequest(text=json.loads(line)["text"]) for line in lines]
    rows: list[Row] = []
    ways = list(arms(model, heads, tokens))
    for size in BATCHES:
        own = [Arm(arm.name, arm.generator, tokens, arm.drafts) for arm in ways]
        for arm in own:
            arm.answer(requests[-size:], timed=False)
        for first in range(0, prompts, size):
            for arm in own:
                arm.answer(requests[first : first + size])
        rows += [arm.row(size, own[0]) for arm in own]
    file.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")

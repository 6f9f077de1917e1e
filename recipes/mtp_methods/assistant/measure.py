"""Tokens per pass and seconds of greedy decoding with draft heads, and without them in turns."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vocalmtp.data.text_rows import DraftVocabulary
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.speculative import Speculative
from vocalmtp.decoding.text_generation import GenerationRequest, TextGenerator
from vocalmtp.evaluation.statistics import bootstrap_ratio

GREEDY = Sampler(greedy=True)
VOCABULARY = 4096  # tokens of the draft vocabulary that the heads were trained on
CONFIDENCE = 0.3  # least probability of all drafts of a pass together
NEXT = "next token"

Row = dict[str, Any]


@dataclass
class Arm:
    """A way to decode, with what it took so far.

    Attributes:
        name: of its row.
        generator: the model with its draft head.
        tokens: of an answer, at most.
        drafts: tokens drafted per pass, at most; 0: next-token decoding.
        confidence: see Speculative.

    """

    name: str
    generator: TextGenerator
    tokens: int
    drafts: int = 0
    confidence: float = 0.0
    seconds: list[float] = field(default_factory=list)  # per batch of prompts
    answers: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.strategy = self.new_strategy()

    def new_strategy(self) -> Speculative | None:
        """Return a strategy that has counted nothing; None for next-token decoding."""
        return Speculative(self.drafts, "seed", confidence=self.confidence) if self.drafts else None

    def answer(self, requests: Sequence[GenerationRequest], timed: bool = True) -> None:
        """Answer a batch of prompts, and count its CPU time unless it is a warm-up."""
        start = time.process_time()
        found = self.generator.generate(
            requests,
            GREEDY,
            max_tokens=self.tokens,
            batch_size=len(requests),
            strategy=self.strategy if timed else self.new_strategy(),
        )
        answers = [answer.ids for _, answer in sorted(found, key=lambda pair: pair[0])]
        if timed:
            self.seconds.append(time.process_time() - start)
            self.answers += answers

    def row(self, batch: int, plain: "Arm") -> Row:
        """Figures, compared with next-token decoding of the same prompts."""
        tokens = sum(map(len, self.answers))
        row: Row = {"arm": self.name, "batch": batch, "drafts": self.drafts}
        row["confidence"] = self.confidence or None
        row["tokens_per_second"] = round(tokens / sum(self.seconds), 1)
        speed = bootstrap_ratio(plain.seconds, self.seconds)  # over batches of prompts
        row["speed"], row["speed_interval"] = speed.value, [speed.low, speed.high]
        if self.strategy is not None:
            counted = self.strategy.statistics
            row["passes"] = counted.forwards
            row["tokens_per_pass"] = counted.summary()["tokens_per_forward"]
            row["pass_cost"] = row["tokens_per_pass"] / speed.value  # of a plain pass
            row["accepted"] = [round(kept / counted.forwards, 3) for kept in counted.kept]
            row["identical"] = self.answers == plain.answers
        return row


def arms(
    model: str, heads: Sequence[str], tokens: int, vocabularies: Sequence[int]
) -> Iterator[Arm]:
    """Next-token decoding, and every head with one draft, with the most, and with a confidence.

    FastMTP's also with all numbers between, and by draft vocabulary.
    """
    yield Arm(NEXT, TextGenerator.load(model), tokens)
    for head in heads:
        generator = TextGenerator.load(model, Path("runs") / head)
        assert generator.model.draft is not None, head
        most = generator.model.draft.offsets[-1]
        for drafts in range(1, most + 1) if head == "fastmtp" else (1, most):
            yield Arm(f"{head}, {VOCABULARY} tokens", generator, tokens, drafts)
        yield Arm(f"{head}, {VOCABULARY} tokens", generator, tokens, most, CONFIDENCE)
        for size in vocabularies if head == "fastmtp" else ():
            ids = DraftVocabulary.load(Path(f"vocabulary_{size}.json")).ids
            view = TextGenerator(generator.model.with_draft_vocabulary(ids), generator.tokenizer)
            yield Arm(f"{head}, {size} tokens", view, tokens, most, CONFIDENCE)


def measure(ways: Sequence[Arm], prompts: int, batches: Sequence[int]) -> None:
    """Write figures.json, unless it has those of so many prompts; rewritten after every batch of them.

    Args:
        ways: to decode, next-token decoding first.
        prompts: held-out ones to answer.
        batches: sizes of batches.

    """
    file = Path("figures.json")
    if file.is_file() and json.loads(file.read_text(encoding="utf-8"))["prompts"] == prompts:
        return
    lines = Path("prompts/test.jsonl").read_text(encoding="utf-8").splitlines()
    requests = [GenerationRequest(text=json.loads(line)["text"]) for line in lines]
    rows: list[Row] = []
    for size in batches:
        own = [Arm(w.name, w.generator, w.tokens, w.drafts, w.confidence) for w in ways]
        for arm in own:
            arm.answer(requests[-size:], timed=False)
        for first in range(0, prompts, size):
            for arm in own:
                arm.answer(requests[first : first + size])
            found = rows + [arm.row(size, own[0]) for arm in own]
            done = {"prompts": first + size if size == batches[-1] else 0, "rows": found}
            file.write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")
        rows = found

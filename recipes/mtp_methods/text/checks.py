"""The small checks of four methods on text: what to train, and what to measure of it.

Every check is a function of the folder to work in; it trains what is not there yet, and returns
rows of figures for the report.
"""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vocalmtp.config import load_yaml, parse
from vocalmtp.data.text_rows import DraftVocabulary, read_pieces
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.speculative import Speculative
from vocalmtp.decoding.text_generation import GenerationRequest, TextGenerator
from vocalmtp.training.distill import TextDistillJob, distill_text
from vocalmtp.training.recipe import TextLMRecipe
from vocalmtp.training.text_lm import train_text_lm

RECIPE = Path(__file__).parent
GREEDY = Sampler(greedy=True)
TEXTS, PROMPT, TOKENS = 40, 8, 48  # texts to go on with, their first tokens, tokens to write
VOCABULARIES = (0.25, 0.5)  # shares of the vocabulary

Row = dict[str, Any]


def train(name: str, seed: int = 0, **changes: Any) -> Path:
    """The model of `name`.yaml in the working folder, trained if it is not there."""
    data = load_yaml(RECIPE / f"{name}.yaml")
    data["optim"] = data["optim"] | {"seed": seed}
    data |= changes
    if seed:
        data["output"] += f"_{seed}"
    output = Path(data["output"])
    if not (output / "model.safetensors").is_file():
        train_text_lm(parse(TextLMRecipe, data, name))
    return output


def last_log(folder: Path, key: str) -> float:
    """The last value of `key` in a run's log."""
    rows = map(json.loads, (folder / "log.jsonl").read_text(encoding="utf-8").splitlines())
    return next(row[key] for row in reversed(list(rows)) if key in row)


def spent(folder: Path) -> float:
    return last_log(folder, "train_runtime")


def prompts(writer: TextGenerator) -> list[GenerationRequest]:
    """The first tokens of the first held-out texts."""
    lines = Path("texts/valid.txt").read_text(encoding="utf-8").splitlines()[:TEXTS]
    return [
        GenerationRequest(text=t, ids=tuple(writer.encode(GenerationRequest(text=t))[:PROMPT]))
        for t in lines
    ]


def said(writer: TextGenerator, strategy: Speculative | None) -> list[list[int]]:
    """What follows the prompts greedily, one at a time."""
    made = writer.generate(prompts(writer), GREEDY, max_tokens=TOKENS, strategy=strategy)
    return [written.ids for _, written in sorted(made, key=lambda pair: pair[0])]


def drafting(folder: Path, drafts: int, vocabulary: Path | None = None) -> Row:
    """Acceptance of so many drafts; raises RuntimeError if the text is another than without."""
    writer = TextGenerator.load(folder, vocabularies=[] if vocabulary is None else [vocabulary])
    strategy = Speculative(drafts)
    if said(writer, strategy) != said(writer, None):
        raise RuntimeError(f"{folder}: drafts have changed what is said")
    counted, found = strategy.statistics, strategy.statistics.summary()
    return {
        "drafts": drafts,
        "tau": round(found["tokens_per_forward"], 3),
        "conditional": [round(share, 3) for share in found["acceptance"]],
        "of_all": [round(kept / counted.forwards, 3) for kept in counted.kept],
        "wasted": round(found["wasted"], 3),
    }


def head_size(folder: Path) -> int:
    """Parameters of a model's draft head."""
    return sum(p.numel() for p in TextGenerator.load(folder).model.draft.parameters())


# -- the checks ------------------------------------------------------------------------------------


def fastmtp() -> Iterator[Row]:
    """Acceptance before and after training the recursion, on the corpus and on own answers."""
    base = train("lm")
    for steps in (1, 2, 3):
        yield {"arm": "one-step head, reused", **drafting(base, steps)}
    answer(base)
    arms = {
        "fast_released": "3 steps, corpus, attention as released",
        "fast_corpus": "3 steps, corpus",
        "fast_self": "3 steps, own answers",
    }
    for name, arm in arms.items():
        model = train(name)
        for steps in (1, 2, 3):
            yield {"arm": arm, **drafting(model, steps), "seconds": spent(model)}
    for share in VOCABULARIES:
        file = count_vocabulary(base, share)
        row = drafting(model, 3, file)
        yield {"arm": f"own answers, {share:.0%} of the vocabulary", **row}


def answer(base: Path) -> None:
    """Let the model answer the prompts, sampled as in the paper."""
    writer = TextGenerator.load(base)
    job = TextDistillJob(
        input=Path("texts/prompts.txt"),
        output=Path("answers"),
        model=str(base),
        sampler=Sampler(temperature=0.6, top_k=20, top_p=0.95),
        max_tokens=64,
        prompt_tokens=PROMPT,
    )
    distill_text(job, writer, batch_size=16)


def count_vocabulary(base: Path, share: float) -> Path:
    writer = TextGenerator.load(base)
    pieces = read_pieces(["answers/manifest.jsonl"], writer.tokenizer, ())
    learned = (ids for text in pieces for ids, learn in text if learn)
    size = round(share * len(writer.tokenizer))
    file = Path(f"vocabulary_{size}.json")
    DraftVocabulary.count("wordnet", writer.tokenizer, learned, size).save(file)
    return file


def leap() -> Iterator[Row]:
    """Strides at equal heads, and as many heads as the horizon of a stride of 2."""
    base, plain = train("lm"), Path("runs/plain")
    shutil.copytree(
        base, plain, ignore=shutil.ignore_patterns("draft.*", "checkpoints"), dirs_exist_ok=True
    )
    for heads, stride in ((3, 1), (3, 2), (3, 3), (6, 1)):
        model = train(f"leap_{heads}x{stride}")
        row = drafting(model, heads * stride)
        parameters = head_size(model)
        row["tau_per_million"] = round(row["tau"] / (parameters / 1e6), 3)
        yield {"arm": f"{heads} heads, stride {stride}", **row, "parameters": parameters}


def curriculum(seeds: int) -> Iterator[Row]:
    """The next byte's loss, and drafting, after each schedule."""
    arms = {
        "next byte alone": "curriculum_ntp",
        "constant": "curriculum",
        "forward": "curriculum_forward",
        "reverse": "curriculum_reverse",
    }
    for seed in range(seeds):
        for arm, name in arms.items():
            model = train(name, seed)
            bits = last_log(model, "eval_text.0") / math.log(2)
            row = drafting(model, 3)
            yield {"arm": arm, "seed": seed, "bits_per_byte": round(bits, 4), **row}


def star(arms: int) -> Iterator[Row]:
    """How many whole paths are right, by the objective that the model was trained on."""
    tests = [json.loads(line) for line in Path("stars/test.jsonl").read_text().splitlines()]
    for name in ("star", "star_mtp", "star_top"):
        model = train(name)
        writer = TextGenerator.load(model)
        asks = [GenerationRequest(text=row["prompt"]) for row in tests]
        made = writer.generate(asks, GREEDY, max_tokens=12, batch_size=64)
        right = first = 0
        for number, written in made:
            want = tests[number]["answer"].split()
            right += written.text.split() == want
            first += written.text.split()[:1] == want[:1]
        yield {
            "arm": {"star": "next token", "star_mtp": "next four tokens", "star_top": "TOP"}[name],
            "paths_right": round(right / len(tests), 3),
            "first_right": round(first / len(tests), 3),
            "chance": round(1 / arms, 3),
            "seconds": spent(model),
        }


CHECKS: dict[str, Callable[..., Iterator[Row]]] = {
    "fastmtp": fastmtp,
    "leap": leap,
    "star": star,
    "curriculum": curriculum,
}

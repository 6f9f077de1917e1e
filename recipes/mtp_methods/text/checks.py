"""Checks of four methods on text at small scale: training and measurements.

Every check works in the current folder; it trains missing models, and yields rows of figures for the
report.
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
from vocalmtp.training.run_files import last_logged
from vocalmtp.training.text_lm import train_text_lm

RECIPE = Path(__file__).parent
GREEDY = Sampler(greedy=True)
TEXTS, PROMPT, TOKENS = 40, 8, 48  # texts, tokens of a prompt, tokens to generate
VOCABULARIES = (0.25, 0.5)  # shares of the vocabulary

Row = dict[str, Any]


def train(name: str, seed: int = 0, **changes: Any) -> Path:
    """Train the model of `name`.yaml, unless it exists; returns its folder."""
    data = load_yaml(RECIPE / f"{name}.yaml")
    data["optim"] = data["optim"] | {"seed": seed}
    data |= changes
    if seed:
        data["output"] += f"_{seed}"
    output = Path(data["output"])
    if not (output / "model.safetensors").is_file():
        train_text_lm(parse(TextLMRecipe, data, name))
    return output


def training_seconds(folder: Path) -> float:
    """Duration of a training."""
    return last_logged(folder, "train_runtime")


def prompts(generator: TextGenerator) -> list[GenerationRequest]:
    """Prompts: the first tokens of held-out texts."""
    lines = Path("texts/valid.txt").read_text(encoding="utf-8").splitlines()[:TEXTS]
    return [
        GenerationRequest(text=t, ids=tuple(generator.encode(GenerationRequest(text=t))[:PROMPT]))
        for t in lines
    ]


def continuations(generator: TextGenerator, strategy: Speculative | None) -> list[list[int]]:
    """Generate after every prompt, greedily, with batch size 1."""
    results = generator.generate(prompts(generator), GREEDY, max_tokens=TOKENS, strategy=strategy)
    return [written.ids for _, written in sorted(results, key=lambda pair: pair[0])]


def drafting(folder: Path, drafts: int, vocabulary: Path | None = None) -> Row:
    """Measure the acceptance of drafts. Raises RuntimeError if they change the output."""
    generator = TextGenerator.load(folder, vocabularies=[] if vocabulary is None else [vocabulary])
    strategy = Speculative(drafts)
    if continuations(generator, strategy) != continuations(generator, None):
        raise RuntimeError(f"{folder}: drafts changed the output")
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
    """Acceptance before and after training the recursion, on the corpus and self-distilled data."""
    base = train("lm")
    for steps in (1, 2, 3):
        yield {"arm": "one-step head, reused", **drafting(base, steps)}
    distill(base)
    arms = {
        "fast_released": "3 steps, corpus, attention as released",
        "fast_corpus": "3 steps, corpus",
        "fast_self": "3 steps, self-distilled data",
    }
    for name, arm in arms.items():
        model = train(name)
        for steps in (1, 2, 3):
            yield {"arm": arm, **drafting(model, steps), "seconds": training_seconds(model)}
    for share in VOCABULARIES:
        file = count_vocabulary(base, share)
        row = drafting(model, 3, file)
        yield {"arm": f"self-distilled data, {share:.0%} of the vocabulary", **row}


def distill(base: Path) -> None:
    """Generate answers to the prompts, with the sampling of the paper."""
    generator = TextGenerator.load(base)
    job = TextDistillJob(
        input=Path("texts/prompts.txt"),
        output=Path("answers"),
        model=str(base),
        sampler=Sampler(temperature=0.6, top_k=20, top_p=0.95),
        max_tokens=64,
        prompt_tokens=PROMPT,
    )
    distill_text(job, generator, batch_size=16)


def count_vocabulary(base: Path, share: float) -> Path:
    """Count a draft vocabulary of the most frequent tokens of the answers."""
    generator = TextGenerator.load(base)
    pieces = read_pieces(["answers/manifest.jsonl"], generator.tokenizer, ())
    learned = (ids for text in pieces for ids, learn in text if learn)
    size = round(share * len(generator.tokenizer))
    file = Path(f"vocabulary_{size}.json")
    DraftVocabulary.count("wordnet", generator.tokenizer, learned, size).save(file)
    return file


def leap() -> Iterator[Row]:
    """Strides at equal heads, and as many heads as stride 2 has drafts."""
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
    """Loss of the next byte and acceptance of drafts after each schedule."""
    arms = {
        "next byte alone": "curriculum_ntp",
        "constant": "curriculum",
        "forward": "curriculum_forward",
        "reverse": "curriculum_reverse",
    }
    for seed in range(seeds):
        for arm, name in arms.items():
            model = train(name, seed)
            bits = last_logged(model, "eval_text.0") / math.log(2)
            row = drafting(model, 3)
            yield {"arm": arm, "seed": seed, "bits_per_byte": round(bits, 4), **row}


def star(arms: int) -> Iterator[Row]:
    """Share of right paths by training objective."""
    tests = [json.loads(line) for line in Path("stars/test.jsonl").read_text().splitlines()]
    for name in ("star", "star_mtp", "star_top"):
        model = train(name)
        generator = TextGenerator.load(model)
        requests = [GenerationRequest(text=row["prompt"]) for row in tests]
        results = generator.generate(requests, GREEDY, max_tokens=12, batch_size=64)
        right = first = 0
        for number, written in results:
            answer = tests[number]["answer"].split()
            right += written.text.split() == answer
            first += written.text.split()[:1] == answer[:1]
        yield {
            "arm": {"star": "next token", "star_mtp": "next four tokens", "star_top": "TOP"}[name],
            "paths_right": round(right / len(tests), 3),
            "first_right": round(first / len(tests), 3),
            "chance": round(1 / arms, 3),
            "seconds": training_seconds(model),
        }


CHECKS: dict[str, Callable[..., Iterator[Row]]] = {
    "fastmtp": fastmtp,
    "leap": leap,
    "star": star,
    "curriculum": curriculum,
}

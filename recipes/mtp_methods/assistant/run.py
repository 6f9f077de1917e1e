"""Train draft heads over a frozen SmolLM2-135M-Instruct, and measure what they save.

    vocalmtp get smollm2-135m
    python recipes/mtp_methods/assistant/run.py --work drafts

The same command resumes: answers, trained heads and finished measurements are kept.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import torch

from acceptance import measure_acceptance
from measure import VOCABULARY, arms, measure
from prompts import TRAIN, write_prompts
from report import write_report
from vocalmtp.config import load_yaml, parse
from vocalmtp.data.text_rows import DraftVocabulary, fingerprint, read_pieces
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.text_generation import TextGenerator
from vocalmtp.engines.linears import Bf16Linear, has_bf16, keep_linear
from vocalmtp.models.checkpoint import load_text_tokenizer
from vocalmtp.models.text_lm import TextLM
from vocalmtp.training.distill import TextDistillJob, distill_text
from vocalmtp.training.recipe import TextLMRecipe
from vocalmtp.training.text_lm import train_text_lm

RECIPES = Path(__file__).parent
MODEL = "smollm2-135m"
ANSWER = 128  # tokens of an answer, at most
HEADS = ("fastmtp", "sequential", "medusa", "leap")
OTHERS = (1024, 16_384, 49_152)  # draft vocabularies that FastMTP's heads draft from as well
SIZES = (VOCABULARY, *OTHERS)


def main() -> None:
    """Run all steps that are not done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("drafts"))
    parser.add_argument("--answers", type=int, default=TRAIN, help="to train on, at most")
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=HEADS)
    parser.add_argument("--steps", type=int, help="updates of a head, instead of its recipe's")
    parser.add_argument("--prompts", type=int, default=16, help="to measure with")
    parser.add_argument("--tokens", type=int, default=64, help="of a measured answer, at most")
    parser.add_argument("--vocabularies", type=int, nargs="*", choices=OTHERS, default=OTHERS)
    parser.add_argument("--batches", type=int, nargs="+", default=(1, 4), help="sizes to measure")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    os.chdir(arguments.work)
    torch.set_num_threads(1)
    tokenizer = load_text_tokenizer(MODEL)
    if not Path("prompts/test.jsonl").is_file():
        write_prompts(Path("prompts"), tokenizer, arguments.answers)
    answer()
    write_vocabularies(tokenizer)
    for name in arguments.heads:
        train(name, arguments.steps)
    ways = list(arms(MODEL, arguments.heads, arguments.tokens, arguments.vocabularies))
    measure(ways, arguments.prompts, arguments.batches)
    sizes = (VOCABULARY, *arguments.vocabularies)
    measure_acceptance(MODEL, arguments.heads, [Path(f"vocabulary_{size}.json") for size in sizes])
    write_report(Path())


def answer() -> None:
    """Generate the model's greedy answers to the training prompts.

    Products of many rows are the fastest in bfloat16.
    """
    model = TextLM.load(MODEL)
    model.optimize_for_inference(Bf16Linear if has_bf16() else keep_linear)
    job = TextDistillJob(
        input=Path("prompts/train.jsonl"),
        output=Path("answers"),
        model=MODEL,
        sampler=Sampler(greedy=True),
        max_tokens=ANSWER,
    )
    distill_text(job, TextGenerator(model, load_text_tokenizer(MODEL)), batch_size=64)


def write_vocabularies(tokenizer: Any) -> None:
    """Write draft vocabularies: the most frequent tokens of the answers, then the first ids.

    The first ids of a BPE tokenizer are its earliest merges, which are frequent in its own corpus.
    """
    if all(Path(f"vocabulary_{size}.json").is_file() for size in SIZES):
        return
    pieces = read_pieces(["answers/manifest.jsonl"], tokenizer, ())
    counts = torch.zeros(len(tokenizer), dtype=torch.long)
    for text in pieces:
        for ids, learned in text:
            if learned:
                counts += torch.bincount(torch.tensor(ids), minlength=len(counts))
    order = counts.argsort(descending=True, stable=True)
    for size in SIZES:
        ids = order[:size].sort().values
        coverage = int(counts[ids].sum()) / int(counts.sum())
        vocabulary = DraftVocabulary(f"answers {size}", fingerprint(tokenizer), ids, coverage)
        vocabulary.save(Path(f"vocabulary_{size}.json"))


def train(name: str, steps: int | None = None) -> None:
    """Train the head of `name`.yaml, for its number of updates or `steps`, unless it exists."""
    data = load_yaml(RECIPES / f"{name}.yaml")
    if steps is not None:
        data["optim"]["max_steps"] = steps
    if not (Path(data["output"]) / "draft.json").is_file():
        train_text_lm(parse(TextLMRecipe, data, name))


if __name__ == "__main__":
    main()

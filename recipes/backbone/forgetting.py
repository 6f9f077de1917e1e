"""What the text LM still knows: perplexity of held-out text, and 100 closed questions."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from num2words import num2words
from torch.nn import functional as F

from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.text_generation import GenerationRequest, TextGenerator
from vocalmtp.evaluation.scoring import normalize_answer
from vocalmtp.models.checkpoint import load_backbone, load_text_tokenizer
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.models.text_lm import TextLM
from vocalmtp.training.build import is_speech_lm

RECIPES = Path(__file__).parents[1]
TEXT = RECIPES / "corpus" / "test.txt"  # sentences that no training has, a line each
WORLD = RECIPES / "chat_mini" / "world.yaml"
WORDINGS = {
    "capital": "What is the capital of {}?",
    "colour": "What color is {}? Answer with one word.",
    "opposite": "What is the opposite of {}? Answer with one word.",
    "count": "How many {} are there? Answer with a number.",
    "sum": "How much is {}? Answer with a number.",
}
COUNTS = {"capital": 30, "colour": 16, "opposite": 24, "count": 14, "sum": 16}
ANSWER, BATCH = 16, 20  # tokens of an answer, at most; questions answered together
SENTENCES = 120  # of TEXT


def measure_text(model: str) -> dict[str, Any]:
    """Measure the text LM of a model.

    Args:
        model: name or folder of a causal LM, or folder of a trained speech LM over one: its trunk, or
            else its backbone.

    """
    backbone = text_lm_of(model)
    tokenizer = load_text_tokenizer(model)
    found = {"name": Path(model).name, "perplexity": perplexity(backbone, tokenizer)}
    return found | answers(TextGenerator(TextLM(backbone), tokenizer, chat=True))


def text_lm_of(model: str) -> Any:
    """Return the causal LM of a model, see `measure_text`."""
    if not is_speech_lm(model):
        return load_backbone(model)
    speech_lm = SpeechLM.load(model)
    if speech_lm.trunk is None:
        return speech_lm.backbone.eval()
    return speech_lm.trunk.causal_lm()


@torch.inference_mode()
def perplexity(backbone: Any, tokenizer: Any) -> float:
    """Perplexity per token of SENTENCES sentences, each after the beginning-of-text token."""
    total, count = 0.0, 0
    for line in TEXT.read_text(encoding="utf-8").splitlines()[:SENTENCES]:
        ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(line).input_ids]])
        logits = backbone(ids).logits[0, :-1]
        total += float(F.cross_entropy(logits, ids[0, 1:], reduction="sum"))
        count += ids.shape[1] - 1
    return math.exp(total / count)


def answers(generator: TextGenerator) -> dict[str, Any]:
    """Answer the questions greedily: how many have a right answer in them, by kind and in all."""
    asked = list(questions())
    requests = [GenerationRequest(text=question) for _, question, _ in asked]
    sampler = Sampler(greedy=True)
    found = dict(generator.generate(requests, sampler, max_tokens=ANSWER, batch_size=BATCH))
    right = dict.fromkeys(COUNTS, 0)
    rows = []
    for number, (kind, question, aliases) in enumerate(asked):
        is_right = matches(found[number].text, aliases)
        right[kind] += is_right
        rows.append({"question": question, "answer": found[number].text, "right": is_right})
    return {"right": sum(right.values()), "questions": len(asked), "by_kind": right, "rows": rows}


def matches(answer: str, aliases: list[str]) -> bool:
    """Whether a normalized answer has one of the right ones in it, as whole words."""
    words = f" {normalize_answer(answer)} "
    return any(f" {normalize_answer(alias)} " in words for alias in aliases)


def questions() -> Iterator[tuple[str, str, list[str]]]:
    """Kind, question and right answers of the 100 questions, in a fixed order."""
    world = yaml.safe_load(WORLD.read_text(encoding="utf-8"))
    world["sum"] = {f"{a} plus {b}": num2words(a + b) for a in range(2, 6) for b in range(3, 7)}
    for kind, wording in WORDINGS.items():
        for subject, right in list(world[kind].items())[: COUNTS[kind]]:
            aliases = [right] if isinstance(right, str) else list(right)
            yield kind, wording.format(subject), [*aliases, *digits(aliases)]


def digits(aliases: list[str]) -> list[str]:
    """The numbers among answers in digits."""
    numbers = {num2words(n).replace("-", " "): str(n) for n in range(100)}
    return [numbers[alias] for alias in aliases if alias in numbers]

"""Tokens a second of a local chat model: vocalmtp's loop and Transformers' generate, on one thread.

    python recipes/chat/llm_speed.py smollm2-135m
    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 python recipes/chat/llm_speed.py smollm2-135m

CPU time of the process is measured, which other processes hardly change. The first run warms up.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from transformers import AutoModelForCausalLM, AutoTokenizer

from vocalmtp.chat.config import SYSTEM
from vocalmtp.chat.generation import LocalGenerator
from vocalmtp.evaluation.report import markdown_table
from vocalmtp.fetch.cards import local_folder
from vocalmtp.models.checkpoint import HALF, stored_dtype

QUESTION = "Why is the sky blue?"
RUNS = 3


def fastest(generate: Callable[[], int]) -> float:
    """Tokens a second of CPU time of the fastest of RUNS calls, which return their tokens."""
    rates = []
    for _ in range(RUNS + 1):
        begin = time.process_time()
        count = generate()
        rates.append(count / (time.process_time() - begin))
    return max(rates[1:])


def main(
    model: Annotated[str, typer.Argument(help="Name or folder.")],
    tokens: Annotated[int, typer.Option(min=2, help="Tokens of an answer.")] = 40,
) -> None:
    """Measure both, prompt included; vocalmtp's prompt is cached but for the last token."""
    torch.set_num_threads(1)
    folder = local_folder(model, "model") or Path(model)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    chat = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
    text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids

    def load(dtype: str) -> Any:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()

    rows = []
    generator = LocalGenerator(load("float32"), half=stored_dtype(folder) in HALF)
    rate = fastest(lambda: len(list(generator.tokens(ids, set(), tokens))))
    rows.append(["vocalmtp", f"{rate:.1f}"])
    for dtype in ("float32", "bfloat16"):
        plain = load(dtype)
        options = {"do_sample": False, "min_new_tokens": tokens, "max_new_tokens": tokens}
        inputs = torch.tensor([ids])

        def generate(plain: Any = plain, inputs: Any = inputs, options: Any = options) -> int:
            plain.generate(inputs, attention_mask=torch.ones_like(inputs), **options)
            return tokens

        rows.append([f"Transformers, {dtype}", f"{fastest(generate):.1f}"])
    print(torch.backends.cpu.get_cpu_capability(), f"{len(ids)} tokens of prompt")
    print(markdown_table(["", "tokens/s"], rows))


if __name__ == "__main__":
    typer.run(main)

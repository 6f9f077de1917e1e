"""Self-distilled data: a model's own answers to prompts, for its draft head to learn from.

A draft head should guess what its model says, which is not what people wrote (FastMTP, arXiv
2509.18362, section 3.3). The rows say all that they depend on; `recipe: text_lm` reads them.
"""

from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from vocalmtp.batch.folder import MANIFEST, open_folder
from vocalmtp.data.text_lists import read_fields, survey
from vocalmtp.data.text_rows import fingerprint
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.strategies import DecodeStrategy
from vocalmtp.decoding.text_generation import GenerationRequest, TextGenerator
from vocalmtp.errors import InputError
from vocalmtp.io.read import digest

ROUND = 64  # prompts that are answered before their rows are written


@dataclass(frozen=True, kw_only=True)
class DistillJob:
    """What to ask, and how the answers are drawn; prompt number n has the seed `seed` + n."""

    input: Path  # a list: .txt, .jsonl or .csv
    output: Path  # the folder for manifest.jsonl and job.json
    model: str
    sampler: Sampler
    seed: int = 0
    max_tokens: int = 128
    prompt_tokens: int | None = None  # of every text, only the first so many are the prompt

    def identity(self) -> dict[str, Any]:
        """All that the answers depend on."""
        folder = Path(self.model)
        return {
            "list": digest(self.input),
            "model": digest(folder) if folder.is_dir() else self.model,
            "name": self.model,
            "sampling": asdict(self.sampler),
            "seed": self.seed,
            "max_tokens": self.max_tokens,
            "prompt_tokens": self.prompt_tokens,
        }


def distill(
    job: DistillJob,
    writer: TextGenerator,
    *,
    batch_size: int = 8,
    strategy: DecodeStrategy | None = None,
    overwrite: bool = False,
    progress: Any = lambda done, total: None,
) -> tuple[Path, int]:
    """Answer every prompt of `job.input`; the file of rows, and how many there are.

    Started again, it goes on where it stopped. A row has the prompt, the answer, the tokens of
    both (`ids`), whether the answer is whole, and its seed. Raises InputError for a line that
    cannot be read, or a folder that holds answers of another job.
    """
    size = survey(job.input)
    made = fingerprint(writer.tokenizer)
    with open_folder(job.output, job.identity(), size.lines, overwrite) as folder:
        lines = (line for line in read_fields(job.input) if not folder.has(line[0]))
        while chunk := list(islice(lines, ROUND)):
            numbers = [number for number, _ in chunk]
            asks = [_ask(job, writer, *line) for line in chunk]
            for place, written in writer.generate(
                asks,
                job.sampler,
                max_tokens=job.max_tokens,
                batch_size=batch_size,
                strategy=strategy,
            ):
                row = {
                    "line": numbers[place],
                    "status": "ok",
                    "prompt": writer.tokenizer.decode(written.prompt_ids, skip_special_tokens=True),
                    "answer": written.text,
                    "ids": [written.prompt_ids, written.ids],
                    "whole": not written.truncated,
                    "seed": asks[place].seed,
                    "tokenizer": made,
                }
                folder.add(row, None)
                folder.completed += 1
            progress(folder.completed, size.items)
        return job.output / MANIFEST, folder.completed


def _ask(
    job: DistillJob, writer: TextGenerator, line: int, fields: dict[str, Any] | str
) -> GenerationRequest:
    problem = fields if isinstance(fields, str) else None
    text = None if problem else fields.get("text", fields.get("prompt"))
    if not isinstance(text, str):
        raise InputError(
            f"input '{job.input}' line {line}: {problem or 'has no text; add a field text'}",
            code="empty",
        )
    ids = writer.encode(GenerationRequest(text=text))[: job.prompt_tokens]
    return GenerationRequest(text=text, seed=(job.seed + line) % 2**63, ids=tuple(ids))

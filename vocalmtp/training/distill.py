"""Self-distillation: outputs of a model as training data of its own draft head.

A draft head predicts what its model generates, which differs from what people wrote or said
(FastMTP, arXiv 2509.18362, section 3.3). `distill_text` writes answers for `recipe: text_lm`,
`distill_speech` writes code shards for `recipe: speech_lm`.

Shape letters: T frames, U characters.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vocalmtp.batch.folder import JOB, MANIFEST, open_folder
from vocalmtp.data.shards import CodeItem, write_shard, write_spec
from vocalmtp.data.text_lists import read_fields, survey
from vocalmtp.data.text_rows import fingerprint
from vocalmtp.decoding.draft_state import check_layout
from vocalmtp.decoding.generate import Generated, collect_utterances, generate
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.strategies import DecodeStrategy
from vocalmtp.decoding.text_generation import GenerationRequest, TextGenerator
from vocalmtp.errors import InputError
from vocalmtp.hub import model_folder
from vocalmtp.io.read import digest
from vocalmtp.io.run_folder import run_folder
from vocalmtp.loading import facts_of, load
from vocalmtp.models.prompt_parts import prompt_parts
from vocalmtp.models.prompts import Segment
from vocalmtp.training.distributed import num_processes
from vocalmtp.training.recipe import SpeechLMRecipe
from vocalmtp.tts import TTS, SentenceRequest, SynthesisRequest

TEXTS_PER_ROUND = 64  # prompts that are answered before their rows are generated
LINES_PER_SHARD = 200

Line = tuple[int, str]  # number and text


@dataclass(frozen=True, kw_only=True)
class DistillJob:
    """Prompts and sampling; line n of the list has the seed `seed` + n."""

    input: Path  # list of texts: .txt, .jsonl or .csv
    output: Path
    model: str
    sampler: Sampler
    seed: int = 0

    def settings(self) -> dict[str, Any]:
        """Everything that the output depends on."""
        return {
            "list": digest(self.input),
            "model": self.model_digest(),
            "name": self.model,
            "sampling": asdict(self.sampler),
            "seed": self.seed,
        }

    def model_digest(self) -> str:
        """Hash of the model's files, or its name if they are not in a folder."""
        folder = Path(self.model)
        return digest(folder) if folder.is_dir() else self.model

    def seed_of(self, line: int) -> int:
        """Seed of a line of the list."""
        return (self.seed + line) % 2**63

    def read_texts(self) -> Iterator[Line]:
        """Lines of the list. Raises InputError for a line without a text."""
        for line, fields in read_fields(self.input):
            if isinstance(fields, str):
                raise InputError(
                    f"input '{self.input}' line {line}: {fields}", code="invalid_value"
                )
            text = fields.get("text", fields.get("prompt"))
            if not isinstance(text, str):
                raise InputError(
                    f"input '{self.input}' line {line}: has no text; add a field 'text'",
                    code="missing",
                )
            yield line, text


# -- text ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TextDistillJob(DistillJob):
    """Answers of a text LM, generated to manifest.jsonl in `output`."""

    max_tokens: int = 128
    prompt_tokens: int | None = None  # number of tokens of a text that are its prompt; None: all

    def settings(self) -> dict[str, Any]:
        """Everything that the answers depend on."""
        limits = {"max_tokens": self.max_tokens, "prompt_tokens": self.prompt_tokens}
        return super().settings() | limits


def distill_text(
    job: TextDistillJob,
    generator: TextGenerator,
    *,
    batch_size: int = 8,
    strategy: DecodeStrategy | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> tuple[Path, int]:
    """Answer every prompt of `job.input`; the same call resumes an interrupted job.

    A row has the prompt, the answer, the token ids of both, whether the answer has ended, and its
    seed.

    Returns:
        The file of the rows, and their number.

    Raises:
        InputError: a line cannot be read, or the folder holds the answers of another job.

    """
    size = survey(job.input)
    tokenizer = fingerprint(generator.tokenizer)
    with open_folder(job.output, job.settings(), size.lines, overwrite) as folder:
        lines = (line for line in job.read_texts() if not folder.has(line[0]))
        while chunk := list(islice(lines, TEXTS_PER_ROUND)):
            requests = [_request(job, generator, *line) for line in chunk]
            for place, generated in generator.generate(
                requests,
                job.sampler,
                max_tokens=job.max_tokens,
                batch_size=batch_size,
                strategy=strategy,
            ):
                row = {
                    "line": chunk[place][0],
                    "status": "ok",
                    "prompt": generator.tokenizer.decode(
                        generated.prompt_ids, skip_special_tokens=True
                    ),
                    "answer": generated.text,
                    "ids": [generated.prompt_ids, generated.ids],
                    "whole": not generated.truncated,
                    "seed": requests[place].seed,
                    "tokenizer": tokenizer,
                }
                folder.add(row, None)
                folder.completed += 1
            progress(folder.completed, size.items)
        return job.output / MANIFEST, folder.completed


def _request(
    job: TextDistillJob, generator: TextGenerator, line: int, text: str
) -> GenerationRequest:
    ids = generator.encode(GenerationRequest(text=text))[: job.prompt_tokens]
    return GenerationRequest(text=text, seed=job.seed_of(line), ids=tuple(ids))


# -- speech ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SpeechDistillJob(DistillJob):
    """Codes of a speech LM, generated as shards to `output`."""

    voices: tuple[str, ...] = ()  # used in turn; empty: the model's default voice
    split: str = "train"
    truncated: bool = False  # whether to keep sentences that were cut off
    drafts: bool = False  # whether they are for a draft head

    def settings(self) -> dict[str, Any]:
        """Everything that the codes depend on."""
        own = {"voices": list(self.voices), "split": self.split, "truncated": self.truncated}
        return super().settings() | own

    def model_digest(self) -> str:
        """Hash of the model's files."""
        return digest(model_folder(self.model))


def distill_speech(
    job: SpeechDistillJob,
    *,
    batch_size: int = 8,
    device: str = "cpu",
    overwrite: bool = False,
) -> int:
    """Synthesize every line of `job.input`; the same call resumes after the last complete shard.

    Truncated sentences are left out, unless the job keeps them.

    Returns:
        Number of sentences in the shards.

    Raises:
        InputError: a line cannot be synthesized, the folder holds the codes of another job, or they
            are for a draft head that the model cannot have.

    """
    survey(job.input)
    tts = load(job.model, device)
    if job.drafts:
        check_layout(tts.model.layout, "draft")
    lines, count = list(job.read_texts()), 0
    clear = _remove_shards if overwrite else None
    with run_folder(job.output, job.settings(), clear=clear, name=JOB):
        write_spec(job.output, tts.tokenizer.spec)
        for start in range(0, len(lines), LINES_PER_SHARD):
            path = job.output / f"{job.split}-{start // LINES_PER_SHARD:05d}"
            rows = path.with_suffix(".jsonl")
            if not rows.is_file():
                chunk = lines[start : start + LINES_PER_SHARD]
                items = synthesize_codes(job, tts, chunk, batch_size)
                if items:
                    write_shard(path, items, job.split)
            count += len(rows.read_bytes().splitlines()) if rows.is_file() else 0
    return count


def write_own_speech(training: SpeechLMRecipe, model: str) -> None:
    """Make the shards of a recipe with `data.own_speech`, unless they are there.

    Args:
        training: the recipe.
        model: name or folder of the model that speaks.

    Raises:
        InputError: a sentence cannot be spoken, all were cut off, the folder holds others, or the
            recipe trains a draft head that the model cannot have.

    """
    data, recipe = training.data, training.data.own_speech
    assert recipe is not None
    if num_processes() > 1:
        raise InputError(
            "data.own_speech: is spoken in one process; run it once without torchrun, with "
            "optim.max_steps=1 and another output",
            code="unsupported",
        )
    recommended = facts_of(model_folder(model)).get("sampling", {})
    job = SpeechDistillJob(
        input=Path(recipe.texts),
        output=Path(data.shards),
        model=model,
        sampler=Sampler(**(recommended | recipe.sampling.model_dump(exclude_none=True))),
        seed=recipe.seed,
        voices=recipe.voices,
        split=data.split,
        truncated=recipe.truncated,
        drafts=bool(training.draft),
    )
    count = distill_speech(job, batch_size=recipe.batch_size, device=training.device)
    if not count:
        raise InputError(
            f"data.own_speech.texts '{recipe.texts}': every sentence was cut off before its end; "
            "set data.own_speech.truncated=true to keep them",
            code="empty",
        )


def _remove_shards(folder: Path) -> None:
    for file in folder.glob("*.jsonl"):  # a shard without it does not count
        file.unlink()


def synthesize_codes(
    job: SpeechDistillJob, tts: TTS, lines: Iterable[Line], batch_size: int
) -> list[CodeItem]:
    """Codes of every sentence of some lines, as far as the job keeps them."""
    names: list[str] = []
    sentences: list[SentenceRequest] = []
    for number, text in lines:
        voice = job.voices[(number - 1) % len(job.voices)] if job.voices else None
        request = SynthesisRequest(
            text=text, voice=voice, seed=job.seed_of(number), sampling=asdict(job.sampler)
        )
        try:
            plan = tts.plan(request)
        except InputError as error:
            raise InputError(
                f"input '{job.input}' line {number}: {error}", code=error.code
            ) from error
        names += [f"{number:06d}-{part}" for part in range(len(plan))]
        sentences += plan
    prompts = [tts.prompt(sentence) for sentence in sentences]
    published = bool(tts.model.config.prompt_format)
    layout, rate = tts.model.layout, tts.tokenizer.spec.frame_rate
    items = {
        row: _code_item(
            names[row],
            sentences[row],
            generated,
            rate,
            prompts[row].segments if published else None,
        )
        for row, generated in collect_utterances(generate(tts.model, prompts, batch_size), layout)
        if job.truncated or not generated.truncated
    }
    return [items[row] for row in sorted(items)]


def _code_item(
    name: str,
    sentence: SentenceRequest,
    generated: Generated,
    frame_rate: float,
    prompt: Sequence[Segment] | None,
) -> CodeItem:
    """The item of a sentence; `prompt` is that of a publisher, which is kept with the codes."""
    voice, ends, parts = sentence.voice, None, None
    codes = generated.codes.cpu()
    if prompt is not None:
        parts, codes = prompt_parts(prompt, codes)
    if generated.pointers is not None:
        ends = character_ends(generated.pointers, len(sentence.text), frame_rate)
    return CodeItem(
        name,
        sentence.text,
        "" if voice is None else voice.name,
        codes,
        None if voice is None else torch.from_numpy(voice.vector),
        ends,
        parts,
    )


def character_ends(pointers: Tensor, characters: int, frame_rate: float) -> Tensor:
    """End time of every character, the inverse of `frame_advances`.

    Args:
        pointers: [T] index of the character that is spoken at every frame.
        characters: their number, U.
        frame_rate: frames per second.

    Returns:
        [U] seconds.

    """
    places = torch.arange(characters, device=pointers.device)
    return (pointers[None] <= places[:, None]).sum(1).cpu() / frame_rate

"""A speech LM's own codes for texts, as shards to train its draft head on: `distill_speech`.

Self-distillation as in FastMTP (arXiv 2509.18362, section 3.3), for speech: a draft head learns to
guess what the model says. Letters: T frames, U characters.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vocalmtp.data.shards import CodeItem, write_shard, write_spec
from vocalmtp.data.text_lists import read_fields, survey
from vocalmtp.decoding.generate import Generated, collect_utterances, generate
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.errors import InputError
from vocalmtp.hub import model_folder
from vocalmtp.io.atomic import atomic_path
from vocalmtp.io.read import digest, read_object
from vocalmtp.io.run_folder import only_writer
from vocalmtp.tts import TTS, SentenceRequest, SynthesisRequest, load

SHARD = 200  # lines whose sentences make up a shard, which is written whole
JOB = "job.json"


@dataclass(frozen=True, kw_only=True)
class SpeechJob:
    """What to say, who says it, and how it is drawn; line number n has the seed `seed` + n."""

    input: Path  # a list: .txt, .jsonl or .csv
    output: Path  # the folder for the shards and job.json
    model: str
    sampler: Sampler
    voices: tuple[str, ...] = ()  # in turn; none: the model's default voice
    seed: int = 0
    split: str = "train"

    def identity(self) -> dict[str, Any]:
        """All that the codes depend on."""
        return {
            "list": digest(self.input),
            "model": digest(model_folder(self.model)),
            "name": self.model,
            "voices": list(self.voices),
            "sampling": asdict(self.sampler),
            "seed": self.seed,
            "split": self.split,
        }


def distill_speech(job: SpeechJob, *, batch_size: int = 8, overwrite: bool = False) -> int:
    """Say every line of `job.input` and keep the codes; returns how many sentences were kept.

    Started again, it goes on after the last whole shard. A sentence that was cut off is left out.
    Raises InputError for a line that cannot be said, or a folder that holds another job's codes.
    """
    survey(job.input)
    identity = job.identity()
    tts = load(job.model)
    lines = list(read_fields(job.input))
    kept = 0
    with only_writer(job.output):
        if overwrite:
            for file in job.output.glob("*.jsonl"):
                file.unlink()
        else:
            _check(job.output, identity)
        write_spec(job.output, tts.tokenizer.spec)
        with atomic_path(job.output / JOB) as partial:
            partial.write_text(json.dumps(identity, indent=2) + "\n", encoding="utf-8")
        for start in range(0, len(lines), SHARD):
            path = job.output / f"{job.split}-{start // SHARD:05d}"
            rows = path.with_suffix(".jsonl")
            if not rows.is_file():
                items = _say(job, tts, lines[start : start + SHARD], batch_size)
                if items:
                    write_shard(path, items, job.split)
            kept += len(rows.read_bytes().splitlines()) if rows.is_file() else 0
    return kept


def _check(folder: Path, identity: dict[str, Any]) -> None:
    """Raise InputError if another job has begun to write there."""
    if not (folder / JOB).is_file():
        return
    before = read_object(folder / JOB, f"output '{folder}'")
    for key, value in identity.items():
        if before.get(key) != value:
            raise InputError(
                f"output '{folder}': was made with another {key}; go on with that one, choose "
                "another folder, or start anew with --overwrite",
                code="other_run",
            )


def _say(
    job: SpeechJob, tts: TTS, lines: list[tuple[int, dict[str, Any] | str]], batch_size: int
) -> list[CodeItem]:
    """The sentences of some lines, as the codes that the model says."""
    named: list[tuple[str, SentenceRequest]] = []
    for number, fields in lines:
        if isinstance(fields, str) or not isinstance(fields.get("text"), str):
            problem = fields if isinstance(fields, str) else "has no text; add a field text"
            raise InputError(f"input '{job.input}' line {number}: {problem}", code="invalid_value")
        voice = job.voices[(number - 1) % len(job.voices)] if job.voices else None
        request = SynthesisRequest(
            text=fields["text"],
            voice=voice,
            seed=(job.seed + number) % 2**63,
            sampling=asdict(job.sampler),
        )
        try:
            plan = tts.plan(request)
        except InputError as error:
            raise InputError(
                f"input '{job.input}' line {number}: {error}", code=error.code
            ) from error
        named += [(f"{number:06d}-{part}", sentence) for part, sentence in enumerate(plan)]
    prompts = (tts.prompt(sentence) for _, sentence in named)
    items = {}
    for row, made in collect_utterances(generate(tts.model, prompts, batch_size), tts.model.layout):
        if not made.truncated:
            items[row] = _item(*named[row], made, tts.tokenizer.spec.frame_rate)
    return [items[row] for row in sorted(items)]


def _item(name: str, sentence: SentenceRequest, made: Generated, frame_rate: float) -> CodeItem:
    voice, ends = sentence.voice, None
    if made.pointers is not None:
        ends = character_ends(made.pointers, len(sentence.text), frame_rate)
    return CodeItem(
        name,
        sentence.text,
        "" if voice is None else voice.name,
        made.codes.cpu(),
        None if voice is None else torch.from_numpy(voice.vector),
        ends,
    )


def character_ends(pointers: Tensor, characters: int, frame_rate: float) -> Tensor:
    """When each of `characters` ends in seconds, [U], of the one spoken at every frame, [T].

    The inverse of `frame_advances` (model/track.py).
    """
    places = torch.arange(characters, device=pointers.device)
    return (pointers[None] <= places[:, None]).sum(1).cpu() / frame_rate

"""Code shards: the training data of a speech LM, with the codes of many utterances per file.

A folder holds `tokenizer_spec.json` (the tokenizer that made the codes) and per shard
`NAME.safetensors` (codes [Q, sum T] int16, or int32 if they are larger, lengths [n], speaker
[n, D_s] float16) and `NAME.jsonl` (a row each).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import Dataset

from vocalmtp.config import parse
from vocalmtp.errors import InputError
from vocalmtp.io.atomic import atomic_path
from vocalmtp.io.read import problem_of, read_lines, read_object, read_tensors
from vocalmtp.models.prompt_parts import Part
from vocalmtp.tokenizers.spec import TokenizerSpec

SPEC_FILE = "tokenizer_spec.json"
FORMER_SPEC_FILE = "card.json"  # folders of earlier versions have this name
STORED = (torch.int16, torch.int32)


class ShardRow(BaseModel):
    """The row of an utterance beside its codes."""

    model_config = ConfigDict(frozen=True)

    id: str
    text: str
    split: str
    voice: str = ""
    prompt: tuple[Part, ...] | None = None
    chars: tuple[FiniteFloat, ...] | None = None


@dataclass
class CodeItem:
    """One utterance as codes."""

    id: str
    text: str
    voice: str
    codes: Tensor  # [Q, T] int64
    speaker: Tensor | None = None  # [D_s]
    char_ends: Tensor | None = None  # [U] seconds, end time of every character of the text
    prompt: tuple[Part, ...] | None = None  # of a publisher; codes then begin with its recordings


def write_shard(path: Path, items: list[CodeItem], split: str) -> None:
    """Write `items` to `path`.safetensors and .jsonl; the rows are last and mark it complete."""
    codes = torch.cat([item.codes for item in items], dim=1)
    fits = codes.numel() == 0 or int(codes.max()) <= torch.iinfo(torch.int16).max
    tensors = {
        "codes": codes.to(torch.int16 if fits else torch.int32),
        "lengths": torch.tensor([item.codes.shape[1] for item in items]),
    }
    speakers = [item.speaker for item in items if item.speaker is not None]
    if len(speakers) == len(items):
        tensors["speaker"] = torch.stack(speakers).to(torch.float16)
    with atomic_path(path.with_suffix(".safetensors")) as partial:
        save_file(tensors, partial)
    rows = []
    for item in items:
        row: dict[str, Any] = {
            "id": item.id,
            "text": item.text,
            "voice": item.voice,
            "split": split,
        }
        if item.prompt is not None:
            row["prompt"] = [part.model_dump(exclude_none=True) for part in item.prompt]
        if item.char_ends is not None:
            row["chars"] = [round(end, 3) for end in item.char_ends.tolist()]
        rows.append(json.dumps(row))
    with atomic_path(path.with_suffix(".jsonl")) as partial:
        partial.write_text("\n".join(rows) + "\n", encoding="utf-8")


def write_spec(folder: Path, spec: TokenizerSpec) -> None:
    """Write the spec of the tokenizer that made a folder's content, or check the one already there.

    Raises:
        InputError: the folder holds the spec of another tokenizer; the line has both hashes.

    """
    if not _spec_file(folder).is_file():
        with atomic_path(folder / SPEC_FILE) as partial:
            partial.write_text(spec.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return
    existing = read_spec(folder, f"output '{folder}'")
    if existing != spec:
        raise InputError(
            f"output '{folder}': holds what another tokenizer made, {existing.name} "
            f"({existing.hash}), not {spec.name} ({spec.hash}); choose a new folder",
            code="other_run",
        )


def read_spec(folder: Path, what: str) -> TokenizerSpec:
    """Read the spec of the tokenizer that made a folder of code shards or their audio.

    Raises:
        InputError: there is no spec, or it is damaged; `what` begins the line.

    """
    file = _spec_file(folder)
    if not file.is_file():
        raise InputError(
            f"{what}: no {SPEC_FILE} there; make shards with 'vocalmtp tokenize'", code="not_found"
        )
    return parse(TokenizerSpec, read_object(file, what), f"{what}: {file.name}")


def check_spec(folder: Path, spec: TokenizerSpec) -> None:
    """Raise InputError unless the code shards in `folder` were made by the tokenizer `spec`."""
    made = read_spec(folder, f"shards '{folder}'")
    if made != spec:
        raise InputError(
            f"shards '{folder}': are of {made.name} ({made.hash}), not of {spec.name} "
            f"({spec.hash}); give --tokenizer the one that made them",
            code="mismatch",
        )


def has_spec(folder: Path) -> bool:
    """Whether `folder` holds code shards."""
    return _spec_file(folder).is_file()


def _spec_file(folder: Path) -> Path:
    former = folder / FORMER_SPEC_FILE
    return former if former.is_file() else folder / SPEC_FILE


def list_splits(folder: Path | str) -> list[str]:
    """The splits in a folder of code shards. Raises InputError for an invalid row."""
    what = f"shards '{folder}'"
    files = sorted(Path(folder).glob("*.jsonl"))
    rows = (
        read_row(file, number, line, what)
        for file in files
        for number, line in read_lines(file, what)
    )
    return sorted({row.split for row in rows})


def read_row(file: Path, number: int, line: bytes, what: str) -> ShardRow:
    """Parse a row. Raises InputError if it is invalid."""
    try:
        return ShardRow.model_validate_json(line)
    except ValidationError as error:
        raise InputError(
            f"{what}: {file.name} line {number}: {problem_of(error)}; "
            "delete the shard and tokenize again",
            code="damaged",
        ) from error


class CodeShards(Dataset):
    """All utterances of one split in a folder of code shards, in memory (about 8 MB an hour)."""

    def __init__(self, folder: Path | str, split: str = "train"):
        """Raises InputError if the folder is incomplete or damaged, or has no utterance of `split`."""
        folder = Path(folder)
        self.what = f"shards '{folder}'"
        self.spec = read_spec(folder, self.what)
        self.rows: list[ShardRow] = []
        self.codes: list[Tensor] = []
        self.speakers: list[Tensor | None] = []
        for file in sorted(folder.glob("*.jsonl")):
            self._add(file, split)
        if not self.rows:
            raise InputError(f"{self.what}: no utterance with split '{split}'", code="empty")
        self.frames = [codes.shape[1] for codes in self.codes]

    def _add(self, file: Path, split: str) -> None:
        rows = [
            read_row(file, number, line, self.what) for number, line in read_lines(file, self.what)
        ]
        if not any(row.split == split for row in rows):
            return
        file = file.with_suffix(".safetensors")
        tensors = read_tensors(file, self.what)
        problem = self._problem(tensors, len(rows))
        if problem:
            raise InputError(
                f"{self.what}: {file.name}: {problem}; delete both and tokenize again",
                code="damaged",
            )
        parts = tensors["codes"].split(tensors["lengths"].tolist(), dim=1)
        speakers = tensors.get("speaker")
        for place, (row, codes) in enumerate(zip(rows, parts, strict=True)):
            if row.split != split:
                continue
            self.rows.append(row)
            self.codes.append(codes)
            self.speakers.append(None if speakers is None else speakers[place])

    def _problem(self, tensors: dict[str, Tensor], rows: int) -> str | None:
        """What is invalid in a shard of `rows` utterances, or None."""
        codes, lengths, speaker = (tensors.get(k) for k in ("codes", "lengths", "speaker"))
        sizes = torch.tensor([stream.size for stream in self.spec.streams])[:, None]
        if codes is None or lengths is None:
            return "has no codes and lengths"
        if codes.dtype not in STORED or codes.dim() != 2 or len(codes) != len(sizes):
            return f"codes are {codes.dtype} {list(codes.shape)}, not int16 of {len(sizes)} streams"
        if lengths.dtype != torch.int64 or lengths.shape != (rows,) or bool((lengths < 0).any()):
            return f"lengths are not those of {rows} utterances"
        if int(lengths.sum()) != codes.shape[1]:
            return f"has {codes.shape[1]} frames, not {int(lengths.sum())}"
        wrong = (codes < 0) | (codes >= sizes)
        if bool(wrong.any()):
            stream = self.spec.streams[int(wrong.any(1).int().argmax())]
            code = int(codes[wrong][0])
            return f"has code {code}; stream '{stream.name}' has codes 0 to {stream.size - 1}"
        if speaker is not None and speaker.shape != (rows, self.spec.speaker_dim):
            return f"speaker vectors are {list(speaker.shape)}, not of {self.spec.speaker_dim}"
        return None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> CodeItem:
        row, speaker = self.rows[index], self.speakers[index]
        return CodeItem(
            id=row.id,
            text=row.text,
            voice=row.voice,
            codes=self.codes[index].long(),
            speaker=None if speaker is None else speaker.float(),
            char_ends=None if row.chars is None else torch.tensor(row.chars),
            prompt=row.prompt,
        )

"""Code shards: what a speech LM trains on. Many utterances' codes in one file, texts beside it.

A folder holds `card.json` (the tokenizer that made the codes) and per shard `NAME.safetensors`
(codes [Q, sum T] int16, lengths [n], speaker [n, D_s] float16) and `NAME.jsonl` (a row each).
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import Dataset

from vocalmtp.errors import InputError
from vocalmtp.tokenizers.base import TokenizerCard


@dataclass
class CodeItem:
    """One utterance as codes."""

    id: str
    text: str
    voice: str
    codes: Tensor  # [Q, T] int64
    speaker: Tensor | None = None  # [D_s]
    char_ends: Tensor | None = None  # [U] seconds, end time of every character of the text


def write_shard(path: Path, items: list[CodeItem], split: str) -> None:
    """Write `items` to `path`.safetensors and .jsonl; the rows come last and mark it whole."""
    tensors = {
        "codes": torch.cat([item.codes for item in items], dim=1).to(torch.int16),
        "lengths": torch.tensor([item.codes.shape[1] for item in items]),
    }
    if items[0].speaker is not None:
        tensors["speaker"] = torch.stack([item.speaker for item in items]).to(torch.float16)
    save_file(tensors, path.with_suffix(".safetensors"))
    rows = []
    for item in items:
        row = {"id": item.id, "text": item.text, "voice": item.voice, "split": split}
        if item.char_ends is not None:
            row["chars"] = [round(end, 3) for end in item.char_ends.tolist()]
        rows.append(json.dumps(row))
    partial = path.with_suffix(".partial")
    partial.write_text("\n".join(rows) + "\n")
    partial.replace(path.with_suffix(".jsonl"))


class CodeShards(Dataset):
    """All utterances of one split in a folder of code shards, in memory (about 8 MB an hour)."""

    def __init__(self, folder: Path | str, split: str = "train"):
        """Raises InputError if the folder has no card, or no utterance of `split`."""
        folder = Path(folder)
        card = folder / "card.json"
        if not card.is_file():
            raise InputError(
                f"shards '{folder}': no card.json there; make shards with 'vocalmtp tokenize'"
            )
        self.card = TokenizerCard.model_validate_json(card.read_text())
        self.rows: list[dict] = []
        self.codes: list[Tensor] = []
        self.speakers: list[Tensor | None] = []
        for file in sorted(folder.glob("*.jsonl")):
            self._add(file, split)
        if not self.rows:
            raise InputError(f"shards '{folder}': no utterance with split '{split}'")
        self.frames = [codes.shape[1] for codes in self.codes]

    def _add(self, file: Path, split: str) -> None:
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        if not any(row["split"] == split for row in rows):
            return
        tensors = load_file(file.with_suffix(".safetensors"))
        parts = tensors["codes"].split(tensors["lengths"].tolist(), dim=1)
        speakers = tensors.get("speaker")
        for place, (row, codes) in enumerate(zip(rows, parts, strict=True)):
            if row["split"] != split:
                continue
            self.rows.append(row)
            self.codes.append(codes)
            self.speakers.append(None if speakers is None else speakers[place])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> CodeItem:
        row, speaker = self.rows[index], self.speakers[index]
        ends = row.get("chars")
        return CodeItem(
            id=row["id"],
            text=row["text"],
            voice=row["voice"],
            codes=self.codes[index].long(),
            speaker=None if speaker is None else speaker.float(),
            char_ends=None if ends is None else torch.tensor(ends),
        )

"""Training texts of a text LM as rows of tokens: plain texts, or prompts with answers.

Letters: N tokens of all texts together, n tokens of a row.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from vocalmtp.data.text_lists import read_fields
from vocalmtp.errors import InputError
from vocalmtp.models.prompts import Text

Piece = tuple[list[int], bool]  # tokens, and whether they are training targets


class TextRows(Dataset):
    """Rows of at most `length` tokens; `frames` holds the length of each.

    With `packed`, rows are windows of equal length over the concatenated texts; otherwise every
    text is one row, truncated. The tokens of a prompt are not training targets.
    """

    def __init__(self, pieces: Iterable[list[Piece]], length: int, packed: bool):
        ids: list[int] = []
        learned: list[bool] = []
        starts = [0]
        for text in pieces:
            for tokens, learn in text:
                ids += tokens
                learned += [learn] * len(tokens)
            starts.append(len(ids))
        self.ids = torch.tensor(ids, dtype=torch.int32)  # [N]
        self.learned = torch.tensor(learned)  # [N]
        if packed:
            starts = list(range(0, len(ids), length))
            self.spans = [(start, min(start + length + 1, len(ids))) for start in starts]
            self.spans = [span for span in self.spans if span[1] - span[0] == length + 1]
        else:
            pairs = zip(starts, starts[1:], strict=False)
            self.spans = [(a, min(b, a + length)) for a, b in pairs if b - a > 1]
        self.frames = [stop - start for start, stop in self.spans]

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, index: int) -> list[Text]:
        start, stop = self.spans[index]
        ids, learned = self.ids[start:stop], self.learned[start:stop]
        cuts = [0, *((learned[1:] != learned[:-1]).nonzero()[:, 0] + 1).tolist(), stop - start]
        return [
            Text(ids[a:b], supervised=bool(learned[a]))
            for a, b in zip(cuts, cuts[1:], strict=False)
        ]


def read_pieces(files: Iterable[Path | str], tokenizer: Any, ends: tuple[int, ...]) -> Iterator:
    """Yield the pieces of every text in `files`: .txt (one per line), .jsonl or .csv.

    A row has a "text", or a "prompt" and an "answer" (as `vocalmtp distill-data` writes them); a
    complete text is followed by the end token. Raises InputError for an invalid file or row.
    """
    for file in map(Path, files):
        if not file.is_file():
            raise InputError(
                f"texts '{file}': no such file; give .txt, .jsonl or .csv", code="not_found"
            )
        for line, fields in read_fields(file):
            if isinstance(fields, str):
                raise InputError(f"texts '{file}' line {line}: {fields}", code="invalid_value")
            yield row_pieces(fields, tokenizer, ends, f"texts '{file}' line {line}")


def row_pieces(
    fields: dict[str, Any], tokenizer: Any, ends: tuple[int, ...], what: str
) -> list[Piece]:
    """Convert one row to pieces. Raises InputError if it is invalid."""
    if "ids" in fields:
        made, own = fields.get("tokenizer"), fingerprint(tokenizer)
        if made != own:
            raise InputError(
                f"{what}: its tokens are of another tokenizer ({made}), not of the model's ({own});"
                " make the data with this model",
                code="mismatch",
            )
        prompt, answer = fields["ids"]
        whole = fields.get("whole", True)
    elif isinstance(fields.get("text"), str):
        prompt, answer, whole = [], tokenizer(fields["text"])["input_ids"], True
    elif isinstance(fields.get("prompt"), str) and isinstance(fields.get("answer"), str):
        prompt = tokenizer(fields["prompt"])["input_ids"]
        answer = tokenizer(fields["answer"], add_special_tokens=False)["input_ids"]
        whole = True
    else:
        raise InputError(
            f"{what}: has no text; write 'text', or 'prompt' and 'answer'", code="empty"
        )
    last = [ends[0]] if ends and whole and answer[-1:] != [ends[0]] else []
    return [(list(prompt), False), (list(answer) + last, True)]


def fingerprint(tokenizer: Any) -> str:
    """A short hash of a tokenizer's vocabulary."""
    vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()))
    return hashlib.sha256(vocabulary.encode()).hexdigest()[:12]

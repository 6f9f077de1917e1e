"""Training texts of a text LM as rows of tokens: plain texts, or prompts with answers.

Letters: N tokens of all texts together, n tokens of a row.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from vocalmtp.data.text_lists import read_fields
from vocalmtp.errors import InputError
from vocalmtp.io.atomic import atomic_path
from vocalmtp.io.read import FORMAT, check_format, read_object
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
            Text(ids[a:b].tolist(), supervised=bool(learned[a]))
            for a, b in zip(cuts, cuts[1:], strict=False)
        ]


def read_pieces(files: Iterable[Path | str], tokenizer: Any, ends: tuple[int, ...]) -> Iterator:
    """Yield the pieces of every text in `files`: .txt (one per line), .jsonl or .csv.

    A row has a "text", or a "prompt" and an "answer" (as `vocalmtp distill-data` writes them); a
    complete text is followed by the end token. Raises InputError for an invalid file or row.
    """
    own = fingerprint(tokenizer)  # which takes longer than a row
    for where, fields in read_rows(files, "texts"):
        yield row_pieces(fields, tokenizer, own, ends, where)


def read_rows(files: Iterable[Path | str], key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every row of `files`, .txt, .jsonl or .csv, with its place for error messages.

    Args:
        files: the files.
        key: of the recipe, which names them.

    Raises:
        InputError: there is no such file, or a row is invalid.

    """
    for file in map(Path, files):
        if not file.is_file():
            raise InputError(
                f"{key} '{file}': no such file; give .txt, .jsonl or .csv", code="not_found"
            )
        for line, fields in read_fields(file):
            where = f"{key} '{file}' line {line}"
            if isinstance(fields, str):
                raise InputError(f"{where}: {fields}", code="invalid_value")
            yield where, fields


def row_pieces(
    fields: dict[str, Any], tokenizer: Any, own: str, ends: tuple[int, ...], what: str
) -> list[Piece]:
    """Convert one row to pieces, for a tokenizer with the fingerprint `own`.

    Raises InputError if it is invalid.
    """
    if "ids" in fields:
        made = fields.get("tokenizer")
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


# -- draft vocabularies ------------------------------------------------------------------------------


@dataclass(frozen=True)
class DraftVocabulary:
    """The most frequent token ids [n] of some data, for one tokenizer."""

    name: str
    tokenizer: str  # its fingerprint
    ids: Tensor  # [n] ascending
    coverage: float  # share of the counted tokens that they cover

    @classmethod
    def count(
        cls, name: str, tokenizer: Any, texts: Iterable[Sequence[int]], size: int
    ) -> "DraftVocabulary":
        """Count the `size` most frequent ids. Raises InputError for a size out of range."""
        counts = torch.zeros(len(tokenizer), dtype=torch.long)
        for text in texts:
            counts += torch.bincount(torch.tensor(text, dtype=torch.long), minlength=len(counts))
        seen = int((counts > 0).sum())
        if not 1 <= size <= len(counts):
            raise InputError(
                f"size '{size}': must be 1 to {len(counts)}, the tokenizer's", code="out_of_range"
            )
        if not seen:
            raise InputError("texts: have no tokens to count; give some", code="empty")
        ids = counts.argsort(descending=True, stable=True)[: min(size, seen)].sort().values
        coverage = int(counts[ids].sum()) / int(counts.sum())
        return cls(name, fingerprint(tokenizer), ids, coverage)

    def save(self, path: Path) -> None:
        """Write the vocabulary as JSON."""
        facts = {
            "format": FORMAT,
            "name": self.name,
            "tokenizer": self.tokenizer,
            "coverage": round(self.coverage, 4),
            "ids": self.ids.tolist(),
        }
        with atomic_path(path) as partial:
            partial.write_text(json.dumps(facts) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "DraftVocabulary":
        """Read a saved vocabulary. Raises InputError if the file is not one."""
        what = f"draft vocabulary '{path}'"
        facts = check_format(read_object(path, what), what)
        ids = facts.get("ids")
        whole = isinstance(ids, list) and ids and all(type(i) is int and i >= 0 for i in ids)
        if not whole or not isinstance(facts.get("tokenizer"), str):
            raise InputError(
                f"{what}: has no ids of a tokenizer; make it: vocalmtp draft-vocab", code="empty"
            )
        own = torch.tensor(ids).unique()
        return cls(str(facts.get("name")), facts["tokenizer"], own, float(facts["coverage"]))

    def check(self, tokenizer: Any) -> "DraftVocabulary":
        """Return itself. Raises InputError if it was counted with another tokenizer."""
        own = fingerprint(tokenizer)
        if self.tokenizer != own or int(self.ids[-1]) >= len(tokenizer):
            raise InputError(
                f"draft vocabulary '{self.name}': is of another tokenizer ({self.tokenizer}), not "
                f"of the model's ({own}); make it with this model: vocalmtp draft-vocab",
                code="mismatch",
            )
        return self


def choose(vocabularies: Sequence[DraftVocabulary], ids: Sequence[int]) -> int | None:
    """The index of the vocabulary that covers most tokens of a prompt; None without vocabularies.

    With one vocabulary per language, this selects the language. Ties go to the first.
    """
    if not vocabularies:
        return None
    prompt = torch.as_tensor(ids)
    found = [int(torch.isin(prompt, own.ids).sum()) for own in vocabularies]
    return found.index(max(found))

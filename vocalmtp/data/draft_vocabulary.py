"""Draft vocabularies: the most frequent tokens of some data, as the output space of drafts.

FastMTP (arXiv 2509.18362, section 3.4), after FR-Spec (arXiv 2502.14856): rare tokens are seldom
drafted right, and a smaller output layer is faster. The model verifies over its full vocabulary, so
its output does not change. Codebooks of speech LMs are too small to gain from it.
Letters: n ids, V vocabulary.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vocalmtp.data.text_rows import fingerprint
from vocalmtp.errors import InputError
from vocalmtp.io.atomic import atomic_path
from vocalmtp.io.read import FORMAT, check_format, read_object


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
        for ids in texts:
            counts += torch.bincount(torch.tensor(ids, dtype=torch.long), minlength=len(counts))
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

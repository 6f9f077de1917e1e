"""Drafts for a chat model: what its draft head expects after every token.

Letters: L positions, D width, n drafts.
"""

from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from vocalmtp.engines.linears import LinearFactory
from vocalmtp.heads.draft.base import DraftCache, DraftHead
from vocalmtp.heads.text import TextHead
from vocalmtp.models.text_lm import DRAFT, TextLM

RECENT = 256  # positions before the answer that the draft head reads
CONFIDENCE = 0.3  # least probability, by the draft head, of all drafts of a pass together


class HasTokens(Protocol):
    """What was run of a conversation, see generation.CachedPrompt."""

    ids: list[int]
    hidden: list[Tensor]  # [1, L, D] each


class Drafter:
    """The draft head of a text LM.

    Args:
        model: the text LM with its draft head.

    """

    def __init__(self, model: TextLM):
        assert model.draft is not None, "TextLM.load_draft"
        self.head: DraftHead = model.draft
        states = range(len(self.head.offsets))
        self.outputs = [cast(TextHead, self.head.head_of(n, model.drafting_head)) for n in states]
        self.embed: Any = model.backbone.get_input_embeddings()

    def optimize_for_inference(self, convert: LinearFactory) -> None:
        """Replace the linear layers in place, those of the output included."""
        self.head.optimize_for_inference(convert)
        if not self.head.heads:  # all states share the model's
            self.outputs[0].optimize_for_inference(convert)

    def begin(self, entry: HasTokens) -> "Drafts":
        """Return what drafts the answer to a prompt, which has been run."""
        return Drafts(self, entry)

    def inputs(self, ids: list[int]) -> Tensor:
        """The model's inputs [1, L, D] for tokens."""
        found: Tensor = self.embed(torch.tensor([ids], device=self.embed.weight.device))
        return found


class Drafts:
    """The drafts of one answer.

    Args:
        drafter: what drafts.
        entry: the prompt; the draft head reads the last positions of it.

    """

    def __init__(self, drafter: Drafter, entry: HasTokens):
        self.drafter, self.head = drafter, drafter.head
        hidden = torch.cat(entry.hidden, 1)[:, -RECENT:]  # [1, L, D]
        self.unread: Tensor | None = hidden[:, -1:]  # what follows it is not known yet
        self.cache: DraftCache = self.head.start(1, hidden)
        if hidden.shape[1] > 1:
            self._read(hidden[:, :-1], entry.ids[1 - hidden.shape[1] :])

    def draft(self, entry: HasTokens, token: int) -> list[int]:
        """Draft what follows a token.

        Args:
            entry: the conversation before the token; its last run has not been read yet.
            token: the one that was sampled after it.

        Returns:
            Tokens [n]; none while the head has read too little, or is unsure.

        """
        hidden = entry.hidden[-1] if self.unread is None else self.unread
        self.unread = None
        ids = [*entry.ids, token][-hidden.shape[1] :]
        fed = self._read(hidden, ids)[:, -1]  # [1, D]
        if not bool(self.head.ready(self.cache)):
            return []
        drafted: list[int] = []
        confidence = 1.0
        for ahead in range(1, self.head.offsets[-1] + 1):
            vector, number = self.head.draft_step(self.cache, ahead, fed)
            token_ahead, probability = self.drafter.outputs[number].most_likely(vector)
            confidence *= probability
            if confidence < CONFIDENCE:
                break
            drafted.append(token_ahead)
            fed = self.drafter.inputs(drafted[-1:])[:, 0]
        return drafted

    def _read(self, hidden: Tensor, following: list[int]) -> Tensor:
        """Let the head read positions [1, L, D], and return the inputs [1, L, D] that follow them."""
        inputs = self.drafter.inputs(following)
        counts = torch.tensor([hidden.shape[1]], device=hidden.device)
        self.cache = self.head.read(self.cache, hidden, inputs, counts)
        return inputs


def load_drafter(model: Any, folder: Path) -> Drafter | None:
    """Load the draft head of a causal LM, if its folder has one.

    Raises:
        InputError: it is damaged, or belongs to another model.

    """
    if not (folder / f"{DRAFT}.json").is_file():
        return None
    text_lm = TextLM(model)
    text_lm.load_draft(folder)
    return Drafter(text_lm.to(model.device).eval())

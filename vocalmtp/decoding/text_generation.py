"""Text generation by a causal language model with the decode loop of speech: `TextGenerator`.

Letters: n tokens.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vocalmtp.data.text_rows import DraftVocabulary, choose
from vocalmtp.decoding.generate import Prompt, collect_utterances, generate
from vocalmtp.decoding.options import noise_seed
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.strategies import DecodeStrategy
from vocalmtp.engines.base import EngineSettings
from vocalmtp.engines.cpu import CPUEngine
from vocalmtp.engines.device import float32_on_cpu, move, resolve_device
from vocalmtp.errors import InputError
from vocalmtp.models.checkpoint import HALF, load_text_tokenizer, stored_dtype
from vocalmtp.models.prompts import Text
from vocalmtp.models.text_lm import TextLM

SPARE = 64  # positions that drafts may take beyond the last token


@dataclass(frozen=True)
class Completion:
    """The text generated after a prompt."""

    text: str
    ids: list[int]  # [n] without the end token
    prompt_ids: list[int]
    truncated: bool  # cut off by the limit on tokens


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """A text to continue; equal seeds give equal continuations."""

    text: str
    seed: int = 0
    ids: tuple[int, ...] | None = None  # its tokens, if they are known


@dataclass
class TextGenerator:
    """A text LM with its tokenizer.

    Attributes:
        model: the text LM, perhaps with a draft head.
        tokenizer: that of Transformers.
        chat: prompts are messages of a user, formatted by the chat template.
        vocabularies: draft vocabularies, of which the best is chosen for every prompt.

    """

    model: TextLM
    tokenizer: Any
    chat: bool = False
    vocabularies: list[DraftVocabulary] = field(default_factory=list)

    @classmethod
    def load(
        cls,
        model: Path | str,
        draft: Path | str | None = None,
        *,
        vocabularies: Iterable[Path] = (),
        chat: bool = False,
        device: str = "cpu",
    ) -> "TextGenerator":
        """Load a causal LM of Transformers.

        Args:
            model: its folder or name.
            draft: the folder of a draft head; None: that of the model, if it has one.
            vocabularies: files of draft vocabularies.
            chat: see TextGenerator.
            device: a device of torch, or "auto".

        Raises:
            InputError: a part is missing, damaged or belongs to another model.

        """
        place = resolve_device(device)
        with float32_on_cpu():
            text_lm = TextLM.load(model, draft)
        move(text_lm, place)
        tokenizer = load_text_tokenizer(model)
        loaded = [DraftVocabulary.load(path).check(tokenizer) for path in vocabularies]
        if loaded and text_lm.draft is None:
            raise InputError(
                f"draft vocabulary: model '{model}' has no draft head; leave it out",
                code="conflict",
            )
        if chat and not tokenizer.chat_template:
            raise InputError(
                f"chat: model '{model}' has no chat template; leave --chat out", code="missing"
            )
        if place.type == "cpu":
            with float32_on_cpu():
                settings = EngineSettings(half=stored_dtype(model) in HALF)
                CPUEngine().optimize(text_lm, settings)
        return cls(text_lm, tokenizer, chat, loaded)

    def generate(
        self,
        requests: Iterable[GenerationRequest],
        sampler: Sampler,
        *,
        max_tokens: int = 128,
        batch_size: int = 1,
        strategy: DecodeStrategy | None = None,
    ) -> Iterator[tuple[int, Completion]]:
        """Continue texts, `batch_size` at a time.

        Yields:
            The number of every request with its completion, as they finish.

        Raises:
            InputError: a prompt is empty or too long, or the model cannot draft so.

        """
        rows = [(self.encode(request), request.seed) for request in requests]
        groups: dict[int | None, list[int]] = {}  # rows by the draft vocabulary chosen for them
        for number, (ids, _) in enumerate(rows):
            groups.setdefault(choose(self.vocabularies, ids), []).append(number)
        for chosen, numbers in groups.items():
            model = self.model
            if chosen is not None:
                model = model.with_draft_vocabulary(self.vocabularies[chosen].ids.to(model.device))
            prompts = [self.prompt(*rows[number], sampler, max_tokens) for number in numbers]
            events = generate(model, prompts, batch_size, strategy)
            for row, generated in collect_utterances(events, model.layout):
                ids = generated.codes[0].tolist()
                ended = bool(ids) and ids[-1] in model.layout.end_tokens  # by a second end token
                ids = ids[:-1] if ended else ids
                text = self.tokenizer.decode(ids, skip_special_tokens=True)
                number = numbers[row]
                truncated = generated.truncated and not ended
                yield number, Completion(text, ids, rows[number][0], truncated)

    def encode(self, request: GenerationRequest) -> list[int]:
        """Return the tokens of a prompt. Raises InputError if there are none."""
        if request.ids is not None:
            ids = list(request.ids)
        elif self.chat:
            message = [{"role": "user", "content": request.text}]
            ids = self.tokenizer.apply_chat_template(
                message, add_generation_prompt=True, return_dict=True
            )["input_ids"]
        else:
            ids = self.tokenizer(request.text)["input_ids"]
        if not ids and self.tokenizer.bos_token_id is not None:
            ids = [self.tokenizer.bos_token_id]
        if not ids:
            raise InputError("text '': is empty; give the model a word to begin with", code="empty")
        return ids

    def prompt(self, ids: list[int], seed: int, sampler: Sampler, max_tokens: int) -> Prompt:
        """Return a prompt that continues `ids`. Raises InputError if they are too many."""
        return Prompt([Text(ids)], sampler, noise_seed(seed), self._limit(ids, max_tokens))

    def _limit(self, ids: list[int], max_tokens: int) -> int:
        """Most tokens to generate after `ids`, within the model's positions."""
        most = getattr(self.model.backbone.config, "max_position_embeddings", None)
        if most is None:
            return max_tokens
        room = most - len(ids) - SPARE
        if room < 1:
            raise InputError(
                f"text of {len(ids)} tokens: the model has {most} positions; give a shorter one",
                code="wrong_length",
                key="text",
            )
        return min(max_tokens, room)

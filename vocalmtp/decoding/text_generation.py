"""Prompts in, texts out: `TextWriter`, the consumer of the decode loop for text.

Letters: n tokens.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vocalmtp.data.text_rows import DraftVocabulary, choose
from vocalmtp.decoding.generate import Prompt, collect_utterances, generate
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.strategies import DecodeStrategy
from vocalmtp.engines.cpu import optimize_for_inference
from vocalmtp.engines.device import float32_on_cpu, resolve_device
from vocalmtp.errors import InputError
from vocalmtp.models.prompts import Text
from vocalmtp.models.speech_lm import load_text_tokenizer
from vocalmtp.models.text_lm import TextLM

SPARE = 64  # positions that drafts may take beyond the last token


@dataclass(frozen=True)
class Written:
    """What was written after a prompt."""

    text: str
    ids: list[int]  # [n] without the end
    prompt_ids: list[int]
    truncated: bool  # cut off by the limit on tokens


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """A text to go on with; the same seed goes on in the same way."""

    text: str
    seed: int = 0
    ids: tuple[int, ...] | None = None  # its tokens, if they are known


@dataclass
class TextWriter:
    """A text LM, its tokenizer, and the draft vocabularies to choose from for every prompt."""

    model: TextLM
    tokenizer: Any
    chat: bool = False  # prompts are messages of a user, as the chat template has them
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
    ) -> "TextWriter":
        """A causal LM of Transformers, with its draft head or that of the folder `draft`.

        Raises InputError if a part is missing, damaged or belongs to another model.
        """
        place = resolve_device(device)
        with float32_on_cpu():
            text_lm = TextLM.load(model, draft)
        text_lm = text_lm.to(place)
        tokenizer = load_text_tokenizer(model)
        read = [DraftVocabulary.load(path).check(tokenizer) for path in vocabularies]
        if read and text_lm.draft is None:
            raise InputError(
                f"draft vocabulary: model '{model}' has no draft head; leave it out",
                code="conflict",
            )
        if chat and not tokenizer.chat_template:
            raise InputError(
                f"chat: model '{model}' has no chat template; leave --chat out", code="missing"
            )
        if place.type == "cpu":
            optimize_for_inference(text_lm, int8=False)
        return cls(text_lm, tokenizer, chat, read)

    def write(
        self,
        asks: Iterable[GenerationRequest],
        sampler: Sampler,
        *,
        max_tokens: int = 128,
        batch_size: int = 1,
        strategy: DecodeStrategy | None = None,
    ) -> Iterator[tuple[int, Written]]:
        """The number of every ask and what follows it, as they finish, `batch_size` at a time.

        Raises InputError for a prompt that is empty or too long, or drafts that cannot be made.
        """
        asked = [(self.read(ask), ask.seed) for ask in asks]
        groups: dict[int | None, list[int]] = {}
        for number, (ids, _) in enumerate(asked):
            groups.setdefault(choose(self.vocabularies, ids), []).append(number)
        for chosen, numbers in groups.items():
            model = self.model
            if chosen is not None:
                model = model.with_draft_vocabulary(self.vocabularies[chosen].ids.to(model.device))
            prompts = [self.prompt(*asked[number], sampler, max_tokens) for number in numbers]
            events = generate(model, prompts, batch_size, strategy)
            for row, made in collect_utterances(events, model.layout):
                ids = made.codes[0].tolist()
                ended = ids[-1:] and ids[-1] in model.layout.end_tokens  # by a second one
                ids = ids[:-1] if ended else ids
                text = self.tokenizer.decode(ids, skip_special_tokens=True)
                number = numbers[row]
                truncated = made.truncated and not ended
                yield number, Written(text, ids, asked[number][0], truncated)

    def read(self, ask: GenerationRequest) -> list[int]:
        """The tokens of a prompt. Raises InputError if there is none."""
        if ask.ids is not None:
            ids = list(ask.ids)
        elif self.chat:
            message = [{"role": "user", "content": ask.text}]
            ids = self.tokenizer.apply_chat_template(
                message, add_generation_prompt=True, return_dict=True
            )["input_ids"]
        else:
            ids = self.tokenizer(ask.text)["input_ids"]
        if not ids and self.tokenizer.bos_token_id is not None:
            ids = [self.tokenizer.bos_token_id]
        if not ids:
            raise InputError("text '': is empty; give the model a word to begin with", code="empty")
        return ids

    def prompt(self, ids: list[int], seed: int, sampler: Sampler, max_tokens: int) -> Prompt:
        """What makes the model go on with `ids`. Raises InputError if they are too many."""
        return Prompt([Text(ids)], sampler, seed, self._limit(ids, max_tokens))

    def _limit(self, ids: list[int], max_tokens: int) -> int:
        """Most tokens to write after `ids`, within what the model has positions for."""
        most = getattr(self.model.backbone.config, "max_position_embeddings", None)
        if most is None:
            return max_tokens
        room = most - len(ids) - SPARE
        if room < 1:
            raise InputError(
                f"text of {len(ids)} tokens: the model has {most} positions; give a shorter one",
                code="wrong_length",
            )
        return min(max_tokens, room)

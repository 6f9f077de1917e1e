"""A chat model of Transformers, from a local folder."""

import os
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from vocalmtp.chat.answer_stream import AnswerError, AnswerSink
from vocalmtp.chat.history import Message
from vocalmtp.chat.llm import LLMS
from vocalmtp.engines.device import resolve_device
from vocalmtp.engines.threads import iterate_with_threads
from vocalmtp.errors import InputError
from vocalmtp.fetch.cards import local_folder
from vocalmtp.hub import load_pretrained
from vocalmtp.io.progress import quiet
from vocalmtp.text.thinking import TAGS, THINK, ThoughtFilter, limit_thoughts

PLAIN_TEMPLATE = (  # of models without one
    "{% for m in messages %}{{ m.role.capitalize() }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
PLAIN_END = "\nUser:"  # ends the answer of such a model
THREADS = max(1, (os.cpu_count() or 1) // 2)  # of torch, for the tokens of an answer
LEAST_ROOM = 64  # tokens of an answer for which turns are dropped, and thoughts are ended


class TransformersChat:
    """A chat model that samples as its generation config specifies.

    Args:
        folder: the model and its tokenizer; without a chat template, prompts are plain text.
        device: torch device of the model.
        max_tokens: of an answer, thoughts included.
        loaded: the model, if it is loaded already; `folder` then has its tokenizer.

    Raises:
        InputError: the folder does not hold such a model, or the device is not usable.

    """

    def __init__(
        self,
        folder: Path | str,
        device: str = "cpu",
        max_tokens: int = 400,
        loaded: Any = None,
    ):
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from vocalmtp.chat.drafting import load_drafter
        from vocalmtp.chat.generation import LocalGenerator
        from vocalmtp.models.checkpoint import HALF, stored_dtype

        place = resolve_device(device)
        with quiet():
            self._tokenizer = load_pretrained(AutoTokenizer, folder, "llm")
        self.name = Path(folder).resolve().name
        self._end = ""  # text that ends an answer
        if not self._tokenizer.chat_template:
            self.name += " (no chat template: plain prompts)"
            self._tokenizer.chat_template, self._end = PLAIN_TEMPLATE, PLAIN_END
        settings = {"dtype": "float32"} if place.type == "cpu" else {}
        model, drafter, half = loaded, None, True
        if loaded is None:
            with quiet():
                model = load_pretrained(AutoModelForCausalLM, folder, "llm", **settings)
        generation = model.generation_config
        ends = generation.eos_token_id
        self._ends = set(ends if isinstance(ends, list) else [ends]) - {None}
        self._positions: int | None = getattr(model.config, "max_position_embeddings", None)
        self._max_tokens = max_tokens
        vocabulary = self._tokenizer.get_vocab()
        self._tags = {vocabulary[tag]: tag for tag in TAGS if tag in vocabulary}
        model = model.eval().to(place)
        if loaded is None:
            drafter = load_drafter(model, Path(folder))
            half = stored_dtype(folder) in HALF
        self._generator = LocalGenerator(model, drafter, half)

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text."""
        return len(self._encode(text))

    def prepare(self, system: str) -> None:
        """Run a system prompt, so that the first answers do not wait for it."""
        if system:
            messages = [Message("system", system), Message("user", "")]
            self._generator.prepare(self._encode(self.prompt(messages))[: self._positions])

    def write(self, messages: list[Message], out: AnswerSink) -> Iterator[str]:
        """Yield the answer to `messages`, see `LLM`."""
        prompt, ids, limit = self._fit(messages)
        opened = prompt.rstrip().endswith(THINK)
        stop, written = threading.Event(), False

        def reply(beginning: str) -> Generator[str, None, None]:
            own = self._encode(prompt + beginning) if beginning else ids
            most = min(LEAST_ROOM, self._room(own)) if beginning else limit
            # Speech is synthesized meanwhile, by another thread of this process.
            tokens = iterate_with_threads(self._generator.tokens(own, self._ends, most), THREADS)
            return self._until_end(self._pieces(tokens, stop))

        limited = limit_thoughts(reply, out.think_seconds, opened)
        with out.on_cancel(stop.set):
            for piece in ThoughtFilter(opened).filter(limited, on_thought=out.thought):
                written = True
                yield piece
        if not written:
            raise AnswerError(f"{self.name} wrote no answer", "llm_failed")

    def prompt(self, messages: list[Message]) -> str:
        """Apply the chat template; without a system role, the first message has its text."""
        from jinja2 import TemplateError

        chat = [{"role": message.role, "content": message.content} for message in messages]
        try:
            return self._apply_template(chat)
        except TemplateError:
            if chat[0]["role"] != "system" or len(chat) < 2:
                raise
            system, first, *others = chat
            first = first | {"content": f"{system['content']}\n\n{first['content']}"}
            return self._apply_template([first, *others])

    def _apply_template(self, chat: list[dict[str, str]]) -> str:
        text: str = self._tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, tokenize=False
        )
        return text

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def _fit(self, messages: list[Message]) -> tuple[str, list[int], int]:
        """The prompt, its tokens and those left for the answer; without turns that do not fit."""
        messages = list(messages)
        while True:
            prompt = self.prompt(messages)
            ids, limit = self._encode(prompt), self._max_tokens
            room = self._room(ids)
            if room >= min(LEAST_ROOM, limit):
                return prompt, ids, min(limit, room)
            oldest = 1 if messages[0].role == "system" else 0
            if len(messages) - oldest < 2:
                raise AnswerError(f"the question is too long for {self.name}", "llm_failed")
            del messages[oldest]

    def _room(self, ids: list[int]) -> int:
        """Tokens that may follow `ids`."""
        return self._max_tokens if self._positions is None else self._positions - len(ids)

    def _pieces(self, tokens: Iterator[int], stop: threading.Event) -> Iterator[str]:
        """Yield the text of tokens, word by word, until `stop` is set."""
        from transformers import TextStreamer

        ready: list[str] = []
        streamer: Any = TextStreamer(self._tokenizer, skip_special_tokens=True)
        streamer.on_finalized_text = lambda text, stream_end=False: ready.append(text)
        for token in tokens:
            if stop.is_set():
                return
            if tag := self._tags.get(token):  # which may be special
                streamer.end()
                ready.append(tag)
            else:
                streamer.put(_array(token))
            yield from filter(None, ready)
            ready.clear()
        streamer.end()
        yield from filter(None, ready)

    def _until_end(self, pieces: Iterator[str]) -> Generator[str, None, None]:
        """Yield an answer up to the text that ends it; what may be its beginning is held back."""
        text = ""
        for piece in pieces:
            text += piece
            if self._end and self._end in text:
                yield text.partition(self._end)[0]
                return
            held = next(
                (n for n in range(len(self._end), 0, -1) if text.endswith(self._end[:n])), 0
            )
            yield text[: len(text) - held]
            text = text[len(text) - held :]
        yield text


def _array(token: int) -> Any:
    """A token as Transformers' streamers take it: [1]."""
    import torch

    return torch.tensor([token])


@LLMS.register("transformers")
def load_chat_model(
    folder: str | None = None, model: str | None = None, device: str = "cpu"
) -> TransformersChat:
    """Load the chat model in `folder`; raises InputError if there is none."""
    if model is not None:
        raise InputError(
            f"llm-model '{model}': is for an endpoint, and '{folder}' is a folder", code="conflict"
        )
    if folder is None:
        raise InputError(
            "llm 'transformers': needs a folder; give transformers=FOLDER", code="missing"
        )
    return TransformersChat(local_folder(folder, "llm") or folder, device)

"""A chat model of Transformers, from a local folder."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from vocalmtp.chat.answer_stream import AnswerError, AnswerSink
from vocalmtp.chat.history import Message
from vocalmtp.chat.llm import LLMS
from vocalmtp.engines.device import resolve_device
from vocalmtp.errors import InputError
from vocalmtp.hub import load_pretrained
from vocalmtp.text.thinking import THINK, ThoughtFilter

if TYPE_CHECKING:
    import torch
    from transformers import TextIteratorStreamer


class TransformersChat:
    """A chat model that samples as its generation config specifies.

    Args:
        folder: the model and its tokenizer, which has a chat template.
        device: torch device of the model.
        max_tokens: of an answer, thoughts included.

    Raises:
        InputError: the folder does not hold such a model, or the device is not usable.

    """

    def __init__(self, folder: Path | str, device: str = "cpu", max_tokens: int = 400):
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._tokenizer = load_pretrained(AutoTokenizer, folder, "llm")
        self._model = load_pretrained(AutoModelForCausalLM, folder, "llm").eval()
        if not self._tokenizer.chat_template:
            raise InputError(
                f"llm '{folder}': has no chat template; give a model made for chat", code="missing"
            )
        self._model.to(resolve_device(device))
        self._max_tokens = max_tokens
        self.name = Path(folder).resolve().name

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text."""
        return len(self._tokenizer(text, add_special_tokens=False).input_ids)

    def write(self, messages: list[Message], out: AnswerSink) -> Iterator[str]:
        """Yield the answer to `messages`, see `LLM`."""
        from transformers import TextIteratorStreamer

        prompt = self.prompt(messages)
        thoughts = ThoughtFilter(opened=prompt.rstrip().endswith(THINK))
        pieces = TextIteratorStreamer(self._tokenizer, skip_prompt=True, skip_special_tokens=True)
        stop = threading.Event()
        errors: list[Exception] = []
        arguments = (prompt, pieces, stop, errors)
        thread = threading.Thread(target=self._generate, args=arguments, daemon=True)
        written = False
        with out.on_cancel(stop.set):
            thread.start()
            try:
                for piece in thoughts.filter(pieces):
                    written = True
                    yield piece
            finally:
                stop.set()  # also if the reader has abandoned this generator
                thread.join()
        if errors:
            raise errors[0]
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

    def _generate(
        self,
        prompt: str,
        pieces: "TextIteratorStreamer",
        stop: threading.Event,
        errors: list[Exception],
    ) -> None:
        """Generate the answer into `pieces`, in a thread; append an exception to `errors`."""
        import torch

        def stopped(ids: "torch.Tensor", _scores: object, **_: object) -> "torch.Tensor":
            return torch.full((len(ids),), stop.is_set(), device=ids.device)  # [B]

        try:
            inputs = self._tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
            self._model.generate(
                **inputs.to(self._model.device),
                max_new_tokens=self._max_tokens,
                streamer=pieces,
                stopping_criteria=[stopped],
            )
        except Exception as error:
            errors.append(error)
            pieces.end()


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
    return TransformersChat(folder, device)

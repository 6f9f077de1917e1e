"""A chat model of Transformers in a folder."""

import threading
from collections.abc import Iterator
from pathlib import Path

from vocalmtp.chat.answer import AnswerSink
from vocalmtp.chat.history import Message
from vocalmtp.chat.llm import LLMS, without_thoughts
from vocalmtp.engines.device import resolve_device
from vocalmtp.errors import InputError
from vocalmtp.hub import load_pretrained


@LLMS.register("transformers")
def load_chat_model(
    folder: str | None = None, model: str | None = None, device: str = "cpu"
) -> "TransformersChat":
    """Return the chat model in `folder`; raises InputError unless it is alone and there."""
    if model is not None:
        raise InputError(
            f"llm-model '{model}': is for an endpoint, and '{folder}' is a folder", code="conflict"
        )
    if folder is None:
        raise InputError(
            "llm 'transformers': needs a folder; give transformers=FOLDER", code="missing"
        )
    return TransformersChat(folder, device)


class TransformersChat:
    """Writes with the model in `folder`, sampling as its generation config says.

    Raises InputError if there is none, or it has no chat template.
    """

    def __init__(self, folder: Path | str, device: str = "cpu", max_tokens: int = 400):
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._tokenizer = load_pretrained(AutoTokenizer, folder, "llm")
        self._model = load_pretrained(AutoModelForCausalLM, folder, "llm").eval()
        self._model.to(resolve_device(device))
        if not self._tokenizer.chat_template:
            raise InputError(
                f"llm '{folder}': has no chat template; give a model made for chat", code="missing"
            )
        self._max_tokens = max_tokens
        self.name = Path(folder).resolve().name

    def count_tokens(self, text: str) -> int:
        return len(self._tokenizer(text, add_special_tokens=False).input_ids)

    def write(self, messages: list[Message], out: AnswerSink) -> Iterator[str]:
        from transformers import TextIteratorStreamer

        pieces = TextIteratorStreamer(self._tokenizer, skip_prompt=True, skip_special_tokens=True)
        stop = threading.Event()
        wrong: list[Exception] = []
        arguments = (messages, pieces, stop, wrong)
        with out.on_cancel(stop.set):
            threading.Thread(target=self._generate, args=arguments, daemon=True).start()
            try:
                yield from without_thoughts(pieces)
            finally:
                stop.set()  # who reads no further wants no more
        if wrong:
            raise wrong[0]

    def _generate(
        self,
        messages: list[Message],
        pieces: Iterator[str],
        stop: threading.Event,
        wrong: list[Exception],
    ) -> None:
        """In a thread: let `pieces` have the answer; what goes wrong is put into `wrong`."""
        import torch

        def stopped(ids: torch.Tensor, _scores: object, **_: object) -> torch.Tensor:
            return torch.full((len(ids),), stop.is_set(), device=ids.device)  # [B]

        try:
            inputs = self._prompt(messages).to(self._model.device)
            self._model.generate(
                **inputs,
                max_new_tokens=self._max_tokens,
                streamer=pieces,
                stopping_criteria=[stopped],
            )
        except Exception as error:  # raised again by `write`
            wrong.append(error)
            pieces.end()

    def _prompt(self, messages: list[Message]):
        """The token ids of the messages; a template that knows no system is told in the first."""
        from jinja2 import TemplateError

        chat = [{"role": message.role, "content": message.content} for message in messages]
        options = {"add_generation_prompt": True, "return_tensors": "pt", "return_dict": True}
        try:
            return self._tokenizer.apply_chat_template(chat, **options)
        except TemplateError:
            if chat[0]["role"] != "system" or len(chat) < 2:
                raise
            system, first, *others = chat
            first = first | {"content": f"{system['content']}\n\n{first['content']}"}
            return self._tokenizer.apply_chat_template([first, *others], **options)

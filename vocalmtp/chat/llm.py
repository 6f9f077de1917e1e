"""Language models that write answers: their interface and registry.

A new one is one file in this package, whose factory is decorated with `@LLMS.register("name")`.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from vocalmtp.chat.answer_stream import AnswerSink
from vocalmtp.chat.history import Message
from vocalmtp.config import Registry, split_spec
from vocalmtp.errors import InputError, nearest
from vocalmtp.fetch.cards import local_folder


class LLM(Protocol):
    """A language model that answers in text, for any number of conversations at a time."""

    name: str

    def write(self, messages: list[Message], out: AnswerSink) -> Iterator[str]:
        """Yield the answer to `messages` in pieces, without thoughts.

        Args:
            messages: the conversation, which ends with a message of the user or a tool, or is the
                system prompt alone.
            out: only its attributes, `thought`, `on_cancel` and `call` are for the language model.

        Raises:
            AnswerError: the answer cannot be written.

        """
        ...

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text."""
        ...

    def prepare(self, system: str) -> None:
        """Do what the first answer after a system prompt would otherwise wait for."""


# Factories take the ARGUMENT of NAME=ARGUMENT, if there is one, and `model` and `device`.
LLMS: Registry[Callable[..., LLM]] = Registry("llm", "vocalmtp.chat")


@LLMS.register("echo")
class Echo:
    """Repeats the user's last message: for trying out audio devices, recognizer and voice."""

    name = "echo"

    def __init__(self, argument: str | None = None, model: str | None = None, device: str = "cpu"):
        if argument is not None or model is not None:
            raise InputError(
                f"llm-model '{model or argument}': an echo has no model; give --llm URL",
                code="conflict",
            )

    def write(self, messages: list[Message], out: AnswerSink) -> Iterator[str]:
        """Yield the text of the last message, unless it is the system prompt."""
        if messages[-1].role != "system":
            yield messages[-1].text

    def count_tokens(self, text: str) -> int:
        """Return the number of words."""
        return len(text.split())

    def prepare(self, system: str) -> None:
        """Do nothing: an echo needs no preparation."""


def build_llm(spec: str | None = None, model: str | None = None, device: str = "cpu") -> LLM:
    """Return the language model that `spec` names.

    Args:
        spec: NAME or NAME=ARGUMENT of a registered language model, the URL of an OpenAI-compatible
            endpoint, the folder of a chat model of Transformers, or its name in 'vocalmtp get'; an
            echo if None.
        model: the name of the model at the endpoint.
        device: torch device of a model in a folder.

    Raises:
        InputError: there is no such language model, or it cannot be loaded.

    """
    spec = spec or "echo"
    if split_spec(spec)[0] not in LLMS:
        if "://" in spec:
            spec = f"openai={spec}"
        elif folder := local_folder(spec, "llm"):
            spec = f"transformers={folder}"
        else:
            raise InputError(
                f"llm '{spec}': no such folder; give that of a chat model, a name from 'vocalmtp get', "
                f"http://HOST:PORT/v1, or {nearest(spec, LLMS)}",
                code="not_found",
            )
    llm: LLM = LLMS.create(spec, model=model, device=device)
    return llm

"""Who writes the answers: an echo, a language model behind an address, or one in a folder."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from vocalmtp.chat.answer import LLM, AnswerSink
from vocalmtp.chat.history import Message
from vocalmtp.config import Registry, split_spec
from vocalmtp.errors import InputError, nearest

LLMS: Registry[Callable[..., LLM]] = Registry("llm", "vocalmtp.chat")
THOUGHTS = ("<think>", "</think>")


@LLMS.register("echo")
class Echo:
    """Says again what it was told: for trying the microphone and the voice."""

    name = "echo"

    def __init__(self, argument: str | None = None, model: str | None = None, device: str = "cpu"):
        if argument is not None or model is not None:
            raise InputError(
                f"llm-model '{model or argument}': an echo has no model; give --llm URL",
                code="conflict",
            )

    def write(self, messages: list[Message], out: AnswerSink) -> Iterator[str]:
        yield messages[-1].text

    def count_tokens(self, text: str) -> int:
        return len(text.split())


def build_llm(spec: str | None = None, model: str | None = None, device: str = "cpu") -> LLM:
    """Return the language model that `spec` names.

    Args:
        spec: NAME or NAME=ARGUMENT of a registered language model, the URL of an OpenAI-compatible
            endpoint, or the folder of a chat model of Transformers; an echo if None.
        model: the name of the model at the endpoint.
        device: torch device of a model in a folder.

    Raises:
        InputError: there is no such language model, or it cannot be loaded.
    """
    spec = spec or "echo"
    if split_spec(spec)[0] not in LLMS:
        if "://" in spec:
            spec = f"openai={spec}"
        elif Path(spec).is_dir():
            spec = f"transformers={spec}"
        else:
            raise InputError(
                f"llm '{spec}': no such folder; give that of a chat model, or http://HOST:PORT/v1, "
                f"or {nearest(spec, LLMS)}",
                code="not_found",
            )
    llm: LLM = LLMS.create(spec, model=model, device=device)
    return llm


def without_thoughts(pieces: Iterable[str]) -> Iterator[str]:
    """A text in pieces, without what is between <think> and </think>: thoughts are not said."""
    held, thinking = "", False
    for piece in pieces:
        held += piece
        while (place := held.find(tag := THOUGHTS[thinking])) >= 0:
            if not thinking:
                yield held[:place]
            held, thinking = held[place + len(tag) :], not thinking
        begun = next(n for n in range(len(tag) - 1, -1, -1) if tag[:n] == held[len(held) - n :])
        if not thinking:
            yield held[: len(held) - begun]
        held = held[len(held) - begun :]
    if not thinking:
        yield held

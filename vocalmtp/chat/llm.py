"""Who writes the answers: an echo, a language model behind an address, or one in a folder."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from vocalmtp.chat.answer import LLM, AnswerSink
from vocalmtp.chat.history import Message
from vocalmtp.errors import InputError

THOUGHTS = ("<think>", "</think>")


class Echo:
    """Says again what it was told: for trying the microphone and the voice."""

    name = "echo"

    def write(self, messages: list[Message], out: AnswerSink) -> Iterator[str]:
        yield messages[-1].text

    def count_tokens(self, text: str) -> int:
        return len(text.split())


def find_writer(llm: str | None = None, llm_model: str | None = None, device: str = "cpu") -> LLM:
    """Who writes the answers.

    `llm` is the address of an OpenAI-compatible endpoint, whose `llm_model` is asked, or the folder
    of a chat model of Transformers; an echo if None.

    Raises InputError if there is no such thing.
    """
    if llm is None:
        if llm_model is not None:
            raise InputError(
                f"llm-model '{llm_model}': belongs to an address; give --llm URL", code="conflict"
            )
        return Echo()
    if "://" in llm:
        from vocalmtp.chat.openai_chat import OpenAIChat

        if llm_model is None:
            raise InputError(
                f"llm '{llm}': which model to ask is missing; give --llm-model NAME", code="missing"
            )
        return OpenAIChat(llm, llm_model)
    if llm_model is not None:
        raise InputError(
            f"llm-model '{llm_model}': belongs to an address, and '{llm}' is a folder",
            code="conflict",
        )
    if not Path(llm).is_dir():
        raise InputError(
            f"llm '{llm}': no such folder; give that of a chat model, or http://HOST:PORT/v1",
            code="not_found",
        )
    from vocalmtp.chat.transformers_chat import TransformersChat

    return TransformersChat(llm, device)


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

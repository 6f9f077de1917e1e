"""Solver, thinker and critic behind an OpenAI-compatible endpoint, for those who have one."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

from agents import AGENTS, CRITICS, Attempt, read_attempt
from vocalmtp.chat.answer_stream import AnswerError, AnswerSink, TextSink
from vocalmtp.chat.history import Message
from vocalmtp.chat.openai_chat import OpenAIChat, open_endpoint
from vocalmtp.errors import InputError
from vocalmtp.text.thinking import END_THINK

SOLVE = "Answer at once, without steps. Write the answer alone between <answer> and </answer>."
THINK_FIRST = (
    "Think step by step between <think> and </think>. Then write the answer alone between <answer> "
    "and </answer>."
)
CRITICIZE = (
    "A student has worked out a question. Answer yes if every step is right and needed, and the "
    "answer follows from them; else answer no."
)
WORKERS = 8  # requests at a time
MAX_CHARS = 20_000


def write(llm: OpenAIChat, system: str, text: str) -> str:
    """Return the reply to a text, with its thoughts; "" if the endpoint fails at it.

    Raises:
        InputError: the endpoint cannot be reached.

    """
    sink = cast(AnswerSink, TextSink(MAX_CHARS, live=False))
    try:
        return "".join(llm.reply([Message("system", system), Message("user", text)], sink))
    except AnswerError as error:
        if error.code == "llm_unreachable":
            raise InputError(
                f"agent: {error}; start it, or give local=FOLDER", code="unusable"
            ) from error
        return ""


@AGENTS.register("endpoint")
class EndpointAgent:
    """A model behind an endpoint, which is sampled with the settings of its server.

    Args:
        url: such as http://localhost:8000/v1.
        thinks: whether it is to think.
        model: its name there.

    Raises:
        InputError: the address or the name is missing or invalid.

    """

    def __init__(self, url: str | None = None, thinks: bool = False, model: str | None = None):
        self.llm = open_endpoint(url, model)
        self.thinks = thinks

    def attempt(self, questions: Sequence[str], count: int, seed: int) -> list[list[Attempt]]:
        """Reply to each question, see `Agent`; the seed is that of the server."""
        repeated = [question for question in questions for _ in range(count)]
        with ThreadPoolExecutor(WORKERS) as pool:
            attempts = list(pool.map(self.reply, repeated))
        return [attempts[start : start + count] for start in range(0, len(attempts), count)]

    def reply(self, question: str) -> Attempt:
        """Reply to a question once."""
        reply = write(self.llm, THINK_FIRST if self.thinks else SOLVE, question)
        return read_attempt(reply, self.thinks)


@CRITICS.register("endpoint")
class EndpointCritic:
    """A critic behind an endpoint; the arguments are those of `EndpointAgent`."""

    def __init__(self, url: str | None = None, model: str | None = None):
        self.llm = open_endpoint(url, model)

    def __call__(self, question: str, attempt: Attempt) -> bool:
        """Say whether to keep the thoughts of a reply."""
        if not attempt.thoughts:
            return False
        text = f"Question: {question}\n\nSteps: {attempt.thoughts}\n\nAnswer: {attempt.answer}"
        reply = write(self.llm, CRITICIZE, text).rpartition(END_THINK)[2]
        return reply.strip().lower().startswith("yes")

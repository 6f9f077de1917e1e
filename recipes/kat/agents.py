"""Dual-regime data: questions answered with and without thinking, by agents over any language model.

A solver answers at once and a thinker after thinking, several times each; a critic decides which of the
thinker's replies are kept. The pass rates, by the answer that is known or by that of the majority, say
whether a question needs thinking (KAT-style; the paper publishes no thresholds).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from arithmetic import GAP
from vocalmtp.config import Registry
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.text_generation import GenerationRequest, TextGenerator
from vocalmtp.errors import InputError
from vocalmtp.text.thinking import (
    ANSWER,
    END_ANSWER,
    END_THINK,
    THINK,
    Mode,
    Reply,
    format_reply,
)

RATIONALES: dict[Mode, str] = {"on": "many steps", "off": "single step"}
INTENTS: dict[Mode, str] = {"on": "think carefully", "off": "answer briefly"}
AS_ASKED = "as asked"  # the rationale if the user says how much to think


@dataclass(frozen=True)
class Attempt:
    """A reply to a question."""

    thoughts: str
    answer: str


class Agent(Protocol):
    """Replies to questions."""

    def attempt(self, questions: Sequence[str], count: int, seed: int) -> list[list[Attempt]]:
        """Reply to each question `count` times; an attempt may have no answer."""
        ...


Critic = Callable[[str, Attempt], bool]  # of a question and a reply: whether to keep its thoughts


# Factories take the ARGUMENT of NAME=ARGUMENT, `thinks` and `model`, a name at an endpoint or None.
AGENTS: Registry[Callable[..., Agent]] = Registry("agent")
# Factories take ARGUMENT and `model` alike.
CRITICS: Registry[Callable[..., Critic]] = Registry("critic")


class LocalAgent:
    """A language model of this machine that was trained on the textbook.

    Args:
        generator: the model.
        thinks: whether it is to think.
        greedy: whether its replies are the most probable ones; else they are sampled.

    """

    max_tokens = 96
    batch_size = 64

    def __init__(self, generator: TextGenerator, thinks: bool, greedy: bool = False):
        self.generator, self.thinks = generator, thinks
        self.sampler = Sampler(greedy=greedy, temperature=1.0)

    def attempt(self, questions: Sequence[str], count: int, seed: int) -> list[list[Attempt]]:
        """Reply to each question, see `Agent`."""
        opening = THINK if self.thinks else ANSWER
        filler = "step " * GAP  # as in the textbook
        requests = [
            GenerationRequest(
                text=f"{question} {filler}{opening}", seed=seed + 1000 * number + take
            )
            for number, question in enumerate(questions)
            for take in range(count)
        ]
        made = self.generator.generate(
            requests,
            self.sampler,
            max_tokens=self.max_tokens,
            batch_size=self.batch_size,
        )
        texts = {number: completion.text for number, completion in made}
        attempts = [
            read_attempt(f"{opening}{texts[number]}", self.thinks)
            for number in range(len(requests))
        ]
        return [attempts[start : start + count] for start in range(0, len(attempts), count)]


def read_attempt(text: str, thinks: bool) -> Attempt:
    """Read a reply: its thoughts if it was to think, and what it has between the answer's tags."""
    before, _, rest = text.rpartition(END_THINK) if thinks else ("", "", text)
    answer = rest.partition(ANSWER)[2].partition(END_ANSWER)[0]
    return Attempt(before.rpartition(THINK)[2].strip(), answer.strip().rstrip(".").strip())


@AGENTS.register("local")
def load_agent(folder: str | None = None, thinks: bool = False, model: str | None = None) -> Agent:
    """Load the model in a folder as an agent. Raises InputError if there is none."""
    if folder is None or model is not None:
        raise InputError(
            f"agent 'local={folder or ''}': needs a folder and no model; give local=FOLDER",
            code="missing",
        )
    return LocalAgent(TextGenerator.load(folder), thinks)


@CRITICS.register("last-step")
def build_last_step_critic(model: str | None = None) -> Critic:
    """Return a critic that compares the last step with the answer; it has no model."""
    return last_step_critic


def last_step_critic(question: str, attempt: Attempt) -> bool:
    """Keep thoughts whose last step is the answer."""
    return bool(attempt.answer) and attempt.thoughts.endswith(attempt.answer)


@dataclass(frozen=True)
class Tagged:
    """A question with its mode.

    Attributes:
        thoughts: verified ones; "" if there are none.
        rates: pass rates without and with thinking.

    """

    prompt: str
    answer: str
    mode: Mode
    thoughts: str
    rates: tuple[float, float]


def tag(
    prompt: str,
    answer: str | None,
    off: Sequence[Attempt],
    on: Sequence[Attempt],
    critic: Critic,
    margin: float,
) -> Tagged | None:
    """Decide by votes whether a question needs thinking.

    Args:
        prompt: the question.
        answer: the right answer; None if it is not known: then that of the majority.
        off: replies without thinking.
        on: replies with thinking.
        critic: says which thoughts may be kept.
        margin: by how much the pass rate without thinking may be lower.

    Returns:
        None if no reply that may be kept is right.

    """
    if answer is None:
        votes = Counter(attempt.answer for attempt in (*off, *on) if attempt.answer)
        if not votes:
            return None
        answer = votes.most_common(1)[0][0]
    rates = tuple(
        sum(attempt.answer == answer for attempt in attempts) / len(attempts)
        for attempts in (off, on)
    )
    verified = [a.thoughts for a in on if a.answer == answer and critic(prompt, a)]
    mode: Mode = "off" if rates[0] >= rates[1] - margin else "on"
    if (mode == "on" and not verified) or (mode == "off" and not rates[0]):
        return None
    shortest = min(verified, key=len) if verified else ""
    return Tagged(prompt, answer, mode, shortest, (rates[0], rates[1]))


def cold_start_rows(
    questions: Sequence[Tagged], intents: float, others: float, seed: int = 0
) -> list[dict[str, str]]:
    """Write replies in the template.

    Args:
        questions: with their modes; those that are to be answered after thinking need thoughts.
        intents: share of the questions that say how much to think.
        others: share of the questions that are answered in the mode that they do not need. Without
            them a model overlooks the token of the mode, and reinforcement has nothing to compare.
        seed: of the choice.

    """
    random, rows = Random(seed), []
    for question in questions:
        mode, prompt, share = question.mode, question.prompt, random.random()
        if share < intents:
            mode = random.choice(("on", "off")) if question.thoughts else "off"
        elif share < intents + others and question.thoughts:
            mode = "off" if mode == "on" else "on"
        judge = RATIONALES[mode]
        if share < intents:
            prompt, judge = f"{INTENTS[mode]} {prompt}", AS_ASKED
        reply = Reply(mode=mode, judge=judge, thoughts=question.thoughts, answer=question.answer)
        rows.append({"prompt": prompt, "answer": format_reply(reply)})
    return rows

"""Solver and thinker of this machine: any chat model of Transformers, such as smollm2-135m."""

from collections.abc import Sequence

from agents import AGENTS, Attempt, read_attempt
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.text_generation import GenerationRequest, TextGenerator
from vocalmtp.errors import InputError

# Solved problems, as small models do not follow instructions about tags.
EXAMPLES = (
    ("four plus three", "4+3=7", "7"),
    ("52 times 3", "2*3=6; 50*3=150; 150+6=156", "156"),
    ("2 plus 6 times 3 modulo 10", "2+6=8; 8*3=24; 24 modulo 10 is 4", "4"),
)
TASK = "Work from left to right."


class ChatAgent:
    """A chat model that is shown solved problems.

    Args:
        generator: the model, with `chat`.
        thinks: whether it is to think.

    """

    max_tokens = 80
    batch_size = 16

    def __init__(self, generator: TextGenerator, thinks: bool):
        self.generator, self.thinks = generator, thinks

    def attempt(self, questions: Sequence[str], count: int, seed: int) -> list[list[Attempt]]:
        """Reply to each question, see `agents.Agent`."""
        requests = [
            GenerationRequest(
                text="", ids=tuple(self.encode(question)), seed=seed + 1000 * number + take
            )
            for number, question in enumerate(questions)
            for take in range(count)
        ]
        made = self.generator.generate(
            requests,
            Sampler(temperature=0.7),
            max_tokens=self.max_tokens if self.thinks else 16,
            batch_size=self.batch_size,
        )
        texts = {number: completion.text for number, completion in made}
        attempts = [read_attempt(texts[number], self.thinks) for number in range(len(requests))]
        return [attempts[start : start + count] for start in range(0, len(attempts), count)]

    def encode(self, question: str) -> list[int]:
        """Return the tokens of a prompt: the examples and a question."""
        messages = [{"role": "system", "content": TASK}]
        for asked, steps, answer in EXAMPLES:
            thoughts = f"<think>{steps}</think>" if self.thinks else ""
            messages.append({"role": "user", "content": asked})
            reply = f"{thoughts}<answer>{answer}</answer>"
            messages.append({"role": "assistant", "content": reply})
        messages.append({"role": "user", "content": question})
        ids: list[int] = self.generator.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=True
        )["input_ids"]
        return ids


@AGENTS.register("chat")
def load_chat_agent(
    name: str | None = None, thinks: bool = False, model: str | None = None
) -> ChatAgent:
    """Load a chat model by name or folder. Raises InputError if there is none."""
    if name is None or model is not None:
        raise InputError(
            f"agent 'chat={name or ''}': needs a name or folder and no model; "
            "give chat=smollm2-135m",
            code="missing",
        )
    return ChatAgent(TextGenerator.load(name, chat=True), thinks)

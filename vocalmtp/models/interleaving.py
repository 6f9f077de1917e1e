"""Answers whose text and speech alternate in one sequence: n tokens, m steps, n tokens and so on.

GLM-4-Voice (arXiv 2412.02612) has 13 : 26, LLaMA-Omni2 (arXiv 2505.02625) 3 : 10. Once the text is
over, the rest of the speech follows in one run. A position writes text or predicts a step by its place
alone, so that no token has to announce the change.
"""

from collections.abc import Iterator

from pydantic import Field

from vocalmtp.arrays import Array
from vocalmtp.config import StrictModel


class InterleaveConfig(StrictModel):
    """How the text and the speech of an answer alternate.

    The text should be ahead: its n tokens should be spoken in m steps or more.

    Attributes:
        text: n, the tokens of text before steps of speech.
        steps: m, the steps of speech before more text.

    """

    text: int = Field(ge=1)
    steps: int = Field(ge=1)

    def writes(self, written: Array, spoken: Array) -> Array:
        """Whether text is next after so many tokens and steps, while there is more of both."""
        return written < self.text * (spoken // self.steps + 1)

    def chunks(self, tokens: int, steps: int) -> Iterator[tuple[slice, slice]]:
        """Split so many tokens and steps into those of each turn, text first; the last are empty."""
        for turn in range(max(-(-tokens // self.text), -(-steps // self.steps))):
            yield (
                slice(turn * self.text, (turn + 1) * self.text),
                slice(turn * self.steps, (turn + 1) * self.steps),
            )

    def text_leads(self, tokens: int, steps: int) -> bool:
        """Whether all of so many tokens are written before the last of so many steps."""
        return bool(self.writes(tokens - 1, steps - 1))

"""Schema of recipes of reinforcement learning (`recipe: rl`)."""

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from vocalmtp.config import StrictModel
from vocalmtp.text.thinking import Mode

Algorithm = Literal["step-srpo", "grpo", "degrpo"]


class RLOptimRecipe(StrictModel):
    """Optimization; a step generates and learns from one batch of replies."""

    max_steps: int = Field(default=200, ge=1)
    max_seconds: float | None = None  # ends the run before max_steps, and saves
    learning_rate: float = Field(default=1e-5, gt=0)
    warmup_steps: int = Field(default=5, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    clip: float = Field(default=0.2, gt=0)  # of the probability ratio
    kl: float = Field(default=0.0, ge=0)  # weight of the divergence from the initial model
    seed: int = 0
    log_every: int = Field(default=10, ge=1)  # steps, as below
    save_every: int = Field(default=50, ge=1)


class RLRecipe(StrictModel):
    """Reinforcement learning of a model that was trained on the template of thinking.

    Rewards are of the answer alone: 1 if it is that of the question, 0 if not or if the reply breaks
    the template. `step-srpo` adds the reward of the decision; `grpo` and `degrpo` subtract
    `think_cost` from the reward of a right answer after thinking.
    """

    recipe: Literal["rl"] = "rl"
    questions: tuple[str, ...]  # .jsonl or .csv with the fields prompt and answer
    init: str  # name or folder of the model
    algorithm: Algorithm = "step-srpo"
    judge: bool = (
        True  # step-srpo: reward the decision; else its tokens have the answer's advantage
    )
    margin: float = Field(default=0.1, ge=0, lt=1)  # see vocalmtp/training/rl/advantages.py
    think_cost: float = Field(default=0.3, ge=0, lt=1)
    control_weight: float = Field(default=0.05, gt=0)  # degrpo: of the mode's token
    group_size: int = Field(default=8, ge=2)  # replies to a question
    forced: int = Field(default=2, ge=0)  # replies of a group that must think, and that must not
    rationales: dict[Mode, str] = {"on": "many steps", "off": "one step"}  # of forced replies
    questions_per_step: int = Field(default=8, ge=1)
    max_tokens: int = Field(default=128, ge=4)  # of a reply
    temperature: float = Field(default=1.0, gt=0)
    optim: RLOptimRecipe = RLOptimRecipe()
    device: str = "auto"  # CUDA if there is one, else the CPU
    output: str

    @model_validator(mode="after")
    def _check(self) -> Self:
        if 2 * self.forced > self.group_size:
            raise ValueError(
                f"forced {self.forced} of each mode are more than group_size {self.group_size}; "
                "lower forced"
            )
        if self.forced and set(self.rationales) != {"on", "off"}:
            raise ValueError("rationales needs a text for on and one for off, as forced is not 0")
        return self

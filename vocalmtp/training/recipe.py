"""What the YAML of a speech LM's run may say: its data (tasks.py), model and optimiser."""

from typing import Any, Literal

from pydantic import Field

from vocalmtp.config import StrictModel
from vocalmtp.models.prompts import TextMode
from vocalmtp.training.curriculum import Curriculum
from vocalmtp.training.distributed import Precision
from vocalmtp.training.tasks import DataRecipe


class ModelRecipe(StrictModel):
    """The model, see SpeechLMConfig; `backbone` is a configuration, `pretrained` a causal LM or
    a speech LM, of which only the backbone is taken.
    """

    backbone: dict[str, Any] | None = None
    pretrained: str | None = None
    shape: dict[str, Any] | None = None  # the configuration of `pretrained`, for --dry-run
    frames_per_step: int | tuple[int, ...] = 1  # several: an elastic model
    flat: bool = False
    text: TextMode = "track"
    head: dict[str, Any] = {"name": "parallel"}
    draft: dict[str, Any] = {}  # a draft head, see heads/draft.py
    objectives: dict[str, dict[str, Any]] = {}  # auxiliary losses, see model/objectives.py
    track: dict[str, Any] = {}
    audio_input: dict[str, Any] = {}  # ears, see model/hearing.py
    text_loss_weight: float = Field(default=1.0, ge=0)  # of all that is written
    speaker_every_step: bool = False
    speaker_dropout: float = Field(default=0.1, ge=0, le=1)
    step_dropout: float = Field(default=0.1, ge=0, le=1)
    loss_weights: dict[str, float] = {}


class OptimRecipe(StrictModel):
    """How to train; a step is one batch of about `batch_frames` codec frames."""

    max_steps: int = Field(default=10_000, ge=1)
    max_seconds: float | None = None  # stop cleanly after so long, and save
    batch_frames: int = Field(default=1600, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    warmup_steps: int = Field(default=200, ge=0)
    weight_decay: float = Field(default=0.01, ge=0)
    beta2: float = Field(default=0.98, gt=0, lt=1)
    clip: float = Field(default=1.0, gt=0)
    precision: Precision = "fp32"  # bf16: automatic mixed precision
    seed: int = 0
    trains: Literal["all", "draft"] = "all"  # "draft": all but the draft head stays as it is
    curriculum: Curriculum = "constant"  # of the draft head's states, see training/curriculum.py
    log_every: int = Field(default=50, ge=1)
    eval_every: int = Field(default=1000, ge=1)
    save_every: int = Field(default=1000, ge=1)


class SpeechLMRecipe(StrictModel):
    """A whole run: `vocalmtp train recipe.yaml`. The model is written to the folder `output`.

    Either `model` describes a new one, or `init` names the model to go on from; `draft` gives that
    one a draft head, or other settings to the one that it has, and `audio_input` gives it audio input.
    """

    recipe: Literal["speech_lm"] = "speech_lm"
    data: DataRecipe
    model: ModelRecipe | None = None
    init: str | None = None  # a model's name or folder
    draft: dict[str, Any] = {}
    audio_input: dict[str, Any] = {}
    optim: OptimRecipe = OptimRecipe()
    device: str = "auto"  # the accelerator if there is one, else the CPU
    output: str

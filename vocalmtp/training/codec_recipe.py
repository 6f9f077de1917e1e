"""What a training of the tokenizer is asked for."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_serializer, field_validator

from vocalmtp.config import StrictModel
from vocalmtp.errors import InputError
from vocalmtp.hub import DEFAULT_MODEL
from vocalmtp.tokenizers.base import Kind
from vocalmtp.tokenizers.neural import NeuralTokenizerConfig
from vocalmtp.training.loop import LoopRecipe


class Weights(StrictModel):
    """Weights of the losses, of which a kind has some.

    The leaks are gradient-reversed: more weight, less leaking.
    """

    spectral: float = 1.0
    pitch: float = 10.0
    phone: float = 0.3
    leak_pitch: float = 0.1
    leak_timbre: float = 0.1
    residual: float = 0.25
    adversarial: float = 0.1
    matching: float = 0.5


class TokenizerRecipe(LoopRecipe):
    """Training run of the tokenizer. `init` continues from a tokenizer's folder."""

    recipe: Literal["tokenizer"] = "tokenizer"
    corpus: Path
    voices: tuple[str, ...] = ()  # of the corpus; all if empty
    kind: Kind | None = None  # the same as model.kind
    model: NeuralTokenizerConfig = Field(default_factory=NeuralTokenizerConfig)
    timbre: str | None = None  # the tokenizer, by name or folder, that the vector is taken from
    init: Path | None = None
    train_only: str | None = None  # "decoder": the encoder stays, so that codes stay valid
    steps: int = Field(default=20_000, ge=1)
    batch_size: int = Field(default=10, ge=1)
    listen_seconds: float = 2.56  # what the encoder hears of an utterance
    decode_frames: int = 32  # codec frames that are decoded and judged
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup_steps: int = Field(default=200, ge=0)
    warp: float = (
        0.12  # content hears spectra stretched by up to this, so that it cannot hold timbre
    )
    discriminators_from: float = 0.2  # share of the run after which they join
    own_pitch_from: float = 0.5  # share after which the pulses follow the predicted F0
    average: float = 0.999  # decay of the averaged weights, which are what is saved
    weights: Weights = Field(default_factory=Weights)

    @field_validator("model")
    @classmethod
    def _of_one_kind(
        cls, model: NeuralTokenizerConfig, info: ValidationInfo
    ) -> NeuralTokenizerConfig:
        asked = info.data.get("kind")
        if asked not in (None, model.kind) and "kind" in model.model_fields_set:
            raise ValueError(f"the recipe's kind is '{asked}'; say only one of them")
        return model

    @field_serializer("model")
    def _with_kind(self, _: NeuralTokenizerConfig) -> dict[str, Any]:
        return self.config.model_dump(mode="json")

    @property
    def config(self) -> NeuralTokenizerConfig:
        """The model, of the kind that was asked for."""
        return self.model.model_copy(update={"kind": self.kind or self.model.kind})

    def check_kind(self, found: Kind) -> None:
        """Raise InputError if a kind was asked for that is not the one of `init`."""
        named = self.kind is not None or "kind" in self.model.model_fields_set
        if named and found != self.config.kind:
            raise InputError(
                f"init '{self.init}': is {found}, not {self.config.kind}; leave the kind out",
                code="invalid_value",
            )

    @property
    def voice_source(self) -> str | None:
        """Where what makes the vector is taken from; None: it is trained, or comes with `init`.

        Only a decoder that gets the vector can train it.
        """
        if self.timbre is None and self.init is None and self.config.kind != "decoupled":
            return DEFAULT_MODEL
        return self.timbre

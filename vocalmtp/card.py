"""What is used of a model's card.json; everything else in it is for people."""

from pydantic import ConfigDict, Field

from vocalmtp.config import StrictModel


class RecommendedSampling(StrictModel):
    """How the model speaks unless it is asked to otherwise."""

    temperature: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    top_k: int | None = Field(default=None, ge=1)
    top_p: float | None = Field(default=None, gt=0, le=1)
    greedy: bool | None = None


class ModelCard(StrictModel):
    """The card of a model's folder."""

    model_config = ConfigDict(extra="allow")

    name: str | None = None
    default_voice: str | None = None
    sampling: RecommendedSampling = RecommendedSampling()
    int8: bool = False

"""The card of a model, card.json: facts for users, and what is recommended for its use."""

from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from vocalmtp.config import StrictModel, parse
from vocalmtp.decoding.options import SpeakerConditioning
from vocalmtp.io.read import read_object


class RecommendedSampling(StrictModel):
    """Sampling options that apply unless a request gives others."""

    temperature: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    top_k: int | None = Field(default=None, ge=1)
    top_p: float | None = Field(default=None, gt=0, le=1)
    min_p: float | None = Field(default=None, gt=0, le=1)
    repetition_penalty: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    greedy: bool | None = None


class ModelCard(StrictModel):
    """The keys of card.json that are used; others are for readers."""

    model_config = ConfigDict(extra="allow")

    name: str | None = None
    default_voice: str | None = None
    voice_aliases: dict[str, str] = {}  # other names of voices, for clients of a server
    sampling: RecommendedSampling = RecommendedSampling()
    int8: bool = False  # whether int8 was measured to be as good
    speaker_conditioning: SpeakerConditioning = "both"


def read_card(folder: Path) -> dict[str, Any]:
    """Read `card.json` of a model: data, figures, licence, default voice, sampling.

    Returns:
        Its content; an empty dict if there is no such file.

    Raises:
        InputError: the file is no JSON object, or a key that is used has a wrong value.

    """
    path = folder / "card.json"
    if not path.is_file():
        return {}
    card = read_object(path, f"card '{path}'")
    parse(ModelCard, card, f"card '{path}'")
    return card

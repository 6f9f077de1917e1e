"""The catalogue: one YAML card per speech tokenizer, under `cards/`.

An card has the facts that codes are stamped with (`TokenizerSpec`) and those that people need:
licences, where the weights are, the paper.
"""

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, model_validator

from vocalmtp.config import StrictModel, load_yaml, parse
from vocalmtp.errors import InputError, nearest
from vocalmtp.tokenizers.base import Kind, Role, StreamSpec, TokenizerSpec

PACKAGED = Path(__file__).parent / "cards"  # in a wheel; an editable install reads the checkout
CARDS = PACKAGED if PACKAGED.is_dir() else Path(__file__).parents[2] / "tokenizers"
BUNDLED = "bundled"  # as `weights`: they came with this package, in the model of the same name


class StreamGroup(StrictModel):
    """One stream, or `count` alike: "rvq" of 3 is rvq1, rvq2, rvq3."""

    name: str
    size: int = Field(ge=1)
    role: Role
    count: int = Field(default=1, ge=1)
    levels: tuple[int, ...] = ()

    def stream_specs(self) -> list[StreamSpec]:
        """The streams of the group."""
        names = [self.name] if self.count == 1 else numbered(self.name, self.count)
        return [
            StreamSpec(name=name, size=self.size, role=self.role, levels=self.levels)
            for name in names
        ]


class Licences(StrictModel):
    """SPDX names of what is published, not of what we wrote.

    "not stated": it is published without one. "unconfirmed": what we read did not say.
    """

    code: str
    weights: str


class TokenizerCard(StrictModel):
    """One card file. A key that is unknown, or missing, is an error."""

    name: str
    type: str  # which of our classes, see `vocalmtp.tokenizers.TYPES`
    kind: Kind
    sample_rate: int = Field(ge=1)
    frame_rate: float = Field(gt=0, allow_inf_nan=False)  # codec frames per second
    streams: tuple[StreamGroup, ...] = Field(min_length=1)
    use: tuple[str, ...] = Field(min_length=1)  # the streams, or groups, for a speech LM
    speaker_dim: int = Field(default=0, ge=0)  # size of the timbre vector, 0 = none
    lookahead: float | None  # seconds of future that decoding needs; null = it cannot stream
    chunks: bool  # whether long audio is encoded piece by piece, into the same codes
    licence: Licences
    weights: str  # the published repository, or "bundled"
    files: tuple[str, ...] = ()  # of it, where they are converted before use
    decodes: bool = True  # false: there are codes but no audio, since the decoder is elsewhere
    paper: str
    notes: str = ""

    @model_validator(mode="after")
    def _use_names_streams(self) -> "TokenizerCard":
        known = {group.name for group in self.streams} | {spec.name for spec in self.stream_specs()}
        for name in self.use:
            if name not in known:
                raise ValueError(
                    f"stream '{name}' is not one of its streams; {nearest(name, known)}"
                )
        return self

    def stream_specs(self) -> tuple[StreamSpec, ...]:
        """The Q streams."""
        return tuple(spec for group in self.streams for spec in group.stream_specs())

    def used(self) -> tuple[str, ...]:
        """Names of the streams that a speech LM should use."""
        return tuple(
            spec.name
            for group in self.streams
            for spec in group.stream_specs()
            if group.name in self.use or spec.name in self.use
        )

    def spec(self, codes: str = "") -> TokenizerSpec:
        """What codes are stamped with; `codes` says which encoder's they are."""
        return TokenizerSpec(
            name=self.name,
            kind=self.kind,
            sample_rate=self.sample_rate,
            frame_rate=self.frame_rate,
            streams=self.stream_specs(),
            codes=codes,
            speaker_dim=self.speaker_dim,
            lookahead=self.lookahead,
            licence=self.licence.weights,
        )


def numbered(name: str, count: int) -> list[str]:
    """`count` names: name1, name2, ..."""
    return [f"{name}{place + 1}" for place in range(count)]


def load_card(path: Path) -> TokenizerCard:
    """The card in a card file. Raises InputError unless every key is there and known."""
    return parse(TokenizerCard, load_yaml(path), f"card '{path}'")


def save_card(card: TokenizerCard, path: Path) -> None:
    """Write a card file that `load_card` reads."""
    data = card.model_dump(mode="json", exclude_defaults=True)
    path.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")


@cache
def list_cards() -> dict[str, TokenizerCard]:
    """Every card of the catalogue by its name, in order. Raises InputError for a bad card."""
    cards = {}
    for path in sorted(CARDS.glob("*.yaml"), key=_natural):
        card = load_card(path)
        if card.name != path.stem:
            raise InputError(
                f"card '{path}': its name is '{card.name}'; name it as the file",
                code="invalid_value",
            )
        cards[card.name] = card
    return cards


def find_card(name: str) -> TokenizerCard:
    """The card called `name`. Raises InputError, with the nearest name, if there is none."""
    cards = list_cards()
    if name not in cards:
        raise InputError(
            f"tokenizer '{name}': no such card; {nearest(name, cards)}", code="not_found"
        )
    return cards[name]


def _natural(path: Path) -> list[Any]:
    """Sorts "x-8" before "x-16"."""
    parts = path.stem.replace("_", "-").split("-")
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]

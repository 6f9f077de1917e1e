"""Tokenizer cards: one YAML file per speech tokenizer, in the top-level folder `tokenizers/`.

A card holds what a `TokenizerSpec` says of a tokenizer, and what people need to know: licences,
where the weights are published, the paper.
"""

from functools import cache
from pathlib import Path

import yaml
from pydantic import Field, model_validator
from typing_extensions import Self

from vocalmtp.config import StrictModel, load_yaml, parse
from vocalmtp.errors import InputError, nearest
from vocalmtp.tokenizers.spec import Kind, Role, StreamSpec, TokenizerSpec

PACKAGED = Path(__file__).parent / "cards"  # in a wheel; an editable install reads the checkout
CARDS = PACKAGED if PACKAGED.is_dir() else Path(__file__).parents[2] / "tokenizers"
BUNDLED = "bundled"  # as `weights`: they are in this package, in the model of the same name


class StreamGroup(StrictModel):
    """One stream, or `count` similar ones: "rvq" with count 3 is rvq1, rvq2, rvq3."""

    name: str
    size: int = Field(ge=1)
    role: Role
    count: int = Field(default=1, ge=1)
    levels: tuple[int, ...] = ()

    def stream_specs(self) -> list[StreamSpec]:
        """Return the streams of the group."""
        numbers = range(1, self.count + 1)
        names = [self.name] if self.count == 1 else [f"{self.name}{i}" for i in numbers]
        return [
            StreamSpec(name=name, size=self.size, role=self.role, levels=self.levels)
            for name in names
        ]


class Licences(StrictModel):
    """SPDX names of the licences of the published code and weights.

    "not stated": published without a licence. "unconfirmed": not found in the sources read.
    """

    code: str
    weights: str


class TokenizerCard(StrictModel):
    """Content of one card file. A key that is unknown, or missing, is an error."""

    name: str
    type: str  # class of the tokenizer, by its name in `vocalmtp.tokenizers.TOKENIZERS`
    kind: Kind
    sample_rate: int = Field(ge=1)  # of decoded audio
    encoder_sample_rate: int | None = Field(default=None, ge=1)  # None = sample_rate
    frame_rate: float = Field(gt=0, allow_inf_nan=False)  # codec frames per second
    streams: tuple[StreamGroup, ...] = Field(min_length=1)
    use: tuple[str, ...] = Field(min_length=1)  # the streams, or groups, for a speech LM
    speaker_dim: int = Field(default=0, ge=0)  # size of the speaker vector, 0 = none
    lookahead: float | None  # seconds of future that decoding needs; null = cannot stream
    chunks: bool  # whether long audio is encoded in chunks, with the codes of the whole
    licence: Licences
    weights: str  # the repository at huggingface.co, a recipe of ours, or "bundled"
    files: tuple[str, ...] = ()  # of the repository, where they are converted before use
    decodes: bool = True  # false: encoder only
    weights_seen: bool = False  # whether the published weights themselves were run with this code
    paper: str
    notes: str = ""

    @model_validator(mode="after")
    def _use_names_streams(self) -> Self:
        known = {group.name for group in self.streams} | {s.name for s in self.stream_specs()}
        for name in self.use:
            if name not in known:
                raise ValueError(
                    f"stream '{name}' is not one of its streams; {nearest(name, known)}"
                )
        return self

    def stream_specs(self) -> tuple[StreamSpec, ...]:
        """Return the Q streams."""
        return tuple(spec for group in self.streams for spec in group.stream_specs())

    def used_streams(self) -> tuple[str, ...]:
        """Return the names of the streams that a speech LM should use."""
        return tuple(
            spec.name
            for group in self.streams
            for spec in group.stream_specs()
            if group.name in self.use or spec.name in self.use
        )

    def spec(self, codes: str = "") -> TokenizerSpec:
        """Return the spec of a tokenizer of this card, with weights of the digest `codes`."""
        return TokenizerSpec(
            name=self.name,
            kind=self.kind,
            sample_rate=self.sample_rate,
            encoder_sample_rate=self.encoder_sample_rate,
            frame_rate=self.frame_rate,
            streams=self.stream_specs(),
            codes=codes,
            speaker_dim=self.speaker_dim,
            lookahead=self.lookahead,
            licence=self.licence.weights,
        )


def load_card(path: Path) -> TokenizerCard:
    """Read a card file. Raises InputError unless every key is there and known."""
    return parse(TokenizerCard, load_yaml(path), f"card '{path}'")


def save_card(card: TokenizerCard, path: Path) -> None:
    """Write a card file that `load_card` reads."""
    data = card.model_dump(mode="json", exclude_defaults=True)
    path.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")


@cache
def list_cards() -> dict[str, TokenizerCard]:
    """Return every card of the catalogue by its name, sorted. Raises InputError for a bad card."""
    cards = {}
    for path in sorted(CARDS.glob("*.yaml"), key=_natural_order):
        card = load_card(path)
        if card.name != path.stem:
            raise InputError(
                f"card '{path}': its name is '{card.name}'; name it like the file",
                code="invalid_value",
            )
        cards[card.name] = card
    return cards


def find_card(name: str) -> TokenizerCard:
    """Return the card called `name`. Raises InputError, with the nearest name, if there is none."""
    cards = list_cards()
    if name not in cards:
        raise InputError(
            f"tokenizer '{name}': no such card; {nearest(name, cards)}", code="not_found"
        )
    return cards[name]


def _natural_order(path: Path) -> list[tuple[int, int, str]]:
    """Return a key that sorts "x-8" before "x-16"."""
    parts = path.stem.replace("_", "-").split("-")
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]

"""Decoding options: the drafts, how they are accepted, their strategy; checks of other arguments."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from operator import index
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from vocalmtp.errors import InputError, nearest

if TYPE_CHECKING:
    from vocalmtp.decoding.statistics import DecodeStatistics
    from vocalmtp.decoding.strategies import DecodeStrategy
    from vocalmtp.decoding.tree import DraftTree
    from vocalmtp.models.speech_lm import SpeechLM

UNVERIFIED = "all"
ACCEPT = ("rejection", "joint", "seed", "typical", "near", UNVERIFIED)
# Options of a Sampler.
SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "greedy")
TOLERANT = ("typical", "near")
# Which parts get the speaker vector: the speech LM and the tokenizer's decoder, one of them, or none.
SpeakerConditioning = Literal["both", "lm", "decoder", "none"]
SPEAKER_CONDITIONINGS = get_args(SpeakerConditioning)


def given_sampling(options: object) -> dict[str, Any]:
    """Return the options of a Sampler among the fields of `options` that are neither None nor False."""
    values = {name: getattr(options, name, None) for name in SAMPLING}
    return {
        name: value for name, value in values.items() if value is not None and value is not False
    }


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How a model decodes, for all rows alike; how a row is sampled is its Sampler's matter.

    Attributes:
        drafts: steps that the model's draft head drafts after every step.
        accept: which drafts are accepted: a rule of `Speculative`, or "all" (`DraftOnly`), which is
            not lossless.
        tolerance: of the rules "typical" and "near"; None: their default.
        tree: a tree of drafts, whose depth is the number of drafts; it requires accept "seed", see
            `TreeSpeculative`.
        tokens_per_step: codec tokens per step of an elastic model (models/elastic.py); None: the
            most that it has.

    Raises:
        InputError: a value is invalid, or values exclude each other.

    """

    drafts: int = 0
    accept: str = "rejection"
    tolerance: float | None = None
    tree: "DraftTree | None" = None
    tokens_per_step: int | None = None

    def __post_init__(self) -> None:
        self._check_whole("drafts", least=0)
        if self.tokens_per_step is not None:
            self._check_whole("tokens_per_step", least=1)
        if self.tree is not None:
            self._check_tree(self.tree)
        if self.accept not in ACCEPT:
            raise InputError(
                f"accept '{self.accept}': unknown; {nearest(str(self.accept), ACCEPT)}",
                code="unknown_name",
            )
        if self.accept != Decoding.accept and not self.drafts:
            raise InputError(
                f"accept '{self.accept}': is for drafts; give their number (drafts)",
                code="conflict",
            )
        if self.tolerance is not None:
            self._check_tolerance(self.tolerance)

    def _check_whole(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise InputError(
                f"{name} '{value}': must be a whole number, {least} or more", code="invalid_value"
            )
        if value < least:
            raise InputError(f"{name} '{value}': must be {least} or more", code="out_of_range")

    def _check_tree(self, tree: "DraftTree") -> None:
        """Check the options beside a tree, and set `drafts` to its depth."""
        from vocalmtp.decoding.tree import DraftTree

        if not isinstance(tree, DraftTree):
            raise InputError(
                f"tree '{tree}': is a {type(tree).__name__}; give a DraftTree", code="invalid_value"
            )
        if self.drafts not in (0, tree.depth):
            raise InputError(
                f"drafts '{self.drafts}': the draft tree sets the number; leave drafts out",
                code="conflict",
            )
        object.__setattr__(self, "drafts", tree.depth)
        if self.accept != "seed":
            raise InputError(
                f"accept '{self.accept}': is not for draft trees; choose seed, which is lossless "
                "too",
                code="conflict",
            )

    def _check_tolerance(self, tolerance: float) -> None:
        if self.accept not in TOLERANT:
            raise InputError(
                f"tolerance '{tolerance}': is for accept {' and '.join(TOLERANT)}; leave it out",
                code="conflict",
            )
        most = " and below 1" if self.accept == "typical" else ""
        problem = f"tolerance '{tolerance}': must be a number above 0{most}"
        if not isinstance(tolerance, int | float) or isinstance(tolerance, bool):
            raise InputError(problem, code="invalid_value")
        if not tolerance > 0 or (self.accept == "typical" and tolerance >= 1):
            raise InputError(problem, code="out_of_range")

    def model(self, full_model: "SpeechLM") -> "SpeechLM":
        """Return the model to decode with: `full_model`, or a view of it if it is elastic.

        Raises:
            InputError: the model does not support these options.

        """
        model = full_model
        if self.tokens_per_step is not None:
            model = full_model.at_step_size(full_model.config.step_size_of(self.tokens_per_step))
        if self.tree is not None:
            from vocalmtp.decoding.tree_speculative import check_tree

            check_tree(model, self.tree)
        elif self.drafts:
            from vocalmtp.decoding.draft_state import check_drafts

            check_drafts(model, self.drafts)
        if self.accept == "near" and not any(stream.levels for stream in model.layout.streams):
            raise InputError(
                "accept 'near': the codes of this model's tokenizer have no digits to compare; "
                "choose typical",
                code="unsupported",
            )
        return model

    def without_drafts(self) -> "Decoding":
        """Return the same options without drafts."""
        return Decoding(tokens_per_step=self.tokens_per_step)

    def facts(self) -> dict[str, Any]:
        """Return the options as JSON values."""
        facts = asdict(self)
        del facts["tree"]
        return facts | ({} if self.tree is None else {"tree": [list(p) for p in self.tree.paths]})

    def strategy(self, statistics: "DecodeStatistics") -> "DecodeStrategy":
        """Return a strategy with these options that counts in `statistics`."""
        from vocalmtp.decoding.strategies import Grouped

        if not self.drafts:
            return Grouped(statistics)
        from vocalmtp.decoding.draft_state import DraftOnly
        from vocalmtp.decoding.speculative import Speculative
        from vocalmtp.decoding.tree_speculative import TreeSpeculative

        if self.tree is not None:
            return TreeSpeculative(self.tree, statistics)
        if self.accept == UNVERIFIED:
            return DraftOnly(self.drafts, statistics)
        accept = cast(Any, self.accept)  # checked when it was made
        return Speculative(self.drafts, accept, self.tolerance, statistics)


def check_seed(seed: int) -> int:
    """Return a seed as an int. Raises InputError unless it is a whole number in range."""
    try:
        number = index(seed)
    except TypeError as error:
        raise InputError(
            f"seed '{seed}': must be a whole number, 0 or more", code="invalid_value"
        ) from error
    if not 0 <= number < 2**63:
        raise InputError(
            f"seed '{seed}': must be 0 or more, and below 2 ** 63", code="out_of_range"
        )
    return number


def check_language(name: str | None, card: Mapping[str, Any]) -> str | None:
    """Return a language as a model's card has it. Raises InputError if the card lacks it."""
    if name is None:
        return None
    languages = {own.casefold(): own for own in card.get("languages", ())}
    if not languages:
        raise InputError(
            f"language '{name}': the model takes none; leave it out", code="unsupported"
        )
    if name.casefold() not in languages:
        raise InputError(
            f"language '{name}': no language of the model; {nearest(name, languages.values())}",
            code="unknown_name",
        )
    return str(languages[name.casefold()])


def check_instructions(text: str | None, card: Mapping[str, Any]) -> str | None:
    """Return instructions. Raises InputError if the model of a card follows none."""
    if text is not None and not card.get("instructions"):
        raise InputError(
            f"instructions '{text:.40}': the model follows none; leave them out", code="unsupported"
        )
    return text


def check_batch_size(batch_size: int) -> None:
    """Raise InputError unless `batch_size` is a whole number of 1 or more."""
    if not isinstance(batch_size, int) or isinstance(batch_size, bool):
        raise InputError(
            f"batch_size '{batch_size}': must be a whole number, 1 or more", code="invalid_value"
        )
    if batch_size < 1:
        raise InputError(f"batch_size '{batch_size}': must be 1 or more", code="out_of_range")


def check_items(items: Iterable[Any], name: str) -> Iterable[Any]:
    """Return `items`. Raises InputError if they are a single text, or no iterable at all."""
    if isinstance(items, str | bytes) or not isinstance(items, Iterable):
        raise InputError(
            f"{name} '{items!s:.40}': is a {type(items).__name__}; give a list of them, or call "
            "tts(text) for one",
            code="invalid_value",
        )
    return items


def noise_seed(seed: int) -> int:
    """Return a seed whose lower 32 bits depend on all bits of `seed`; below 2 ** 32 it is the same.

    The generators of torch use the lower 32 bits only.
    """
    high, low = divmod(seed, 2**32)
    return low ^ (high * 0x9E3779B1 % 2**32)

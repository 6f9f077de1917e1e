"""How a model decodes, as a user asks for it: with how many drafts, and which of them are kept."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from vocalmtp.errors import InputError, nearest

if TYPE_CHECKING:
    from vocalmtp.decoding.statistics import DecodeStatistics
    from vocalmtp.decoding.strategies import DecodeStrategy
    from vocalmtp.decoding.tree import DraftTree
    from vocalmtp.models.speech_lm import SpeechLM

UNVERIFIED = "all"
ACCEPT = ("rejection", "joint", "seed", "typical", "near", UNVERIFIED)
SAMPLING = ("temperature", "top_k", "top_p", "greedy")  # options of a Sampler
TOLERANT = ("typical", "near")


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """The same for all that a model says; the noise of a row is its sampler's matter.

    `drafts` steps are guessed by the model's draft head after every step. `accept` says which are
    kept: see `Speculative`, or with "all" every one of them (`DraftOnly`), which is not lossless.
    A `tree` of drafts, which says how many, takes accept "seed": see `TreeSpeculative`.
    `tokens_per_step` is the choice that an elastic model (model/elastic.py) leaves.
    Raises InputError for values that cannot be.
    """

    drafts: int = 0
    accept: str = "rejection"
    tolerance: float | None = None  # of "typical" and "near"
    tree: "DraftTree | None" = None  # `drafts` is its depth
    tokens_per_step: int | None = None  # of an elastic model, codec tokens; None: its most

    def __post_init__(self) -> None:
        if self.drafts < 0:
            raise InputError(f"drafts '{self.drafts}': must be 0 or more", code="out_of_range")
        if self.tree is not None:
            if self.drafts not in (0, self.tree.depth):
                raise InputError(
                    f"drafts '{self.drafts}': the draft tree says how many; leave drafts out",
                    code="invalid_value",
                )
            object.__setattr__(self, "drafts", self.tree.depth)
            if self.accept != "seed":
                raise InputError(
                    f"accept '{self.accept}': is not for draft trees; choose seed, which is the "
                    "same to a greedy row",
                    code="invalid_value",
                )
        if self.accept not in ACCEPT:
            raise InputError(
                f"accept '{self.accept}': unknown; {nearest(self.accept, ACCEPT)}",
                code="unknown_name",
            )
        if self.accept != Decoding.accept and not self.drafts:
            raise InputError(
                f"accept '{self.accept}': is for drafts; say how many (drafts)", code="conflict"
            )
        if self.tolerance is None:
            return
        if self.accept not in TOLERANT:
            whose = " and ".join(TOLERANT)
            raise InputError(
                f"tolerance '{self.tolerance}': is for accept {whose}; leave it out",
                code="conflict",
            )
        if self.tolerance <= 0 or (self.accept == "typical" and self.tolerance >= 1):
            most = " and below 1" if self.accept == "typical" else ""
            raise InputError(
                f"tolerance '{self.tolerance}': must be above 0{most}", code="invalid_value"
            )

    def model(self, whole: "SpeechLM") -> "SpeechLM":
        """The model that decodes so: `whole`, or of an elastic one the view that is asked for.

        Raises InputError if it cannot decode so.
        """
        from vocalmtp.decoding.draft_state import check_drafts
        from vocalmtp.models.elastic import frames_of_tokens

        model = whole
        if self.tokens_per_step is not None:
            model = whole.at(frames_of_tokens(whole.config, self.tokens_per_step))
        if self.tree is not None:
            from vocalmtp.decoding.tree_speculative import check_tree

            check_tree(model, self.tree)
        elif self.drafts:
            check_drafts(model, self.drafts)
        if self.accept == "near" and not any(stream.levels for stream in model.layout.streams):
            raise InputError(
                "accept 'near': no code of this model's tokenizer has digits that could be near; "
                "choose typical",
                code="invalid_value",
            )
        return model

    def without_drafts(self) -> "Decoding":
        """The same but for drafts."""
        return Decoding(tokens_per_step=self.tokens_per_step)

    def facts(self) -> dict[str, Any]:
        """As JSON has it."""
        facts = asdict(self)
        del facts["tree"]
        return facts | ({} if self.tree is None else {"tree": [list(p) for p in self.tree.paths]})

    def strategy(self, statistics: "DecodeStatistics") -> "DecodeStrategy":
        """A strategy that decodes so, and adds what it brings to `statistics`."""
        from vocalmtp.decoding.draft_state import DraftOnly
        from vocalmtp.decoding.speculative import Speculative
        from vocalmtp.decoding.strategies import Grouped
        from vocalmtp.decoding.tree_speculative import TreeSpeculative

        if not self.drafts:
            return Grouped(statistics)
        if self.tree is not None:
            return TreeSpeculative(self.tree, statistics)
        if self.accept == UNVERIFIED:
            return DraftOnly(self.drafts, statistics)
        return Speculative(self.drafts, self.accept, self.tolerance, statistics)

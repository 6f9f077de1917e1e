"""What was measured of a cell or a tokenizer, as a file that also says what could not be."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from vocalmtp.errors import InputError
from vocalmtp.evaluation.report import finite
from vocalmtp.evaluation.statistics import Estimate
from vocalmtp.io.atomic import atomic_path
from vocalmtp.io.read import read_object
from vocalmtp.optional import require

FILE = "figures.json"
JUDGES = {  # what each judge imports
    "words": ("pocketsphinx", "jiwer"),
    "voices": ("resemblyzer",),
    "sound": ("onnxruntime", "speechmos.dnsmos"),
}


@dataclass
class MetricSet:
    """Figures by their names, and for every judge that is not installed what would bring it."""

    figures: dict[str, Estimate] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def judge(self, name: str, score: Callable[[], dict[str, Estimate]]) -> None:
        """Add what the judge `name` (of JUDGES) says, or why it cannot."""
        hint = lacking(name)
        if hint is None:
            self.figures |= score()
        else:
            self.missing[name] = hint

    @property
    def whole(self) -> bool:
        """Whether every judge that is here now has been asked."""
        return not any(lacking(name) is None for name in self.missing)

    def save(self, folder: Path) -> None:
        """Write figures.json, which says that all before it is done."""
        folder.mkdir(parents=True, exist_ok=True)
        figures = {name: finite(asdict(figure)) for name, figure in self.figures.items()}
        text = json.dumps({"figures": figures, "missing": self.missing}, indent=2)
        with atomic_path(folder / FILE) as partial:
            partial.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "MetricSet | None":
        """What `save` wrote, or None. Raises InputError if it is damaged."""
        if not (folder / FILE).is_file():
            return None
        data = read_object(folder / FILE, f"figures '{folder}'")
        try:
            figures = {name: _figure(values) for name, values in data["figures"].items()}
            return cls(figures, dict(data["missing"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"figures '{folder / FILE}': is damaged; delete it", code="damaged"
            ) from error


def lacking(judge: str) -> str | None:
    """What to do for the judge `judge` to be there; None if it is."""
    try:
        for name in JUDGES[judge]:
            require(name)
    except InputError as error:
        return str(error)
    return None


def lacking_plots() -> str | None:
    """What to do for plots to be drawn; None if they can be."""
    try:
        require("matplotlib")
    except InputError as error:
        return str(error)
    return None


def _figure(values: dict[str, float | None]) -> Estimate:
    known = {name: math.nan if value is None else value for name, value in values.items()}
    return Estimate(**known)

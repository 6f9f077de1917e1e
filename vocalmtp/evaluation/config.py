"""What a measurement is asked for: the options that all of them share."""

from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any

from vocalmtp.decoding.options import SAMPLING
from vocalmtp.hub import DEFAULT_MODEL


def option(help: str, *flags: str, default: Any = MISSING, **limits: Any) -> Any:
    """A field that the command line shows with this `help`; without `flags`, by its own name."""
    return field(default=default, metadata={"help": help, "flags": flags, "limits": limits})


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """Which sentences, said by whom and how. The command line makes its options of these fields."""

    manifest: Path = option(
        "A corpus folder, a manifest, or a list of sentences, one a line (.txt).",
        "--manifest",
        "-m",
    )
    output: Path = option(
        "Folder for audio, rows and reports; a run goes on where it stopped.", "--output", "-o"
    )
    model: str = option("A model's name or folder.", default=DEFAULT_MODEL)
    split: str = option("Which rows of the manifest.", default="test")
    voices: str = option(
        "Only these voices, with commas; all if empty. A list is spoken by each of them, or by the "
        "model's own.",
        default="",
    )
    limit: int | None = option(
        "Only the first sentences: so many of each voice.", default=None, min=1
    )
    systems: str = option(
        "Which of natural, resynthesis (the tokenizer alone) and tts, with commas.",
        default="natural,resynthesis,tts",
    )
    natural: Path | None = option(
        "For a list: a manifest with recordings of its sentences.", default=None
    )
    speaker_conditioning: str = option(
        "Who is told the voice: both, the speech LM alone (lm), the decoder alone (decoder), or "
        "none of them.",
        default="both",
    )
    seed: int = option("Of the noise in sampling.", default=0, min=0)
    temperature: float | None = option("As the model's card says if not given.", default=None)
    top_k: int | None = option("As the model's card says if not given.", default=None)
    top_p: float | None = option("As the model's card says if not given.", default=None)
    greedy: bool = option("Always take the likeliest token.", "--greedy", default=False)
    processes: int = option("How many files are recognised at once.", default=2, min=1)
    fresh: bool = option("Measure again what is in the output folder.", "--fresh", default=False)

    @property
    def voice_names(self) -> list[str]:
        return [name for name in self.voices.split(",") if name]

    @property
    def sampling(self) -> dict[str, Any]:
        """What was asked of `TTS.batch`; options that were not given are left to the model."""
        asked = {name: getattr(self, name) for name in SAMPLING}
        return {
            name: value for name, value in asked.items() if value is not None and value is not False
        }

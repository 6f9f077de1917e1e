"""The configuration of a batch."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vocalmtp.audio.formats import check_format, check_rate
from vocalmtp.audio.stretch import check_speed
from vocalmtp.audio.timestamps import check_timestamps
from vocalmtp.decoding.options import Decoding
from vocalmtp.decoding.reading import TextReader
from vocalmtp.engines.base import AUTO, check_threads, find_engine
from vocalmtp.errors import InputError, nearest
from vocalmtp.hub import DEFAULT_MODEL, model_folder
from vocalmtp.io.read import digest
from vocalmtp.roles import Role
from vocalmtp.text.lexicon import Lexicon

if TYPE_CHECKING:
    from vocalmtp.tts import TTS

EXECUTORS = ("local", "ray")
OPTIONAL = (  # part of a job's identity if they are not the defaults
    "speed",
    "language",
    "instructions",
    "unknown_characters",
    "sample_rate",
    "timestamps",
)
MAX_ROWS = 16  # on a CPU, throughput does not grow beyond that
ROW_BYTES = 64 << 20  # upper bound of a row: cache, audio, share of the codec


@dataclass(frozen=True, kw_only=True)
class Job:
    """A list of texts to synthesize into a folder.

    The audio depends on the first group of fields alone; the second says how it is computed.
    Raises InputError if a value is out of range or the model does not exist.
    """

    input: Path  # a list: .txt, .jsonl or .csv
    output: Path  # the folder for the audio and manifest.jsonl
    model: str = DEFAULT_MODEL
    voice: str | Role | None = None  # of items without one
    seed: int = 0  # of items without one
    sampling: dict[str, Any] = field(default_factory=dict)  # temperature, top_k, top_p, greedy
    decoding: Decoding = Decoding()
    speed: float = 1.0  # of items without one
    language: str | None = None  # of items without one, as the instructions
    instructions: str | None = None
    lexicon: Lexicon | Path | str | None = None  # own pronunciations, or the file of them
    unknown_characters: str = "refuse"  # or skip, or name
    format: str = "wav"  # wav, flac, ogg, mp3 or opus
    sample_rate: int | None = None  # in Hz; None: the model's
    timestamps: str | None = None  # also write word times: json, srt or vtt
    verify: int | None = None  # recognize every item, and retry it up to so many times
    judges: tuple[str, ...] = ()  # of the verification: NAME or NAME=ARGUMENT

    batch_size: int | None = None  # rows of each worker; None: see `rows`
    workers: int = 1  # processes, or Ray actors
    executor: str = "local"
    ray_address: str | None = None  # of a cluster; None: the local one, or a new one
    device: str = "cpu"  # of every worker
    engine: str = AUTO  # of every worker
    threads: int | None = None  # of a step
    load: "Callable[[str], TTS] | None" = None  # replaces `vocalmtp.load`; importable by workers

    def __post_init__(self) -> None:
        from vocalmtp.decoding.sampling import Sampler

        object.__setattr__(self, "input", Path(self.input))
        object.__setattr__(self, "output", Path(self.output))
        object.__setattr__(self, "format", check_format(self.format))
        object.__setattr__(self, "speed", check_speed(self.speed))
        reader = TextReader.of(self.lexicon, self.unknown_characters)
        object.__setattr__(self, "lexicon", reader.lexicon)  # with its content, for other machines
        if self.sample_rate is not None:
            check_rate(self.sample_rate, self.format)
        if self.timestamps is not None:
            object.__setattr__(self, "timestamps", check_timestamps(self.timestamps))
        for name, value in (("batch_size", self.rows), ("workers", self.workers)):
            if value < 1:
                raise InputError(f"{name} '{value}': must be 1 or more", code="out_of_range")
        if self.executor not in EXECUTORS:
            raise InputError(
                f"executor '{self.executor}': unknown; {nearest(self.executor, EXECUTORS)}",
                code="unknown_name",
            )
        if self.ray_address is not None and self.executor != "ray":
            raise InputError(
                f"ray_address '{self.ray_address}': is for the executor ray only", code="conflict"
            )
        if not 0 <= self.seed < 2**63:
            raise InputError(
                f"seed '{self.seed}': must be 0 or more, and below 2 ** 63", code="out_of_range"
            )
        options = [option.name for option in fields(Sampler)]
        for name in self.sampling:
            if name not in options:
                raise InputError(
                    f"option '{name}': no such option; {nearest(name, options)}",
                    code="unknown_name",
                )
        Sampler(**self.sampling)
        model_folder(self.model)
        check_threads(self.threads)
        if self.executor == "local":  # an actor may have what this machine lacks
            find_engine(self.engine, self.device)
        if self.verify is not None:
            if self.verify < 0:
                raise InputError(f"verify '{self.verify}': must be 0 or more", code="out_of_range")
            from vocalmtp.evaluation.judges import Judges
            from vocalmtp.optional import require

            require("jiwer")
            _ = Judges(self.judges, self.device).recognizer
        elif self.judges:
            raise InputError(
                f"judges '{', '.join(self.judges)}': need a verification; set verify to 1 or more",
                code="conflict",
            )

    @property
    def reader(self) -> TextReader:
        """What splits the texts into sentences."""
        return TextReader.of(self.lexicon, self.unknown_characters)

    @property
    def rows(self) -> int:
        """Rows per worker: `batch_size`, or by default 16, or what a quarter of the memory holds."""
        if self.batch_size is not None:
            return self.batch_size
        return max(1, min(MAX_ROWS, _memory() // 4 // ROW_BYTES // max(1, self.workers)))

    @property
    def voice_name(self) -> str | None:
        """The name or file of the voice, also that of a role."""
        return self.voice.voice if isinstance(self.voice, Role) else self.voice

    def identity(self) -> dict[str, Any]:
        """Everything that the audio depends on; the list and the model by a hash of their content."""
        voice = self.voice_name
        if voice is not None and Path(voice).is_file():
            voice = f"{voice} ({digest(Path(voice))})"
        if isinstance(self.voice, Role):
            voice = f"{voice} of the role {self.voice.name}, consent {self.voice.consent or 'none'}"
        own: dict[str, Any] = {}
        if self.decoding != Decoding():
            own["decoding"] = self.decoding.facts()
        if self.judges:
            own["judges"] = list(self.judges)
        if self.reader.lexicon.entries:
            own["lexicon"] = self.reader.lexicon.digest()
        for name in OPTIONAL:
            if (value := getattr(self, name)) != getattr(Job, name):
                own[name] = value
        return own | {
            "list": digest(self.input),
            "model": digest(model_folder(self.model)),
            "voice": voice,
            "seed": self.seed,
            "sampling": self.sampling,
            "format": self.format,
            "verify": self.verify,
        }

    def load_tts(self) -> "TTS":
        """Load the model."""
        from vocalmtp.loading import load

        if self.load is None:
            tts = load(self.model, self.device, engine=self.engine, threads=self.threads)
        else:
            tts = self.load(self.model)
        if self.decoding == Decoding() and self.reader == TextReader():
            return tts
        return tts.using(self.decoding, self.reader)


def _memory() -> int:
    """Bytes of physical memory; where the system does not tell (Windows), 4 GiB are assumed."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 4 << 30

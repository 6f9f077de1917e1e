"""What a batch is: the list, where its audio goes, how it is spoken, and by which engine."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vocalmtp.audio.io import check_format
from vocalmtp.decoding.options import Decoding
from vocalmtp.errors import InputError, nearest
from vocalmtp.hub import DEFAULT_MODEL, model_folder
from vocalmtp.io.read import digest
from vocalmtp.roles import Role

if TYPE_CHECKING:
    from vocalmtp.tts import TTS

ENGINES = ("local", "ray")
MOST_ROWS = 16  # on a CPU, a step of more rows takes as much longer as it says more
ROW_BYTES = 64 << 20  # what a row takes at the most: its cache, its audio, its part of the decoder


@dataclass(frozen=True, kw_only=True)
class Job:
    """A list of texts to be spoken into a folder.

    The audio depends on the first group of fields only; with the second it is made as fast as the
    machine allows. Raises InputError if a value is out of range or the model is not there.
    """

    input: Path  # a list: .txt, .jsonl or .csv
    output: Path  # the folder for the audio and manifest.jsonl
    model: str = DEFAULT_MODEL
    voice: str | Role | None = None  # of items that name none
    seed: int = 0  # of items that name none
    sampling: dict[str, Any] = field(default_factory=dict)  # temperature, top_k, top_p, greedy
    decoding: Decoding = Decoding()
    format: str = "wav"  # wav, flac or ogg
    verify: int | None = None  # listen to every item, and speak it again up to so many times

    batch_size: int | None = None  # rows of each worker; None: see `rows`
    workers: int = 1  # processes, or Ray actors
    engine: str = "local"
    ray_address: str | None = None  # of a cluster; None: the one on this machine, or a new one
    load: "Callable[[str], TTS] | None" = None  # importable, if there are workers; None: ours

    def __post_init__(self) -> None:
        from vocalmtp.decoding.sampling import Sampler

        object.__setattr__(self, "input", Path(self.input))
        object.__setattr__(self, "output", Path(self.output))
        object.__setattr__(self, "format", check_format(self.format))
        for name, value in (("batch_size", self.rows), ("workers", self.workers)):
            if value < 1:
                raise InputError(f"{name} '{value}': must be 1 or more", code="out_of_range")
        if self.engine not in ENGINES:
            raise InputError(
                f"engine '{self.engine}': unknown; {nearest(self.engine, ENGINES)}",
                code="unknown_name",
            )
        if self.ray_address is not None and self.engine != "ray":
            raise InputError(
                f"ray_address '{self.ray_address}': is for the engine ray only", code="conflict"
            )
        if not 0 <= self.seed < 2**63:
            raise InputError(
                f"seed '{self.seed}': must be 0 or more, and below 2 ** 63", code="out_of_range"
            )
        options = [option.name for option in fields(Sampler)]
        for name in self.sampling:
            if name not in options:
                raise InputError(
                    f"option '{name}': no such option; {nearest(name, options)}", code="not_found"
                )
        Sampler(**self.sampling)
        model_folder(self.model)
        if self.verify is not None:
            if self.verify < 0:
                raise InputError(f"verify '{self.verify}': must be 0 or more", code="out_of_range")
            from vocalmtp.optional import require

            require("pocketsphinx"), require("jiwer")

    @property
    def rows(self) -> int:
        """Rows that a worker speaks together: `batch_size`, or what a machine like this one does.

        That is 16, or fewer if all workers' rows would take over a quarter of its memory.
        """
        if self.batch_size is not None:
            return self.batch_size
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return max(1, min(MOST_ROWS, memory // 4 // ROW_BYTES // max(1, self.workers)))

    @property
    def voice_name(self) -> str | None:
        """The voice's name or file, of a role as well."""
        return self.voice.voice if isinstance(self.voice, Role) else self.voice

    def identity(self) -> dict[str, Any]:
        """All that the audio depends on, for job.json; the list and the model by their content."""
        voice = self.voice_name
        if voice is not None and Path(voice).is_file():
            voice = f"{voice} ({digest(Path(voice))})"
        if isinstance(self.voice, Role):
            voice = f"{voice} of the role {self.voice.name}, consent {self.voice.consent or 'none'}"
        own = {"decoding": self.decoding.facts()} if self.decoding != Decoding() else {}
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
        """The model, on one thread: a step is too small to be shared between threads."""
        import torch

        from vocalmtp.tts import load

        torch.set_num_threads(1)
        tts = (self.load or load)(self.model)
        return tts if self.decoding == Decoding() else tts.using(self.decoding)

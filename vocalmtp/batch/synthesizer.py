"""Synthesis of batch items to encoded audio; every engine runs this in its processes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from vocalmtp.audio.timestamps import format_words
from vocalmtp.batch.items import Item
from vocalmtp.batch.job import Job
from vocalmtp.batch.verify import Check, Verifier, recording_of
from vocalmtp.decoding.options import check_instructions, check_language
from vocalmtp.errors import ErrorCode, InputError
from vocalmtp.evaluation.judges import Judges
from vocalmtp.tts import AnyVoice, SynthesisRequest

if TYPE_CHECKING:
    from vocalmtp.audio.io import Audio


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of the item on `line`: the content of an audio file, or an error."""

    line: int
    audio: bytes | None = None
    timestamps: str | None = None  # content of the file of word times, if the job wants one
    seconds: float = 0.0
    voice: str | None = None  # the default voice, if the item named none
    consent: str = ""  # of the person whose voice it is, see `Voice`
    truncated: bool = False  # the model reached its limit of steps before the end
    check: Check | None = None  # recognition result, if the job verifies
    error: str | None = None
    code: ErrorCode | None = None  # of the error


class _ListError(Exception):
    """Reading the list failed, which is not the error of one item."""


class BatchSynthesizer:
    """A loaded model that synthesizes items of a job.

    Raises InputError if the model or the job's voice does not exist.
    """

    def __init__(self, job: Job):
        self.job = job
        self.tts = job.load_tts()
        self._find = lru_cache(256)(self.tts.find_voice)  # encoding a recording takes time
        if job.voice is not None:
            self._find(job.voice)
        check_language(job.language, self.tts.card)
        check_instructions(job.instructions, self.tts.card)
        if job.timestamps is not None and not self.tts.has_word_times:
            raise InputError(
                f"timestamps: model '{job.model}' has no text track; use one that has",
                code="unsupported",
            )
        self._verifier = Verifier(Judges(job.judges, job.device))

    def __call__(self, items: Iterable[Item]) -> Iterator[Result]:
        """Yield results in the order they are ready; `items` is consumed lazily.

        If the model raises an exception, the rows of that batch are repeated one by one, so that
        only the row that causes it fails.
        """
        items = iter(items)
        while True:
            taken: dict[int, Item] = {}
            try:
                for number, made in self.tts.each(self._requests(items, taken), self.job.rows):
                    yield self._result(taken.pop(number), made)
                return
            except _ListError as error:
                raise (error.__cause__ or error) from None
            except Exception:
                if not taken:
                    raise
            for item in taken.values():
                yield self._alone(item)

    def _requests(
        self, items: Iterator[Item], taken: dict[int, Item]
    ) -> Iterator[SynthesisRequest]:
        number = 0
        while True:
            try:
                item = next(items)
            except StopIteration:
                return
            except Exception as error:
                raise _ListError from error
            taken[number] = item
            number += 1
            yield self._request(item)

    def _request(self, item: Item) -> SynthesisRequest:
        job, sampling = self.job, dict(self.job.sampling)
        if item.temperature is not None:
            sampling.pop("greedy", None)  # it would make the temperature ineffective
            sampling["temperature"] = item.temperature
        return SynthesisRequest(
            text=item.text,
            voice=self._voice(item),
            seed=job.seed if item.seed is None else item.seed,
            speed=job.speed if item.speed is None else item.speed,
            sampling=sampling,
            language=item.language or job.language,
            instructions=item.instructions or job.instructions,
        )

    def _voice(self, item: Item) -> AnyVoice:
        name = item.voice or self.job.voice
        try:
            return self._find(name)
        except InputError:
            return name  # `each` reports the error as this row's

    def _alone(self, item: Item) -> Result:
        made: Audio | InputError
        try:
            made = self._synthesize(self._request(item))
        except InputError as error:
            made = error
        except Exception as error:
            made = InputError(
                f"{type(error).__name__}: {error}; try another text, voice or seed",
                code="unusable",
            )
        return self._result(item, made)

    def _result(self, item: Item, made: "Audio | InputError") -> Result:
        if isinstance(made, InputError):
            return Result(line=item.line, error=str(made), code=made.code)
        if not len(made.samples):
            problem = "text: no speech was generated; try another seed"
            return Result(line=item.line, error=problem, code="empty")
        check = None
        if self.job.verify is not None:
            request = self._request(item)
            reference = recording_of(item.voice or self.job.voice_name)
            made, check = self._verifier.best_of(
                made, request, self.job.verify, self._synthesize, reference
            )
        requested = item.voice or self.job.voice
        voice = self._find(requested)
        rate, times = self.job.sample_rate, self.job.timestamps
        sound = made if rate is None else made.resampled(rate)
        return Result(
            line=item.line,
            audio=sound.to_bytes(self.job.format),
            timestamps=None if times is None else format_words(made.words, times),
            seconds=made.duration,
            voice=voice.name if voice and not requested else None,
            consent=voice.consent if voice else "",
            truncated=made.truncated,
            check=check,
        )

    def _synthesize(self, request: SynthesisRequest) -> "Audio":
        [(_, made)] = self.tts.each([request], 1)
        if isinstance(made, InputError):
            raise made
        return made

"""The work of a batch: items in, encoded audio out. Every engine runs this, wherever it runs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from vocalmtp.batch.items import Item
from vocalmtp.batch.job import Job
from vocalmtp.batch.verify import Check, best_of
from vocalmtp.errors import InputError
from vocalmtp.tts import AnyVoice, SynthesisRequest

if TYPE_CHECKING:
    from vocalmtp.audio.io import Audio


@dataclass(frozen=True, kw_only=True)
class Result:
    """What has become of the item of this `line`: the content of an audio file, or an error."""

    line: int
    audio: bytes | None = None
    seconds: float = 0.0
    voice: str | None = None  # who spoke, if nobody was asked to
    consent: str = ""  # of whose voice it was made of, see `Voice`
    truncated: bool = False  # the model did not come to an end by itself
    check: Check | None = None  # what was heard of it, if the job asks for that
    error: str | None = None


class _ListError(Exception):
    """Reading the items failed, which is no fault of an item."""


class BatchSynthesizer:
    """A model that speaks items of a job; raises InputError if the job's own voice is not there."""

    def __init__(self, job: Job):
        self.job = job
        self.tts = job.load_tts()
        self._find = lru_cache(256)(self.tts.find_voice)  # a voice from a recording takes time
        if job.voice is not None:
            self._find(job.voice)

    def __call__(self, items: Iterable[Item]) -> Iterator[Result]:
        """The results in the order they are ready; `items` is read only as far as needed.

        If one row makes the model raise something, it alone fails: those that were spoken together
        with it are spoken again, one by one.
        """
        items = iter(items)
        while True:
            taken: dict[int, Item] = {}
            try:
                for number, made in self.tts.each(self._requests(items, taken), self.job.rows):
                    yield self._result(taken.pop(number), made)
                return
            except _ListError as error:
                raise error.__cause__ from None
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
            sampling.pop("greedy", None)  # who asks for a temperature wants it to have a say
            sampling["temperature"] = item.temperature
        return SynthesisRequest(
            text=item.text,
            voice=self._voice(item),
            seed=job.seed if item.seed is None else item.seed,
            sampling=sampling,
        )

    def _voice(self, item: Item) -> AnyVoice:
        name = item.voice or self.job.voice
        try:
            return self._find(name)
        except InputError:
            return name  # `each` says what is wrong with it, in this row's turn

    def _alone(self, item: Item) -> Result:
        try:
            made = self._say(self._request(item))
        except InputError as error:
            made = error
        except Exception as error:
            made = InputError(
                f"{type(error).__name__}: {error}; try another text, voice or seed",
                code="invalid_value",
            )
        return self._result(item, made)

    def _result(self, item: Item, made: "Audio | InputError") -> Result:
        if isinstance(made, InputError):
            return Result(line=item.line, error=" ".join(str(made).split()))
        if not len(made.samples):
            return Result(line=item.line, error="nothing was said; try another seed")
        check = None
        if self.job.verify is not None:
            request = self._request(item)
            made, check = best_of(made, request, self.job.verify, self._say)
        asked = item.voice or self.job.voice
        voice = self._find(asked)
        return Result(
            line=item.line,
            audio=made.to_bytes(self.job.format),
            seconds=made.duration,
            voice=voice.name if voice and not asked else None,
            consent=voice.consent if voice else "",
            truncated=made.truncated,
            check=check,
        )

    def _say(self, request: SynthesisRequest) -> "Audio":
        [(_, made)] = self.tts.each([request], 1)
        return made

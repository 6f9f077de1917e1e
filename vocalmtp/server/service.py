"""What the speech routes of a server share: engine, voices, limits and measurements."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace

from pydantic import Field

from vocalmtp.audio.io import Audio
from vocalmtp.config import StrictModel
from vocalmtp.decoding.synthesis import SentenceRequest
from vocalmtp.decoding.text_stream import arriving_clauses
from vocalmtp.server.engine import EngineTTS, SpeechEngine
from vocalmtp.server.errors import APIError, overloaded
from vocalmtp.server.metrics import Metrics
from vocalmtp.server.schedule import Overloaded
from vocalmtp.server.schemas import SpeechSettings
from vocalmtp.server.voices import VoiceCatalogue
from vocalmtp.tts import TTS, SynthesisRequest

MODEL_ALIASES = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")
LONGEST_WAIT = 0.5  # seconds between two attempts to continue a text while the queue is full


class SpeechLimits(StrictModel):
    """Limits on the requests of a server."""

    rows: int = Field(default=16, ge=1)  # sentences that are decoded together
    queue: int = Field(default=64, ge=0)  # requests at a time beyond those
    chars: int = Field(default=4096, ge=1)  # of an input, as OpenAI's
    body: int = Field(default=1 << 20, ge=1024)  # bytes of a request without a file
    upload: int = Field(default=32 << 20, ge=1024)  # bytes of a request with a recording
    per_client: int = Field(default=32, ge=1)  # requests of one client at a time
    seconds: float = Field(default=300.0, gt=0)  # of a recording


@dataclass
class SpeechService:
    """One engine and what its clients may use.

    Attributes:
        model: the name of the model.
        ready: the engine has been warmed up.
        active: requests of every client at the moment.

    """

    engine: SpeechEngine
    voices: VoiceCatalogue
    metrics: Metrics
    model: str
    limits: SpeechLimits = field(default_factory=SpeechLimits)
    ready: bool = False
    active: dict[str, int] = field(default_factory=dict)

    def check_model(self, name: str) -> None:
        """Raise APIError unless `name` is the model, an alias, or empty."""
        if name and name != self.model and name not in MODEL_ALIASES:
            names = ", ".join((self.model, *MODEL_ALIASES))
            message = f"model '{name[:80]}': not loaded; choose one of: {names}"
            raise APIError(404, message, "model_not_found", "model")

    @contextmanager
    def admitted(self, client: str) -> Iterator[None]:
        """Count a request of a client while it is served. Raises APIError beyond the limit."""
        if self.active.get(client, 0) >= self.limits.per_client:
            raise overloaded(1.0, "too many requests of this client at a time", status=429)
        self.active[client] = self.active.get(client, 0) + 1
        try:
            yield
        finally:
            self.active[client] -= 1
            if not self.active[client]:
                del self.active[client]

    async def speak(
        self, text: str, settings: SpeechSettings, client: str
    ) -> AsyncGenerator[Audio]:
        """Yield the chunks of a text; closing the iterator cancels the request.

        Args:
            text: the text.
            settings: how to speak it.
            client: identifies the client.

        Raises:
            APIError: the text is too long, the model is not loaded, or the client has too many
                requests.
            InputError: the text cannot be spoken, or the voice is unknown.
            Overloaded: the queue is full.

        """
        request = self._request(settings)
        if len(text) > self.limits.chars:
            message = f"input: has {len(text)} characters; send {self.limits.chars} at most"
            raise APIError(400, message, "string_above_max_length", "input")
        with self.admitted(client):
            request = replace(request, text=text)
            sentences = await asyncio.to_thread(self.engine.tts.plan, request)
            async with aclosing(self.engine.stream_async(sentences)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def speak_pieces(
        self, pieces: AsyncIterable[str], settings: SpeechSettings, client: str
    ) -> AsyncGenerator[Audio]:
        """Yield the chunks of a text clause by clause, while it arrives; see `speak`.

        Words that cannot be spoken are left out. After the first clause, a full queue is waited for.
        """
        request, tts = self._request(settings), self.engine.tts
        with self.admitted(client):
            spoken, due = 0, 0.0  # sentences; seconds of silence before the next clause
            async with aclosing(arriving_clauses(pieces)) as clauses:
                async for clause, pause in clauses:
                    own = replace(request, text=clause)
                    head, *others = await asyncio.to_thread(tts.plan, own, spoken)
                    sentences = [head.after(due), *others]
                    async with aclosing(self._decode(sentences, wait=spoken > 0)) as chunks:
                        async for chunk in chunks:
                            yield chunk
                    spoken, due = spoken + len(sentences), pause / request.speed

    async def _decode(self, sentences: list[SentenceRequest], wait: bool) -> AsyncGenerator[Audio]:
        while True:
            try:
                async with aclosing(self.engine.stream_async(sentences)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                return
            except Overloaded as busy:  # before the first chunk
                if not wait:
                    raise
                await asyncio.sleep(min(busy.retry_after, LONGEST_WAIT))

    def _request(self, settings: SpeechSettings) -> SynthesisRequest:
        """The request for a text that is not known yet."""
        self.check_model(settings.model)
        voice = self.voices.resolve(settings.voice, settings.role)
        sampling = settings.sampling()
        follows = self.engine.tts.card.get("instructions")
        return SynthesisRequest(
            text="",
            voice=voice,
            seed=settings.seed,
            speed=settings.speed,
            sampling=sampling,
            language=settings.language,
            instructions=settings.instructions if follows else None,
        )


def served(
    load: Callable[[str, str], TTS], limits: SpeechLimits, metrics: Metrics
) -> Callable[[str, str], EngineTTS]:
    """Return `load`, a function of a model's name and a device, with an engine for what it loads."""

    def load_served(model: str, device: str) -> EngineTTS:
        return EngineTTS(SpeechEngine(load(model, device), limits.rows, limits.queue, metrics))

    return load_served

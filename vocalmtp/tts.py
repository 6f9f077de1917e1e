"""Text to speech: `TTS` with its calls for one text, a stream or many.

text -> normalize -> sentences -> prompts -> decoding.generate -> unpack -> tokenizer -> Audio.
The plain call, `stream`, `batch` and `each` all consume that one generator.
Letters: D_s size of the speaker vector.
"""

from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from vocalmtp.audio.io import Audio, in_order, join
from vocalmtp.audio.stretch import check_speed
from vocalmtp.decoding.options import (
    SPEAKER_CONDITIONINGS,
    Decoding,
    SpeakerConditioning,
    check_batch_size,
    check_instructions,
    check_items,
    check_language,
    check_seed,
    noise_seed,
)
from vocalmtp.decoding.reading import TextReader
from vocalmtp.decoding.statistics import DecodeStatistics
from vocalmtp.decoding.synthesis import (
    PromptFormat,
    SentenceRequest,
    SentenceSynthesizer,
    sampler_of,
)
from vocalmtp.decoding.text_stream import ArrivingText, AudioStream, speakable_clauses
from vocalmtp.errors import InputError, nearest
from vocalmtp.models.prompts import Segment
from vocalmtp.text import char_ids, char_text
from vocalmtp.voices import AnyVoice, Voice, find_voice

if TYPE_CHECKING:
    from vocalmtp.models.speech_lm import SpeechLM
    from vocalmtp.tokenizers import SpeechTokenizer

SEED_STRIDE = 0x9E3779B97F4A7C15  # so large that the sentences of two texts never share a seed


@dataclass(frozen=True, kw_only=True)
class SynthesisRequest:
    """One text to speak, with the arguments of `TTS.__call__`."""

    text: str
    voice: AnyVoice = None
    seed: int = 0
    speed: float = 1.0
    sampling: dict[str, Any] = field(default_factory=dict)
    context: tuple[Segment, ...] = ()  # of an answer, see DialogueModel.context
    language: str | None = None
    instructions: str | None = None


class TTS(SentenceSynthesizer):
    """Text to speech with one model; `vocalmtp.load` makes it.

    One object may be used from several threads at once.

    Args:
        model: the speech LM.
        tokenizer: the speech tokenizer that the model was trained on.
        voices: built-in voices by name.
        card: content of the model's card.json.
        encode_text: normalised text to the backbone's token ids.
        speaker_conditioning: which parts get the speaker vector: the speech LM and the tokenizer's
            decoder ("both"), one of them ("lm", "decoder"), or none ("none"); None: as the card
            says, else both. A decoder without it gets the mean of all built-in voices.
        decoding: how steps are decoded.
        decode_text: token ids to text.
        threads: of torch, while it computes; None: as many as the calling program has set.
        reader: splits texts into sentences, with own pronunciations.
        prompt_format: makes the prompt of a sentence, for models of other publishers; None: prompts
            are those of `models.prompts.tts_prompt`.

    Attributes:
        model: the speech LM; of an elastic one, the view with the steps that `decoding` sets.
        full_model: the speech LM as it was given.
        statistics: passes, acceptance and times, summed over all calls.

    Raises:
        InputError: the parts do not belong together, or the model does not support `decoding`.

    """

    def __init__(
        self,
        model: "SpeechLM",
        tokenizer: "SpeechTokenizer",
        voices: dict[str, Voice] | None = None,
        card: dict[str, Any] | None = None,
        encode_text: Callable[[str], Sequence[int]] = char_ids,
        speaker_conditioning: SpeakerConditioning | None = None,
        decoding: Decoding | None = None,
        decode_text: Callable[[Sequence[int]], str] = char_text,
        threads: int | None = None,
        reader: TextReader | None = None,
        prompt_format: PromptFormat | None = None,
    ):
        found, required = tokenizer.spec, model.config.tokenizer
        if required.get("hash") != found.hash:
            raise InputError(
                f"tokenizer '{found.name}' ({found.hash}): the model was trained on "
                f"'{required.get('name')}' ({required.get('hash')}); put that one into its folder",
                code="mismatch",
            )
        if speaker_conditioning is None:
            speaker_conditioning = (card or {}).get("speaker_conditioning", "both")
        if speaker_conditioning not in SPEAKER_CONDITIONINGS:
            raise InputError(
                f"speaker_conditioning '{speaker_conditioning}': unknown; "
                f"{nearest(str(speaker_conditioning), SPEAKER_CONDITIONINGS)}",
                code="unknown_name",
            )
        decoding = Decoding() if decoding is None else decoding
        if not isinstance(decoding, Decoding):
            raise InputError(
                f"decoding '{decoding}': is a {type(decoding).__name__}; give a vocalmtp.Decoding",
                code="invalid_value",
            )
        self.full_model, self.card, self.decode_text = model.eval(), card or {}, decode_text
        self.reader = self._reader(reader or TextReader())
        super().__init__(
            decoding.model(model),
            tokenizer.eval(),
            voices or {},
            encode_text,
            speaker_conditioning,
            decoding,
            threads,
            prompt_format,
        )
        for voice in self.voices.values():
            voice.check(found)

    def using(self, decoding: Decoding, reader: TextReader | None = None) -> "TTS":
        """Return a TTS with the same model and voices, another decoding and its own statistics.

        Args:
            decoding: how steps are decoded.
            reader: splits texts into sentences; None: as before.

        Raises:
            InputError: the model does not support `decoding`.

        """
        other = copy(self)
        other.decoding, other.statistics = decoding, DecodeStatistics()
        other.model = decoding.model(self.full_model)
        other.reader = self.reader if reader is None else self._reader(reader)
        return other

    def _reader(self, reader: TextReader) -> TextReader:
        """Return a reader of what the model reads: a model of several languages reads plain text."""
        return replace(reader, plain=bool(self.card.get("languages")))

    # -- public calls --------------------------------------------------------------------------

    def __call__(
        self,
        text: str,
        voice: AnyVoice = None,
        seed: int = 0,
        speed: float = 1.0,
        *,
        language: str | None = None,
        instructions: str | None = None,
        **sampling: Any,
    ) -> Audio:
        """Speak `text`.

        Args:
            text: text of any length, with marks for pauses and pronunciations, see docs/synthesis.md;
                English, but for models of several languages.
            voice: the name of a built-in voice, a voice file, a recording to imitate (1 to 30 s), a
                Voice, or a Role; None: the model's default voice.
            seed: equal seeds give equal audio. No effect in greedy decoding, which is the default of
                models whose card says so, such as `mini`: give a temperature to vary the speech.
            speed: 0.25 (slow) to 4 (fast), without a change of pitch.
            language: of the text, one of the card's `languages`; None: the model tells by the text.
            instructions: how to speak, or how the voice is, in words, for models that follow them.
            sampling: temperature, top_k, top_p, min_p, repetition_penalty, greedy; by default as the
                model's card recommends.

        Raises:
            InputError: an argument is invalid, or the text cannot be read out.

        """
        style: dict[str, Any] = {"language": language, "instructions": instructions}
        return join(list(self.sentences(text, voice, seed, speed, **style, **sampling)))

    def stream(
        self,
        text: str | Iterable[str] | AsyncIterable[str],
        voice: AnyVoice = None,
        seed: int = 0,
        speed: float = 1.0,
        context: tuple[Segment, ...] = (),
        *,
        language: str | None = None,
        instructions: str | None = None,
        **sampling: Any,
    ) -> AudioStream:
        """As the call, in chunks as soon as they are decoded; joined, they equal the call's audio.

        A text in pieces, such as the tokens of a language model, is spoken clause by clause while it
        arrives, without words that cannot be read out. How it was cut does not change the audio. The
        first clause may end at a comma.

        Args:
            text: the text, or an iterable or asynchronous iterable of its pieces; the latter needs
                `async for`.
            voice: as for the call.
            seed: as for the call.
            speed: as for the call.
            context: see SynthesisRequest.
            language: as for the call.
            instructions: as for the call.
            sampling: as for the call.

        Returns:
            The chunks, for `for` or `async for`, which `audio.io.join` joins. A chunk has the words
            that ended since the chunk before it, timed from its own start: some begin below 0.

        """
        request = SynthesisRequest(
            text="",
            voice=self.find_voice(voice),
            seed=check_seed(seed),
            speed=check_speed(speed),
            sampling=sampling,
            context=context,
            language=check_language(language, self.card),
            instructions=check_instructions(instructions, self.card),
        )
        sampler_of(sampling, self.card)  # raises before a piece is read
        pieces = ArrivingText(text) if isinstance(text, AsyncIterable) else text
        sentences: Iterable[SentenceRequest]
        if isinstance(pieces, Iterable) and not isinstance(pieces, str | bytes):
            sentences = self._plan_pieces(pieces, request)
        else:
            sentences = self.plan(replace(request, text=pieces))
        arriving = pieces if isinstance(pieces, ArrivingText) else None
        return AudioStream(self.stream_sentences(sentences), arriving)

    def batch(
        self,
        texts: Iterable[str],
        voice: AnyVoice | Sequence[AnyVoice] = None,
        seed: int = 0,
        speed: float = 1.0,
        batch_size: int = 8,
        **sampling: Any,
    ) -> Iterator[Audio]:
        """Speak many texts, `batch_size` sentences at a time, in their order.

        Each equals the audio of the single call. `voice` is one for all texts, or a list with one
        for each.
        """
        check_batch_size(batch_size)
        texts = list(check_items(texts, "texts"))
        voices: list[Any] = list(voice) if isinstance(voice, list | tuple) else [voice] * len(texts)
        if len(voices) != len(texts):
            raise InputError(
                f"voice: {len(voices)} for {len(texts)} texts; give one, or one for each",
                code="wrong_length",
            )
        requests = [
            SynthesisRequest(text=text, voice=own, seed=seed, speed=speed, sampling=sampling)
            for text, own in zip(texts, voices, strict=True)
        ]
        work = [self.plan(request) for request in requests]  # raises before anything is spoken
        return in_order(self.speak_texts(enumerate(work), batch_size))

    def each(
        self, requests: Iterable[SynthesisRequest | str], batch_size: int = 8
    ) -> Iterator[tuple[int, Audio | InputError]]:
        """Speak many requests, or texts, `batch_size` sentences at a time.

        When a sentence ends, the next one takes its place at once; `requests` is consumed no further
        than that, so that it may be endless.

        Yields:
            The number of every request with its audio, or with the error that it is invalid for, in
            the order in which they finish.

        """
        check_batch_size(batch_size)
        return self._each(check_items(requests, "requests"), batch_size)

    def _each(
        self, requests: Iterable[SynthesisRequest | str], batch_size: int
    ) -> Iterator[tuple[int, Audio | InputError]]:
        refused: list[tuple[int, InputError]] = []

        def work() -> Iterator[tuple[int, list[SentenceRequest]]]:
            for number, request in enumerate(requests):
                try:
                    if isinstance(request, str):
                        request = SynthesisRequest(text=request)
                    yield number, self.plan(request)
                except InputError as error:
                    refused.append((number, error))

        for spoken in self.speak_texts(work(), batch_size):
            while refused:
                yield refused.pop(0)
            yield spoken
        yield from refused

    def sentences(
        self,
        text: str,
        voice: AnyVoice = None,
        seed: int = 0,
        speed: float = 1.0,
        batch_size: int = 8,
        *,
        language: str | None = None,
        instructions: str | None = None,
        **sampling: Any,
    ) -> Iterator[Audio]:
        """As the call, sentence by sentence with the pauses between them.

        `batch_size` sentences are spoken together; memory does not grow with the length of the text's
        audio.
        """
        check_batch_size(batch_size)
        request = SynthesisRequest(
            text=text,
            voice=voice,
            seed=seed,
            speed=speed,
            sampling=sampling,
            language=language,
            instructions=instructions,
        )
        return in_order(self.speak(self.plan(request), batch_size))

    def find_voice(self, voice: AnyVoice) -> Voice | None:
        """Return the voice that `voice` stands for, see `voices.find_voice`."""
        default = self.card.get("default_voice", next(iter(self.voices), None))
        return find_voice(voice, self.voices, default, self.tokenizer)

    # -- from requests to audio ----------------------------------------------------------------

    def plan(self, request: SynthesisRequest, first: int = 0) -> list[SentenceRequest]:
        """Split a request into sentences.

        Args:
            request: the text and how it is spoken.
            first: the number of its first sentence, for a text that is planned part by part.

        Raises:
            InputError: a field of the request is invalid, or its text cannot be read out.

        """
        if not isinstance(request, SynthesisRequest):
            raise InputError(
                f"request '{request}': is a {type(request).__name__}; give a SynthesisRequest or a "
                "text",
                code="invalid_value",
            )
        seed = noise_seed(check_seed(request.seed))
        request_of = partial(
            SentenceRequest,
            voice=self.find_voice(request.voice),
            sampler=sampler_of(request.sampling, self.card),
            speed=check_speed(request.speed),
            context=request.context,
            language=check_language(request.language, self.card),
            instructions=check_instructions(request.instructions, self.card),
        )
        sentences = enumerate(self.reader.sentences(request.text, request.speed), start=first)
        return self.checked(
            [
                request_of(sentence, seed=(seed + number * SEED_STRIDE) % 2**63)
                for number, sentence in sentences
            ]
        )

    def _plan_pieces(
        self, pieces: Iterable[str], request: SynthesisRequest
    ) -> Iterator[SentenceRequest]:
        """Split a text in pieces into sentences as it arrives; `request` has the rest."""
        first, due = 0, 0.0  # seconds of silence before the next clause
        for clause, pause in speakable_clauses(pieces):
            head, *others = self.plan(replace(request, text=clause), first)
            yield head.after(due)
            yield from others
            first, due = first + 1 + len(others), pause / request.speed

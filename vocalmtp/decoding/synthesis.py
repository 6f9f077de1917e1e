"""From sentences to audio with one speech LM and its tokenizer, in batches or as a stream.

Letters: D_s size of the speaker vector.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from vocalmtp.arrays import Array, codec_stream, host
from vocalmtp.audio.io import Audio, add_silence, scale_words
from vocalmtp.audio.stretch import stretch
from vocalmtp.audio.timestamps import word_times
from vocalmtp.decoding.generate import Generated, Prompt, collect_utterances, generate
from vocalmtp.decoding.options import SAMPLING, Decoding, SpeakerConditioning
from vocalmtp.decoding.reading import Sentence
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.statistics import DecodeStatistics
from vocalmtp.decoding.streaming import (
    SentenceStream,
    TextAssembler,
    WholeSentence,
    decode_in_background,
    to_samples,
)
from vocalmtp.engines.threads import iterate_with_threads
from vocalmtp.errors import InputError, nearest
from vocalmtp.models import prompts
from vocalmtp.models.prompts import ControlToken, Segment, Text, spoken_seconds
from vocalmtp.text.pronunciation import track_ids
from vocalmtp.voices import Voice, mean_vector

if TYPE_CHECKING:
    from vocalmtp.models.speech_lm import SpeechLM
    from vocalmtp.tokenizers import SpeechTokenizer


@dataclass(frozen=True)
class SentenceRequest:
    """One sentence of a request, and how to speak it.

    `prompt` is set where planning had to make it: in a model's own format, see `checked`.
    """

    sentence: Sentence
    voice: Voice | None
    seed: int
    sampler: Sampler
    speed: float = 1.0
    context: tuple[Segment, ...] = ()
    language: str | None = None
    instructions: str | None = None
    prompt: Prompt | None = field(default=None, compare=False, repr=False)

    @property
    def text(self) -> str:
        """The normalized text."""
        return self.sentence.text

    def after(self, seconds: float) -> "SentenceRequest":
        """Return the same request with so many more seconds of silence before it."""
        return replace(self, sentence=replace(self.sentence, lead=self.sentence.lead + seconds))


PromptFormat = Callable[[SentenceRequest], list[Segment]]  # of the models of one publisher


class SentenceSynthesizer:
    """The parts that turn normalised sentences into audio; see TTS for the arguments."""

    def __init__(
        self,
        model: "SpeechLM",
        tokenizer: "SpeechTokenizer",
        voices: dict[str, Voice],
        encode_text: Callable[[str], Sequence[int]],
        speaker_conditioning: SpeakerConditioning,
        decoding: Decoding,
        threads: int | None = None,
        prompt_format: PromptFormat | None = None,
    ):
        self.prompt_format = prompt_format
        self.model, self.tokenizer, self.voices = model, tokenizer, voices
        self.threads = threads
        self.encode_text = encode_text
        self.speaker_conditioning = speaker_conditioning
        self.decoding, self.statistics = decoding, DecodeStatistics()

    @property
    def sample_rate(self) -> int:
        """Sample rate of the audio in Hz."""
        return self.tokenizer.spec.sample_rate

    @property
    def has_word_times(self) -> bool:
        """Whether `Audio.words` is filled: models with a text track know when words are spoken."""
        return self.model.config.has_text_track

    def lm_speaker_vector(self, voice: Voice | None) -> np.ndarray | None:
        """Return the speaker vector [D_s] for the speech LM; None: without one."""
        if voice is None or self.speaker_conditioning not in ("both", "lm"):
            return None
        return voice.vector

    def decoder_speaker_vector(self, voice: Voice | None) -> Array | None:
        """Return the speaker vector [1, D_s] for the tokenizer's decoder, on its device."""
        if voice is None or not self.tokenizer.spec.speaker_dim:
            return None
        vector = voice.vector
        if self.speaker_conditioning not in ("both", "decoder"):
            vector = mean_vector(self.voices.values(), len(vector))
        return self.tokenizer.speaker_batch(vector)

    def prompt(self, sentence: SentenceRequest) -> Prompt:
        """Return the prompt of a sentence."""
        if sentence.prompt is not None:
            return sentence.prompt
        if self.prompt_format is not None:
            segments = self.prompt_format(sentence)
            seconds = spoken_seconds(len(sentence.text))
            layout = self.model.layout
            steps = layout.num_steps(int(seconds * self.tokenizer.spec.frame_rate))
            steps += prompts.steps_of_text(segments) if layout.has_text_steps else 0
            steps = min(steps + layout.max_delay, self._steps_left(segments))
            return Prompt(segments, sentence.sampler, sentence.seed, steps)
        config, context = self.model.config, sentence.context
        ids, speaker = self.encode_text(sentence.text), self.lm_speaker_vector(sentence.voice)
        if context:  # the sentence is an answer: the model writes it before it speaks it
            end = config.audio_input_config.end_id
            context = (*context, ControlToken("answer"), Text([*ids, end]))
        segments = prompts.tts_prompt(
            config.text,
            text_ids=ids,
            before=prompts.opening(config.template, sentence.text, self.encode_text, speaker),
            characters=track_ids(sentence.text, bool(config.phones), sentence.sentence.phones),
            speaker=speaker,
            context=context,
        )
        return Prompt(segments, sentence.sampler, sentence.seed)

    def checked(self, sentences: list[SentenceRequest]) -> list[SentenceRequest]:
        """Return `sentences`, with their prompts if the model has a format of its own.

        Raises InputError if a sentence has no prompt in it.
        """
        if self.prompt_format is None:
            return sentences
        return [replace(sentence, prompt=self.prompt(sentence)) for sentence in sentences]

    def _steps_left(self, segments: Sequence[Segment]) -> int:
        """Steps for which the backbone has positions after a prompt. Raises InputError if none."""
        most: int = self.model.backbone.config.max_position_embeddings
        taken = self.model.collator()([segments], left=True).kinds.shape[1]
        left = most - taken - self.decoding.drafts
        if left < 1:
            raise InputError(
                f"text: its prompt takes {taken} positions, and the model has {most}; make its "
                "sentences shorter",
                code="out_of_range",
            )
        return left

    def speak(
        self, sentences: Iterable[SentenceRequest], batch_size: int
    ) -> Iterator[tuple[int, Audio]]:
        """Yield the number and the audio of every sentence, as they finish."""
        waiting: dict[int, SentenceRequest] = {}

        def prompts() -> Iterator[Prompt]:
            for number, sentence in enumerate(sentences):
                waiting[number] = sentence
                yield self.prompt(sentence)

        def decode(number: int, generated: Generated) -> Audio:
            return self._decode(waiting.pop(number), generated)

        strategy = self.decoding.strategy(self.statistics)
        events = generate(self.model, prompts(), batch_size, strategy)
        utterances = collect_utterances(events, self.model.layout)
        spoken = decode_in_background(utterances, decode, batch_size)
        return iterate_with_threads(spoken, self.threads)

    def speak_texts(
        self, work: Iterable[tuple[int, list[SentenceRequest]]], batch_size: int
    ) -> Iterator[tuple[int, Audio]]:
        """Yield the number and the audio of every text, a list of sentences, as they finish."""
        texts = TextAssembler()

        def sentences() -> Iterator[SentenceRequest]:
            for number, own in work:
                texts.add_text(number, len(own))
                yield from own

        for number, audio in self.speak(sentences(), batch_size):
            if complete := texts.add_audio(number, audio):
                yield complete

    def _decode(self, request: SentenceRequest, generated: Generated) -> Audio:
        """Decode the codes of a sentence, with the silences around it."""
        words = []
        if generated.pointers is not None:
            pointers = host(generated.pointers).clip(max=len(request.text) - 1)
            rate = self.tokenizer.spec.frame_rate
            written = request.sentence.written
            words = word_times(request.text, pointers, rate, complete=True, written=written)
        samples = np.zeros(0, np.float32)
        if generated.codes.shape[1]:
            with self.statistics.timed("tokenizer"), codec_stream(self.tokenizer):
                vector = self.decoder_speaker_vector(request.voice)
                wav = self.tokenizer.decode(generated.codes[None], vector)
                samples = stretch(to_samples(wav), request.speed, self.sample_rate)
        words = scale_words(words, 1 / request.speed)
        spoken = Audio(samples, self.sample_rate, words, generated.truncated)
        return add_silence(spoken, request.sentence.lead, request.sentence.pause)

    def open_stream(self, request: SentenceRequest) -> SentenceStream | WholeSentence:
        """Return what converts the steps of a sentence to chunks of audio."""
        if self.tokenizer.spec.lookahead is None:  # its decoder needs the whole utterance
            return WholeSentence(self.model.layout, partial(self._decode, request))
        vector = self.decoder_speaker_vector(request.voice)
        return SentenceStream(
            request.sentence, self.model.layout, self.tokenizer, vector, request.speed
        )

    def stream_sentences(
        self, sentences: Iterable[SentenceRequest]
    ) -> Generator[Audio, None, None]:
        """Yield chunks of audio, with the silences around the sentences, as they are decoded."""
        return iterate_with_threads(self._stream_sentences(sentences), self.threads)

    def _stream_sentences(
        self, sentences: Iterable[SentenceRequest]
    ) -> Generator[Audio, None, None]:
        for request in sentences:
            spoken = self.open_stream(request)
            strategy = self.decoding.strategy(self.statistics)
            for event in generate(self.model, [self.prompt(request)], strategy=strategy):
                with self.statistics.timed("tokenizer"):
                    chunk = spoken.push(event.tokens[0])
                if chunk is not None:
                    yield chunk
            yield spoken.finish()


def sampler_of(sampling: dict[str, Any], card: Mapping[str, Any]) -> Sampler:
    """Return the sampler for keyword arguments of a call and the values that a card recommends.

    Raises:
        InputError: an argument is unknown or invalid.

    """
    for name in sampling:
        if name not in SAMPLING:
            raise InputError(
                f"option '{name}': no such option; {nearest(name, SAMPLING)}",
                code="unknown_name",
            )
    given = {name: value for name, value in sampling.items() if value is not None}
    recommended = dict(card.get("sampling", {}))
    if given:
        recommended.pop("greedy", None)  # or a given temperature would have no effect
    return Sampler(**(recommended | given))

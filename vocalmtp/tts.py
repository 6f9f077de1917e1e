"""From text to voice: one model folder behind one object, and one path under all of its calls.

text -> normalize -> sentences -> prompts -> decoding.generate -> unpack -> tokenizer -> Audio.
The plain call, `stream`, `batch` and `each` are consumers of that same generator.
Letters: D_s size of the speaker vector.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from vocalmtp.audio.io import Audio, in_order, join
from vocalmtp.audio.timestamps import word_times
from vocalmtp.decoding.generate import Generated, Prompt, collect_utterances, generate
from vocalmtp.decoding.options import SAMPLING, Decoding
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.statistics import DecodeStatistics
from vocalmtp.decoding.streaming import SentenceStream
from vocalmtp.engines.cpu import optimize_for_inference
from vocalmtp.engines.device import float32_on_cpu, resolve_device
from vocalmtp.errors import InputError, nearest
from vocalmtp.hub import DEFAULT_MODEL, model_folder
from vocalmtp.models import prompts
from vocalmtp.models.config import read_card
from vocalmtp.models.prompts import ControlToken, Segment, Text
from vocalmtp.models.speech_lm import SpeechLM, load_text_tokenizer
from vocalmtp.roles import Role
from vocalmtp.text import ALPHABET, char_ids, char_text, normalize, split_sentences
from vocalmtp.tokenizers import SpeechTokenizer, load_tokenizer
from vocalmtp.voices import Voice, load_voices, make_voice, mean_vector

SpeakerConditioning = Literal["both", "lm", "decoder", "none"]
SPEAKER_CONDITIONINGS = get_args(SpeakerConditioning)

PAUSES = {".": 0.25, "?": 0.25, "!": 0.25}  # seconds of silence after a sentence, by its last sign
SHORT_PAUSE = 0.1  # after a piece of a sentence that was too long to say at once
LONGEST = 400  # letters of a sentence: it is cut at 200, unless it has a word that long

AnyVoice = Voice | Role | Path | str | None
SEED_STRIDE = 0x9E3779B97F4A7C15  # so far apart that the sentences of two texts never share a seed


@dataclass(frozen=True, kw_only=True)
class SynthesisRequest:
    """One text to say, as the arguments of the call.

    As an answer it has the `context` of its question, see respond.py.
    """

    text: str
    voice: AnyVoice = None
    seed: int = 0
    sampling: dict[str, Any] = field(default_factory=dict)
    context: tuple[Segment, ...] = ()


@dataclass(frozen=True)
class SentenceRequest:
    """One sentence to say: normalised text, the voice, and how its noise is drawn."""

    text: str
    voice: Voice | None
    seed: int
    sampler: Sampler
    pause: float = 0.0  # seconds of silence after it
    context: tuple[Segment, ...] = ()


def sentences_of(text: str) -> list[tuple[str, float]]:
    """The sentences of a text, normalised, and the seconds of silence after each.

    Raises InputError for what cannot be said.
    """
    sentences = split_sentences(normalize(text))
    for sentence in sentences:
        if len(sentence) > LONGEST:
            raise InputError(
                f"text '{sentence[:37]}...': has a word of some {len(sentence)} letters; "
                "put spaces into it",
                code="invalid_value",
            )
    pauses = [PAUSES.get(sentence[-1], SHORT_PAUSE) for sentence in sentences[:-1]]
    return list(zip(sentences, [*pauses, 0.0], strict=True))


def load(
    name: Path | str = DEFAULT_MODEL,
    device: str = "cpu",
    int8: bool | None = None,
    speaker_conditioning: SpeakerConditioning = "both",
    decoding: Decoding | None = None,
) -> "TTS":
    """A text-to-speech model: the name of one that came with the package, or a model's folder.

    `device` is one of torch, or "auto": CUDA if this machine has it, else the CPU. `int8` runs the speech LM on 8-bit weights, which is faster on CPU; None does so there if the
    model's card says that it was measured to be as good. `speaker_conditioning`, `decoding`: see TTS.

    Raises InputError if there is no such model, or its parts do not belong together.
    """
    place = resolve_device(device)
    folder = model_folder(name)
    card = read_card(folder)
    with float32_on_cpu():
        model = SpeechLM.load(folder)
        tokenizer = load_tokenizer(folder / "tokenizer")
    model, tokenizer = model.to(place), tokenizer.to(place)
    if model.config.has_text_track and model.config.alphabet != ALPHABET:
        raise InputError(
            f"model '{name}': reads other letters than this version writes; "
            "run: pip install --upgrade vocalmtp",
            code="version_too_new",
        )
    if place.type == "cpu":
        optimize_for_inference(model, card.get("int8", False) if int8 is None else int8)
    tokenizer.optimize_for_inference()
    read_text, write_text = char_ids, char_text
    if (folder / "tokenizer_config.json").is_file():  # a pretrained backbone brings its own
        own = load_text_tokenizer(folder)
        read_text, write_text = own.encode, partial(own.decode, skip_special_tokens=True)
    voices = load_voices(folder / "voices")
    return TTS(
        model, tokenizer, voices, card, read_text, speaker_conditioning, decoding, write_text
    )


class TTS:
    """Speaks. `vocalmtp.load` makes one; it can also be made of parts that belong together.

    `voices` are the built-in ones by name, `card` is the content of the model's card.json.
    `read_text` turns a normalised text into the backbone's token ids, and `write_text` ids into a
    text. `speaker_conditioning` says who is told the voice: the speech LM and the tokenizer's decoder, one of
    them, or neither; a decoder that is not told has the mean of all voices.
    `decoding` says how steps are decoded, and `statistics` what that has brought in all calls.
    """

    def __init__(
        self,
        model: SpeechLM,
        tokenizer: SpeechTokenizer,
        voices: dict[str, Voice] | None = None,
        card: dict[str, Any] | None = None,
        read_text: Callable[[str], Sequence[int]] = char_ids,
        speaker_conditioning: SpeakerConditioning = "both",
        decoding: Decoding | None = None,
        write_text: Callable[[Sequence[int]], str] = char_text,
    ):
        made, asked = tokenizer.spec, model.config.tokenizer
        if asked.get("hash") != made.hash:
            raise InputError(
                f"tokenizer '{made.name}' ({made.hash}): the model speaks the codes of "
                f"'{asked.get('name')}' ({asked.get('hash')}); put that one into its folder",
                code="mismatch",
            )
        self.full_model, self.tokenizer = model.eval(), tokenizer.eval()
        if speaker_conditioning not in SPEAKER_CONDITIONINGS:
            raise InputError(
                f"speaker_conditioning '{speaker_conditioning}': unknown; {nearest(speaker_conditioning, SPEAKER_CONDITIONINGS)}",
                code="unknown_name",
            )
        self.voices, self.card = voices or {}, card or {}
        self.read_text, self.write_text = read_text, write_text
        self.speaker_conditioning = speaker_conditioning
        self.decoding, self.statistics = decoding or Decoding(), DecodeStatistics()
        self.model = self.decoding.model(self.full_model)
        for voice in self.voices.values():
            voice.check(made)

    @property
    def sample_rate(self) -> int:
        """Samples per second of what is spoken."""
        return self.tokenizer.spec.sample_rate

    @property
    def has_word_times(self) -> bool:
        """Whether the audio says when each word is spoken: models with a text track know."""
        return self.model.config.has_text_track

    def using(self, decoding: Decoding) -> "TTS":
        """The same model, voices and all, that decodes otherwise, with statistics of its own.

        Raises InputError if the model cannot decode so.
        """
        other = copy(self)
        other.decoding, other.statistics = decoding, DecodeStatistics()
        other.model = decoding.model(self.full_model)
        return other

    # -- what users call -----------------------------------------------------------------------

    def __call__(self, text: str, voice: AnyVoice = None, seed: int = 0, **sampling: Any) -> Audio:
        """Speak `text`; the same seed gives the same audio.

        Args:
            voice: the name of a built-in voice, a voice file, a recording to imitate (1 to 30 s),
                a Voice, or a Role that has one; the model's default voice if None.
            sampling: temperature, top_k, top_p, greedy; as the model's card says if not given.

        Raises:
            InputError: the text cannot be spoken, the voice is not there, a value is out of range.
        """
        return join(list(self.sentences(text, voice, seed, **sampling)))

    def stream(
        self,
        text: str,
        voice: AnyVoice = None,
        seed: int = 0,
        context: tuple[Segment, ...] = (),
        **sampling: Any,
    ) -> Iterator[Audio]:
        """As the call, in chunks as soon as they are made; their samples, joined, equal the call's.

        A chunk has the words that ended since the chunk before, timed from the chunk's own start
        (so a word may begin below 0): `audio.join` makes one Audio of all chunks. `context`: see
        Request.
        """
        request = SynthesisRequest(
            text=text, voice=voice, seed=seed, sampling=sampling, context=context
        )
        return self._stream(self.plan(request))

    def batch(
        self,
        texts: Sequence[str],
        voice: AnyVoice | Sequence[AnyVoice] = None,
        seed: int = 0,
        batch_size: int = 8,
        **sampling: Any,
    ) -> Iterator[Audio]:
        """Speak many texts in order, `batch_size` sentences at a time; each equals the single call.

        `voice` is one for all, or a list with one for each text.
        """
        check_batch_size(batch_size)
        if voice is None or isinstance(voice, Voice | Role | Path | str):
            voice = [voice] * len(texts)
        elif len(voice) != len(texts):
            raise InputError(
                f"voice: {len(voice)} for {len(texts)} texts; give one, or one for each",
                code="invalid_value",
            )
        requests = [
            SynthesisRequest(text=text, voice=own, seed=seed, sampling=sampling)
            for text, own in zip(texts, voice, strict=True)
        ]
        work = [self.plan(request) for request in requests]  # what is wrong is said at once
        return in_order(self._texts(enumerate(work), batch_size))

    def each(
        self, requests: Iterable[SynthesisRequest], batch_size: int = 8
    ) -> Iterator[tuple[int, Audio | InputError]]:
        """The number of every request and its audio, or what is wrong with it, as they finish.

        A finished sentence's place is taken at once by the next one, and `requests` is read no
        further than that, so it may be endless.
        """
        check_batch_size(batch_size)
        refused: list[tuple[int, InputError]] = []

        def work() -> Iterator[tuple[int, list[SentenceRequest]]]:
            for number, request in enumerate(requests):
                try:
                    yield number, self.plan(request)
                except InputError as error:
                    refused.append((number, error))

        for spoken in self._texts(work(), batch_size):
            while refused:
                yield refused.pop(0)
            yield spoken
        yield from refused

    def sentences(
        self, text: str, voice: AnyVoice = None, seed: int = 0, batch_size: int = 8, **sampling: Any
    ) -> Iterator[Audio]:
        """As the call, sentence by sentence with the pauses between, for texts of any length.

        `batch_size` sentences are spoken together; memory does not grow with the text's audio.
        """
        check_batch_size(batch_size)
        request = SynthesisRequest(text=text, voice=voice, seed=seed, sampling=sampling)
        return in_order(self._speak(self.plan(request), batch_size))

    def find_voice(self, voice: AnyVoice) -> Voice | None:
        """The voice that `voice` names (see the call); None only if the tokenizer knows no voices.

        Raises InputError if there is no such voice, or it was made for another tokenizer.
        """
        spec = self.tokenizer.spec
        if voice is None:
            name = self.card.get("default_voice", next(iter(self.voices), None))
            if name is None and spec.speaker_dim:
                raise InputError(
                    "voice: the model has none of its own; give a recording of one", code="missing"
                )
            return None if name is None else self.find_voice(name)
        if isinstance(voice, Voice):
            return voice.check(spec)
        if isinstance(voice, Role):
            with voice.named():
                found = self.find_voice(voice.voice)
            if found is None or not voice.consent:
                return found
            return replace(found, origin=voice.origin, consent=voice.consent)
        if str(voice) in self.voices:
            return self.voices[str(voice)]
        path = Path(voice)
        if path.suffix == ".safetensors":
            return Voice.load(path).check(spec)
        if path.suffix or os.path.isfile(path):  # False for a name that no file can have
            return make_voice(path, self.tokenizer)
        raise InputError(
            f"voice '{voice}': no such voice; {nearest(str(voice), self.voices)}", code="not_found"
        )

    # -- the one path --------------------------------------------------------------------------

    def _sampler(self, asked: dict[str, Any]) -> Sampler:
        for name in asked:
            if name not in SAMPLING:
                raise InputError(
                    f"option '{name}': no such option; {nearest(name, SAMPLING)}", code="not_found"
                )
        asked = {name: value for name, value in asked.items() if value is not None}
        recommended = dict(self.card.get("sampling", {}))
        if asked:
            recommended.pop("greedy", None)  # who asks for a temperature wants it to have a say
        return Sampler(**(recommended | asked))

    def plan(self, request: SynthesisRequest) -> list[SentenceRequest]:
        """The sentences to say for `request`; raises InputError as the call does."""
        sampler, seed = self._sampler(request.sampling), request.seed
        if not 0 <= seed < 2**63:
            raise InputError(
                f"seed '{seed}': must be 0 or more, and below 2 ** 63", code="out_of_range"
            )
        voice = self.find_voice(request.voice)
        seeds = ((seed + index * SEED_STRIDE) % 2**63 for index in count())
        return [
            SentenceRequest(sentence, voice, own, sampler, pause, request.context)
            for (sentence, pause), own in zip(sentences_of(request.text), seeds, strict=False)
        ]

    def lm_speaker_vector(self, voice: Voice | None) -> Tensor | None:
        """What the speech LM is told of the voice, [D_s]."""
        here = voice is not None and self.speaker_conditioning in ("both", "lm")
        return torch.from_numpy(voice.vector) if here else None

    def prompt(self, row: SentenceRequest) -> Prompt:
        """What makes the model say `row`."""
        ids, context = self.read_text(row.text), row.context
        if context:  # of a question: what is said is an answer, which was written first
            end = self.model.config.audio_input_config.end_id
            context = (*context, ControlToken("answer"), Text([*ids, end]))
        segments = prompts.tts_prompt(
            self.model.config.text,
            text_ids=ids,
            characters=char_ids(row.text),
            speaker=self.lm_speaker_vector(row.voice),
            context=context,
        )
        return Prompt(segments, row.sampler, row.seed)

    def _speak(
        self, rows: Iterable[SentenceRequest], batch_size: int
    ) -> Iterator[tuple[int, Audio]]:
        """The number of every sentence and its audio, as they finish.

        The codec decodes in a thread of its own, while the speech LM goes on.
        """
        waiting: dict[int, SentenceRequest] = {}

        def prompts() -> Iterator[Prompt]:
            for number, row in enumerate(rows):
                waiting[number] = row
                yield self.prompt(row)

        strategy = self.decoding.strategy(self.statistics)
        events = generate(self.model, prompts(), batch_size, strategy)
        threads = torch.get_num_threads()
        with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(threads,)) as pool:
            due: deque[tuple[int, Future[Audio]]] = deque()
            for number, made in collect_utterances(events, self.model.layout):
                due.append((number, pool.submit(self._decode, waiting.pop(number), made)))
                while due and (due[0][1].done() or len(due) > batch_size):
                    ready, audio = due.popleft()
                    yield ready, audio.result()
            for number, audio in due:
                yield number, audio.result()

    def _texts(
        self, work: Iterable[tuple[int, list[SentenceRequest]]], batch_size: int
    ) -> Iterator[tuple[int, Audio]]:
        """The number of every text (a list of sentences) and its audio, as they finish."""
        owners: dict[int, int] = {}  # of a sentence: its text
        missing: dict[int, int] = {}  # of a text: sentences to come
        parts: dict[int, dict[int, Audio]] = {}  # of a text: audio by sentence

        def rows() -> Iterator[SentenceRequest]:
            number = count()
            for text, sentences in work:
                missing[text], parts[text] = len(sentences), {}
                for sentence in sentences:
                    owners[next(number)] = text
                    yield sentence

        for number, audio in self._speak(rows(), batch_size):
            text = owners.pop(number)
            parts[text][number] = audio
            missing[text] -= 1
            if not missing[text]:
                del missing[text]
                yield text, join([audio for _, audio in sorted(parts.pop(text).items())])

    def _decode(self, row: SentenceRequest, made: Generated) -> Audio:
        """The audio of a sentence and the silence after it."""
        frames, words = made.codes.shape[1], []
        if made.pointers is not None:
            pointers = made.pointers.clamp(max=len(row.text) - 1).cpu().numpy()
            words = word_times(row.text, pointers, self.tokenizer.spec.frame_rate, whole=True)
        samples = self._silence(row.pause)
        if frames:
            with self.statistics.timed("tokenizer"):
                wav = self.tokenizer.decode(made.codes[None], self.decoder_speaker_vector(row))
            samples = np.concatenate([wav[0].float().cpu().numpy(), samples])
        return Audio(samples, self.sample_rate, words, made.truncated)

    def _stream(self, sentences: list[SentenceRequest]) -> Iterator[Audio]:
        for row in sentences:
            if self.tokenizer.spec.lookahead is None:  # its decoder wants to see everything first
                yield from (audio for _, audio in self._speak([row], batch_size=1))
                continue
            spoken = SentenceStream(
                row.text, self.model.layout, self.tokenizer, self.decoder_speaker_vector(row)
            )
            strategy = self.decoding.strategy(self.statistics)
            for event in generate(self.model, [self.prompt(row)], strategy=strategy):
                with self.statistics.timed("tokenizer"):
                    chunk = spoken.push(event.tokens[0])
                if chunk is not None:
                    yield chunk
            yield spoken.finish()
            if row.pause:
                yield Audio(self._silence(row.pause), self.sample_rate)

    def decoder_speaker_vector(self, row: SentenceRequest) -> Tensor | None:
        """The voice as the codec wants it, [1, D_s]."""
        if row.voice is None:
            return None
        vector = row.voice.vector
        if self.speaker_conditioning not in ("both", "decoder"):
            vector = mean_vector(self.voices.values(), len(vector))
        return torch.from_numpy(vector)[None].to(self.tokenizer.device)

    def _silence(self, seconds: float) -> np.ndarray:
        return np.zeros(round(seconds * self.sample_rate), np.float32)


def check_batch_size(batch_size: int) -> None:
    """Raise InputError unless it is a number of rows."""
    if batch_size < 1:
        raise InputError(f"batch_size '{batch_size}': must be 1 or more", code="out_of_range")

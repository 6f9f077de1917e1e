"""From text to voice: one model folder behind one object, and one path under all of its calls.

text -> normalize -> sentences -> prompts -> decoding.generate -> unpack -> tokenizer -> Audio.
The plain call, `stream` and `batch` are consumers of that same generator.
Letters: B rows, K slots, Q streams, T codec frames, N samples, D_s size of the speaker vector.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.utils import logging

from vocalmtp import prompts
from vocalmtp.audio import Audio, join
from vocalmtp.catalogue import DEFAULT_MODEL, model_folder, read_card
from vocalmtp.data.collate import Collator
from vocalmtp.decoding.generate import StepEvent, collect, generate
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.errors import InputError, nearest
from vocalmtp.model.int8 import quantize_linears
from vocalmtp.model.speech_lm import SpeechLM
from vocalmtp.streaming import SentenceStream
from vocalmtp.text import char_ids, normalize, split_sentences
from vocalmtp.timestamps import word_times
from vocalmtp.tokenizers import SpeechTokenizer, load_tokenizer
from vocalmtp.voices import Voice, load_voices, make_voice

AnyVoice = Voice | Path | str | None

PAUSES = {".": 0.25, "?": 0.25, "!": 0.25}  # seconds of silence after a sentence, by its last sign
SHORT_PAUSE = 0.1  # after a piece of a sentence that was too long to say at once
SEED_STRIDE = 0x9E3779B97F4A7C15  # so far apart that the sentences of two texts never share a seed
SAMPLING = ("temperature", "top_k", "top_p", "greedy")


def load(name: Path | str = DEFAULT_MODEL, device: str = "cpu", int8: bool | None = None) -> "TTS":
    """A text-to-speech model: the name of one that came with the package, or a model's folder.

    `int8` runs the speech LM on 8-bit weights, which is faster on CPU; None does so there if the
    model's card says that it was measured to be as good. Raises InputError if there is no such
    model, or its parts do not belong together.
    """
    folder = model_folder(name)
    card = read_card(folder)
    with no_progress_bar():
        model = SpeechLM.from_pretrained(folder, dtype=torch.float32).to(device)
    if int8 if int8 is not None else device == "cpu" and card.get("int8", False):
        quantize_linears(model)
    tokenizer = load_tokenizer(folder / "tokenizer").to(device)
    read_text = char_ids
    if (folder / "tokenizer_config.json").is_file():  # a pretrained backbone brings its own
        from transformers import AutoTokenizer

        read_text = AutoTokenizer.from_pretrained(folder).encode
    return TTS(model, tokenizer, load_voices(folder / "voices"), card, read_text)


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """Keep Transformers from drawing a bar over a file that loads in a moment."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@dataclass(frozen=True)
class Utterance:
    """One sentence to say: normalised text, the voice, and the seed of its noise."""

    text: str
    voice: Voice | None
    seed: int

    @property
    def pause(self) -> float:
        """Seconds of silence between this sentence and the next."""
        return PAUSES.get(self.text[-1], SHORT_PAUSE)


class TTS:
    """Speaks. `vocalmtp.load` makes one; it can also be made of parts that belong together.

    `voices` are the built-in ones by name, `card` is the content of the model's card.json, and
    `read_text` turns a normalised text into the backbone's token ids.
    """

    def __init__(
        self,
        model: SpeechLM,
        tokenizer: SpeechTokenizer,
        voices: dict[str, Voice] | None = None,
        card: dict[str, Any] | None = None,
        read_text: Callable[[str], Sequence[int]] = char_ids,
    ):
        made, asked = tokenizer.card, model.config.tokenizer
        if asked.get("hash") != made.hash:
            raise InputError(
                f"tokenizer '{made.name}' ({made.hash}): the model speaks the codes of "
                f"'{asked.get('name')}' ({asked.get('hash')}); put that one into its folder"
            )
        self.model, self.tokenizer = model.eval(), tokenizer.eval()
        self.voices, self.card, self.read_text = voices or {}, card or {}, read_text
        for voice in self.voices.values():
            voice.check(made.name, made.hash)

    @property
    def sample_rate(self) -> int:
        """Samples per second of what is spoken."""
        return self.tokenizer.card.sample_rate

    @property
    def has_word_times(self) -> bool:
        """Whether the audio says when each word is spoken: models with a text track know."""
        return self.model.config.tracked

    # -- what users call -----------------------------------------------------------------------

    def __call__(self, text: str, voice: AnyVoice = None, seed: int = 0, **sampling: Any) -> Audio:
        """Speak `text`; the same seed gives the same audio.

        Args:
            voice: the name of a built-in voice, a voice file, a recording to imitate (1 to 30 s),
                or a Voice; the model's default voice if None.
            sampling: temperature, top_k, top_p, greedy; as the model's card says if not given.

        Raises:
            InputError: the text cannot be spoken, the voice is not there, a value is out of range.
        """
        return next(self.batch([text], voice, seed, batch_size=1, **sampling))

    def stream(
        self, text: str, voice: AnyVoice = None, seed: int = 0, **sampling: Any
    ) -> Iterator[Audio]:
        """As the call, in chunks as soon as they are made; their samples, joined, equal the call's.

        A chunk has the words that ended since the chunk before, timed from the chunk's own start
        (so a word may begin below 0): `audio.join` makes one Audio of all chunks.
        """
        sampler = self._sampler(sampling)
        return self._stream(self._sentences(text, self.find_voice(voice), seed), sampler)

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
        sampler = self._sampler(sampling)
        if batch_size < 1:
            raise InputError(f"batch_size '{batch_size}': must be 1 or more")
        if voice is None or isinstance(voice, Voice | Path | str):
            voices = [self.find_voice(voice)] * len(texts)
        elif len(voice) == len(texts):
            voices = [self.find_voice(one) for one in voice]
        else:
            raise InputError(
                f"voice: {len(voice)} for {len(texts)} texts; give one, or one for each"
            )
        work = [self._sentences(t, v, seed) for t, v in zip(texts, voices, strict=True)]
        return self._batch(work, sampler, batch_size)

    def find_voice(self, voice: AnyVoice) -> Voice | None:
        """The voice that `voice` names (see the call); None only if the tokenizer knows no voices.

        Raises InputError if there is no such voice, or it was made for another tokenizer.
        """
        card = self.tokenizer.card
        if voice is None:
            name = self.card.get("default_voice", next(iter(self.voices), None))
            if name is None and card.speaker_dim:
                raise InputError("voice: the model has none of its own; give a recording of one")
            return None if name is None else self.find_voice(name)
        if isinstance(voice, Voice):
            return voice.check(card.name, card.hash)
        if str(voice) in self.voices:
            return self.voices[str(voice)]
        path = Path(voice)
        if path.suffix == ".safetensors":
            return Voice.load(path).check(card.name, card.hash)
        if path.suffix or path.is_file():
            return make_voice(path, self.tokenizer)
        raise InputError(f"voice '{voice}': no such voice; {nearest(str(voice), self.voices)}")

    # -- the one path --------------------------------------------------------------------------

    def _sampler(self, asked: dict[str, Any]) -> Sampler:
        for name in asked:
            if name not in SAMPLING:
                raise InputError(f"option '{name}': no such option; {nearest(name, SAMPLING)}")
        asked = {name: value for name, value in asked.items() if value is not None}
        recommended = dict(self.card.get("sampling", {}))
        if asked:
            recommended.pop("greedy", None)  # who asks for a temperature wants it to have a say
        return Sampler(**(recommended | asked))

    def _sentences(self, text: str, voice: Voice | None, seed: int) -> list[Utterance]:
        if not 0 <= seed < 2**63:
            raise InputError(f"seed '{seed}': must be 0 or more, and below 2 ** 63")
        return [
            Utterance(sentence, voice, (seed + index * SEED_STRIDE) % 2**63)
            for index, sentence in enumerate(split_sentences(normalize(text)))
        ]

    def prompt(self, rows: Sequence[Utterance]) -> dict[str, Tensor]:
        """The left-padded batch that makes the model say `rows`; see data/collate.py."""
        segments = [
            prompts.tts(
                self.model.config.text,
                text_ids=self.read_text(row.text),
                characters=char_ids(row.text),
                speaker=None if row.voice is None else torch.from_numpy(row.voice.vector),
            )
            for row in rows
        ]
        batch = Collator(self.model.layout, self.model.config.speaker_dim)(segments, left=True)
        return {name: tensor.to(self.model.device) for name, tensor in batch.items()}

    def _speak(self, rows: list[Utterance], sampler: Sampler) -> Iterator[StepEvent]:
        """Every step of these utterances, said together."""
        return generate(self.model, self.prompt(rows), sampler, [row.seed for row in rows])

    def _batch(
        self, work: list[list[Utterance]], sampler: Sampler, batch_size: int
    ) -> Iterator[Audio]:
        rows = list(chain.from_iterable(work))
        groups = (rows[i : i + batch_size] for i in range(0, len(rows), batch_size))
        spoken = chain.from_iterable(self._whole(group, sampler) for group in groups)
        for sentences in work:
            parts: list[Audio] = []
            for sentence in sentences:
                parts += [next(spoken), self._silence(sentence.pause)]
            yield join(parts[:-1])

    def _whole(self, rows: list[Utterance], sampler: Sampler) -> list[Audio]:
        """Say all rows to their ends, then decode each."""
        lengths = torch.tensor([len(row.text) for row in rows], device=self.model.device)
        made = collect(self._speak(rows, sampler), self.model.layout, lengths)
        audios = []
        for b, row in enumerate(rows):
            frames = int(made.lengths[b])
            words = []
            if made.pointers is not None:
                pointers = made.pointers[b, :frames].cpu().numpy()
                words = word_times(row.text, pointers, self.tokenizer.card.frame_rate, whole=True)
            samples = np.zeros(0, np.float32)
            if frames:
                wav = self.tokenizer.decode(made.codes[b : b + 1, :, :frames], self._vector(row))
                samples = wav[0].float().cpu().numpy()
            audios.append(Audio(samples, self.sample_rate, words, bool(made.truncated[b])))
        return audios

    def _stream(self, sentences: list[Utterance], sampler: Sampler) -> Iterator[Audio]:
        for number, sentence in enumerate(sentences, start=1):
            if self.tokenizer.card.lookahead is None:  # its decoder wants to see everything first
                yield from self._whole([sentence], sampler)
            else:
                yield from self._stream_sentence(sentence, sampler)
            if number < len(sentences):
                yield self._silence(sentence.pause)

    def _stream_sentence(self, row: Utterance, sampler: Sampler) -> Iterator[Audio]:
        spoken = SentenceStream(row.text, self.model.layout, self.tokenizer, self._vector(row))
        for event in self._speak([row], sampler):
            chunk = spoken.push(event.tokens[0])
            if chunk is not None:
                yield chunk
        yield spoken.finish()

    def _vector(self, row: Utterance) -> Tensor | None:
        """The voice as the codec wants it, [1, D_s]."""
        if row.voice is None:
            return None
        return torch.from_numpy(row.voice.vector)[None].to(self.tokenizer.device)

    def _silence(self, seconds: float) -> Audio:
        return Audio(np.zeros(round(seconds * self.sample_rate), np.float32), self.sample_rate)

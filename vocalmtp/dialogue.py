"""One model that hears a question, writes its answer, and says it: `DialogueModel`.

The sequence is that of training, made part by part: voice, what is heard, "question" and the question,
"answer" and the answer, "speech" and the speech (prompts.py). Text is written by the same loop as
speech, with the model's text side for a model. Every sentence of an answer is said as an answer of
its own, so that the first one sounds while the next is being written.
Letters: N samples.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vocalmtp.audio.io import resample
from vocalmtp.decoding.generate import Prompt, collect_utterances, generate
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.errors import InputError
from vocalmtp.models.audio_encoder import SAMPLE_RATE, log_mels, mel_frames
from vocalmtp.models.prompts import AudioInput, ControlToken, Segment, Speaker, dialogue_turn
from vocalmtp.models.text_mode import TextDecodingView
from vocalmtp.text import normalize
from vocalmtp.tts import TTS, AnyVoice

LONGEST = 240  # tokens of an answer; what has no end by then is cut off
FASTEST, SPARE = 25.0, 16  # tokens of a second of speech that are written down at most, and some


@dataclass(frozen=True, kw_only=True)
class Query:
    """A question: what is heard of it, or None; its text; who is to answer."""

    text: str
    heard: AudioInput | None = None
    voice: AnyVoice = None


class DialogueModel:
    """What a speech LM that listens can do with questions; `tts` says its answers.

    Raises InputError if the model does not listen.
    """

    def __init__(self, tts: TTS):
        self.tts, self.side = tts, TextDecodingView(tts.model)
        self.sampler = Sampler(greedy=True)

    def hear(self, samples: np.ndarray, sample_rate: int) -> AudioInput:
        """Samples [N] as the model hears them. Raises InputError if there are none."""
        if not len(samples):
            raise InputError("question: has no sound; record it again", code="empty")
        tokenizer = self.tts.tokenizer
        codes = self.tts.model.config.audio_input_config.source == "codes"
        rate = tokenizer.spec.sample_rate if codes else SAMPLE_RATE
        wav = torch.from_numpy(resample(samples, sample_rate, rate))
        if not codes:
            return AudioInput(mel_frames(log_mels(wav)))
        with torch.inference_mode():
            return AudioInput(tokenizer.encode(wav[None].to(tokenizer.device)).codes[0])

    def transcribe(self, heard: Sequence[AudioInput], batch_size: int = 8) -> list[str]:
        """What is said in each of what is `heard`."""
        rate = self.tts.model.config.audio_frame_rate
        limits = [SPARE + round(FASTEST * each.frames.shape[1] / rate) for each in heard]
        return self._write([dialogue_turn(audio=each) for each in heard], limits, batch_size)

    def answer(self, asked: Sequence[Query], batch_size: int = 8) -> list[str]:
        """The text of every answer."""
        prompts = [self._prompt(each) for each in asked]
        return self._write(prompts, [LONGEST] * len(prompts), batch_size)

    def write(self, asked: Query) -> Iterator[str]:
        """The text of an answer, in pieces as they are made."""
        ids: list[int] = []
        given = ""
        prompt = Prompt(self._prompt(asked), self.sampler, max_steps=LONGEST)
        for event in generate(self.side, [prompt]):
            ids.append(int(event.tokens[0, 0]))
            text = self.tts.write_text([i for i in ids if i < self.side.layout.slots[0].size])
            if not text.endswith("\ufffd"):  # half a letter of a vocabulary of bytes
                yield text[len(given) :]
                given = text

    def context(self, asked: Query) -> tuple[Segment, ...]:
        """What comes before an answer to `asked` in a Request that says it.

        Raises InputError if there is nothing in its text that can be read.
        """
        end = self.tts.model.config.audio_input_config.end_id
        question = [*self.tts.read_text(normalize(asked.text)), end]
        return tuple(dialogue_turn(audio=asked.heard, question=question))

    def _prompt(self, asked: Query) -> list[Segment]:
        voice = self.tts.lm_speaker_vector(self.tts.find_voice(asked.voice))
        return [Speaker(voice), *self.context(asked), ControlToken("answer")]

    def _write(self, prompts: list[list[Segment]], limits: list[int], batch_size: int) -> list[str]:
        """What is written after each of `prompts`, at most so many tokens."""
        asked = (
            Prompt(segments, self.sampler, max_steps=limit)
            for segments, limit in zip(prompts, limits, strict=True)
        )
        events = generate(self.side, asked, batch_size)
        made = dict(collect_utterances(events, self.side.layout))
        return [self.tts.write_text(made[n].codes[0].tolist()) for n in range(len(prompts))]

"""The command line without its work: what takes seconds is replaced, what checks is not."""

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.chat_fakes import CountingRecognizer
from vocalmtp.audio.io import Audio, Word
from vocalmtp.batch.synthesizer import BatchSynthesizer
from vocalmtp.hub import model_folder
from vocalmtp.loading import load
from vocalmtp.server.security import check_auth
from vocalmtp.tokenizers import load_tokenizer
from vocalmtp.tts import TTS, SentenceRequest


class ToneTTS(TTS):
    """The real thing but for its voice: every sentence is a tone."""

    def speak(
        self, rows: Iterable[SentenceRequest], batch_size: int
    ) -> Iterator[tuple[int, Audio]]:
        for number, row in enumerate(rows):
            tone = 0.1 * np.sin(np.arange(40 * len(row.text)) / 9)
            words = [Word(word, 0.0, 0.001) for word in row.text.split()]
            yield number, Audio(tone.astype(np.float32), self.sample_rate, words)

    def stream_sentences(self, sentences: list[SentenceRequest]) -> Iterator[Audio]:
        return (audio for _, audio in self.speak(sentences, 1))


def replace_work(patch: pytest.MonkeyPatch, toy: Path) -> None:
    """Let every verb end in milliseconds; `toy` is the folder of the model behind all names."""
    whole = load(toy)
    tones = ToneTTS(whole.model, whole.tokenizer, whole.voices, whole.card)
    real = cache(load_tokenizer)

    def load_tones(name: str, **_: Any) -> ToneTTS:
        model_folder(name)
        return tones

    def load_codec(source: Any) -> Any:
        return real(toy / "tokenizer") if str(source) in ("mini", "toy") else load_tokenizer(source)

    def check_model(model: str, *_: Any) -> list:
        model_folder(model)
        return []

    def speak_here(job: Any, items: Iterator) -> Iterator:
        return BatchSynthesizer(job)(items)

    for place, fake in {
        "vocalmtp.loading.load": load_tones,
        "vocalmtp.tokenizers.load_tokenizer": load_codec,
        "vocalmtp.batch.workers.Pool": speak_here,
        "vocalmtp.batch.ray.synthesize_on_ray": speak_here,
        "vocalmtp.recognizers.pocketsphinx.PocketsphinxRecognizer.transcribe": lambda *_: "hi",
        "vocalmtp.fetch.get.get_model": lambda card, tell: Path(card.name),
        "vocalmtp.bench.run.run_bench": check_model,
        "vocalmtp.bench.methods.run_methods": lambda *_: iter(()),
        "vocalmtp.evaluation.run.run_intelligibility": lambda request: check_model(request.model),
        "vocalmtp.evaluation.run.run_similarity": lambda request: check_model(request.model),
        "vocalmtp.evaluation.run.run_references": lambda request, _: check_model(request.model),
        "vocalmtp.evaluation.run.run_quality": lambda request: check_model(request.model),
        "vocalmtp.evaluation.run.run_all": lambda request, against: {
            "": check_model(request.model)
        },
        "vocalmtp.evaluation.tokenizer.measure_tokenizer": lambda *_, **__: {},
        "vocalmtp.evaluation.roletriviaqa.run_roletriviaqa": lambda a: check_model(a.model) or "-",
        "vocalmtp.evaluation.prompt_lists.run_prompt_list": lambda asked: (
            check_model(asked.model) or "-"
        ),
        "vocalmtp.evaluation.sentences.pick_items": lambda *_: [],
        "vocalmtp.evaluation.tokenizer.pick_items": lambda *_: [],
        "vocalmtp.evaluation.tokenizer.pick_references": lambda *_: [],
        "vocalmtp.evaluation.tokenizer.probe_streams": lambda *_: [],
        "vocalmtp.evaluation.tokenizer.swap_timbre": lambda *_: {},
        "vocalmtp.training.export.export_model": lambda model, *_, **__: check_model(model),
        "vocalmtp.ablation.run.run_grid": lambda *_, **__: {},
        "vocalmtp.ablation.report.write_ablation": lambda *_: "",
        "vocalmtp.recognizers.base.build_recognizer": lambda *_: CountingRecognizer(),
        "vocalmtp.chat.recorded.converse": lambda *_: [],
        "vocalmtp.chat.terminal.run_terminal": lambda *_: None,
        "vocalmtp.server.app.make_app": lambda state, host, auth, *_: auth and check_auth(auth),
        "vocalmtp.server.app.run": lambda *_: None,
        "vocalmtp.server.state.ServerState.warm_up": lambda _: None,
        "vocalmtp.training.train.train": lambda recipe: recipe.output,
        "vocalmtp.training.finetune.finetune": lambda recipe: recipe.output,
        "vocalmtp.training.codec.train_tokenizer": lambda recipe: None,
        "vocalmtp.training.aligner.train_aligner": lambda recipe: None,
        "vocalmtp.data.prepare._align": lambda samples, text, _: np.linspace(0, 1, len(text)),
    }.items():
        patch.setattr(place, fake)

"""Word error rate as a small offline recogniser hears it (pocketsphinx, US English).

Its own errors on natural speech are large, so a figure means something only beside natural speech
of the same sentences: judge by the ratio.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from vocalmtp.evaluation.rows import progress
from vocalmtp.evaluation.statistics import Estimate, bootstrap_mean, bootstrap_ratio
from vocalmtp.optional import require
from vocalmtp.recognizers.ngrams import NGrams

if TYPE_CHECKING:
    import numpy as np

SAMPLE_RATE = 16000  # of the recogniser's acoustic model
LANGUAGE, DICTIONARY = "language.arpa", "words.dict"


@dataclass(frozen=True)
class WordErrors:
    """Substitutions + deletions + insertions of one utterance, over `words` reference words."""

    errors: int
    words: int

    @property
    def rate(self) -> float:
        """Word error rate of the utterance as a fraction (above 1 with many insertions)."""
        return self.errors / self.words


def scoring_text(text: str) -> str:
    """Lower case, only letters, digits and apostrophes, one space between words."""
    words = re.sub(r"[^\w']|_", " ", text.lower().replace("\u2019", "'")).split()
    return " ".join(word for word in (word.strip("'") for word in words) if word)


def word_errors(
    reference: str, hypothesis: str, normalise: Callable[[str], str] = scoring_text
) -> WordErrors:
    """Count the word errors of what was heard; hearing nothing loses every word (100 %).

    `normalise` prepares both texts, see conventions.py.

    Raises:
        InputError: the package jiwer is missing.
    """
    reference, hypothesis = normalise(reference), normalise(hypothesis)
    count = len(reference.split())
    if not hypothesis or not reference:
        return WordErrors(count or len(hypothesis.split()), max(count, 1))
    found = require("jiwer").process_words(reference, hypothesis)
    return WordErrors(found.substitutions + found.deletions + found.insertions, count)


def corpus_rate(scores: Sequence[WordErrors]) -> Estimate:
    """Word error rate of all words together, with a 95 % bootstrap interval over utterances."""
    return bootstrap_ratio([s.errors for s in scores], [s.words for s in scores])


def mean_rate(scores: Sequence[WordErrors]) -> Estimate:
    """Mean of the utterances' word error rates, with a 95 % bootstrap interval."""
    return bootstrap_mean([s.rate for s in scores])


def relative_rate(ours: Sequence[WordErrors], natural: Sequence[WordErrors]) -> Estimate:
    """Our corpus rate over natural speech's, both of the same sentences in the same order."""
    if [s.words for s in ours] != [s.words for s in natural]:
        raise ValueError("the two lists are not of the same sentences")
    return bootstrap_ratio([s.errors for s in ours], [s.errors for s in natural])


def recognise(path: Path, language: Path | None = None) -> str:
    """What pocketsphinx hears in an audio file, in lower case; empty if it hears nothing.

    `language` is a folder that `write_language` made, in place of its own language model.

    Raises:
        InputError: pocketsphinx is missing, or the file is unreadable.
    """
    from vocalmtp.audio.io import read_audio

    return hear(read_audio(path, SAMPLE_RATE), SAMPLE_RATE, language)


def hear(samples: "np.ndarray", sample_rate: int, language: Path | None = None) -> str:
    """As `recognise`, of float samples [N].

    The decoder is made anew for every utterance: it adapts to what it has heard before, so that a
    reused one gives results that depend on the order of the files.
    """
    import numpy as np

    from vocalmtp.audio.io import resample

    samples = resample(samples, sample_rate, SAMPLE_RATE)
    if samples.size == 0:
        return ""
    pcm = (np.clip(samples, -1.0, 1.0) * 32767.0).astype(np.int16).tobytes()
    model = {}
    if language is not None:
        model = {"lm": str(language / LANGUAGE), "dict": str(language / DICTIONARY)}
    decoder = require("pocketsphinx").Decoder(loglevel="FATAL", **model)
    decoder.start_utt()
    # The whole utterance at once, so that the mean of its cepstra is taken over all of it.
    decoder.process_raw(pcm, no_search=False, full_utt=True)
    decoder.end_utt()
    hypothesis = decoder.hyp()
    return scoring_text(hypothesis.hypstr) if hypothesis is not None else ""


def write_language(texts: Iterable[str], folder: Path) -> None:
    """Write what makes pocketsphinx expect the words of `texts` into `folder`: trigrams, and the
    pronunciations of those words, as far as it knows them.

    The whole dictionary would do, but takes a second to be read for every utterance.
    """
    model = NGrams([scoring_text(text) for text in texts])
    model.write(folder / LANGUAGE)
    words = set(model.words)
    known = require("pocketsphinx").get_model_path("en-us/cmudict-en-us.dict")
    with Path(known).open(encoding="utf-8") as lines:
        own = [line for line in lines if line.split()[0].partition("(")[0] in words]
    (folder / DICTIONARY).write_text("".join(own), encoding="utf-8")


def recognise_all(
    paths: Sequence[Path], *, processes: int = 2, language: Path | None = None
) -> Iterator[tuple[int, str]]:
    """Hear many files with several processes; (index of the file, text) in order of completion.

    Raises:
        InputError: as `recognise`; what was heard before has been handed out.
    """
    listen = recognise if language is None else partial(recognise, language=language)
    if processes <= 1 or len(paths) < 2:
        heard = ((index, listen(path)) for index, path in enumerate(paths))
        yield from progress(heard, len(paths), "recognise")
        return
    # spawn: a fork of a process in which torch runs threads may hang.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(listen, path): i for i, path in enumerate(paths)}
        try:
            done = ((futures[future], future.result()) for future in as_completed(futures))
            yield from progress(done, len(paths), "recognise")
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

"""How well an ear (a recogniser, or a model that listens) writes down what it hears."""

from pathlib import Path

from vocalmtp.audio.io import read_audio
from vocalmtp.audio.vad import SAMPLE_RATE
from vocalmtp.data.manifest import Utterance
from vocalmtp.evaluation.intelligibility import corpus_rate, word_errors
from vocalmtp.evaluation.report import Line
from vocalmtp.evaluation.rows import check_settings, progress
from vocalmtp.io.run_folder import JsonlStore
from vocalmtp.recognizers.base import Recognizer


def run_hearing(
    ear: Recognizer, items: list[Utterance], output: Path, name: str, *, fresh: bool = False
) -> list[Line]:
    """Word error rates of the transcripts of `items`, of all together and of every voice.

    Rows are kept in `output`: a run goes on. Raises InputError if they are of another ear than that
    of this `name`.
    """
    check_settings(output, {"ear": name}, fresh=fresh)
    kept = JsonlStore(output / "rows" / "hearing.jsonl")
    todo = [item for item in items if kept.get(item.id) is None]
    for item in progress(todo, len(todo), "hear"):
        hearing = ear.open_stream()
        hearing.push(read_audio(item.audio, SAMPLE_RATE))
        text = hearing.text(settled=True)
        hearing.close()
        errors = word_errors(item.text, text)
        row = {"id": item.id, "voice": item.voice, "text": item.text, "heard": text}
        kept.append(row | {"errors": errors.errors, "words": errors.words})
    scores = {item.id: word_errors(item.text, kept.get(item.id)["heard"]) for item in items}
    lines = [Line("word error rate", "all", corpus_rate(list(scores.values())), "%", 1)]
    for voice in sorted({item.voice for item in items}):
        own = [scores[item.id] for item in items if item.voice == voice]
        lines.append(Line("word error rate", voice or "nobody", corpus_rate(own), "%", 1))
    return lines

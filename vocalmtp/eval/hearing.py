"""How well a model that listens writes down what it hears."""

from pathlib import Path

from vocalmtp.audio import read_audio
from vocalmtp.data.manifest import Utterance
from vocalmtp.data.rows import RowFile
from vocalmtp.eval.intelligibility import corpus_rate, word_errors
from vocalmtp.eval.report import Line
from vocalmtp.eval.rows import check_settings, progress
from vocalmtp.respond import Respondent

CHUNK = 32  # utterances that are transcribed, then kept
RATE = 16_000


def run_hearing(
    respondent: Respondent, items: list[Utterance], output: Path, model: str, *, fresh: bool = False
) -> list[Line]:
    """Word error rates of the transcripts of `items`, of all together and of every voice.

    Rows are kept in `output`: a run goes on. Raises InputError if they are of another model.
    """
    check_settings(output, {"model": model}, fresh=fresh)
    kept = RowFile(output / "rows" / "hearing.jsonl")
    todo = [item for item in items if kept.get(item.id) is None]
    for start in progress(range(0, len(todo), CHUNK), -(-len(todo) // CHUNK), "hear"):
        some = todo[start : start + CHUNK]
        heard = [respondent.hear(read_audio(item.audio, RATE), RATE) for item in some]
        for item, text in zip(some, respondent.transcribe(heard), strict=True):
            errors = word_errors(item.text, text)
            row = {"id": item.id, "voice": item.voice, "text": item.text, "heard": text}
            kept.append(row | {"errors": errors.errors, "words": errors.words})
    scores = {item.id: word_errors(item.text, kept.get(item.id)["heard"]) for item in items}
    lines = [Line("word error rate", "all", corpus_rate(list(scores.values())), "%", 1)]
    for voice in sorted({item.voice for item in items}):
        own = [scores[item.id] for item in items if item.voice == voice]
        lines.append(Line("word error rate", voice or "nobody", corpus_rate(own), "%", 1))
    return lines

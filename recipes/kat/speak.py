"""Ask a trained model aloud: a question that is easy and one that is not, and how long answers take.

    python recipes/kat/speak.py kat/runs/srpo

The bundled voice asks, and a recognizer listens; the model decides whether to think, and its answer is
spoken. Seconds count from the end of the question, without the silence that shows it.
"""

import argparse
import json
from pathlib import Path
from statistics import median

from vocalmtp.audio.vad import SAMPLE_RATE
from vocalmtp.chat.config import ChatConfig
from vocalmtp.chat.events import Event, TextDelta, Thinking, Timing, Transcript
from vocalmtp.chat.pipeline import ChatPipeline, build_pipeline
from vocalmtp.chat.recorded import SETTINGS, converse
from vocalmtp.chat.responders import warm_up
from vocalmtp.evaluation.report import markdown_table

QUESTIONS = ("Seven plus five.", "Six hundred and twelve times seven.")
REPEATS = 3


def main() -> None:
    """Print a table, and write it as JSON beside the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="of the stages cold_start or srpo")
    parser.add_argument("--recognizer", help="as of vocalmtp chat")
    options = parser.parse_args()
    pipeline = build_pipeline(llm=str(options.model), recognizer=options.recognizer)
    warm_up(pipeline.tts, None)
    rows = [ask(pipeline, question) for question in QUESTIONS]
    text = json.dumps(rows, indent=2) + "\n"
    (options.model / "conversation.json").write_text(text, encoding="utf-8")
    print(markdown_table(list(rows[0]), [list(map(str, row.values())) for row in rows]))


def ask(pipeline: ChatPipeline, question: str) -> dict[str, object]:
    """Ask a question several times: the last answer, and the median of its latencies."""
    spoken = pipeline.tts(question).resampled(SAMPLE_RATE).samples
    config = ChatConfig(system="", show_thoughts=True, **SETTINGS)
    runs: list[list[Event]] = []
    for _ in range(REPEATS):
        with pipeline.session(config=config) as session:
            runs.append(list(converse(session, spoken)))
    last = runs[-1]
    return {
        "recognized": "".join(e.text for e in last if isinstance(e, Transcript) and e.final),
        "thoughts": " ".join("".join(e.text for e in last if isinstance(e, Thinking)).split()),
        "answer": "".join(e.text for e in last if isinstance(e, TextDelta)).strip(),
        "first text, s": round(median(latency(run, "first_text") for run in runs), 2),
        "first sound, s": round(median(latency(run, "total") for run in runs), 2),
    }


def latency(events: list[Event], part: str) -> float:
    """Latency of a part of an answer in seconds; NaN if it has none."""
    found = (e.seconds for e in events if isinstance(e, Timing) and e.part == part)
    return next(found, float("nan"))


if __name__ == "__main__":
    main()

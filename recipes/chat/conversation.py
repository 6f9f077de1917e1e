"""Hold a conversation with recorded questions, and write it as a page and a recording.

    python recipes/chat/conversation.py questions/*.wav --texts recipes/chat/conversation.txt \\
        --output docs/conversation

Every question is fed as from a microphone, though not at its pace. OUTPUT.md has what was said,
recognized and answered, below the introduction that it may have; OUTPUT.ogg has questions and answers
in turns.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import vocalmtp
from vocalmtp.audio.io import Audio, read_audio, resample
from vocalmtp.chat.events import AudioChunk, Finished, Transcript
from vocalmtp.chat.recorded import SETTINGS, converse
from vocalmtp.chat.session import ChatSession
from vocalmtp.evaluation.report import markdown_table
from vocalmtp.recognizers.base import SAMPLE_RATE

PAUSE = 0.6  # seconds between a question and its answer


def answer(session: ChatSession, question: np.ndarray) -> tuple[str, str, list[np.ndarray]]:
    """Ask one question: its transcript, the answer's text and audio [N] at SAMPLE_RATE."""
    heard, text, audio = "", "", []
    for event in converse(session, question):
        if isinstance(event, Transcript) and event.final:
            heard = event.text
        elif isinstance(event, Finished):
            text = event.text.strip()
        elif isinstance(event, AudioChunk):
            audio.append(resample(event.samples, event.sample_rate, SAMPLE_RATE))
    return heard, text, audio


def main(
    questions: Annotated[list[Path], typer.Argument(help="Recordings, in order.")],
    texts: Annotated[Path, typer.Option(help="What is said in them, one line each.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Without its suffix.")],
    llm: Annotated[str, typer.Option(help="See vocalmtp chat.")] = "smollm2-135m",
    recognizer: Annotated[str, typer.Option(help="See vocalmtp chat.")] = "whisper-tiny.en",
) -> None:
    """Hold the conversation."""
    output.parent.mkdir(parents=True, exist_ok=True)
    lines: Sequence[str] = texts.read_text("utf-8").splitlines()
    pause = np.zeros(round(PAUSE * SAMPLE_RATE), np.float32)
    rows, parts = [], [pause]
    with vocalmtp.talk(llm=llm, recognizer=recognizer, **SETTINGS) as session:
        for line, path in zip(lines, questions, strict=True):
            question = read_audio(path, SAMPLE_RATE)
            heard, text, audio = answer(session, question)
            rows.append([line, heard, text])
            parts += [question, pause, *audio, pause]
            print(f"{line}\n  {heard}\n  {text}", flush=True)
    Audio(np.concatenate(parts), SAMPLE_RATE).save(output.with_suffix(".ogg"))
    table = markdown_table(["question", "recognized", "answer"], rows)
    page = output.with_suffix(".md")
    known = page.read_text(encoding="utf-8") if page.is_file() else "# A conversation\n\n"
    introduction = known.partition(table.partition("\n")[0])[0]
    page.write_text(f"{introduction}{table}\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)

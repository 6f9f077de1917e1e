"""`vocalmtp chat`: the page, the terminal, or a recording."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vocalmtp.cli.console import tell
from vocalmtp.errors import InputError
from vocalmtp.hub import DEFAULT_MODEL

if TYPE_CHECKING:
    import numpy as np

    from vocalmtp.chat.config import ChatConfig
    from vocalmtp.chat.events import Error, Event
    from vocalmtp.chat.pipeline import ChatPipeline
    from vocalmtp.roles import Role
    from vocalmtp.server.state import ServerState

LOCALHOST, PORT, SESSIONS = "127.0.0.1", 7860, 4


def chat(
    model: Annotated[
        str, typer.Option("--model", "-m", help="Name of a bundled model, or a model folder.")
    ] = DEFAULT_MODEL,
    voice: Annotated[
        str | None,
        typer.Option(
            "--voice",
            "-v",
            help="The voice of the answers, as for tts.",
            show_default="the model's",
        ),
    ] = None,
    role: Annotated[
        str | None,
        typer.Option(
            help="A persona and its voice, instead of --system and --voice: a name from 'vocalmtp "
            "roles', or a YAML file. With --native, only its voice is used."
        ),
    ] = None,
    llm: Annotated[
        str | None,
        typer.Option(
            help="The language model: the URL of an OpenAI-compatible endpoint "
            "(http://HOST:PORT/v1, key in OPENAI_API_KEY), or the folder of a chat model of "
            "Transformers.",
            show_default="echo: repeats what you say",
        ),
    ] = None,
    llm_model: Annotated[
        str | None, typer.Option(help="The name of the model at the endpoint.")
    ] = None,
    native: Annotated[
        bool,
        typer.Option(
            "--native",
            help="The model of --model takes your speech and answers by itself, without "
            "recognizer and language model; it must be trained for that, such as by "
            "recipes/chat_mini.",
        ),
    ] = False,
    recognizer: Annotated[
        str | None,
        typer.Option(
            help="The speech recognizer: pocketsphinx, whisper=FOLDER, faster-whisper=FOLDER, "
            "speech-lm=FOLDER, or the folder of such a model.",
            show_default="pocketsphinx",
        ),
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(help="The system prompt.", show_default="a friendly voice assistant"),
    ] = None,
    echo: Annotated[
        Literal["energy", "half-duplex", "off"] | None,
        typer.Option(
            help="Echo suppression: what is louder than the echo of an answer interrupts it, or "
            "nothing does, or any speech does.",
            show_default="energy",
        ),
    ] = None,
    barge_in: Annotated[
        float | None,
        typer.Option(
            help="Seconds of speech that interrupt an answer; shorter sounds count as noise.",
            show_default="0.16",
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Torch device of all models: cpu, cuda, cuda:N, or auto.")
    ] = "cpu",
    terminal: Annotated[
        bool,
        typer.Option("--terminal", help="Use this machine's microphone instead of the page."),
    ] = False,
    input: Annotated[
        Path | None, typer.Option(help="Answer this recording instead of a microphone.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the spoken answers to this file.")
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="The address to serve at; 0.0.0.0 admits other machines.", show_default=LOCALHOST
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="Of the page.", show_default=str(PORT))
    ] = None,
    auth: Annotated[str | None, typer.Option(help="user:password that the page requires.")] = None,
    sessions: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1000,
            help="The most conversations at a time on the page.",
            show_default=str(SESSIONS),
        ),
    ] = None,
) -> None:
    """Hold a spoken conversation, whose answers you may interrupt at any time.

    Serves a page on this machine, unless --terminal or --input is given.

    Examples:

    vocalmtp chat --llm http://localhost:8000/v1 --llm-model qwen --recognizer whisper-small

    vocalmtp chat --role captain --llm http://localhost:8000/v1 --llm-model qwen

    vocalmtp chat --terminal --llm http://localhost:8000/v1 --llm-model qwen

    vocalmtp chat --input question.wav --output answer.wav --llm folder

    vocalmtp chat --native --model chat-mini
    """
    settings: dict[str, Any] = {"system": system, "echo": echo, "barge_in": barge_in}
    config = _config({key: value for key, value in settings.items() if value is not None})
    card = _load_role(role, voice, system)
    if native and system is not None:
        raise InputError(
            f"system '{system}': --native has no system prompt; leave one out", code="conflict"
        )
    page = {"host": host, "port": port, "auth": auth, "sessions": sessions}
    _check_mode(terminal, input, output, page)
    if not terminal and input is None:
        _check_page(host or LOCALHOST, port or PORT, auth)
    samples = None if input is None or output is None else _read(input, output)
    from vocalmtp.chat.pipeline import build_pipeline
    from vocalmtp.cli.synthesis import load_tts
    from vocalmtp.voices import consent_note

    responder = "speech-lm" if native else "cascade"
    pipeline = build_pipeline(model, llm, llm_model, recognizer, responder, device, load_tts)
    if note := consent_note(pipeline.tts.find_voice(voice if card is None else card)):
        tell(note)
    tell(f"answers: {pipeline.responder.name}; recognizer: {pipeline.recognizer.description}")
    if samples is not None and output is not None:
        _answer_recording(samples, output, pipeline, voice, config, card)
    elif terminal:
        _run_terminal(pipeline, voice, config, card)
    else:
        state = _server_state(pipeline, voice, config, card, sessions or SESSIONS)
        _serve_page(state, host or LOCALHOST, port or PORT, auth)


def _check_mode(
    terminal: bool, input: Path | None, output: Path | None, page: dict[str, Any]
) -> None:
    """Raise InputError if the options are of different modes."""
    if (input is None) != (output is None):
        raise InputError("input, output: belong together; give both, or neither", code="conflict")
    if input is not None and terminal:
        raise InputError("terminal: does not go with --input; leave one out", code="conflict")
    for option, value in page.items():
        if value is not None and (terminal or input is not None):
            raise InputError(f"{option} '{value}': is for the page; leave it out", code="conflict")


def _check_page(host: str, port: int, auth: str | None) -> None:
    """Raise InputError unless the page can be served."""
    from vocalmtp.optional import require

    for name in ("gradio", "fastapi", "uvicorn", "websockets"):
        require(name)
    from vocalmtp.server.app import check_auth, check_port

    check_port(host, port)
    if auth is not None:
        check_auth(auth)


def _load_role(name: str | None, voice: str | None, system: str | None) -> "Role | None":
    """Load a role; raises InputError if an option replaces what the role has."""
    from vocalmtp.roles import load_role

    if name is None:
        return None
    for option, value in (("voice", voice), ("system", system)):
        if value is not None:
            raise InputError(
                f"{option} '{value}': the role '{name}' has its own; leave one out", code="conflict"
            )
    return load_role(name)


def _read(input: Path, output: Path) -> "np.ndarray":
    from vocalmtp.audio.formats import output_format
    from vocalmtp.audio.io import read_audio
    from vocalmtp.audio.vad import SAMPLE_RATE

    output_format(output)
    return read_audio(input, SAMPLE_RATE)


def _config(settings: dict[str, Any]) -> "ChatConfig":
    from vocalmtp.chat.config import ChatConfig
    from vocalmtp.config import parse

    return parse(ChatConfig, settings, "chat")


def _answer_recording(
    samples: "np.ndarray",
    output: Path,
    pipeline: "ChatPipeline",
    voice: str | None,
    config: "ChatConfig",
    role: "Role | None",
) -> None:
    """Write the answers to a recording; raises InputError afterwards if one has failed."""
    from vocalmtp.audio.formats import audio_writer
    from vocalmtp.chat.events import AudioChunk, Error
    from vocalmtp.chat.recorded import SETTINGS, converse

    show, errors = EventPrinter(), list[Error]()
    with (
        pipeline.session(voice, role, config.model_copy(update=SETTINGS)) as session,
        audio_writer(output, pipeline.tts.sample_rate) as write,
    ):
        for event in converse(session, samples):
            if isinstance(event, AudioChunk):
                write(event.samples)
            if isinstance(event, Error):
                errors.append(event)
            else:
                show(event)
    if errors:
        raise _failure(errors[0], output)


def _failure(error: "Error", output: Path) -> InputError:
    """The failure of an answer as the error of the command."""
    if error.code == "not_understood":
        return InputError(f"input: {error.message}; record it again", code="unusable")
    part = "llm" if error.code.startswith("llm") else error.code.partition("_")[0]
    return InputError(f"{part}: {error.message}; '{output}' is incomplete", code="unusable")


def _run_terminal(
    pipeline: "ChatPipeline", voice: str | None, config: "ChatConfig", role: "Role | None"
) -> None:
    from vocalmtp.chat.responders import warm_up
    from vocalmtp.chat.terminal import run_terminal

    with pipeline.session(voice, role, config) as session:
        warm_up(pipeline.tts, session.voice)
        tell("listening; Ctrl-C ends")
        run_terminal(session, pipeline.tts.sample_rate, EventPrinter())


def _server_state(
    pipeline: "ChatPipeline",
    voice: str | None,
    config: "ChatConfig",
    role: "Role | None",
    sessions: int,
) -> "ServerState":
    from vocalmtp.chat.llm import Echo
    from vocalmtp.chat.responders import CascadeResponder
    from vocalmtp.roles import list_roles, load_role
    from vocalmtp.server.state import ServerLimits, ServerState

    responder, tts = pipeline.responder, pipeline.tts
    offered = [card for card in map(load_role, list_roles()) if card.voice in tts.voices]
    roles = {card.name: card for card in [*offered, *([role] if role else [])]}
    echo = CascadeResponder(tts, Echo())
    responders = {responder.name: responder, echo.name: echo}
    limits = ServerLimits(sessions=sessions)
    return ServerState(tts, pipeline.recognizer, responders, config, limits, voice, role, roles)


def _serve_page(state: "ServerState", host: str, port: int, auth: str | None) -> None:
    from vocalmtp.server.app import make_app, run

    app = make_app(state, host, auth)
    state.warm_up()
    shown = f"[{host}]" if ":" in host else host
    tell(f"talk at http://{shown}:{port}; Ctrl-C ends")
    run(app, state, host, port)


class EventPrinter:
    """Prints a conversation, one line a turn; latencies and errors go to standard error."""

    def __init__(self) -> None:
        self._in_answer = False  # the line of an answer has begun
        self._latency: float | None = None  # seconds until the first audio

    def __call__(self, event: "Event") -> None:
        """Print an event."""
        from vocalmtp.chat import events

        if isinstance(event, events.TextDelta):
            prefix = "" if self._in_answer else "answer: "
            print(f"{prefix}{event.text}", end="", flush=True)
            self._in_answer = True
        elif isinstance(event, events.Timing) and event.part == "total":
            self._latency = event.seconds
        elif isinstance(event, events.Transcript) and event.final:
            print(f"you: {event.text or '(not understood)'}", flush=True)
        elif isinstance(event, events.Finished | events.Interrupted | events.Error):
            self._end_line(" \u2014" if isinstance(event, events.Interrupted) else "")
            if isinstance(event, events.Error):
                tell(f"error: {event.message} [{event.code}]")
            elif self._latency is not None:
                tell(f"first audio {self._latency * 1000:.0f} ms after the end of the turn")
                self._latency = None

    def _end_line(self, text: str) -> None:
        if self._in_answer:
            print(text, flush=True)
            self._in_answer = False

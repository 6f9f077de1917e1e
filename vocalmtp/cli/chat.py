"""`vocalmtp chat`: the page, the terminal, or a recording."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vocalmtp.errors import InputError
from vocalmtp.hub import DEFAULT_MODEL

if TYPE_CHECKING:
    import numpy as np

    from vocalmtp.chat.config import ChatConfig
    from vocalmtp.chat.events import Event
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
        typer.Option("--voice", "-v", help="Who answers, as for tts.", show_default="its own"),
    ] = None,
    role: Annotated[
        str | None,
        typer.Option(
            help="A persona with its voice, instead of --voice and --system: a name from 'vocalmtp "
            "roles', or the YAML file of one. With --native, its voice alone."
        ),
    ] = None,
    llm: Annotated[
        str | None,
        typer.Option(
            help="Who writes the answers: an OpenAI-compatible endpoint (http://HOST:PORT/v1, key "
            "in OPENAI_API_KEY), or the folder of a chat model of Transformers.",
            show_default="nobody: it says again what it hears",
        ),
    ] = None,
    llm_model: Annotated[
        str | None, typer.Option(help="The name of the model at the endpoint.")
    ] = None,
    native: Annotated[
        bool,
        typer.Option(
            "--native",
            help="The model of --model hears and answers by itself: one that was trained to, such "
            "as by recipes/chat_mini.",
        ),
    ] = False,
    ear: Annotated[
        str | None,
        typer.Option(
            help="What hears you: pocketsphinx, or the folder of a Whisper model (of Transformers, "
            "or converted for faster-whisper), or of a speech LM that listens.",
            show_default="pocketsphinx",
        ),
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="Who the answerer is to be.", show_default="an assistant")
    ] = None,
    echo: Annotated[
        Literal["energy", "half-duplex", "off"] | None,
        typer.Option(
            help="Against hearing ourselves: interrupt only by what is louder than the echo, not "
            "at all, or by any speech.",
            show_default="energy",
        ),
    ] = None,
    barge_in: Annotated[
        float | None,
        typer.Option(
            help="Seconds of speech that interrupt an answer; shorter sounds are taken for noise.",
            show_default="0.16",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Of the ear and a language model here.")] = "cpu",
    terminal: Annotated[
        bool, typer.Option("--terminal", help="Talk here, through this machine's microphone.")
    ] = False,
    input: Annotated[
        Path | None, typer.Option(help="Answer this recording instead of a microphone.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the spoken answers here.")
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="Who may see the page: 0.0.0.0 lets other machines.", show_default=LOCALHOST
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="Of the page.", show_default=str(PORT))
    ] = None,
    auth: Annotated[
        str | None, typer.Option(help="user:password, without which the page is not shown.")
    ] = None,
    sessions: Annotated[
        int | None,
        typer.Option(
            min=1, max=1000, help="Conversations of the page at a time.", show_default=str(SESSIONS)
        ),
    ] = None,
) -> None:
    """Talk: speak, be answered aloud, and interrupt at any time.

    Opens a page on this machine, unless --terminal or --input says otherwise.

    Examples:

    vocalmtp chat --llm http://localhost:8000/v1 --llm-model qwen --ear whisper-small

    vocalmtp chat --role captain --llm http://localhost:8000/v1 --llm-model qwen

    vocalmtp chat --terminal --llm http://localhost:8000/v1 --llm-model qwen

    vocalmtp chat --input question.wav --output answer.wav --llm folder

    vocalmtp chat --native --model chat-mini
    """
    settings: dict[str, Any] = {"system": system, "echo": echo, "barge_in": barge_in}
    config = _config({key: value for key, value in settings.items() if value is not None})
    card = _role(role, voice, system)
    if native and system is not None:
        raise InputError(
            f"system '{system}': native knows no system prompt; leave it out", code="conflict"
        )
    if (input is None) != (output is None):
        raise InputError("input, output: belong together; give both, or neither", code="conflict")
    if input is not None and terminal:
        raise InputError("terminal: does not go with --input; leave one out", code="conflict")
    page = {"host": host, "port": port, "auth": auth, "sessions": sessions}
    if input is not None or terminal:
        for option, value in page.items():
            if value is not None:
                raise InputError(
                    f"{option} '{value}': is for the page; leave it out", code="conflict"
                )
    else:
        _check_page(host or LOCALHOST, port or PORT, auth)
    samples = None if input is None else _read(input, output)
    from vocalmtp.chat.pipeline import build_pipeline
    from vocalmtp.cli.synthesis import load_tts
    from vocalmtp.voices import consent_note

    who = voice if card is None else card
    partner = build_pipeline(model, llm, llm_model, ear, native, device, load_tts)
    if note := consent_note(partner.tts.find_voice(who)):
        _tell(note)
    _tell(f"answers: {partner.answerer.name}; ear: {partner.ear.description}")
    if samples is not None:
        _answer_recording(samples, output, partner, voice, config, card)
    elif terminal:
        _talk(partner, voice, config, card)
    else:
        room = _room(partner, voice, config, card, sessions or SESSIONS)
        _open_page(room, host or LOCALHOST, port or PORT, auth)


def _check_page(host: str, port: int, auth: str | None) -> None:
    """Raise InputError unless the page can be served."""
    from vocalmtp.optional import require

    for name in ("gradio", "fastapi", "uvicorn", "websockets"):
        require(name)
    from vocalmtp.server.app import check_auth, check_port

    check_port(host, port)
    if auth is not None:
        check_auth(auth)


def _role(name: str | None, voice: str | None, system: str | None) -> "Role | None":
    """The card of a role; raises InputError if what it has is asked for as well."""
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
    from vocalmtp.audio.io import output_format, read_audio
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
    partner: "ChatPipeline",
    voice: str | None,
    config: "ChatConfig",
    role: "Role | None",
) -> None:
    from vocalmtp.audio.io import audio_writer
    from vocalmtp.chat.events import AudioChunk
    from vocalmtp.chat.recorded import SETTINGS, converse

    show = Transcriber()
    with (
        partner.session(voice, role, config.model_copy(update=SETTINGS)) as session,
        audio_writer(output, partner.tts.sample_rate) as write,
    ):
        for event in converse(session, samples):
            show(event)
            if isinstance(event, AudioChunk):
                write(event.samples)


def _talk(
    partner: "ChatPipeline", voice: str | None, config: "ChatConfig", role: "Role | None"
) -> None:
    from vocalmtp.chat.responders import warm_up
    from vocalmtp.chat.terminal import talk

    session = partner.session(voice, role, config)
    warm_up(partner.tts, session.voice)
    _tell("listening; Ctrl-C ends")
    try:
        talk(session, partner.tts.sample_rate, Transcriber())
    finally:
        session.close()


def _room(
    partner: "ChatPipeline",
    voice: str | None,
    config: "ChatConfig",
    role: "Role | None",
    sessions: int,
) -> "ServerState":
    from vocalmtp.chat.llm import Echo
    from vocalmtp.chat.responders import CascadeResponder
    from vocalmtp.roles import list_roles, load_role
    from vocalmtp.server.state import ServerLimits, ServerState

    answerer, tts = partner.answerer, partner.tts
    roles = [card for card in map(load_role, list_roles()) if card.voice in tts.voices]
    roles = {card.name: card for card in [*roles, *([role] if role else [])]}
    echo = CascadeResponder(Echo(), tts)
    answerers = {answerer.name: answerer, echo.name: echo}
    limits = ServerLimits(sessions=sessions)
    return ServerState(tts, partner.ear, answerers, config, limits, voice, role, roles)


def _open_page(room: "ServerState", host: str, port: int, auth: str | None) -> None:
    from vocalmtp.server.app import make_app, run

    app = make_app(room, host, auth)
    room.warm_up()
    shown = f"[{host}]" if ":" in host else host
    _tell(f"talk at http://{shown}:{port}; Ctrl-C ends")
    run(app, room, host, port)


class Transcriber:
    """Prints what is said, a turn a line; timings and errors go to standard error."""

    def __init__(self):
        self._open = False  # a line of the answer has begun
        self._late: float | None = None  # seconds until its first sound

    def __call__(self, event: "Event") -> None:
        if event.kind == "text_delta":
            print(event.text if self._open else f"answer: {event.text}", end="", flush=True)
            self._open = True
        elif event.kind == "timing" and event.part == "total":
            self._late = event.seconds
        elif event.kind == "transcript" and event.final:
            print(f"you: {event.text or '(not understood)'}", flush=True)
        elif event.kind in ("finished", "interrupted", "error"):
            self._close(event)

    def _close(self, event: "Event") -> None:
        """End the answer's line."""
        if self._open:
            print(" \u2014" if event.kind == "interrupted" else "", flush=True)
            self._open = False
        if event.kind == "error":
            _tell(f"error: {event.message}")
        elif self._late is not None:
            _tell(f"first sound {self._late * 1000:.0f} ms after the end of the turn was known")
            self._late = None


def _tell(message: str) -> None:
    print(message, file=sys.stderr)

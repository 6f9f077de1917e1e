"""`vocalmtp chat`: the page, the terminal, or a recording."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from vocalmtp.cli.console import tell
from vocalmtp.cli.options import EncryptionOptions, ModelOptions, VoiceOptions, option
from vocalmtp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from vocalmtp.chat.config import ChatConfig
    from vocalmtp.chat.events import Error, Event
    from vocalmtp.chat.pipeline import ChatPipeline
    from vocalmtp.chat.session import ChatSession
    from vocalmtp.roles import Role
    from vocalmtp.tts import TTS

LOCALHOST, PORT, SESSIONS = "127.0.0.1", 7860, 4
LLM, RECOGNIZER = "smollm2-135m", "whisper-tiny.en"  # suggested ones
TURNS, RECORDING, PAGE = "Turns", "Without the page", "The page"


@dataclass(frozen=True, kw_only=True)
class ChatOptions(ModelOptions, VoiceOptions, EncryptionOptions):
    """Options of `vocalmtp chat`."""

    llm: Annotated[
        str | None,
        option(
            help="The language model: the URL of an OpenAI-compatible endpoint "
            "(http://HOST:PORT/v1, key in OPENAI_API_KEY), a name from 'vocalmtp get', or the folder "
            "of a chat model of Transformers; echo repeats what you say.",
            show_default="one that was fetched, or echo",
        ),
    ] = None
    llm_model: Annotated[str | None, option(help="The name of the model at the endpoint.")] = None
    system: Annotated[
        str | None,
        option(help="The system prompt.", show_default="the role's, or a friendly voice assistant"),
    ] = None
    recognizer: Annotated[
        str | None,
        option(
            help="The speech recognizer: a name from 'vocalmtp get', pocketsphinx, "
            "whisper=FOLDER, faster-whisper=FOLDER, speech-lm=FOLDER, or the folder of such a "
            "model; 'vocalmtp eval judges' lists all.",
            show_default="one that was fetched, or pocketsphinx",
        ),
    ] = None
    native: Annotated[
        bool,
        option(
            "--native",
            help="The model of --model takes your speech and answers by itself, without "
            "recognizer and language model; it must be trained for that, such as by "
            "recipes/chat_mini. A model over a text LM (recipes/backbone) answers by that one.",
        ),
    ] = False

    echo: Annotated[
        Literal["energy", "half-duplex", "off"] | None,
        option(
            panel=TURNS,
            help="Echo suppression: what is louder than the echo of an answer interrupts it, or "
            "nothing does, or any speech does.",
            show_default="energy",
        ),
    ] = None
    barge_in: Annotated[
        float | None,
        option(
            panel=TURNS,
            help="Seconds of speech that interrupt an answer; shorter sounds count as noise.",
            show_default="0.16",
        ),
    ] = None

    think_seconds: Annotated[
        float | None,
        option(
            panel=TURNS,
            help="Cut thoughts of the language model short after so many seconds; it answers then.",
            show_default="never",
        ),
    ] = None
    show_thoughts: Annotated[
        bool,
        option("--show-thoughts", panel=TURNS, help="Show them; they are never spoken."),
    ] = False
    filler: Annotated[
        float | None,
        option(
            panel=TURNS,
            help="Say 'Hmm.' or the like when the language model takes longer than so many seconds.",
            show_default="never",
        ),
    ] = None

    terminal: Annotated[
        bool,
        option("--terminal", panel=RECORDING, help="Use this machine's microphone."),
    ] = False
    input: Annotated[
        Path | None, option(panel=RECORDING, help="Answer this recording, into --output.")
    ] = None
    output: Annotated[
        Path | None,
        option("--output", "-o", panel=RECORDING, help="Write the spoken answers to this file."),
    ] = None

    host: Annotated[
        str | None,
        option(
            panel=PAGE,
            help="The address to serve at; 0.0.0.0 admits other machines.",
            show_default=LOCALHOST,
        ),
    ] = None
    port: Annotated[
        int | None,
        option(panel=PAGE, min=1, max=65_535, help="The port.", show_default=str(PORT)),
    ] = None
    auth: Annotated[str | None, option(panel=PAGE, help="user:password that it requires.")] = None
    sessions: Annotated[
        int | None,
        option(
            panel=PAGE,
            min=1,
            max=1000,
            help="The most conversations at a time.",
            show_default=str(SESSIONS),
        ),
    ] = None

    def config(self) -> "ChatConfig":
        """The settings of conversations. Raises InputError if a value is out of range."""
        from vocalmtp.chat.config import ChatConfig
        from vocalmtp.config import parse

        given = {"system": self.system, "echo": self.echo, "barge_in": self.barge_in}
        given |= {"filler": self.filler, "think_seconds": self.think_seconds}
        given["show_thoughts"] = self.show_thoughts or None
        settings = {key: value for key, value in given.items() if value is not None}
        return parse(ChatConfig, settings, "chat")

    def persona(self) -> "Role | None":
        """The role. Raises InputError if another option replaces a part of it."""
        from vocalmtp.roles import Role

        speaker = self.speaker()
        if not isinstance(speaker, Role):
            return None
        if self.system is not None:
            raise InputError(
                f"system '{self.system}': the role '{self.role}' has its own; leave one out",
                code="conflict",
            )
        return speaker

    def check_mode(self) -> None:
        """Raise InputError if options of different modes are given."""
        if self.native and self.system is not None:
            raise InputError(
                f"system '{self.system}': --native has no system prompt; leave one out",
                code="conflict",
            )
        if self.native and (self.think_seconds is not None or self.show_thoughts):
            name = "show-thoughts" if self.think_seconds is None else "think-seconds"
            raise InputError(
                f"{name}: --native answers without thoughts; leave one out", code="conflict"
            )
        if (self.input is None) != (self.output is None):
            raise InputError(
                "input, output: belong together; give both, or neither", code="conflict"
            )
        if self.input is not None and self.terminal:
            raise InputError("terminal: does not go with --input; leave one out", code="conflict")
        if self.terminal or self.input is not None:
            for name in ("host", "port", "auth", "sessions", "tls_certificate", "tls_key"):
                if (value := getattr(self, name)) is not None:
                    raise InputError(
                        f"{name.replace('_', '-')} '{value}': is for the page; leave it out",
                        code="conflict",
                    )


def chat(options: ChatOptions) -> None:
    """Hold a spoken conversation, whose answers you may interrupt at any time.

    Serves a page on this machine, unless --terminal or --input is given.

    Examples:

    vocalmtp get smollm2-135m whisper-tiny.en && vocalmtp chat

    vocalmtp chat --llm http://localhost:8000/v1 --llm-model qwen --recognizer whisper-small

    vocalmtp chat --terminal --role captain --llm http://localhost:8000/v1 --llm-model qwen

    vocalmtp chat --input question.wav --output answer.wav --llm folder

    vocalmtp chat --native --model folder

    """
    config, role = options.config(), options.persona()
    options.check_mode()
    if not options.terminal and options.input is None:
        _check_page(options)
    samples = None if options.input is None else _read(options.input, options.output)
    tell("loading the models")
    from vocalmtp.chat.pipeline import build_pipeline
    from vocalmtp.voices import consent_note

    pipeline = build_pipeline(
        options.model,
        options.llm,
        options.llm_model,
        options.recognizer,
        "speech-lm" if options.native else "cascade",
        options.device,
        _loader(options),
    )
    if note := consent_note(pipeline.tts.find_voice(options.voice if role is None else role)):
        tell(note)
    tell(f"answers: {pipeline.responder.name}; recognizer: {pipeline.recognizer.description}")
    _suggest_models(options)
    pipeline.responder.prepare(config.system if role is None else role.system_prompt())
    if samples is not None and options.output is not None:
        from vocalmtp.chat.recorded import SETTINGS

        config = config.model_copy(update=SETTINGS)
        with pipeline.session(options.voice, role, config) as session:
            _answer_recording(session, samples, options.output, pipeline.tts.sample_rate)
    elif options.terminal:
        with pipeline.session(options.voice, role, config) as session:
            _run_terminal(session, pipeline)
    else:
        _serve_page(options, pipeline, config, role)


def _suggest_models(options: ChatOptions) -> None:
    """Say how to get what is not here and was not given."""
    from vocalmtp.chat.pipeline import best_here

    if options.native:
        return
    missing = []
    if not (options.llm or options.llm_model or best_here("llm")):
        tell("answers repeat your words, as there is no language model")
        missing.append(LLM)
    if not (options.recognizer or best_here("recognizer")):
        missing.append(RECOGNIZER)
    if missing:
        tell(f"for better ones, run: vocalmtp get {' '.join(missing)}")


def _check_page(options: ChatOptions) -> None:
    """Raise InputError unless the page can be served."""
    from vocalmtp.server.workers import check_port

    options.check_encryption()
    check_port(options.host or LOCALHOST, options.port or PORT)
    from vocalmtp.optional import DEMO, require

    for name in ("fastapi", "uvicorn", "websockets", "prometheus_client", "gradio"):
        require(name, DEMO)
    if options.auth is not None:
        from vocalmtp.server.security import check_auth

        check_auth(options.auth)


def _loader(options: ChatOptions) -> "Callable[[str, str], TTS]":
    """What loads the model: for the page, with an engine that all visitors share."""
    from vocalmtp.cli.synthesis import load_tts

    load = partial(load_tts, engine=options.engine, threads=options.threads)
    if options.terminal or options.input is not None:
        return load
    from vocalmtp.server.metrics import Metrics
    from vocalmtp.server.service import SpeechLimits, served

    return served(load, SpeechLimits(), Metrics())


def _read(input: Path, output: Path | None) -> "np.ndarray":
    """Read a recording, after a check of the output's format."""
    from vocalmtp.audio.formats import output_format
    from vocalmtp.audio.io import read_audio
    from vocalmtp.audio.vad import SAMPLE_RATE

    if output is not None:
        output_format(output)
    return read_audio(input, SAMPLE_RATE)


def _answer_recording(
    session: "ChatSession", samples: "np.ndarray", output: Path, sample_rate: int
) -> None:
    """Write the answers to a recording; raises InputError afterwards if one has failed."""
    from vocalmtp.audio.formats import audio_writer
    from vocalmtp.chat.events import AudioChunk, Error
    from vocalmtp.chat.recorded import converse

    show, errors = EventPrinter(), list[Error]()
    with audio_writer(output, sample_rate) as write:
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


def _run_terminal(session: "ChatSession", pipeline: "ChatPipeline") -> None:
    from vocalmtp.chat.responders import warm_up
    from vocalmtp.chat.terminal import run_terminal

    warm_up(pipeline.tts, session.voice)
    tell("listening; Ctrl-C ends")
    run_terminal(session, pipeline.tts.sample_rate, EventPrinter())


def _serve_page(
    options: ChatOptions, pipeline: "ChatPipeline", config: "ChatConfig", role: "Role | None"
) -> None:
    from vocalmtp.server.app import make_app, run
    from vocalmtp.server.state import ServerLimits, ServerState

    host, port = options.host or LOCALHOST, options.port or PORT
    limits = ServerLimits(sessions=options.sessions or SESSIONS)
    state = ServerState.over(pipeline, config, limits, options.voice, role)
    try:
        app = make_app(state, host, options.auth)
        state.warm_up()
        shown = f"[{host}]" if ":" in host else host
        announce = partial(tell, f"talk at {options.scheme}://{shown}:{port}; Ctrl-C ends")
        run(app, state, host, port, announce, encryption=options.encryption())
    finally:
        state.close()


class EventPrinter:
    """Prints a conversation, one line a turn; latencies and errors go to standard error."""

    def __init__(self) -> None:
        self._line = ""  # what the line that has begun is: "thoughts" or "answer"
        self._latency: float | None = None  # seconds until the first audio

    def __call__(self, event: "Event") -> None:
        """Print an event."""
        from vocalmtp.chat import events

        if isinstance(event, events.TextDelta):
            self._write("answer", event.text)
        elif isinstance(event, events.Thinking) and event.text:
            self._write("thoughts", event.text.replace("\n", " "))
        elif isinstance(event, events.Thinking):
            tell("thinking")
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

    def _write(self, line: str, text: str) -> None:
        """Print a piece of a line, after the end of another one."""
        if self._line != line:
            self._end_line("")
            self._line = line
            print(f"{line}: ", end="")
        print(text, end="", flush=True)

    def _end_line(self, text: str) -> None:
        if self._line:
            print(text, flush=True)
            self._line = ""

"""`vocalmtp serve`: the speech interface that programs use, with the chat page if it is wanted."""

import os
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from vocalmtp.cli.console import tell
from vocalmtp.cli.options import DecodingOptions, EncryptionOptions, ModelOptions, option
from vocalmtp.errors import InputError

if TYPE_CHECKING:
    from socket import socket

    from fastapi import FastAPI

    from vocalmtp.chat.pipeline import ChatPipeline
    from vocalmtp.server.metrics import Metrics
    from vocalmtp.server.service import SpeechLimits
    from vocalmtp.server.state import ServerState
    from vocalmtp.tts import TTS

LOCALHOST, PORT = "127.0.0.1", 8000
KEY = "VOCALMTP_API_KEY"  # an environment variable
ACCESS, ENGINE, ANSWERS = "Access", "Engine", "Answers and transcripts"


@dataclass(frozen=True, kw_only=True)
class ServeOptions(ModelOptions, DecodingOptions, EncryptionOptions):
    """Options of `vocalmtp serve`."""

    host: Annotated[
        str, option(panel=ACCESS, help="The address; 0.0.0.0 admits other machines.")
    ] = LOCALHOST
    port: Annotated[int, option(panel=ACCESS, min=1, max=65_535, help="The port.")] = PORT
    wyoming: Annotated[
        int | None,
        option(
            panel=ACCESS,
            min=1,
            max=65_535,
            help="Also serve the Wyoming protocol of Home Assistant at this port, such as 10200. It "
            "has no keys. Announced to the network unless the host is local.",
        ),
    ] = None
    api_key: Annotated[
        list[str] | None,
        option(
            panel=ACCESS,
            help=f"A key that requests have to send; repeatable. Also read from {KEY}.",
            show_default="none: any request is served",
        ),
    ] = None
    cors: Annotated[
        list[str] | None,
        option(panel=ACCESS, help="Origin of pages elsewhere that may use the server; repeatable."),
    ] = None
    per_client: Annotated[
        int, option(panel=ACCESS, min=1, help="Most requests of one client at a time.")
    ] = 32
    max_chars: Annotated[int, option(panel=ACCESS, min=1, help="Most characters of a text.")] = 4096
    voices: Annotated[
        Path | None,
        option(
            panel=ACCESS, help="Folder for voices that clients make; they may make none without."
        ),
    ] = None
    lenient: Annotated[
        bool,
        option("--lenient", panel=ACCESS, help="Speak with the default voice if one is unknown."),
    ] = False

    rows: Annotated[
        int, option(panel=ENGINE, min=1, max=1024, help="Sentences that are decoded together.")
    ] = 16
    queue: Annotated[
        int, option(panel=ENGINE, min=0, help="Requests beyond those; more are refused with 503.")
    ] = 64

    workers: Annotated[
        int,
        option(
            panel=ENGINE,
            min=1,
            max=256,
            help="Processes with a model each; limits apply to each of them.",
        ),
    ] = 1

    ray: Annotated[
        int | None,
        option(
            panel=ENGINE,
            min=1,
            max=1000,
            metavar="MOST",
            help="Serve by one to MOST replicas, by the load, on the Ray cluster of RAY_ADDRESS, or "
            "on a new one here.",
        ),
    ] = None

    llm: Annotated[
        str | None,
        option(panel=ANSWERS, help="The language model, as for 'vocalmtp chat'."),
    ] = None
    llm_model: Annotated[
        str | None, option(panel=ANSWERS, help="The name of the model at the endpoint.")
    ] = None
    recognizer: Annotated[
        str | None,
        option(
            panel=ANSWERS,
            help="The speech recognizer, as for 'vocalmtp chat'.",
            show_default="pocketsphinx",
        ),
    ] = None
    sessions: Annotated[
        int,
        option(panel=ANSWERS, min=1, max=1000, help="The most conversations at a time."),
    ] = 8
    page: Annotated[bool, option("--page", panel=ANSWERS, help="Serve the chat page at / too.")] = (
        False
    )

    def check_processes(self) -> None:
        """Raise InputError for options that need one process if there are to be several."""
        several = {"workers": self.workers > 1, "ray": self.ray is not None}
        single = {
            "wyoming": self.wyoming is not None,
            "page": self.page and self.ray is not None,
            "tls-certificate": self.scheme == "https" and self.ray is not None,
        }
        chosen = [name for name, given in several.items() if given]
        if len(chosen) == 2:
            raise InputError("workers: does not apply to --ray; leave out one", code="conflict")
        for name, given in single.items():
            if chosen and given:
                raise InputError(
                    f"{name}: is served by one process; leave out --{chosen[0]}", code="conflict"
                )

    def limits(self) -> "SpeechLimits":
        """The limits of the engine and its clients. Raises InputError if one is out of range."""
        from vocalmtp.server.service import SpeechLimits

        return SpeechLimits(
            rows=self.rows, queue=self.queue, chars=self.max_chars, per_client=self.per_client
        )

    def load(self, model: str, device: str) -> "TTS":
        """Load the model with these decoding options."""
        from vocalmtp.loading import load

        return load(model, decoding=self.decoding(), **self.runtime() | {"device": device})

    def keys(self) -> list[str]:
        """The API keys. Raises InputError if one is empty."""
        keys = [*(self.api_key or ()), *filter(None, [os.environ.get(KEY)])]
        if not all(key.strip() for key in keys):
            raise InputError("api-key: is empty; give a key, or leave it out", code="empty")
        return keys

    def origins(self) -> list[str]:
        """The origins of other pages. Raises InputError for what browsers send as none."""
        origins = self.cors or []
        for origin in origins:
            if origin != "*" and not re.fullmatch(r"https?://[^/\s]+", origin):
                raise InputError(
                    f"cors '{origin}': not an origin; give https://HOST or http://HOST:PORT without "
                    "a path, or *",
                    code="invalid_value",
                )
        return origins


def serve(options: ServeOptions) -> None:
    """Serve speech to programs that know OpenAI's interface, many requests at a time.

    POST /v1/audio/speech and its relatives; /openapi.json has the schema.

    Examples:

    vocalmtp serve

    vocalmtp serve --host 0.0.0.0 --api-key secret --voices voices

    vocalmtp serve --page --llm http://localhost:11434/v1 --llm-model qwen3

    """
    from vocalmtp.optional import require

    options.check_processes()
    for name in ("fastapi", "uvicorn", "websockets", "av", "prometheus_client", "multipart"):
        require(name)
    if options.page:
        require("gradio")
    if options.wyoming is not None:
        require("wyoming")
        require("zeroconf")
    if options.ray is not None:
        require("ray.serve", "pip install 'vocalmtp[ray,serve]'")
    if options.voices is not None and not options.voices.is_dir():
        raise InputError(
            f"voices '{options.voices}': no such folder; create it first", code="not_found"
        )
    from vocalmtp.server.workers import check_port

    options.keys()
    options.origins()
    options.check_encryption()
    check_port(options.host, options.port)
    if options.wyoming is not None:
        check_port(options.host, options.wyoming)
    shown = f"[{options.host}]" if ":" in options.host else options.host
    address = f"speech at {options.scheme}://{shown}:{options.port}/v1; Ctrl-C ends"
    if options.ray is not None:
        from vocalmtp.server.ray import start_on_ray, stop_on_signal

        build = partial(build_app, options)
        gpu = options.device.startswith("cuda")
        start_on_ray(build, options.host, options.port, options.ray, options.limits(), gpu)
        tell(address)
        stop_on_signal()
    elif options.workers == 1:
        serve_here(options, None, address)
    else:
        from vocalmtp.server.workers import run_workers

        serve_worker = partial(serve_here, options, address=address)
        run_workers(serve_worker, options.workers, options.host, options.port)


def serve_here(options: ServeOptions, listener: "socket | None", address: str) -> None:
    """Serve in this process.

    Args:
        options: of the verb.
        listener: a socket that listens already; None: by the options.
        address: what to print once connections are accepted.

    """
    tell("loading the models")
    from vocalmtp.server.app import run

    state = build_state(options)
    try:
        app = _app(options, state)
        state.warm_up()
        run(
            app,
            state,
            options.host,
            options.port,
            partial(tell, address),
            options.wyoming,
            listener,
            options.encryption(),
        )
    finally:
        state.close()


def build_app(options: ServeOptions) -> "FastAPI":
    """Load the model, and return the application, warmed up, for a server of other people."""
    state = build_state(options)
    app = _app(options, state)
    state.warm_up()
    return app


def _app(options: ServeOptions, state: "ServerState") -> "FastAPI":
    from vocalmtp.server.app import make_app

    return make_app(state, options.host, None, options.keys(), options.origins(), options.page)


def build_state(options: ServeOptions) -> "ServerState":
    """Load the models, and return what the routes of the server share."""
    from vocalmtp.chat.pipeline import build_pipeline
    from vocalmtp.server.metrics import Metrics
    from vocalmtp.server.service import served

    metrics, limits = Metrics(), options.limits()
    pipeline = build_pipeline(
        options.model,
        options.llm,
        options.llm_model,
        options.recognizer,
        device=options.device,
        load_tts=served(options.load, limits, metrics),
    )
    return _state(options, pipeline, limits, metrics)


def _state(
    options: ServeOptions, pipeline: "ChatPipeline", limits: "SpeechLimits", metrics: "Metrics"
) -> "ServerState":
    from vocalmtp.server.engine import EngineTTS
    from vocalmtp.server.service import SpeechService
    from vocalmtp.server.state import ServerLimits, ServerState, offered_roles
    from vocalmtp.server.voices import VoiceCatalogue

    tts = pipeline.tts
    assert isinstance(tts, EngineTTS)
    voices = VoiceCatalogue(tts, offered_roles(tts), options.voices, options.lenient)
    service = SpeechService(tts.engine, voices, metrics, Path(options.model).name, limits)
    conversations = ServerLimits(sessions=options.sessions)
    return ServerState.over(pipeline, limits=conversations, speech=service)

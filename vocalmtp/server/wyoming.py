"""A Wyoming server: synthesis and recognition for Home Assistant, which finds it by zeroconf."""

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

from vocalmtp.audio.io import Audio
from vocalmtp.errors import InputError
from vocalmtp.server.schemas import SpeechSettings
from vocalmtp.server.service import SpeechService
from vocalmtp.server.state import ServerState
from vocalmtp.server.wyoming_connection import MAX_LINE, Connection, Text, WyomingService

logger = logging.getLogger(__name__)

MAX_CLIENTS = 64
MULTICAST = "224.0.0.251"  # of mDNS


def wyoming_service(state: ServerState, speech: SpeechService) -> WyomingService:
    """Return what the clients of a Wyoming server use: an engine, its voices and a recognizer."""

    def voices() -> list[str]:
        return [voice["name"] for voice in speech.voices.list()]

    async def speak(text: Text, voice: str | None, client: str) -> AsyncGenerator[Audio, None]:
        settings = SpeechSettings.model_validate({"voice": _known(speech, voice)})
        if isinstance(text, str):
            chunks = speech.speak(text, settings, client)
        else:
            chunks = speech.speak_pieces(text, settings, client)
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk

    return WyomingService(
        model=speech.model,
        sample_rate=speech.engine.tts.sample_rate,
        voices=voices,
        speak=speak,
        recognizer=state.recognizer,
    )


def _known(speech: SpeechService, voice: str | None) -> str | None:
    """The name of a voice; None, for the default, if there is none of that name."""
    try:
        speech.voices.resolve(voice)
    except InputError:
        return None
    return voice


@asynccontextmanager
async def wyoming_server(
    service: WyomingService, host: str, port: int, advertise: bool = False
) -> AsyncIterator[asyncio.Server]:
    """Serve within the context, at the end of which all connections are closed.

    Args:
        service: what is served.
        host: the address to listen at.
        port: the port; 0 for any.
        advertise: announce the server to the local network, where Home Assistant finds it.

    """
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(connections) < MAX_CLIENTS:
                connections.add(task)
                await Connection(service, writer).run(reader)
        except asyncio.CancelledError:
            pass  # the server ends
        finally:
            connections.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, host, port, limit=MAX_LINE)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_end, server, connections)
        if advertise:
            await stack.enter_async_context(_advertised(server.sockets[0].getsockname()[1]))
        yield server


async def _end(server: asyncio.Server, connections: set["asyncio.Task[None]"]) -> None:
    server.close()
    for task in connections:
        task.cancel()
    await asyncio.gather(*connections, return_exceptions=True)


@asynccontextmanager
async def _advertised(port: int) -> AsyncIterator[None]:
    """Announce a server on this machine by mDNS; without a network, nothing is announced."""
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

    kind = "_wyoming._tcp.local."
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((MULTICAST, 1))  # sends nothing: it selects the address
            address = probe.getsockname()[0]
        zeroconf = AsyncZeroconf(interfaces=[address])
    except OSError as error:
        logger.warning("the server is not announced to the network: %s", error)
        yield
        return
    name = f"vocalmtp-{socket.gethostname().partition('.')[0]}-{port}"
    info = AsyncServiceInfo(
        kind, f"{name}.{kind}", addresses=[socket.inet_aton(address)], port=port
    )
    try:
        await zeroconf.async_register_service(info)
        yield
    finally:
        await zeroconf.async_unregister_all_services()
        await zeroconf.async_close()

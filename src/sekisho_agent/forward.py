"""Inside the wall: a loopback port that leads to the egress proxy's socket, for programs that only know TCP proxies.

Standard library only. Runs as the payload's user in a process of its own; it decides nothing, the proxy outside does.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Final

PORT: Final = 3128
SOCKET: Final = "/run/proxy/proxy.sock"
BACKLOG: Final = 128
CHUNK_BYTES: Final = 65_536


def serve(ready: Callable[[], None]) -> None:
    """Forward until the process is ended. `ready` is called once clients are no longer refused."""
    # Payloads start with the default, under which one write to a client that has hung up would end this process.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    asyncio.run(_serve(ready))


async def _serve(ready: Callable[[], None]) -> None:
    running: set[asyncio.Task[None]] = set()  # the event loop itself holds tasks by weak references only

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(_forward(reader, writer))
        running.add(task)
        task.add_done_callback(running.discard)

    server = await asyncio.start_server(take, "127.0.0.1", PORT, backlog=BACKLOG)
    ready()
    async with server:
        await server.serve_forever()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        proxy_reader, proxy_writer = await asyncio.open_unix_connection(SOCKET)
    except OSError:
        writer.close()
        return
    await asyncio.gather(_copy(reader, proxy_writer), _copy(proxy_reader, writer))
    for side in (writer, proxy_writer):
        side.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.close()

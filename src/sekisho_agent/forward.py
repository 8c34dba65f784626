"""Inside the wall: a loopback port that leads to the egress proxy's socket, for programs that only know TCP proxies.

Standard library only. Runs as the payload's user in a process of its own; it decides nothing, the proxy outside does.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import Final

PORT: Final = 3128
SOCKET: Final = "/run/proxy/proxy.sock"
BACKLOG: Final = 128
CHUNK_BYTES: Final = 65_536


def listen() -> socket.socket:
    """The port, open: from now on a client waits for `serve` and is not refused, however late that starts."""
    return socket.create_server(("127.0.0.1", PORT), backlog=BACKLOG)


def serve(server: socket.socket) -> None:
    """Forward until the process is ended. Takes the socket that `listen` gave."""
    # Payloads start with the default, under which one write to a client that has hung up would end this process.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    asyncio.run(_serve(server))


async def _serve(opened: socket.socket) -> None:
    running: set[asyncio.Task[None]] = set()  # the event loop itself holds tasks by weak references only

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(_forward(reader, writer))
        running.add(task)
        task.add_done_callback(running.discard)

    server = await asyncio.start_server(take, sock=opened, backlog=BACKLOG)
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

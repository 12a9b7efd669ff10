"""Listening: one aiohttp server, any number of sockets, an end within bounded time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

from wherry.api.app import Application, serve_options
from wherry.api.connection import Server


class ApiServer:
    """Serves one application on sockets that the caller has bound."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._server: Server | None = None
        self._listeners: list[asyncio.Server] = []

    @property
    def requests(self) -> int:
        """How many requests have come so far."""
        return self._application.requests

    async def listen(self, sock: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Accept on a bound socket (unix or TCP)."""
        if self._server is None:
            self._server = Server(self._application.handle, **serve_options())
        loop = asyncio.get_running_loop()
        if sock.family == socket.AF_UNIX:
            listener = await loop.create_unix_server(self._server, sock=sock, ssl=tls, backlog=1024)
        else:
            listener = await loop.create_server(self._server, sock=sock, ssl=tls, backlog=1024)
        self._listeners.append(listener)

    async def close(self, grace: float = 2.0) -> None:
        """Stop accepting, give what runs ``grace`` seconds, then end every connection."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        if self._server is None:
            return
        self._server.pre_shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace * 2 + 1):
                await self._server.shutdown(grace)
        self._server = None

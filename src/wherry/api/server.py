"""Listening: an aiohttp server a policy, any number of sockets, an end within bounded time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

from wherry.api.app import Application, serve_options
from wherry.api.connection import Server
from wherry.api.policy import Guard
from wherry.api.routing import Router


class ApiServer:
    """Serves one router on sockets that the caller has bound."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._applications: list[Application] = []
        self._servers: dict[Guard | None, Server] = {}
        self._listeners: list[asyncio.Server] = []

    @property
    def requests(self) -> int:
        """How many requests have come so far."""
        return sum(each.requests for each in self._applications)

    async def listen(
        self,
        sock: socket.socket,
        tls: ssl.SSLContext | None = None,
        guard: Guard | None = None,
    ) -> None:
        """Accept on a bound socket (unix or TCP); ``guard`` limits what its callers may do."""
        server = self._servers.get(guard)
        if server is None:
            application = Application(self._router, guard)
            self._applications.append(application)
            server = self._servers[guard] = Server(application.handle, **serve_options())
        loop = asyncio.get_running_loop()
        if sock.family == socket.AF_UNIX:
            listener = await loop.create_unix_server(server, sock=sock, ssl=tls, backlog=1024)
        else:
            listener = await loop.create_server(server, sock=sock, ssl=tls, backlog=1024)
        self._listeners.append(listener)

    async def close(self, grace: float = 2.0) -> None:
        """Stop accepting, give what runs ``grace`` seconds, then end every connection."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        servers = list(self._servers.values())
        self._servers.clear()
        for server in servers:
            server.pre_shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace * 2 + 1):
                await asyncio.gather(*(server.shutdown(grace) for server in servers))

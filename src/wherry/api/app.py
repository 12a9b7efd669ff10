"""The application: version gate, routing, error mapping, headers of every reply.

It is a low-level aiohttp server handler: our own routing costs less than aiohttp's and knows
Docker's ways (version prefixes, 501 for what is not there yet). ``serve_options`` are the keyword
arguments for ``aiohttp.web.Server``.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from typing import Any

from aiohttp import web

from wherry import __version__
from wherry.api.connection import Connection
from wherry.api.policy import Guard
from wherry.api.replies import Ended, empty, error_reply
from wherry.api.routing import Call, Route, Router
from wherry.errors import Invalid
from wherry.linux.tasks import spawn

API_VERSION = (1, 55)
MIN_API_VERSION = (1, 24)
HEADERS = {
    "Api-Version": "1.55",
    "Ostype": "linux",
    "Server": f"Wherry/{__version__} (linux)",
}
_PREFIX = re.compile(r"/v([0-9]{1,9}(?:\.[0-9]{1,9})+)(/.*)?", re.DOTALL)
_log = logging.getLogger(__name__)


def version_text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def split_version(path: str) -> tuple[tuple[int, int], str]:
    """``/v1.41/info`` -> ((1, 41), "/info"); without a prefix the newest version.

    Raises ``Invalid`` with Docker's words for a version outside what is served.
    """
    match = _PREFIX.fullmatch(path)
    if match is None:
        return API_VERSION, path
    text = match[1]
    major, minor = [*map(int, text.split("."))][:2]
    version = (major, minor)
    if version > API_VERSION:
        raise Invalid(
            f"client version {text} is too new. "
            f"Maximum supported API version is {version_text(API_VERSION)}"
        )
    if version < MIN_API_VERSION:
        raise Invalid(
            f"client version {text} is too old. "
            f"Minimum supported API version is {version_text(MIN_API_VERSION)}, "
            "please upgrade your client to a newer version"
        )
    return version, match[2] or "/"


class Request(web.BaseRequest):
    """A request whose replies, streams included, carry Docker's headers."""

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        response.headers.setdefault("Docker-Experimental", "false")
        response.headers.update(HEADERS)


class Application:
    """``handle`` is the handler of an ``aiohttp.web.Server``. ``guard``: of a limited socket."""

    def __init__(self, router: Router, guard: Guard | None = None) -> None:
        self.router = router
        self.requests = 0
        self._guard = guard

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Every failure becomes a reply; what was hijacked is left alone."""
        began = time.monotonic()
        self.requests += 1
        try:
            response = await self._dispatch(request)
        except asyncio.CancelledError:
            raise
        except ConnectionError:
            return _abandoned(request)
        except Exception as error:
            if request.writer.output_size > 0:
                _log.warning("%s %s failed midway: %s", request.method, request.path, error)
                return _abandoned(request)
            response = error_reply(error)
        if isinstance(request.protocol, Connection) and response.status != 101:
            request.protocol.decline()
        if _log.isEnabledFor(logging.DEBUG):
            spent = (time.monotonic() - began) * 1000
            _log.debug("%s %s %d %.1f ms", request.method, request.path, response.status, spent)
        return response

    async def _dispatch(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "OPTIONS":
            return empty(200)
        if self._guard is None:
            return await self._serve(*self._routed(request))
        with self._guard.watching(request):
            call, route = self._routed(request)
            await self._guard.admit(call, route)
        return self._guard.finish(route, await self._serve(call, route))

    def _routed(self, request: web.BaseRequest) -> tuple[Call, Route]:
        """The call and its route; the client is told to send its body. Raises ``NotFound`` ..."""
        version, path = split_version(request.path)
        if "\0" in path:
            raise Invalid("invalid path: it holds a null byte")
        route, parameters = self.router.find(request.method, path)
        expects = request.headers.get("Expect", "").lower() == "100-continue"
        if expects and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return Call(request, parameters, version), route

    async def _serve(self, call: Call, route: Route) -> web.StreamResponse:
        if route.streams or call.request.method in ("GET", "HEAD"):
            return await route.handler(call)
        return await asyncio.shield(spawn(_run(route.handler(call)), name=f"api {route.name}"))


def _abandoned(request: web.BaseRequest) -> web.StreamResponse:
    """The client has gone, or must see that its reply is not whole: cut the connection."""
    if request.transport is not None:
        request.transport.abort()
    return Ended()


async def _run(handler: Any) -> web.StreamResponse:
    """A change that a client began is finished even when the client goes away."""
    try:
        response: web.StreamResponse = await handler
    except Exception as error:
        return error_reply(error)
    return response


def _make_request(
    message: Any, payload: Any, protocol: Any, writer: Any, task: asyncio.Task[None]
) -> Request:
    return Request(message, payload, protocol, writer, task, asyncio.get_running_loop())


def serve_options() -> dict[str, Any]:
    """For ``aiohttp.web.Server``: no access log, cancellation when a client goes away."""
    return {
        "request_factory": _make_request,
        "handler_cancellation": True,
        "access_log": None,
        "keepalive_timeout": 300.0,
        "auto_decompress": False,
        "max_line_size": 1 << 20,
        "max_field_size": 1 << 20,
        "lingering_time": 2.0,
        "tcp_keepalive": False,
    }

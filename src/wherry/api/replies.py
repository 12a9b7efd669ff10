"""Replies: JSON bodies, empty ones, and streams of JSON progress objects."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from wherry.api.errors import status_of
from wherry.linux.tasks import spawn
from wherry.wire.progress import failure

JSON = "application/json"
_encoder = msgspec.json.Encoder()
_log = logging.getLogger(__name__)
_NO_TEXT = re.compile("[\ud800-\udfff]")
_BACKLOG = 512
"""Progress objects kept for a slow client; beyond it, mere progress is dropped."""


def encode(value: object) -> bytes:
    """JSON bytes of plain values, structs and dataclasses.

    Names of files may be bytes that are no text: each such byte is told as U+FFFD, as Docker does.
    """
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        return _encoder.encode(_told(msgspec.to_builtins(value)))


def _told(value: Any) -> Any:
    if isinstance(value, str):
        return _NO_TEXT.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_told(key): _told(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_told(each) for each in value]
    return value


def json_reply(value: object, status: int = 200) -> web.Response:
    return web.Response(body=encode(value) + b"\n", status=status, content_type=JSON)


def empty(status: int = 204) -> web.Response:
    return web.Response(status=status)


def error_reply(error: BaseException) -> web.Response:
    """Any failure as Docker writes it: ``{"message": ...}``; 304 has no body."""
    status, message = status_of(error)
    if status == 304:
        return web.Response(status=304)
    return json_reply({"message": message}, status)


class Ended(web.StreamResponse):
    """What a handler returns when nothing is left to send: the connection was taken, or is gone."""

    def __init__(self) -> None:
        super().__init__(status=101)
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> None:
        """The head was sent already, or never will be."""

    async def write_eof(self, data: bytes = b"") -> None:
        """The stream was ended by its own rules."""


class Progress:
    """The reply of a long operation: JSON objects in a row, head sent with the first one.

    ``emit`` never waits; a client that reads slowly loses progress bars, never other objects
    within ``_BACKLOG``, and the daemon's memory stays bounded.
    """

    def __init__(self, request: web.BaseRequest, content_type: str = JSON) -> None:
        self._request = request
        self._response = web.StreamResponse(headers={"Content-Type": content_type})
        self._pending: list[bytes] = []
        self._wake = asyncio.Event()
        self._closing = False

    @property
    def started(self) -> bool:
        return self._response.prepared or bool(self._pending)

    def emit(self, item: Mapping[str, Any]) -> None:
        if len(self._pending) >= _BACKLOG and item.get("progressDetail"):
            return
        self._pending.append(encode(item) + b"\r\n")
        self._wake.set()

    async def _write_all(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                data = b"".join(self._pending)
                self._pending.clear()
                if not self._response.prepared:
                    await self._response.prepare(self._request)
                await self._response.write(data)
            if self._closing:
                return

    async def _finish(self, writer: asyncio.Task[None]) -> None:
        self._closing = True
        self._wake.set()
        await writer

    async def run(
        self, operation: Callable[[Callable[[Mapping[str, Any]], None]], Awaitable[object]]
    ) -> web.StreamResponse:
        """Run ``operation(emit)``; a failure before the first object gets its own status, one
        after it arrives inside the 200 as ``errorDetail``."""
        writer = spawn(self._write_all(), name="progress writer")
        try:
            try:
                await operation(self.emit)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                if not self.started:
                    raise
                code, message = status_of(error)
                _log.debug("failed after the reply began (%d): %s", code, message)
                self.emit(failure(message))
            await self._finish(writer)
        finally:
            writer.cancel()
        if not self._response.prepared:
            await self._response.prepare(self._request)
        await self._response.write_eof()
        return self._response

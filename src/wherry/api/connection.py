"""A connection that can be taken over: bytes behind a hijacking request never reach the parser.

aiohttp's parser knows ``Upgrade: websocket`` only; what a client sends right behind a request with
``Upgrade: tcp`` or ``h2c`` would be parsed as HTTP, or lost. So heads are looked at here first:
when one asks for a raw stream, its request goes to the parser and everything behind it is kept
aside for whoever takes the connection. The same happens to the bodies of archives (``upload.py``):
nothing more is read from the socket until someone takes them, or declines.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawRequestMessage

from wherry.api.replies import json_reply

_LIMIT = 1 << 20
"""Bytes of a head, and of the body of an upgrading request, that are gathered."""
_KEPT = 256 * 1024
"""Bytes kept aside before the client has to wait."""
_RAW = re.compile(
    rb"\r\nupgrade:[ \t]*(?:tcp|h2c)[ \t]*\r\n"
    rb"|\APOST [^ ?]*/(?:containers/[^/ ?]+/attach|exec/[^/ ?]+/start)[ ?]",
    re.IGNORECASE,
)
_UPLOAD = re.compile(rb"PUT [^ ?]*/containers/[^/ ?]+/archive[ ?]")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)
_METHOD = re.compile(rb"[A-Z]{1,10}( |\Z)")
_log = logging.getLogger(__name__)


class Connection(web.RequestHandler):
    """aiohttp's protocol of one client, with a look at heads before they are parsed."""

    __slots__ = ("_early", "_gathered", "_taken", "diverted")

    def __init__(self, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self._gathered = b""
        self._early = bytearray()
        self.diverted = False
        """Whether what comes now is kept aside."""
        self._taken = False

    def data_received(self, data: bytes) -> None:
        if self.diverted:
            self._early += data
            if len(self._early) > _KEPT and self.transport is not None:
                self.transport.pause_reading()
            return
        if self._gathered or self._between():
            data = self._gathered + data
            self._gathered = b""
            size = _raw_request(data)
            if size is None:
                self._gathered = data
                return
            if size:
                self.diverted = True
                self._early += data[size:]
                if self.transport is not None and _UPLOAD.match(data):
                    self.transport.pause_reading()
                data = data[:size]
        super().data_received(data)
        last = self._messages[-1][0] if self._messages else None
        if last is not None and not isinstance(last, RawRequestMessage):
            self._break_body(HttpProcessingError(code=400, message=last.message or ""))

    def _break_body(self, error: HttpProcessingError) -> None:
        """What came is no HTTP: whoever reads the body before it must not wait for more.

        The request of that body gets the answer, the last one of this connection.
        """
        if len(self._messages) > 1:
            body = self._messages[-2][1]
        elif self._current_request is not None:
            body = self._current_request.content
        else:
            return
        if not body.is_eof() and body.exception() is None:
            self._messages.pop()
            body.set_exception(error)
            body.feed_eof()
            self.close()

    def _between(self) -> bool:
        """Whether the next byte begins a request: every earlier one has its whole body."""
        if self._messages:
            return self._messages[-1][1].is_eof()
        current = self._current_request
        return current is None or current.content.is_eof()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is no HTTP gets an answer as every other mistake does, and no trace in the log."""
        if status >= 500:
            _log.error("a request failed outside its handler: %s", exc, exc_info=exc)
        else:
            _log.debug("broken HTTP: %s", message)
        if request.writer.output_size > 0:
            raise ConnectionError("the reply has begun already")
        first = (message or "not understood").strip().partition("\n")[0].rstrip(":")
        response = json_reply({"message": f"malformed HTTP request: {first}"}, status)
        response.force_close()
        return response

    def take(self) -> bytes:
        """The connection is taken over: what came behind the request."""
        self._taken = True
        early, self._early = bytes(self._early), bytearray()
        return early

    def decline(self) -> None:
        """The request got an ordinary reply: what came behind it is HTTP after all."""
        if not self.diverted or self._taken:
            return
        self.diverted = False
        early, self._early = bytes(self._early), bytearray()
        if self.transport is not None and not self.transport.is_closing():
            if not self.transport.is_reading():
                self.transport.resume_reading()
            if early:
                self.data_received(early)


def _raw_request(data: bytes) -> int | None:
    """Bytes of the request at the start of ``data`` when it asks for a raw stream; 0 when it does
    not (or is no HTTP at all); None when more must be read to know."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return 0 if len(data) > _LIMIT or not _METHOD.match(data) else None
    head = data[: end + 4]
    if _UPLOAD.match(head):
        length = _LENGTH.search(head)
        return len(head) if b"\r\ntransfer-encoding:" in head.lower() or length else 0
    if not _RAW.search(head):
        return 0
    length = _LENGTH.search(head)
    size = len(head) + (int(length[1]) if length else 0)
    if size > _LIMIT or b"\r\ntransfer-encoding:" in head.lower():
        return 0
    return size if len(data) >= size else None


class Server(web.Server):
    """Makes such connections."""

    def __call__(self) -> Connection:
        return Connection(self, loop=self._loop, **self._kwargs)

"""HTTP by the byte: what no client library would send, and answers as they come."""

from __future__ import annotations

import array
import fcntl
import socket
import termios
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.support.engine import Answer

_SECONDS = 30.0


def request(
    method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> bytes:
    """One well-formed request after which the server closes; JSON unless ``headers`` differ."""
    lines = {"Host": "engine", "Connection": "close", "Content-Length": str(len(body))}
    lines |= {"Content-Type": "application/json"} | dict(headers or {})
    head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items())
    return head.encode() + b"\r\n" + body


def exchange(path: Path, *parts: bytes, end: bool = False, listen: bool = True) -> bytes:
    """Send ``parts``, each when the one before has been read; all that comes back until the server
    closes.

    ``end``: close our side after it. ``listen``: False goes away without reading a byte.
    A connection that the server resets is at its end too.
    """
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(_SECONDS)
        link.connect(str(path))
        heard = b""
        with suppress(ConnectionError):
            for number, part in enumerate(parts):
                if number:
                    _drained(link)
                link.sendall(part)
            if end:
                link.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while listen and (chunk := link.recv(65536)):
                heard += chunk
        return heard


def _drained(link: socket.socket) -> None:
    """Wait until the other side has read all: SIOCOUTQ of unix(7) sockets."""
    deadline = time.monotonic() + _SECONDS
    waiting = array.array("i", [0])
    while time.monotonic() < deadline:
        fcntl.ioctl(link, termios.TIOCOUTQ, waiting)
        if not waiting[0]:
            return
        time.sleep(0.002)
    raise TimeoutError("the other side does not read")


def answer(raw: bytes) -> Answer:
    """Status and body of a whole reply (the last one, behind ``100 Continue``)."""
    head, _, body = raw.partition(b"\r\n\r\n")
    status = int(head.split(None, 2)[1])
    if status == 100:
        return answer(body)
    if b"\r\ntransfer-encoding: chunked" in head.lower():
        body = _unchunked(body)
    return Answer(status, body)


def _unchunked(data: bytes) -> bytes:
    body = b""
    while data:
        size, _, rest = data.partition(b"\r\n")
        length = int(size, 16)
        body, data = body + rest[:length], rest[length + 2 :]
    return body

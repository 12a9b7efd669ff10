"""The smallest HTTP/1.1 client that can drive an engine over its unix socket.

It blocks, keeps its connection, and does next to nothing itself, so that what is measured is the
engine. One object serves one thread.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

API = "/v1.41"
"""The newest version that Docker 20.10 speaks, for paths that name none themselves."""
_VERSIONED = re.compile(r"/v\d")


class EngineError(Exception):
    """An answer that the caller did not expect."""


class Client:
    """A kept connection to one engine. ``with Client(path) as client: ...``"""

    def __init__(self, path: Path, *, timeout: float = 600.0, api: str = API) -> None:
        self._path = str(path)
        self._timeout = timeout
        self._api = api
        self._socket: socket.socket | None = None
        self._buffer = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._buffer = b""

    def json(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        expect: tuple[int, ...] = (200, 201, 204),
    ) -> Any:
        """One request with a JSON body and answer; None for an empty one.

        Raises ``EngineError`` with the engine's message for any other status.
        """
        data = b"" if body is None else json.dumps(body).encode()
        status, answer = self.request(method, path, data)
        if status not in expect:
            raise EngineError(f"{method} {path}: {status} {answer[:500].decode(errors='replace')}")
        return json.loads(answer) if answer.strip() else None

    def request(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """One request; the status and the whole body."""
        self._send(self._head(method, path, len(body), "application/json") + body)
        return self._answer()

    def swallow(self, path: str) -> int:
        """A GET whose answer is read to the end and thrown away; its bytes, chunk marks included.

        What it costs hardly depends on the size of the pieces that the engine sends.
        """
        self.close()
        self._send(self._head("GET", path, 0, "application/json", "Connection: close"))
        status, _, rest = self._read_head()
        if status != 200:
            raise EngineError(f"GET {path}: {status} {rest[:500]!r}")
        link, space, total = self._connected(), bytearray(1 << 20), len(rest)
        while count := link.recv_into(space):
            total += count
        self.close()
        return total

    def upload(
        self, method: str, path: str, parts: Iterable[bytes], length: int
    ) -> tuple[int, bytes]:
        """Send ``length`` bytes as a tar; the status and the whole body."""
        self._send(self._head(method, path, length, "application/x-tar"))
        link = self._connected()
        try:
            for part in parts:
                link.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            # Refused before all was sent: the answer is already there.
            status, body = self._answer()
            self.close()
            return status, body
        return self._answer()

    def download(self, path: str) -> int:
        """GET a body of any size and drop it; its bytes.

        Raises ``EngineError`` for any status but 200.
        """
        self._send(self._head("GET", path, 0, "application/json"))
        status, headers, rest = self._read_head()
        self._buffer = rest
        if status != 200:
            raise EngineError(f"GET {path}: {status} {rest[:500]!r}")
        if headers.get("transfer-encoding", "").lower() != "chunked":
            raise EngineError(f"GET {path}: the body is not chunked")
        total = 0
        while size := self._chunk_size():
            total += size
            self._skip(size + 2)
        self._skip(2)
        return total

    def _chunk_size(self) -> int:
        while b"\r\n" not in self._buffer:
            self._fill()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return int(line.split(b";")[0], 16)

    def _skip(self, size: int) -> None:
        """Read on past ``size`` bytes."""
        if size <= len(self._buffer):
            self._buffer = self._buffer[size:]
            return
        left = size - len(self._buffer)
        self._buffer = b""
        room = memoryview(bytearray(min(left, 1 << 20)))
        while left:
            count = self._connected().recv_into(room[: min(left, len(room))])
            if not count:
                raise EngineError("the engine closed the connection in the middle of an answer")
            left -= count

    def hijack(self, method: str, path: str, body: Mapping[str, Any]) -> bytes:
        """A request whose connection becomes a stream: read it to its end and close."""
        data = json.dumps(body).encode()
        self._send(
            self._head(
                method, path, len(data), "application/json", "Upgrade: tcp\r\nConnection: Upgrade"
            )
            + data
        )
        status, _, rest = self._read_head()
        if status not in (101, 200):
            raise EngineError(f"{method} {path}: {status} {rest[:500]!r}")
        chunks = [rest]
        link = self._connected()
        while chunk := link.recv(65536):
            chunks.append(chunk)
        self.close()
        return b"".join(chunks)

    def _head(self, method: str, path: str, length: int, kind: str, extra: str = "") -> bytes:
        version = "" if _VERSIONED.match(path) else self._api
        lines = [f"{method} {version}{path} HTTP/1.1", "Host: engine", f"Content-Type: {kind}"]
        lines.append(f"Content-Length: {length}")
        if extra:
            lines.append(extra)
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def _connected(self) -> socket.socket:
        if self._socket is None:
            link = socket.socket(socket.AF_UNIX)
            link.settimeout(self._timeout)
            try:
                link.connect(self._path)
            except OSError as error:
                link.close()
                error.filename = self._path
                raise
            self._socket, self._buffer = link, b""
        return self._socket

    def _send(self, data: bytes) -> None:
        try:
            self._connected().sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            # The engine closed an idle connection: once more on a new one.
            self.close()
            self._connected().sendall(data)

    def _fill(self) -> None:
        chunk = self._connected().recv(1 << 20)
        if not chunk:
            self.close()
            raise EngineError("the engine closed the connection in the middle of an answer")
        self._buffer += chunk

    def _read_head(self) -> tuple[int, dict[str, str], bytes]:
        while b"\r\n\r\n" not in self._buffer:
            self._fill()
        head, _, rest = self._buffer.partition(b"\r\n\r\n")
        self._buffer = b""
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            key, _, value = line.partition(":")
            headers[key.strip().lower()] = value.strip()
        return int(first.split()[1]), headers, rest

    def _answer(self) -> tuple[int, bytes]:
        status, headers, self._buffer = self._read_head()
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = self._chunked()
        elif "content-length" not in headers and status >= 400:
            # No length: the body goes on to the end of the connection.
            link, body = self._connected(), self._buffer
            while chunk := link.recv(65536):
                body += chunk
            self.close()
        else:
            length = int(headers.get("content-length", "0"))
            while len(self._buffer) < length:
                self._fill()
            body, self._buffer = self._buffer[:length], self._buffer[length:]
        if headers.get("connection", "").lower() == "close":
            self.close()
        return status, body

    def _chunked(self) -> bytes:
        parts = []
        while True:
            size = self._chunk_size()
            while len(self._buffer) < size + 2:
                self._fill()
            parts.append(self._buffer[:size])
            self._buffer = self._buffer[size + 2 :]
            if size == 0:
                return b"".join(parts)

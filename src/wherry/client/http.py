"""HTTP/1.1 over one connected socket: what the Engine API needs and nothing else.

``http.client`` costs 20 ms of import (it pulls ``email``), more than the rest of ``wherry ps``
together, and cannot hand over the socket after a ``101``. Bodies: Content-Length, chunked, until
close; upgrades; requests with a streamed (chunked) body. RFC 9112.
"""

from __future__ import annotations

import errno

from wherry.client.errors import ConnectionLost

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Iterator

    from wherry.trees.flow import Bytes, Outlet, Pipe

    Writer = Callable[[Outlet], None]
    """Writes a request's body."""

_READ = 65536
_PIECE = 1 << 20
_MAX_HEAD = 256 * 1024


class Response:
    """A response whose head was read. Header names are in lower case.

    ``read`` and ``chunks`` give the body without framing; after the end ``reusable`` tells
    whether the connection may carry another request.
    """

    def __init__(self, connection: Connection, status: int, headers: dict[str, str]) -> None:
        self.status = status
        self.headers = headers
        self.connection = connection
        self._left: int | None = 0
        self._chunked = False
        self._done = True
        self.reusable = headers.get("connection", "").lower() != "close"

    def expect_body(self, method: str) -> None:
        """Choose the body's framing (RFC 9112 section 6.3)."""
        if method == "HEAD" or self.status in (101, 204, 304):
            return
        self._done = False
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            self._chunked = True
        elif "content-length" in self.headers:
            try:
                self._left = int(self.headers["content-length"])
            except ValueError:
                raise ConnectionLost("malformed Content-Length in the response") from None
            self._done = self._left == 0
        else:
            self._left = None
            self.reusable = False

    @property
    def done(self) -> bool:
        return self._done

    def chunk(self) -> bytes:
        """The next piece of the body as it arrives; empty at the end.

        Raises :class:`ConnectionLost` when the peer closes inside a framed body.
        """
        if not self._more():
            return b""
        piece = self.connection.take(self._left)
        self._took(len(piece))
        return piece

    def read_into(self, room: memoryview) -> int:
        """As :meth:`chunk`, into a buffer; 0 at the end."""
        if not self._more():
            return 0
        count = self.connection.take_into(room if self._left is None else room[: self._left])
        self._took(count)
        return count

    def move(self, descriptor: int, size: int) -> int:
        """As :meth:`chunk`, by the kernel into a file; 0 when it must be read instead."""
        if not self._more() or not self.connection.straight or self._left is None:
            return 0
        try:
            count = self.connection.move(descriptor, min(size, self._left))
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self.connection.straight = False
            return 0
        self._took(count)
        return count

    def _more(self) -> bool:
        """Whether some of the body may be still to come; goes to the next chunk."""
        if not self._done and self._chunked and self._left == 0:
            self._next_size()
        return not self._done

    def _took(self, count: int) -> None:
        if not count:
            if self._left is not None:
                raise ConnectionLost("the daemon closed the connection in the middle of an answer")
            self._done = True
        elif self._left is not None:
            self._left -= count
            if self._left == 0:
                if self._chunked:
                    self.connection.line()
                else:
                    self._done = True

    def _next_size(self) -> None:
        line = self.connection.line()
        try:
            self._left = int(line.split(b";", 1)[0].strip() or b"x", 16)
        except ValueError:
            raise ConnectionLost(f"malformed chunk size {line[:40]!r} in the response") from None
        if self._left == 0:
            while self.connection.line():
                pass
            self._done = True

    def chunks(self) -> Iterator[bytes]:
        while piece := self.chunk():
            yield piece

    def read(self) -> bytes:
        """The rest of the body."""
        return b"".join(self.chunks())


class ChunkedBody:
    """Where a :data:`Writer` writes a request's body: an outlet (see ``wherry.trees.flow``)."""

    def __init__(self, connection: Connection) -> None:
        self._sock = connection.sock
        self._straight = connection.straight

    def write(self, data: Bytes) -> None:
        if data:
            self._sock.sendall(b"%x\r\n" % len(data))
            self._sock.sendall(data)
            self._sock.sendall(b"\r\n")

    def file(self, descriptor: int, size: int) -> None:
        """``size`` bytes of an open file; zeros for what it has less."""
        import os

        if not size:
            return
        self._sock.sendall(b"%x\r\n" % size)
        while size:
            if self._straight:
                count = os.sendfile(self._sock.fileno(), descriptor, None, size)
            else:
                piece = os.read(descriptor, min(size, _PIECE))
                self._sock.sendall(piece)
                count = len(piece)
            if not count:
                piece = bytes(min(size, _PIECE))
                self._sock.sendall(piece)
                count = len(piece)
            size -= count
        self._sock.sendall(b"\r\n")


class Connection:
    """One connection; one request at a time. ``explain``: a failed transfer in plain words."""

    def __init__(
        self, sock: socket.socket, host: str, explain: Callable[[OSError], str] = str
    ) -> None:
        self.sock = sock
        self._host = host
        self._why = explain
        self._buffer = b""
        # Over TLS the bytes of the socket are not those of the connection.
        self._straight = not hasattr(sock, "context")
        self._pipe: Pipe | None = None

    def request(
        self,
        method: str,
        target: str,
        headers: dict[str, str],
        body: bytes | Iterable[bytes] | Writer | None = None,
    ) -> Response:
        """Send one request and read the head of its answer. 1xx answers but 101 are skipped.

        A peer that answers before it took the whole body is heard: its answer is returned.
        """
        head = [f"{method} {target} HTTP/1.1", f"Host: {self._host}"]
        head += [f"{name}: {text}" for name, text in headers.items()]
        if isinstance(body, bytes):
            head.append(f"Content-Length: {len(body)}")
        elif body is not None:
            head.append("Transfer-Encoding: chunked")
        elif method in ("POST", "PUT"):
            head.append("Content-Length: 0")
        start = ("\r\n".join(head) + "\r\n\r\n").encode("latin-1", "replace")
        try:
            if isinstance(body, bytes):
                self.sock.sendall(start + body)
            else:
                self.sock.sendall(start)
                if body is not None:
                    self._send_chunks(body)
        except (BrokenPipeError, ConnectionResetError):
            pass
        except OSError as error:
            raise ConnectionLost(self._why(error)) from None
        while True:
            response = self._head()
            if response.status == 101 or response.status >= 200:
                response.expect_body(method)
                return response

    def _send_chunks(self, body: Iterable[bytes] | Writer) -> None:
        if callable(body):
            from wherry.trees.flow import widen

            if self._straight:
                widen(self.sock)
            body(ChunkedBody(self))
            self.sock.sendall(b"0\r\n\r\n")
            return
        for piece in body:
            if piece:
                self.sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.sock.sendall(b"0\r\n\r\n")

    def _head(self) -> Response:
        line = self.line()
        words = line.split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            if line.startswith(b"\x15\x03"):
                raise ConnectionLost("the daemon speaks TLS: use --tlsverify or --tls")
            raise ConnectionLost(f"malformed HTTP response {line[:60]!r}")
        headers: dict[str, str] = {}
        while line := self.line():
            name, _, text = line.partition(b":")
            headers[name.decode("latin-1").strip().lower()] = text.decode("latin-1").strip()
        response = Response(self, int(words[1]), headers)
        if words[0] == b"HTTP/1.0" and headers.get("connection", "").lower() != "keep-alive":
            response.reusable = False
        return response

    def line(self) -> bytes:
        """One line without its end. Raises :class:`ConnectionLost` at the end of the stream."""
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > _MAX_HEAD:
                raise ConnectionLost("the response's head is too long")
            more = self._receive()
            if not more:
                raise ConnectionLost("the daemon closed the connection without an answer")
            self._buffer += more
        line, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
        return line.rstrip(b"\r")

    def take(self, most: int | None) -> bytes:
        """At most ``most`` bytes, whatever is there first; empty at the end of the stream."""
        if not self._buffer:
            self._buffer = self._receive()
        if most is None or len(self._buffer) <= most:
            piece, self._buffer = self._buffer, b""
        else:
            piece, self._buffer = self._buffer[:most], self._buffer[most:]
        return piece

    def take_into(self, room: memoryview) -> int:
        """As :meth:`take`, into a buffer."""
        if not self._buffer:
            try:
                return self.sock.recv_into(room)
            except ConnectionResetError:
                return 0
        piece = self.take(len(room))
        room[: len(piece)] = piece
        return len(piece)

    @property
    def straight(self) -> bool:
        """Can the kernel move bytes between this connection and files now?"""
        return self._straight and not self._buffer

    @straight.setter
    def straight(self, possible: bool) -> None:
        self._straight = possible

    def move(self, descriptor: int, size: int) -> int:
        """Bytes moved from the connection to a file, at least one unless it has ended."""
        if self._pipe is None:
            from wherry.trees.flow import Pipe

            self._pipe = Pipe()
        return self._pipe.move(self.sock.fileno(), descriptor, size)

    def _receive(self) -> bytes:
        try:
            return self.sock.recv(_READ)
        except ConnectionResetError:
            return b""
        except OSError as error:
            raise ConnectionLost(self._why(error)) from None

    @property
    def buffered(self) -> bool:
        """Were bytes read beyond what was asked for? Then the socket need not become readable."""
        return bool(self._buffer)

    @property
    def ended(self) -> bool:
        """Asked between two requests: has the peer hung up, or said what nobody asked for?"""
        import select

        poller = select.poll()
        poller.register(self.sock, select.POLLIN)
        return self.buffered or bool(poller.poll(0))

    def leftover(self) -> bytes:
        """Bytes read beyond the head, for whoever takes the socket over."""
        rest, self._buffer = self._buffer, b""
        return rest

    def close(self) -> None:
        self.sock.close()
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None

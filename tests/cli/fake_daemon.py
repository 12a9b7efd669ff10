"""A small daemon on a unix socket that records what clients send and answers from a table."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = Callable[["Exchange"], None]


class Recorded:
    """One request as it came; ``path`` is without the version."""

    def __init__(
        self,
        method: str,
        path: str,
        query: dict[str, list[str]],
        body: bytes,
        headers: Mapping[str, str],
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.body = body
        self.headers = headers

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Exchange(BaseHTTPRequestHandler):
    """One connection. Answers are functions of it: ``exchange.reply(200, {...})``."""

    protocol_version = "HTTP/1.1"
    request_record: Recorded

    def do_any(self) -> None:
        parts = urlsplit(self.path)
        path = parts.path
        if path.startswith("/v1."):
            path = "/" + path.split("/", 2)[2]
        self.request_record = Recorded(
            self.command,
            path,
            parse_qs(parts.query, keep_blank_values=True),
            self._body(),
            {name.lower(): text for name, text in self.headers.items()},
        )
        daemon = self.server
        assert isinstance(daemon, _Server)
        daemon.requests.append(self.request_record)
        if path == "/_ping":
            self.send_response(200)
            self.send_header("Api-Version", "1.47")
            self.send_header("Ostype", "linux")
            self.send_header("Content-Length", "2")
            for name, text in daemon.ping_headers.items():
                self.send_header(name, text)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(b"OK")
            return
        for (method, start), answer in daemon.answers.items():
            if method == self.command and (path == start or path.startswith(start + "?")):
                answer(self)
                return
        self.reply(404, {"message": f"page not found: {self.command} {path}"})

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_any

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def reply(self, status: int, value: Any = None, **headers: str) -> None:
        data = b"" if value is None else json.dumps(value).encode()
        self.raw(status, data, **{"Content-Type": "application/json", **headers})

    def raw(self, status: int, data: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def start_chunks(self, **headers: str) -> None:
        self.send_response(200)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def upgrade(self, media_type: str = "application/vnd.docker.raw-stream") -> None:
        """Answer 101; after this ``rfile`` and ``wfile`` are the raw stream."""
        self.wfile.write(
            b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
            b"Content-Type: %b\r\n\r\n" % media_type.encode()
        )
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def address_string(self) -> str:
        return "unix"


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 32

    def __init__(self, path: str) -> None:
        super().__init__(path, Exchange)
        self.answers: dict[tuple[str, str], Answer] = {}
        self.requests: list[Recorded] = []
        self.ping_headers: dict[str, str] = {}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is part of the tests."""


class FakeDaemon:
    """The running fake: ``host`` for ``-H``, ``on(method, path, answer)``, ``requests``."""

    def __init__(self, server: _Server, path: Path) -> None:
        self._server = server
        self.path = path
        self.host = f"unix://{path}"

    @property
    def requests(self) -> list[Recorded]:
        return self._server.requests

    @property
    def ping_headers(self) -> dict[str, str]:
        """Headers that ``/_ping`` answers beside the usual ones."""
        return self._server.ping_headers

    def on(self, method: str, path: str, answer: Answer | Any) -> None:
        """``answer``: a function of the exchange, or a value to send as JSON with 200."""
        if callable(answer):
            self._server.answers[(method, path)] = answer
        else:
            self._server.answers[(method, path)] = lambda exchange: exchange.reply(200, answer)

    def sent(self, method: str, path: str) -> list[Recorded]:
        return [one for one in self.requests if one.method == method and one.path == path]


@contextmanager
def fake_daemon(folder: Path) -> Iterator[FakeDaemon]:
    path = folder / "fake.sock"
    server = _Server(str(path))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield FakeDaemon(server, path)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

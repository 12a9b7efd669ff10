"""The Engine API client: version negotiation, requests, streams, hijacked connections.

Synchronous and small on purpose. One connection is kept and used again; a stream (logs, events)
keeps its own. Paths are written without the version: ``client.get("/containers/json", all=True)``.
"""

from __future__ import annotations

import json

from wherry.client.errors import ApiError, ConnectionLost
from wherry.client.http import Connection
from wherry.client.transport import connect, explain, hint, host_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Iterator
    from typing import Any

    from wherry.client.config import Endpoint
    from wherry.client.http import Response, Writer

API_VERSION = "1.55"
_KEPT = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/:@,")


class Hijacked:
    """A connection that became a raw byte stream. ``first`` was read already.

    ``media_type`` tells whether frames follow (``...multiplexed-stream``) or raw bytes.
    """

    __slots__ = ("first", "media_type", "sock")

    def __init__(self, sock: socket.socket, first: bytes, media_type: str) -> None:
        self.sock = sock
        self.first = first
        self.media_type = media_type


class Client:
    """A client of one daemon. ``version`` pins the API version and skips negotiation."""

    def __init__(
        self, endpoint: Endpoint, *, version: str = "", headers: dict[str, str] | None = None
    ) -> None:
        self.endpoint = endpoint
        self.version = version
        self.server_version = ""
        self.headers = {"User-Agent": "Wherry-Client", **(headers or {})}
        self.ping_headers: dict[str, str] = {}
        self._idle: Connection | None = None

    def get(self, path: str, **query: Any) -> Any:
        """GET, decoded from JSON."""
        return self.call("GET", path, query)

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        """POST a JSON body (or none); the decoded answer, None when it is empty."""
        return self.call("POST", path, query, body)

    def delete(self, path: str, **query: Any) -> Any:
        return self.call("DELETE", path, query)

    def call(self, method: str, path: str, query: dict[str, Any], body: Any = None) -> Any:
        """One request with a JSON answer. Raises :class:`ApiError` for status 400 and up."""
        data = None if body is None else json.dumps(body).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}
        response = self.send(method, path, query, data, headers)
        raw = response.read()
        self._keep(response)
        if not raw.strip() or response.status == 304:
            return None
        try:
            return json.loads(raw)
        except ValueError:
            raise ConnectionLost(f"the daemon's answer is not JSON: {raw[:80]!r}") from None

    def send(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None = None,
        body: bytes | Iterable[bytes] | Writer | None = None,
        headers: dict[str, str] | None = None,
    ) -> Response:
        """One request; the response's body is yet to be read. Raises :class:`ApiError`."""
        self.negotiate()
        response = self._send(method, self.target(path, query), body, headers or {})
        if response.status >= 400:
            raise self._error(response)
        return response

    def stream(self, method: str, path: str, **query: Any) -> Iterator[bytes]:
        """The body of a long answer as it arrives."""
        response = self.send(method, path, query)
        return response.chunks()

    def messages(self, response: Response) -> Iterator[dict[str, Any]]:
        """JSON objects in a row, as progress and event streams send them."""
        from wherry.wire.progress import Decoder

        decoder = Decoder()
        for piece in response.chunks():
            yield from decoder.feed(piece)

    def hijack(self, path: str, body: Any = None, **query: Any) -> Hijacked:
        """POST that takes the connection over (attach, exec start). The socket is the caller's."""
        self.negotiate()
        data = None if body is None else json.dumps(body).encode()
        headers = {"Connection": "Upgrade", "Upgrade": "tcp"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        connection = self._connect()
        response = connection.request(
            "POST", self.target(path, query), self.headers | headers, data
        )
        if response.status >= 400:
            raise self._error(response)
        return Hijacked(
            connection.sock, connection.leftover(), response.headers.get("content-type", "")
        )

    def negotiate(self) -> None:
        """Agree on a version: the lower of ours and the daemon's (``/_ping`` tells it)."""
        if self.version:
            return
        self._ping()
        self.server_version = self.ping_headers.get("api-version", "")
        self.version = lower_version(API_VERSION, self.server_version or "1.24")

    def _ping(self) -> None:
        response = self._send("HEAD", "/_ping", None, {})
        response.read()
        self._keep(response)
        self.ping_headers = response.headers

    def announced(self, header: str) -> str:
        """What the daemon says of itself in a header of ``/_ping`` (name in lower case), or ""."""
        if not self.ping_headers:
            self._ping()
        return self.ping_headers.get(header, "")

    def at_least(self, version: str) -> bool:
        """Does the agreed API have what came with ``version``?"""
        self.negotiate()
        return lower_version(version, self.version) == version

    def target(self, path: str, query: dict[str, Any] | None) -> str:
        """Path and query as sent. None and empty values are left out; True is ``1``; a dict or
        list of objects is JSON; a list of texts repeats the key."""
        target = f"/v{self.version}{escape(path)}"
        pairs = []
        for key, value in (query or {}).items():
            if value is None or value is False or value == "" or value == {}:
                continue
            name = key.replace("_", "-") if key == "one_shot" else key
            if isinstance(value, dict):
                value = json.dumps(value)
            for one in value if isinstance(value, (list, tuple)) else (value,):
                pairs.append(f"{name}={escape('1' if one is True else str(one), b'/')}")
        return target + ("?" + "&".join(pairs) if pairs else "")

    def close(self) -> None:
        if self._idle is not None:
            self._idle.close()
            self._idle = None

    def _send(
        self,
        method: str,
        target: str,
        body: bytes | Iterable[bytes] | Writer | None,
        headers: dict[str, str],
    ) -> Response:
        connection, self._idle = self._idle, None
        if connection is not None and connection.ended:
            connection.close()
            connection = None
        fresh = connection is None
        connection = connection or self._connect()
        try:
            return connection.request(method, target, self.headers | headers, body)
        except ConnectionLost as error:
            # The idle connection may have been closed in this very moment; a request that can be
            # made again without harm gets one more try.
            if fresh or method not in ("GET", "HEAD"):
                raise ConnectionLost(error.message + hint(self.endpoint)) from None
        return self._connect().request(method, target, self.headers | headers, body)

    def _connect(self) -> Connection:
        endpoint = self.endpoint
        return Connection(
            connect(endpoint), host_header(endpoint), lambda error: explain(endpoint, error)
        )

    def _keep(self, response: Response) -> None:
        if response.done and response.reusable and self._idle is None:
            self._idle = response.connection
        elif response.connection is not self._idle:
            response.connection.close()

    def _error(self, response: Response) -> ApiError:
        raw = response.read()
        self._keep(response)
        try:
            message = str(json.loads(raw)["message"])
        except (ValueError, KeyError, TypeError):
            message = raw.decode("utf-8", "replace").strip() or f"status {response.status}"
        return ApiError(response.status, message)


def escape(text: str, plain_less: bytes = b"") -> str:
    """Percent-encode for a path; ``plain_less`` lists characters to encode beside the usual."""
    return "".join(
        chr(byte) if byte in _KEPT and byte not in plain_less else f"%{byte:02X}"
        for byte in text.encode("utf-8", "surrogateescape")
    )


def lower_version(one: str, other: str) -> str:
    """The lower of two ``major.minor`` versions; one that is malformed loses."""

    def key(version: str) -> tuple[int, ...]:
        try:
            return tuple(int(part) for part in version.split("."))
        except ValueError:
            return (99,)

    return min(one, other, key=key)

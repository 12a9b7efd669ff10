"""The response reader: every framing of HTTP/1.1, however the bytes are cut."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.client.errors import ConnectionLost
from wherry.client.http import Connection


def talk(answer: list[bytes], method: str = "GET") -> tuple[Connection, socket.socket]:
    """A connection whose peer sends these pieces and closes."""
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    for piece in answer:
        theirs.sendall(piece)
    theirs.shutdown(socket.SHUT_WR)
    return Connection(ours, "h"), theirs


def test_content_length_leaves_the_rest_for_the_next() -> None:
    connection, peer = talk(
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A:  b \r\n\r\nhello",
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
        ]
    )
    first = connection.request("GET", "/a", {})
    assert (first.status, first.headers["x-a"], first.read()) == (200, "b", b"hello")
    assert first.done
    assert first.reusable
    second = connection.request("GET", "/b", {})
    assert (second.status, second.read()) == (404, b"no")
    assert peer.recv(10000).startswith(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b")
    peer.close()
    connection.close()


@given(
    body=st.binary(max_size=300),
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=30),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=20),
)
def test_chunked_in_any_pieces(body: bytes, sizes: list[int], cuts: list[int]) -> None:
    wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    rest = body
    for size in sizes:
        if rest[:size]:
            wire += b"%X;ext=1\r\n%b\r\n" % (len(rest[:size]), rest[:size])
        rest = rest[size:]
    if rest:
        wire += b"%x\r\n%b\r\n" % (len(rest), rest)
    wire += b"0\r\nTrailer: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
    pieces: list[bytes] = []
    position = 0
    while position < len(wire):
        cut = cuts[len(pieces) % len(cuts)]
        pieces.append(wire[position : position + cut])
        position += cut
    connection, peer = talk([], "GET")
    peer.close()
    feed: Iterator[bytes] = iter(pieces)

    class Fed(socket.socket):
        def sendall(self, data: Any, flags: int = 0, /) -> None:
            assert data

        def recv(self, most: int, flags: int = 0, /) -> bytes:
            return next(feed, b"")

    connection.close()
    connection.sock = Fed()
    response = connection.request("GET", "/", {})
    assert response.read() == body
    assert response.reusable
    assert connection.request("GET", "/", {}).status == 204
    connection.close()


def test_body_until_close() -> None:
    connection, peer = talk([b"HTTP/1.0 200 OK\r\n\r\nall ", b"of it"])
    response = connection.request("GET", "/", {})
    assert response.read() == b"all of it"
    assert not response.reusable
    peer.close()
    connection.close()


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_no_body(status: bytes) -> None:
    connection, peer = talk([b"HTTP/1.1 " + status + b"\r\n\r\n"])
    response = connection.request("POST", "/", {})
    assert response.done
    assert response.read() == b""
    assert b"Content-Length: 0\r\n" in peer.recv(1000)
    peer.close()
    connection.close()


def test_head_has_no_body() -> None:
    connection, peer = talk([b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"])
    assert connection.request("HEAD", "/", {}).read() == b""
    peer.close()
    connection.close()


def test_upgrade_keeps_what_came_behind_the_head() -> None:
    connection, peer = talk([b"HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\n\r\nfirst bytes"])
    assert connection.request("POST", "/", {}).status == 101
    assert connection.buffered
    assert connection.leftover() == b"first bytes"
    assert not connection.buffered
    peer.close()
    connection.close()


def test_continue_is_skipped() -> None:
    connection, peer = talk(
        [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"]
    )
    assert connection.request("GET", "/", {}).read() == b"x"
    peer.close()
    connection.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"x" * 300_000,
    ],
)
def test_heads_that_are_none(answer: bytes) -> None:
    ours, theirs = socket.socketpair()

    def send() -> None:
        theirs.sendall(answer)
        theirs.close()

    sender = threading.Thread(target=send)
    sender.start()
    connection = Connection(ours, "h")
    with pytest.raises(ConnectionLost):
        connection.request("GET", "/", {})
    # The rest is taken, so that the sender can end.
    with contextlib.suppress(ConnectionResetError):
        while ours.recv(65536):
            pass
    sender.join()
    connection.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
    ],
)
def test_bodies_cut_short(answer: bytes) -> None:
    connection, peer = talk([answer])
    with pytest.raises(ConnectionLost):
        connection.request("GET", "/", {}).read()
    peer.close()
    connection.close()


def test_streamed_request() -> None:
    connection, peer = talk([b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])
    connection.request("POST", "/x", {"A": "b"}, iter([b"abc", b"", b"de"]))
    sent = peer.recv(1000)
    assert b"Transfer-Encoding: chunked\r\n" in sent
    assert sent.endswith(b"\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    peer.close()
    connection.close()


def test_an_answer_before_the_whole_body_is_heard() -> None:
    """A daemon that refuses an upload answers and closes while we still send."""
    ours, theirs = socket.socketpair()
    theirs.sendall(b"HTTP/1.1 507 Full\r\nContent-Length: 4\r\n\r\nfull")
    theirs.shutdown(socket.SHUT_RD)
    connection = Connection(ours, "h")
    response = connection.request("POST", "/", {}, iter([b"x" * 65536] * 100))
    assert (response.status, response.read()) == (507, b"full")
    theirs.close()
    connection.close()

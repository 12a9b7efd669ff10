"""Broken HTTP: an answer or a closed connection, no trace in the log, and the daemon works on."""

from __future__ import annotations

import pytest
from tests.support.engine import Engine
from tests.support.rawhttp import answer, exchange, request
from tests.support.traces import untouched

pytestmark = pytest.mark.root

HOST = b"Host: engine\r\n"
CREATE = b"POST /containers/create HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
UPLOAD = b"POST /images/load HTTP/1.1\r\n" + HOST + b"Content-Type: application/x-tar\r\n"
ATTACH = b"POST /containers/nobody/attach HTTP/1.1\r\n" + HOST + b"Upgrade: tcp\r\n"
PING = b"GET /_ping HTTP/1.1\r\n" + HOST
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"

REFUSED = {
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",),
    "garbage": (b"\x00\xff" * 500 + b"\r\n\r\n",),
    "method": (b"get /_ping HTTP/1.1\r\n" + HOST + b"\r\n",),
    "version": (b"GET /_ping HTTP/9.9\r\n" + HOST + b"\r\n",),
    "no-host": (b"GET /_ping HTTP/1.1\r\n\r\n",),
    "no-slash": (b"GET _ping HTTP/1.1\r\n" + HOST + b"\r\n",),
    "bytes-in-path": (b"GET /containers/\xff\xfe/json HTTP/1.1\r\n" + HOST + b"\r\n",),
    "bad-authority": (b"GET http://[::1/_ping HTTP/1.1\r\n" + HOST + b"\r\n",),
    "connect": (b"CONNECT a:b HTTP/1.1\r\n" + HOST + b"\r\n",),
    "header-null": (PING + b"X: a\x00b\r\n\r\n",),
    "header-space": (PING + b"X : a\r\n\r\n",),
    "header-many": (PING + b"X: a\r\n" * 20_000 + b"\r\n",),
    "length-negative": (CREATE + b"Content-Length: -5\r\n\r\n{}",),
    "length-text": (CREATE + b"Content-Length: many\r\n\r\n{}",),
    "length-huge": (CREATE + b"Content-Length: 99999999999999999999\r\n\r\n{}",),
    "length-twice": (CREATE + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",),
    "length-and-chunks": (CREATE + b"Content-Length: 2\r\n" + CHUNKED + b"2\r\n{}\r\n0\r\n\r\n",),
    "coding": (CREATE + b"Transfer-Encoding: gzip\r\n\r\n{}",),
    "chunk-size": (CREATE + CHUNKED + b"ZZ\r\n{}\r\n0\r\n\r\n",),
    "chunk-size-huge": (CREATE + CHUNKED + b"f" * 20 + b"\r\n{}",),
    "chunk-end": (CREATE + CHUNKED + b"2\r\n{}xx\r\n0\r\n\r\n",),
    "chunk-later": (CREATE + CHUNKED + b"1\r\n{\r\n", b"ZZ\r\n}\r\n0\r\n\r\n"),
    "upload-chunk-later": (UPLOAD + CHUNKED + b"4\r\nabcd\r\n", b"ZZ\r\n}\r\n0\r\n\r\n"),
    "upgrade-length": (ATTACH + b"Content-Length: 99999999999999999999\r\n\r\n",),
}
CUT = {
    "half-line": b"GET /_pi",
    "half-head": b"GET /_ping HTTP/1.1\r\nHos",
    "half-body": CREATE + b'Content-Length: 100\r\n\r\n{"Im',
    "half-chunk": CREATE + CHUNKED + b'10\r\n{"Im',
    "half-upload": UPLOAD + b"Content-Length: 100000\r\n\r\n" + bytes(512),
    "half-upgrade": ATTACH + b"Content-Length: 10\r\n\r\n{",
}


@pytest.fixture(autouse=True)
def harmless(engine: Engine) -> object:
    """After it nothing has changed, the daemon works, and its log has no trace."""
    logged = len(engine.log())
    with untouched(engine):
        yield
    assert engine.get("/_ping").body == b"OK"
    assert "Traceback" not in engine.log()[logged:]


@pytest.mark.parametrize("name", REFUSED)
def test_refused(engine: Engine, name: str) -> None:
    got = answer(exchange(engine.socket, *REFUSED[name]))
    assert got.status == 400
    assert got.message


@pytest.mark.parametrize("name", ["header", "path"])
def test_a_giant_head(engine: Engine, name: str) -> None:
    """The daemon hangs up without reading all of it; whether its answer arrives is chance."""
    giant = b"a" * (8 << 20)
    sent = {"header": PING + b"X: " + giant, "path": b"GET /" + giant + b" HTTP/1.1\r\n" + HOST}
    heard = exchange(engine.socket, sent[name] + b"\r\n\r\n")
    assert not heard or answer(heard).status == 400


@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("way", ["half-close", "leave"])
def test_cut_short(engine: Engine, name: str, way: str) -> None:
    heard = exchange(engine.socket, CUT[name], end=True, listen=way == "half-close")
    assert not heard or answer(heard).status == 400


def test_behind_a_good_request(engine: Engine) -> None:
    heard = exchange(engine.socket, PING + b"\r\nGARBAGE\r\n\r\n")
    assert answer(b"HTTP/1." + heard.rpartition(b"HTTP/1.")[2]).status == 400


def test_clients_that_leave_without_listening(engine: Engine) -> None:
    for path in ("/events", "/containers/json", "/info"):
        assert exchange(engine.socket, request("GET", path), listen=False) == b""

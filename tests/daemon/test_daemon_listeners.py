"""Sockets: modes, stale and live ones, what is refused, and TLS with real certificates."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import stat
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.certificates import certificates

from wherry.api.routing import Router
from wherry.api.server import ApiServer
from wherry.daemon import listeners, systemd
from wherry.daemon.config import Config, combine
from wherry.daemon.listeners import Listener, open_all
from wherry.errors import Conflict, Invalid


def config(*hosts: str, **settings: object) -> Config:
    return combine({"hosts": list(hosts), **settings}, {})


@pytest.fixture
def opened() -> Iterator[list[Listener]]:
    kept: list[Listener] = []
    yield kept
    for listener in kept:
        listener.close()


def test_unix_socket(tmp_path: Path, opened: list[Listener]) -> None:
    path = tmp_path / "deep" / "s.sock"
    opened += open_all(config(f"unix://{path}", group=str(os.getgid())))
    status = path.stat()
    assert stat.S_IMODE(status.st_mode) == 0o660
    assert status.st_gid == os.getgid()
    opened.pop().close()
    assert not path.exists()


def test_several_hosts(tmp_path: Path, opened: list[Listener]) -> None:
    opened += open_all(config(f"unix://{tmp_path}/a", str(tmp_path / "b")))
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_stale_socket_is_replaced(tmp_path: Path, opened: list[Listener]) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    inode = path.stat().st_ino
    opened += open_all(config(f"unix://{path}"))
    with socket.socket(socket.AF_UNIX) as client:
        opened[0].sock.listen()
        client.connect(str(path))
    assert opened[0].inode == path.stat().st_ino
    assert inode is not None


def test_live_socket_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(Conflict, match="another daemon is listening"):
            open_all(config(f"unix://{tmp_path}/first", f"unix://{path}"))
    assert path.exists()
    assert not (tmp_path / "first").exists()


def test_a_newer_socket_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    (listener,) = open_all(config(f"unix://{path}"))
    path.rename(tmp_path / "kept")
    path.touch()
    listener.close()
    assert path.exists()


def test_a_file_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(Conflict, match="no socket"):
        open_all(config(f"unix://{path}"))
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("host", "settings", "named"),
    [
        ("ftp://x", {}, "ftp://x"),
        ("unix://relative", {}, "not absolute"),
        ("unix:///" + "x" * 120, {}, "107 bytes"),
        ("tcp://0.0.0.0:0", {}, "without TLS"),
        ("tcp://127.0.0.1:0", {}, "insecure-loopback"),
        ("tcp://0.0.0.0:0", {"insecure_loopback": True}, "without TLS"),
        ("tcp://127.0.0.1:0", {"tls": True}, "tlsverify"),
        ("tcp://127.0.0.1:0", {"tlsverify": True}, "tlscacert"),
        ("tcp://127.0.0.1:99999", {"insecure_loopback": True}, "tcp://127.0.0.1:99999"),
        ("tcp://" + "a" * 64 + ":1", {"insecure_loopback": True}, "invalid host tcp://aaa"),
        ("fd://", {}, "no sockets were passed"),
        ("unix:///tmp/g.sock", {"group": "no-such-group"}, "no-such-group"),
    ],
)
def test_refused(host: str, settings: dict[str, object], named: str) -> None:
    with pytest.raises(Invalid) as failure:
        open_all(config(host, **settings))
    assert named in failure.value.message
    assert not Path("/tmp/g.sock").exists()


def test_all_addresses_of_a_host_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[socket.socket] = []

    class Kept(socket.socket):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 0))
        for address in ("127.0.0.1", "192.0.2.1")  # the second is nobody's
    ]
    monkeypatch.setattr(listeners, "_resolved", lambda *_: (None, found))
    monkeypatch.setattr(socket, "socket", Kept)
    with pytest.raises(Invalid, match="cannot listen on tcp://x"):
        open_all(config("tcp://x"))
    assert [sock.fileno() for sock in made] == [-1, -1]


def test_passed_sockets_stand_for_the_same_host(
    tmp_path: Path, opened: list[Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a flag nor the file need speak of what systemd opened."""
    path = tmp_path / "passed"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    descriptor = sock.detach()
    monkeypatch.setattr(systemd, "passed", lambda: [descriptor])
    asked = config(f"unix://{path}", f"unix://{tmp_path}/other", group=str(os.getgid()))
    opened += open_all(asked)
    assert [each.host for each in opened] == [f"unix://{path}", f"unix://{tmp_path}/other"]
    assert opened[0].sock.getsockname() == str(path)
    opened[0].close()
    # Its file is systemd's.
    assert path.exists()


def test_plain_loopback_on_request(opened: list[Listener]) -> None:
    opened += open_all(config("tcp://127.0.0.1:0", insecure_loopback=True))
    assert opened[0].tls is None
    assert opened[0].sock.getsockname()[0] == "127.0.0.1"


async def refused(asking: Awaitable[bytes]) -> bool:
    """Whether the server broke the connection off, at the handshake or right after it (1.3)."""
    try:
        return await asking == b""
    except (ssl.SSLError, ConnectionError):
        return True


async def test_mutual_tls(tmp_path: Path, opened: list[Listener]) -> None:
    certificates(tmp_path)
    opened += open_all(
        config(
            "tcp://127.0.0.1:0",
            tlsverify=True,
            tlscacert=str(tmp_path / "ca.pem"),
            tlscert=str(tmp_path / "server.pem"),
            tlskey=str(tmp_path / "server.key"),
        )
    )
    server = ApiServer(Router())
    await server.listen(opened[0].sock, opened[0].tls)
    port = opened[0].sock.getsockname()[1]

    async def ask(name: str | None) -> bytes:
        context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        if name is not None:
            context.load_cert_chain(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        try:
            writer.write(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
            return await reader.readline()
        finally:
            writer.close()

    try:
        assert b"404" in await ask("client")
        for name in ("rogue", None):
            assert await refused(ask(name))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP" not in await reader.read()
        writer.close()
    finally:
        await server.close(grace=0.1)


def test_broken_certificates_are_named(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text("nonsense")
    with pytest.raises(Invalid, match="TLS certificates"):
        open_all(
            config(
                "tcp://127.0.0.1:0",
                tlsverify=True,
                tlscacert=str(tmp_path / "ca"),
                tlscert=str(tmp_path / "cert"),
                tlskey=str(tmp_path / "key"),
            )
        )

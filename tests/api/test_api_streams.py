"""Hijacked connections: heads, framing, half-close, back-pressure, ends; attach and exec."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from tests.api.api_fakes import FakeContainers, FakeSession, Service, closing, read_head

from wherry.api import connection
from wherry.containers.service import AttachOptions, ExecRequest
from wherry.errors import Conflict, Internal, Invalid
from wherry.wire.frames import frame

UPGRADE: dict[str, Any] = {"Connection": "Upgrade", "Upgrade": "tcp"}
ATTACH = "/v1.41/containers/c1/attach?stream=1&stdin=1&stdout=1&stderr=1"


class Missing(Invalid):
    exit_code = 127


@pytest.mark.parametrize(
    ("version", "headers", "tty", "status", "sort"),
    [
        ("v1.41", UPGRADE, False, 101, "raw"),
        ("v1.42", UPGRADE, False, 101, "multiplexed"),
        ("v1.42", UPGRADE, True, 101, "raw"),
        ("v1.42", {}, False, 200, "raw"),
    ],
)
async def test_head_and_framing(
    service: Service,
    containers: FakeContainers,
    version: str,
    headers: dict[str, Any],
    tty: bool,
    status: int,
    sort: str,
) -> None:
    session = containers.session
    session.tty = tty
    path = f"/{version}/containers/c1/attach?stream=1&stdout=1&logs=1&detachKeys=ctrl-a"
    reader, writer = await service.send("POST", path, **headers)
    async with closing(writer), asyncio.timeout(5):
        got, head = await read_head(reader)
        assert (got, head["content-type"]) == (status, f"application/vnd.docker.{sort}-stream")
        assert head["api-version"] == "1.55"
        assert head.get("upgrade") == headers.get("Upgrade")
        session.output.put_nowait((1, b"out"))
        session.output.put_nowait((2, b"err"))
        session.output.put_nowait(None)
        body = await reader.read()
        assert body == (b"outerr" if tty else frame(1, b"out") + frame(2, b"err"))
        await session.closed.wait()
    wanted = AttachOptions(logs=True, stream=True, stdout=True, detach_keys="ctrl-a")
    assert containers.calls == [("attach", "c1", wanted)]


async def test_half_close_ends_stdin_and_leaves_the_output_open(
    service: Service, containers: FakeContainers
) -> None:
    session = containers.session
    reader, writer = await service.send("POST", ATTACH, **UPGRADE)
    async with closing(writer), asyncio.timeout(5):
        await read_head(reader)
        writer.write(b"hello")
        writer.write_eof()
        await session.ended.wait()
        assert session.input == b"hello"
        session.output.put_nowait((1, b"late"))
        session.output.put_nowait(None)
        assert await reader.read() == frame(1, b"late")


async def test_input_sent_with_the_request_is_not_lost(
    service: Service, containers: FakeContainers
) -> None:
    session = containers.session
    reader, writer = await service.open()
    async with closing(writer), asyncio.timeout(5):
        head = f"POST {ATTACH} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        writer.write(head.encode() + b"early input")
        await read_head(reader)
        await session.got.wait()
        assert session.input == b"early input"


async def test_client_that_goes_away_closes_the_session(
    service: Service, containers: FakeContainers
) -> None:
    reader, writer = await service.send("POST", ATTACH, **UPGRADE)
    async with closing(writer):
        await read_head(reader)
    async with asyncio.timeout(5):
        await containers.session.closed.wait()


async def test_client_that_goes_away_after_its_half_close(
    service: Service, containers: FakeContainers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wherry.api.hijack._GONE_CHECK", 0.01)
    reader, writer = await service.send("POST", ATTACH, **UPGRADE)
    async with closing(writer), asyncio.timeout(5):
        await read_head(reader)
        writer.write_eof()
        await containers.session.ended.wait()
        assert not containers.session.closed.is_set()
    async with asyncio.timeout(5):
        await containers.session.closed.wait()


async def test_slow_client_makes_the_output_wait(
    service: Service, containers: FakeContainers
) -> None:
    """An endless output is read from the container only as fast as the client takes it."""
    taken = 0

    class Endless(FakeSession):
        async def read(self) -> tuple[int, bytes] | None:
            nonlocal taken
            taken += 1
            return 1, bytes(65536)

    containers.session = Endless(tty=True)
    reader, writer = await service.send("POST", ATTACH, **UPGRADE)
    async with closing(writer), asyncio.timeout(10):
        await read_head(reader)
        settled = -1
        while settled != taken:
            settled = taken
            await asyncio.sleep(0.05)
        assert taken < 40
        for _ in range(100):
            await reader.readexactly(65536)
        assert taken > 100


async def test_container_that_does_not_read_makes_the_client_wait(
    service: Service, containers: FakeContainers
) -> None:
    session = containers.session
    session.hold = asyncio.Event()
    reader, writer = await service.send("POST", ATTACH, **UPGRADE)
    size = 16 << 20
    async with closing(writer), asyncio.timeout(10):
        await read_head(reader)
        writer.write(bytes(size))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(writer.drain(), 0.2)
        session.hold.set()
        await writer.drain()
        writer.write_eof()
        await session.ended.wait()
    assert len(session.input) == size


async def test_several_clients_at_once(
    service: Service, containers: FakeContainers, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = [FakeSession(tty=True) for _ in range(5)]
    waiting = iter(sessions)

    async def attach(ref: str, options: AttachOptions) -> FakeSession:
        return next(waiting)

    monkeypatch.setattr(containers, "attach", attach)
    pairs = [await service.send("POST", ATTACH, **UPGRADE) for _ in sessions]
    async with asyncio.timeout(5):
        for reader, _ in pairs:
            await read_head(reader)
        for number, session in enumerate(sessions):
            session.output.put_nowait((1, b"%d" % number))
            session.output.put_nowait(None)
        bodies = {await reader.read() for reader, _ in pairs}
    for _, writer in pairs:
        writer.close()
    assert bodies == {b"0", b"1", b"2", b"3", b"4"}


async def test_attach_failures_are_statuses(service: Service, containers: FakeContainers) -> None:
    path = "/containers/none/attach?stream=1"
    assert (await service.ask("POST", path, Upgrade="tcp")).status == 404
    path = "/containers/c1/attach?stream=1&detachKeys=ctrl-%C3%A9"
    assert (await service.ask("POST", path)).status == 400
    assert [call[1] for call in containers.calls] == ["none"]


async def test_exec_create(service: Service, containers: FakeContainers) -> None:
    body = {"Cmd": ["a"], "AttachStdin": True, "Tty": True, "Env": None, "ConsoleSize": [3, 4]}
    reply = await service.ask("POST", "/containers/c1/exec", json.dumps(body).encode())
    assert (reply.status, json.loads(reply.body)) == (201, {"Id": "e1"})
    wanted = ExecRequest(cmd=["a"], attach_stdin=True, tty=True, env=[], console_size=(3, 4))
    assert containers.calls == [("exec_create", "c1", wanted)]
    reply = await service.ask("POST", "/containers/c1/exec", b"{}")
    assert (reply.status, json.loads(reply.body)) == (400, {"message": "no exec command specified"})


async def test_a_size_that_no_terminal_has(service: Service, containers: FakeContainers) -> None:
    body = b'{"Cmd": ["true"], "ConsoleSize": [1, 65536]}'
    reply = await service.ask("POST", "/containers/c1/exec", body)
    assert reply.status == 400
    assert b"invalid ConsoleSize [1, 65536]" in reply.body
    assert containers.calls == []


async def test_exec_start_attached_with_a_body(
    service: Service, containers: FakeContainers
) -> None:
    session = containers.session
    body = b'{"Detach":false,"Tty":false}'
    sort: dict[str, Any] = {"Content_Type": "application/json"}
    reader, writer = await service.send("POST", "/v1.45/exec/e1/start", body, **sort, **UPGRADE)
    async with closing(writer), asyncio.timeout(5):
        assert (await read_head(reader))[0] == 101
        writer.write(b"in")
        await session.got.wait()
        session.output.put_nowait((1, b"done"))
        session.output.put_nowait(None)
        assert await reader.read() == frame(1, b"done")
    assert session.input == b"in"


async def test_exec_start_detached(service: Service, containers: FakeContainers) -> None:
    reply = await service.ask("POST", "/exec/e1/start", b'{"Detach": true}')
    assert (reply.status, reply.body) == (200, b"")
    assert containers.calls == [("exec_start", "e1", True, None, None)]


@pytest.mark.parametrize(
    ("error", "status"),
    [(Conflict("exec is running already"), 409), (Missing("no such command"), 101)],
)
async def test_exec_failures(
    service: Service, containers: FakeContainers, error: Any, status: int
) -> None:
    """A wrong state is a status; a command that cannot run is told in the stream."""
    containers.fail = error
    sort: dict[str, Any] = {"Content_Type": "application/json"}
    reader, writer = await service.send("POST", "/exec/e1/start", b"{}", **sort, **UPGRADE)
    async with closing(writer), asyncio.timeout(5):
        got, head = await read_head(reader)
        assert got == status
        if status == 101:
            assert await reader.read() == frame(2, error.message.encode() + b"\r\n")
        else:
            assert json.loads(await reader.readexactly(int(head["content-length"])))


async def test_detached_exec_that_cannot_run(service: Service, containers: FakeContainers) -> None:
    containers.fail = Missing("no such command")
    reply = await service.ask("POST", "/exec/e1/start", b'{"Detach": true}')
    assert reply.status == 400
    containers.fail = Internal("broken")
    reply = await service.ask("POST", "/exec/e1/start", b'{"Detach": true}')
    assert reply.status == 500


async def test_web_socket(service: Service, containers: FakeContainers) -> None:
    session = containers.session
    connector = aiohttp.UnixConnector(path=str(service.path))
    url = "http://docker/containers/c1/attach/ws?stream=1"
    async with (
        asyncio.timeout(5),
        aiohttp.ClientSession(connector=connector) as client,
        client.ws_connect(url) as socket,
    ):
        session.output.put_nowait((1, b"out"))
        message = await socket.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.BINARY, b"out")
        await socket.send_str("in")
        await session.got.wait()
        assert session.input == b"in"
        session.output.put_nowait(None)
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE
    await session.closed.wait()


async def test_web_socket_wants_a_web_socket(service: Service, containers: FakeContainers) -> None:
    assert (await service.ask("GET", "/containers/c1/attach/ws")).status == 400
    assert containers.calls == []


async def test_the_end_of_the_server_is_bounded(
    service: Service, containers: FakeContainers
) -> None:
    reader, writer = await service.send("POST", ATTACH, **UPGRADE)
    async with closing(writer), asyncio.timeout(5):
        await read_head(reader)
        await service.server.close(grace=0.1)
        assert await reader.read() == b""
        await containers.session.closed.wait()


async def test_a_declined_upgrade_leaves_the_connection_in_use(
    service: Service, containers: FakeContainers
) -> None:
    """The request behind a refused (or detached) one is answered on the same connection."""
    reader, writer = await service.open()
    refused = b"POST /containers/none/attach HTTP/1.1\r\nHost: x\r\nUpgrade: tcp\r\n"
    refused += b"Connection: Upgrade\r\n\r\n"
    detached = b"POST /exec/e1/start HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    detached += b'Content-Length: 15\r\n\r\n{"Detach":true}'
    last = b"GET /containers/json HTTP/1.1\r\nHost: x\r\n\r\n"
    async with closing(writer), asyncio.timeout(5):
        for byte in refused + detached + last:
            writer.write(bytes([byte]))
            await writer.drain()
        for status in (404, 200, 200):
            got, head = await read_head(reader)
            assert got == status
            await reader.readexactly(int(head.get("content-length", 0)))


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 0),
        (b"GET / HT", None),
        (b"\x16\x03\x01", 0),
        (b"POST /x HTTP/1.1\r\nUPGRADE: h2c\r\n\r\nrest", 34),
        (b"POST /x HTTP/1.1\r\nUpgrade: websocket\r\n\r\nrest", 0),
        (b"POST /v1.24/exec/e/start HTTP/1.1\r\nContent-Length: 3\r\n\r\nab", None),
        (b"POST /v1.24/exec/e/start HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcd", 59),
        (b"POST /exec/e/start HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 0),
    ],
)
def test_raw_requests_are_seen(data: bytes, size: int | None) -> None:
    assert connection._raw_request(data) == size

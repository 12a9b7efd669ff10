"""A containers service in memory, and a server of routes on a unix socket, for the API's tests."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wherry.api.policy import Guard
from wherry.api.routing import Router
from wherry.api.server import ApiServer
from wherry.containers.service import AttachOptions, ExecRequest, LogLine, LogOptions, Outcome
from wherry.errors import Conflict, NotFound, NotModified, WherryError
from wherry.wire.container import CreateRequest, UpdateRequest


class FakeSession:
    """Output is what the test puts; input is kept."""

    def __init__(self, tty: bool) -> None:
        self.tty = tty
        self.output: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue()
        self.input = bytearray()
        self.ended = asyncio.Event()
        self.closed = asyncio.Event()
        self.got = asyncio.Event()
        self.hold: asyncio.Event | None = None

    async def read(self) -> tuple[int, bytes] | None:
        return await self.output.get()

    async def write(self, data: bytes) -> None:
        if self.hold is not None:
            await self.hold.wait()
        self.input += data
        self.got.set()

    async def close_stdin(self) -> None:
        self.ended.set()

    async def close(self) -> None:
        self.closed.set()


class FakeContainers:
    """One container, ``c1``, whose answers the tests set; ``calls`` remembers what was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.session = FakeSession(tty=False)
        self.lines: list[LogLine] = []
        self.follow: asyncio.Event | None = None
        self.exit: asyncio.Future[tuple[int, str]] | None = None
        self.fail: WherryError | None = None
        self.terminal = False
        self.gate: asyncio.Event | None = None
        self.began = asyncio.Event()
        self.finished = asyncio.Event()

    def _know(self, ref: str) -> None:
        if ref != "c1":
            raise NotFound(f"No such container: {ref}")
        if self.fail is not None:
            raise self.fail

    def _note(self, *call: Any) -> None:
        self.calls.append(call)
        self._know(call[1])

    async def create(
        self, name: str | None, request: CreateRequest, platform: str | None = None
    ) -> tuple[str, list[str]]:
        self.calls.append(("create", name, request, platform))
        if name == "taken":
            raise Conflict('Conflict. The container name "/taken" is already in use')
        return "c1", ["a warning"]

    async def start(self, ref: str, checkpoint: str = "", checkpoint_dir: str = "") -> None:
        self._note("start", ref, checkpoint, checkpoint_dir)
        self.began.set()
        if self.gate is not None:
            await self.gate.wait()
        self.finished.set()

    async def stop(self, ref: str, timeout: int | None = None, signal: str | None = None) -> None:
        self._note("stop", ref, timeout, signal)
        raise NotModified("not running")

    async def restart(
        self, ref: str, timeout: int | None = None, signal: str | None = None
    ) -> None:
        self._note("restart", ref, timeout, signal)

    async def kill(self, ref: str, signal: str | None = None) -> None:
        self._note("kill", ref, signal)

    async def pause(self, ref: str) -> None:
        self._note("pause", ref)

    async def unpause(self, ref: str) -> None:
        self._note("unpause", ref)

    async def wait(self, ref: str, condition: str = "not-running") -> tuple[int, str]:
        self._note("wait", ref, condition)
        assert self.exit is not None
        return await self.exit

    async def rename(self, ref: str, name: str) -> None:
        self._note("rename", ref, name)

    async def remove(
        self, ref: str, *, force: bool = False, volumes: bool = False, link: bool = False
    ) -> None:
        self._note("remove", ref, force, volumes, link)

    def summaries(
        self,
        filters: Mapping[str, Sequence[str]],
        *,
        all: bool = False,
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        self.calls.append(("summaries", {k: list(v) for k, v in filters.items()}, all, limit))
        return [{"Id": "c1"}]

    async def sized(
        self,
        filters: Mapping[str, Sequence[str]],
        *,
        all: bool = False,
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        self.calls.append(("sized", {k: list(v) for k, v in filters.items()}, all, limit))
        return [{"Id": "c1", "SizeRw": 1}]

    async def sizes(self, ref: str) -> tuple[int, int]:
        self._note("sizes", ref)
        return (1, 2)

    def inspect(self, ref: str, *, sizes: tuple[int, int] | None = None) -> dict[str, Any]:
        self._note("inspect", ref, sizes)
        return {"Id": "c1"}

    async def logs(self, ref: str, options: LogOptions) -> AsyncGenerator[list[LogLine], None]:
        self.calls.append(("logs", ref, options))
        for begin in range(0, len(self.lines), 1000):
            yield self.lines[begin : begin + 1000]
        if options.follow and self.follow is not None:
            try:
                await self.follow.wait()
            finally:
                self.finished.set()

    def log_details(self, ref: str) -> str:
        return "team=blue"

    async def clear_logs(self, ref: str) -> None:
        self.calls.append(("clear_logs", (ref,), {}))

    def tty(self, ref: str) -> bool:
        self._know(ref)
        return self.terminal

    async def attach(self, ref: str, options: AttachOptions) -> FakeSession:
        self._note("attach", ref, options)
        return self.session

    async def resize(self, ref: str, height: int, width: int) -> None:
        self._note("resize", ref, height, width)

    async def exec_create(self, ref: str, request: ExecRequest) -> str:
        self._note("exec_create", ref, request)
        return "e1"

    async def exec_start(
        self,
        exec_id: str,
        *,
        detach: bool = False,
        tty: bool | None = None,
        console_size: tuple[int, int] | None = None,
    ) -> FakeSession | None:
        self.calls.append(("exec_start", exec_id, detach, tty, console_size))
        if exec_id != "e1":
            raise NotFound(f"No such exec instance: {exec_id}")
        if self.fail is not None:
            raise self.fail
        return None if detach else self.session

    async def exec_resize(self, exec_id: str, height: int, width: int) -> None:
        self.calls.append(("exec_resize", exec_id, height, width))

    def exec_inspect(self, exec_id: str) -> dict[str, Any]:
        return {"ID": exec_id}

    async def update(self, ref: str, asked: UpdateRequest) -> Outcome:
        self._note("update", ref, asked)
        return Outcome(["careful"], ["Memory"], ["Env"])

    async def top(self, ref: str, ps_args: str = "-ef") -> tuple[list[str], list[list[str]]]:
        self._note("top", ref, ps_args)
        return ["PID"], [["1"]]

    async def changes(self, ref: str) -> list[tuple[str, int]]:
        self._note("changes", ref)
        return [("/a", 1)]

    async def commit(
        self,
        ref: str,
        *,
        reference: str | None,
        comment: str = "",
        author: str = "",
        pause: bool = True,
        changes: Sequence[str] = (),
        config: Mapping[str, Any] | None = None,
    ) -> str:
        self._note("commit", ref, reference, comment, author, pause, list(changes), config)
        return "sha256:" + "0" * 64

    async def prune(
        self, filters: Mapping[str, Sequence[str]], *, dry_run: bool = False
    ) -> dict[str, Any]:
        self._note("prune", dict(filters), dry_run)
        return {"ContainersDeleted": [], "SpaceReclaimed": 0}

    async def disk_usage(self) -> list[dict[str, Any]]:
        return []

    def counts(self) -> dict[str, int]:
        return {"running": 1, "paused": 0, "stopped": 2}

    def using(self, image_id: str) -> list[tuple[str, bool]]:
        return []

    async def reconcile(self) -> None: ...

    async def end_all(self, extend: Callable[[float], None]) -> None: ...

    async def shutdown(self) -> None: ...


class RawReply:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body


class Service:
    """The API over a unix socket, and small clients for it."""

    def __init__(self, path: Path, router: Router, guard: Guard | None = None) -> None:
        self.path, self.guard = path, guard
        self.server = ApiServer(router)

    async def __aenter__(self) -> Service:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(self.path))
        await self.server.listen(sock, guard=self.guard)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.close(grace=0.2)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(self.path))

    async def send(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection and send one request; ``_`` in header names stands for ``-``."""
        reader, writer = await self.open()
        lines = [f"{method} {path} HTTP/1.1", "Host: docker"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        writer.write("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        await writer.drain()
        return reader, writer

    async def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> RawReply:
        """One request on a connection of its own; reads until the server closes."""
        if body is not None:
            headers.setdefault("Content_Type", "application/json")
        reader, writer = await self.send(method, path, body, Connection="close", **headers)
        try:
            async with asyncio.timeout(10):
                status, head = await read_head(reader)
                rest = await reader.read()
        finally:
            writer.close()
        if head.get("transfer-encoding") == "chunked":
            rest = unchunk(rest)
        return RawReply(status, head, rest)


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Status and lower-case headers."""
    text = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = text.split("\r\n")
    pairs = (line.split(": ", 1) for line in lines if line)
    return int(first.split(" ")[1]), {name.lower(): value for name, value in pairs}


def unchunk(data: bytes) -> bytes:
    """The payload of chunked transfer coding."""
    body = b""
    while data:
        size, _, rest = data.partition(b"\r\n")
        length = int(size, 16)
        body += rest[:length]
        data = rest[length + 2 :]
    return body


@contextlib.asynccontextmanager
async def closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

"""Attach and exec: ``/containers/{id}/attach``, ``.../attach/ws``, ``/exec/...``."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.http import WSMsgType

from wherry.api.app import HEADERS
from wherry.api.containers import dimensions
from wherry.api.errors import status_of
from wherry.api.hijack import outward, pump, stream_type, take
from wherry.api.replies import Ended, empty, json_reply
from wherry.api.routing import Call, Router
from wherry.containers.service import AttachOptions, Containers, ExecRequest, Session
from wherry.errors import Invalid
from wherry.linux.tasks import spawn
from wherry.wire import detach
from wherry.wire.exec import ExecBody, ExecStartBody
from wherry.wire.frames import STDERR, frame


class StreamRoutes:
    def __init__(self, containers: Containers) -> None:
        self._containers = containers

    def register(self, router: Router) -> None:
        add = router.add
        add("POST", "/containers/{id}/attach", self.attach, streams=True)
        add("GET", "/containers/{id}/attach/ws", self.attach_socket, streams=True)
        add("POST", "/containers/{id}/exec", self.exec_create)
        add("POST", "/exec/{id}/start", self.exec_start, streams=True)
        add("POST", "/exec/{id}/resize", self.exec_resize)
        add("GET", "/exec/{id}/json", self.exec_inspect)

    async def attach(self, call: Call) -> web.StreamResponse:
        query = call.query
        keys = query.maybe("detachKeys")
        detach.parse(keys)
        session = await self._containers.attach(
            call.path["id"],
            AttachOptions(
                logs=query.flag("logs"),
                stream=query.flag("stream"),
                stdin=query.flag("stdin"),
                stdout=query.flag("stdout"),
                stderr=query.flag("stderr"),
                detach_keys=keys,
            ),
        )
        return await _hijack(call, session)

    async def attach_socket(self, call: Call) -> web.StreamResponse:
        """Attach over a web socket: never multiplexed; clients send text or binary messages."""
        query = call.query
        keys = query.maybe("detachKeys")
        detach.parse(keys)
        socket = web.WebSocketResponse(heartbeat=30.0, compress=False)
        if not socket.can_prepare(call.request).ok:
            raise Invalid("this endpoint speaks the WebSocket protocol only")
        options = AttachOptions(
            logs=query.flag("logs"),
            stream=query.flag("stream"),
            stdin=query.flag("stdin") or "stdin" not in query,
            stdout=query.flag("stdout") or "stdout" not in query,
            stderr=query.flag("stderr") or "stderr" not in query,
            detach_keys=keys,
        )
        session = await self._containers.attach(call.path["id"], options)
        try:
            await socket.prepare(call.request)
            await _pump_socket(session, socket)
        finally:
            await session.close()
        return socket

    async def exec_create(self, call: Call) -> web.StreamResponse:
        body = await call.body(ExecBody)
        if not body.cmd:
            raise Invalid("no exec command specified")
        detach.parse(body.detach_keys)
        request = ExecRequest(
            cmd=body.cmd,
            attach_stdin=bool(body.attach_stdin),
            attach_stdout=bool(body.attach_stdout),
            attach_stderr=bool(body.attach_stderr),
            tty=bool(body.tty),
            detach_keys=body.detach_keys or None,
            env=body.env or [],
            working_dir=body.working_dir or "",
            user=body.user or "",
            privileged=bool(body.privileged),
            console_size=_size(body.console_size),
        )
        return json_reply({"Id": await self._containers.exec_create(call.path["id"], request)}, 201)

    async def exec_start(self, call: Call) -> web.StreamResponse:
        """A failure to run the command is written into the stream, as Docker does: the client
        reads the exit code by inspect. A wrong id or state is a status."""
        body = await call.body(ExecStartBody, optional=True)
        tty, exec_id = body.tty, call.path["id"]
        if body.detach:
            await self._started(exec_id, body)
            return empty(200)
        try:
            session = await self._started(exec_id, body)
        except Exception as error:
            status, message = status_of(error)
            runs = getattr(error, "exit_code", None) in (126, 127)
            if not runs and status < 500:
                raise
            client = take(call.request, stream_type(call.version, bool(tty)), HEADERS)
            data = message.encode() + b"\r\n"
            await client.write(data if tty else frame(STDERR, data))
            client.close()
            return Ended()
        if session is None:
            return empty(200)
        return await _hijack(call, session)

    async def _started(self, exec_id: str, body: ExecStartBody) -> Session | None:
        """The start is finished even when the client leaves; then its session is closed."""
        starting = spawn(
            self._containers.exec_start(
                exec_id,
                detach=bool(body.detach),
                tty=body.tty,
                console_size=_size(body.console_size),
            ),
            name="start of an exec",
            awaited=True,
        )
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(_close_abandoned)
            raise

    async def exec_resize(self, call: Call) -> web.StreamResponse:
        height, width = dimensions(call)
        await self._containers.exec_resize(call.path["id"], height, width)
        return empty(200)

    async def exec_inspect(self, call: Call) -> web.StreamResponse:
        return json_reply(self._containers.exec_inspect(call.path["id"]))


def _close_abandoned(starting: asyncio.Task[Session | None]) -> None:
    if not starting.cancelled() and starting.exception() is None:
        session = starting.result()
        if session is not None:
            spawn(session.close(), name="close of an abandoned exec stream")


def _size(value: list[int] | None) -> tuple[int, int] | None:
    """``ConsoleSize`` [height, width]; absent or 0x0: none."""
    if not value or not any(value):
        return None
    if len(value) != 2 or not all(0 <= each < 65536 for each in value):
        raise Invalid(f"invalid ConsoleSize {value}: it has a height and a width below 65536")
    return value[0], value[1]


async def _hijack(call: Call, session: Session) -> web.StreamResponse:
    try:
        client = take(call.request, stream_type(call.version, session.tty), HEADERS)
    except BaseException:
        await session.close()
        raise
    await pump(session, client)
    return Ended()


class _Raw:
    """A session whose output is not to be framed."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.tty = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


async def _pump_socket(session: Session, socket: web.WebSocketResponse) -> None:
    async def inward() -> None:
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                await session.write(message.data)
            elif message.type is WSMsgType.TEXT:
                await session.write(message.data.encode())

    tasks = [
        spawn(outward(_Raw(session), socket.send_bytes), name="web socket output"),
        spawn(inward(), name="web socket input"),
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await socket.close()

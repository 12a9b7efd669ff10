"""Attach: clients of a container's stdio.

A client may come before the container runs: its session waits, and ``Sessions.connect`` joins it
to the monitor between the runtime's create and start, so that it misses no output.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from wherry.containers.book import Book, Live
from wherry.containers.service import AttachOptions
from wherry.containers.transitions import Status
from wherry.errors import Conflict, WherryError
from wherry.linux.tasks import spawn
from wherry.runtime.port import AttachStream, Runtime
from wherry.store.paths import Paths
from wherry.wire import detach

Chunks = AsyncGenerator[list[tuple[int, bytes]], None]
"""Pieces of output as they were written: 1 stdout or 2 stderr, and the bytes."""

_log = logging.getLogger(__name__)
_RECORDING = 2.0
"""Seconds that a session waits at its end for the exit to be recorded."""


class StdioSession:
    """One client's session (``containers.service.Session``).

    ``stream`` is a future: of a container that does not run yet it has no result; None means
    that no stream will come (the start failed, or only old output was asked for).
    """

    def __init__(
        self,
        *,
        tty: bool,
        wanted: frozenset[int],
        stdin: bool,
        keys: bytes = b"",
        on_detach: Callable[[], None] | None = None,
        on_close: Callable[[StdioSession], None] | None = None,
        recorded: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self.tty = tty
        self.detached = False
        self.stream: asyncio.Future[AttachStream | None] = (
            asyncio.get_running_loop().create_future()
        )
        self._wanted = wanted
        self.stdin = stdin
        # Without a terminal the input is data: the keys' bytes may well be among it.
        self._scanner = detach.Scanner(keys if stdin and tty else b"")
        self._on_detach = on_detach
        self._on_close = on_close
        self._recorded = recorded
        self._before: deque[tuple[int, bytes]] = deque()
        self._logged: Chunks | None = None
        self._left = False

    def tell(self, stream: int, data: bytes) -> None:
        """Output of ours, to give before what the stream brings."""
        self._before.append((stream, data))

    def replay(self, logged: Chunks) -> None:
        """Output of the past, to give before what the stream brings."""
        self._logged = logged

    def provide(self, stream: AttachStream | None) -> bool:
        """The stream is there, or (None) will never be. False: the client has left already."""
        if self.stream.done():
            return False
        self.stream.set_result(stream)
        return True

    async def read(self) -> tuple[int, bytes] | None:
        """Next chunk of a wanted stream; None when the output has ended or the client left."""
        while not self._left:
            if self._before:
                return self._before.popleft()
            if self._logged is not None:
                await self._read_logged(self._logged)
                continue
            stream = await asyncio.shield(self.stream)
            if self._before:
                continue
            if stream is None or self._left:
                return None
            chunk = await stream.read()
            if self._left:
                return None
            if chunk is None:
                # Clients ask for the exit code when the output ends: it must be there then.
                if self._recorded is not None:
                    await self._recorded()
                return None
            if chunk[0] in self._wanted:
                return chunk
        return None

    async def _read_logged(self, logged: Chunks) -> None:
        chunks = await anext(logged, None)
        if self._left:
            await logged.aclose()
        elif chunks is None:
            self._logged = None
        else:
            self._before.extend(chunk for chunk in chunks if chunk[0] in self._wanted)

    async def write(self, data: bytes) -> None:
        """Client input; what follows the detach keys is dropped."""
        if not self.stdin or self._left:
            return
        data, left = self._scanner.feed(data)
        if data:
            stream = await asyncio.shield(self.stream)
            if stream is not None:
                await stream.write(data)
        if left:
            self.detached = True
            if self._on_detach is not None:
                self._on_detach()
            await self.close()

    async def close_stdin(self) -> None:
        if not self.stdin or self._left:
            return
        stream = await asyncio.shield(self.stream)
        if stream is None:
            return
        held = self._scanner.flush()
        if held:
            await stream.write(held)
        await stream.close_stdin()

    async def close(self) -> None:
        """The client is gone; idempotent."""
        if self._left:
            return
        self._left = True
        if self._on_close is not None:
            self._on_close(self)
        if self._logged is not None:
            with suppress(RuntimeError):  # being read: closed by its reader
                await self._logged.aclose()
        if not self.stream.done():
            self.stream.set_result(None)
            return
        stream = self.stream.result()
        if stream is not None:
            await stream.close()


class Logged(Protocol):
    """Reads a container's log in chunks as they were written: so far, or to the run's end."""

    def __call__(self, live: Live, *, follow: bool) -> Chunks: ...


class LogStream:
    """An ``AttachStream`` whose output comes from the log; input goes to the monitor."""

    def __init__(self, logged: Chunks, stdin: AttachStream | None) -> None:
        self._logged = logged
        self._chunks: deque[tuple[int, bytes]] = deque()
        self._stdin = stdin
        # The monitor waits for clients that do not read: what it copies to us is read and dropped.
        self._drain = spawn(_read_out(stdin), name="attach-drain") if stdin is not None else None
        self._reading: asyncio.Task[list[tuple[int, bytes]] | None] | None = None

    async def read(self) -> tuple[int, bytes] | None:
        while not self._chunks:
            self._reading = spawn(_next(self._logged), name="attach-log")
            await asyncio.wait([self._reading])
            if self._reading.cancelled():
                return None
            chunks = self._reading.result()
            if chunks is None:
                return None
            self._chunks.extend(chunks)
        return self._chunks.popleft()

    async def write(self, data: bytes) -> None:
        if self._stdin is not None:
            await self._stdin.write(data)

    async def close_stdin(self) -> None:
        if self._stdin is not None:
            await self._stdin.close_stdin()

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        await self._logged.aclose()
        if self._drain is not None:
            self._drain.cancel()
        if self._stdin is not None:
            await self._stdin.close()


async def _next(
    logged: Chunks,
) -> list[tuple[int, bytes]] | None:
    return await anext(logged, None)


async def _read_out(stream: AttachStream) -> None:
    while await stream.read() is not None:
        pass


class Sessions:
    """The sessions on containers: those that wait for a start, and new ones."""

    def __init__(self, book: Book, paths: Paths, runtime: Runtime) -> None:
        self._book = book
        self._paths = paths
        self._runtime = runtime
        self._pending: dict[str, list[StdioSession]] = {}

    async def attach(
        self,
        live: Live,
        options: AttachOptions,
        logged: Logged,
    ) -> StdioSession:
        """A session by ``options``; ``logged`` reads the log, for ``logs``.

        Raises ``Conflict`` for a paused or restarting container, ``Invalid`` for bad keys.
        """
        record = live.record
        keys = detach.parse(options.detach_keys)
        if record.status is Status.PAUSED:
            raise Conflict(f"container {record.id} is paused, unpause the container before attach")
        if record.status is Status.RESTARTING:
            raise Conflict(
                f"container {record.id} is restarting, wait until the container is running"
            )
        wanted = {1} if options.stdout else set()
        if options.stderr:
            wanted.add(2)
        stdin = options.stdin and bool(record.config.open_stdin)
        session = StdioSession(
            tty=bool(record.config.tty),
            wanted=frozenset(wanted),
            stdin=stdin,
            keys=keys,
            on_detach=lambda: self._book.publish(live.record, "detach"),
            on_close=lambda gone: self._forget(live.id, gone),
            recorded=lambda: _end_recorded(live),
        )
        bundle = self._paths.container(live.id).bundle
        if options.logs and options.stream and live.running is not None:
            async with live.lock:  # a start under way ends first
                pass
        if options.logs and options.stream and live.record.status is Status.RUNNING:
            # The log is all that such a client reads: what was written and what will be come
            # from one place, so that nothing is lost or told twice where they meet.
            source = await self._runtime.attach(live.id, bundle) if session.stdin else None
            session.provide(LogStream(logged(live, follow=True), source))
        elif not options.stream:
            session.provide(None)
        elif live.running is not None:
            session.provide(await self._runtime.attach(live.id, bundle, stdin=session.stdin))
        else:
            self._pending.setdefault(live.id, []).append(session)
        if options.logs and not (session.stream.done() and options.stream):
            session.replay(logged(live, follow=False))
        self._book.publish(record, "attach")
        return session

    async def connect(self, live: Live) -> None:
        """The container is created and does not run yet: join the waiting sessions to it."""
        bundle = self._paths.container(live.id).bundle
        for session in self._pending.pop(live.id, ()):
            try:
                stream = await self._runtime.attach(live.id, bundle, stdin=session.stdin)
                if not session.provide(stream):
                    await stream.close()
            except WherryError as error:
                _log.warning("container %s: attach: %s", live.id, error.message)
                session.provide(None)

    def abandon(self, live: Live) -> None:
        """No start will come (it failed, or the container is removed): end what waits."""
        for session in self._pending.pop(live.id, ()):
            session.provide(None)

    def _forget(self, container_id: str, session: StdioSession) -> None:
        waiting = self._pending.get(container_id)
        if waiting and session in waiting:
            waiting.remove(session)
            if not waiting:
                del self._pending[container_id]

    def close(self) -> None:
        """The daemon ends."""
        for waiting in self._pending.values():
            for session in waiting:
                session.provide(None)
        self._pending.clear()


async def _end_recorded(live: Live) -> None:
    """The monitor has hung up: wait, not for long, until the end is on the record."""
    if live.running is None:
        return
    ended: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
    live.next_exit.append(ended)
    await asyncio.wait([ended], timeout=_RECORDING)

"""The runtime in memory: for tests of the life cycle, without processes or privileges.

A container runs a *script*: a coroutine that gets its stdio and returns an exit code. Which one is
chosen by the first word of the command; ``COMMANDS`` has a few of every system's. Unknown words
fail as a real runtime fails (127). Held to the same conformance suite as ``runtime.conmon``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wherry.errors import Conflict, Internal, NotFound
from wherry.linux.tasks import spawn
from wherry.runtime.failures import classify
from wherry.runtime.port import (
    AttachStream,
    Check,
    Checked,
    ExecLaunch,
    Exit,
    Launch,
    Running,
)

_MONITORS = 1_000_000
_SIGKILL = 9


@dataclass
class Stdio:
    """What a script reads and writes."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    _input: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    _clients: list[MemoryStream] = field(default_factory=list)
    _log: Path | None = None
    _ended_input: bool = False

    async def read(self) -> bytes:
        """The next input; empty at its end."""
        if self._ended_input and self._input.empty():
            return b""
        data = await self._input.get()
        return b"" if data is None else data

    def feed(self, data: bytes | None) -> None:
        if data is None:
            self._ended_input = True
        self._input.put_nowait(data)

    async def write(self, data: bytes, stream: int = 1) -> None:
        for client in list(self._clients):
            client.push(stream, data)
        if self._log is not None and data:
            name = "stdout" if stream == 1 else "stderr"
            now = datetime.now(UTC).isoformat(timespec="microseconds")
            with self._log.open("ab") as file:
                for line in data.splitlines():
                    file.write(f"{now} {name} F ".encode() + line + b"\n")


Script = Callable[[Stdio], Awaitable[int]]


async def _true(_: Stdio) -> int:
    return 0


async def _false(_: Stdio) -> int:
    return 1


async def _sleep(io: Stdio) -> int:
    await asyncio.sleep(float(io.arguments[1]))
    return 0


async def _cat(io: Stdio) -> int:
    while data := await io.read():
        await io.write(data)
    return 0


async def _echo(io: Stdio) -> int:
    await io.write(" ".join(io.arguments[1:]).encode() + b"\n")
    return 0


async def _shell(io: Stdio) -> int:
    """``sh -c``: words ``echo``, ``exit`` separated by ``;``, and ``>&2``: enough for tests."""
    for statement in io.arguments[2].split(";"):
        words = statement.split()
        stream = 2 if ">&2" in words else 1
        words = [word for word in words if word != ">&2"]
        if words[:1] == ["exit"]:
            return int(words[1])
        if words[:1] == ["echo"]:
            await io.write(" ".join(words[1:]).encode() + b"\n", stream)
        elif words[:1] == ["cat"]:
            await _cat(io)
        elif words[:1] == ["sleep"]:
            await asyncio.sleep(float(words[1]))
    return 0


COMMANDS: dict[str, Script] = {
    "true": _true,
    "false": _false,
    "sleep": _sleep,
    "cat": _cat,
    "echo": _echo,
    "sh": _shell,
}


class MemoryStream:
    """An attached client."""

    def __init__(self, io: Stdio, *, stdin: bool, ends_stdin: bool) -> None:
        self._io = io
        self._stdin = stdin
        self._ends_stdin = ends_stdin
        self._queue: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue()
        self._over = False

    def push(self, stream: int, data: bytes) -> None:
        self._queue.put_nowait((stream, data))

    def hang_up(self) -> None:
        self._queue.put_nowait(None)

    async def read(self) -> tuple[int, bytes] | None:
        if self._over:
            return None
        chunk = await self._queue.get()
        self._over = chunk is None
        return chunk

    async def write(self, data: bytes) -> None:
        if self._stdin and data:
            self._io.feed(data)

    async def close_stdin(self) -> None:
        if self._stdin and self._ends_stdin:
            self._io.feed(None)

    async def close(self) -> None:
        if self in self._io._clients:
            self._io._clients.remove(self)
        self._over = True


@dataclass
class _Process:
    running: Running
    io: Stdio
    script: Script
    stdin: bool
    ends_stdin: bool
    task: asyncio.Task[int] | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    exit: Exit | None = None
    signal: int = 0
    exit_dir: Path | None = None
    paused: bool = False

    def start(self) -> None:
        async def body() -> int:
            return await self.script(self.io)

        self.task = spawn(body(), name=f"memory-{self.running.pid}")
        self.task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[int]) -> None:
        code = 128 + self.signal if task.cancelled() else task.result()
        self.finish(code)

    def finish(self, code: int) -> None:
        if self.exit is not None:
            return
        self.exit = Exit(code, time.time())
        if self.exit_dir is not None:
            self.exit_dir.mkdir(parents=True, exist_ok=True)
            (self.exit_dir / self.running.container_id).write_text(str(code), encoding="ascii")
        for client in list(self.io._clients):
            client.hang_up()
        self.ended.set()

    def kill(self, number: int) -> None:
        if number == 0 or self.exit is not None:
            return
        if number != _SIGKILL and self.io.environment.get("IGNORE_SIGNALS"):
            return
        self.signal = number
        if self.task is None:
            self.finish(128 + number)
        else:
            self.task.cancel()

    def attach(self) -> MemoryStream:
        client = MemoryStream(self.io, stdin=self.stdin, ends_stdin=self.ends_stdin)
        self.io._clients.append(client)
        return client


class MemoryRuntime:
    """Implements ``runtime.port.Runtime``. ``commands`` adds to or replaces ``COMMANDS``."""

    def __init__(
        self,
        commands: Mapping[str, Script] | None = None,
        runtimes: Mapping[str, str] | None = None,
    ) -> None:
        self._commands = {**COMMANDS, **(commands or {})}
        self._runtimes = dict(runtimes or {"memory": "/memory"})
        self._containers: dict[str, _Process] = {}
        self._execs: dict[str, _Process] = {}
        self._next = 1
        self.sizes: dict[Path, tuple[int, int]] = {}
        """Last size of each resized terminal, for tests."""
        self.reopened: list[Path] = []
        self.updates: list[tuple[str, Mapping[str, Any]]] = []

    def runtimes(self) -> dict[str, str]:
        return {**self._runtimes, "": next(iter(self._runtimes.values()))}

    def _script(self, process: Mapping[str, Any], *, starting: bool) -> tuple[Script, Stdio]:
        arguments = list(process.get("args") or [""])
        script = self._commands.get(arguments[0].rpartition("/")[2])
        if script is None:
            raise classify(
                f"executable file `{arguments[0]}` not found in $PATH", starting=starting
            )
        pairs = (each.partition("=") for each in process.get("env") or ())
        return script, Stdio(arguments, {name: value for name, _, value in pairs})

    def _running(self, container_id: str) -> Running:
        number = self._next
        self._next += 1
        return Running(container_id, number, number, _MONITORS + number, number)

    async def create(self, launch: Launch) -> Running:
        if launch.runtime and launch.runtime not in self._runtimes:
            raise NotFound(f"unknown or invalid runtime name: {launch.runtime}")
        old = self._containers.get(launch.container_id)
        if old is not None and old.exit is None:
            raise Conflict(f"container {launch.container_id} runs already")
        script, io = self._script(launch.spec.get("process", {}), starting=True)
        io._log = launch.log_path
        (launch.exit_dir / launch.container_id).unlink(missing_ok=True)
        process = _Process(
            self._running(launch.container_id),
            io,
            script,
            stdin=launch.stdin,
            ends_stdin=not launch.leave_stdin_open,
            exit_dir=launch.exit_dir,
        )
        if launch.log_path is not None:
            launch.log_path.parent.mkdir(parents=True, exist_ok=True)
            launch.log_path.touch()
        if not launch.stdin:
            io.feed(None)
        self._containers[launch.container_id] = process
        if launch.restore is not None:
            if not self.checkpoint_whole(launch.restore):
                raise Internal(f"cannot restore container {launch.container_id}: no checkpoint")
            process.start()
        return process.running

    def _process(self, container_id: str) -> _Process:
        process = self._containers.get(container_id)
        if process is None:
            raise NotFound(f"no container {container_id} in the runtime")
        return process

    async def start(self, container_id: str, runtime: str = "") -> None:
        process = self._process(container_id)
        if process.task is not None or process.exit is not None:
            raise Conflict(f"container {container_id} is not in the created state")
        process.start()

    async def adopt(self, container_id: str, bundle: Path) -> Running | None:
        process = self._containers.get(container_id)
        return process.running if process is not None and process.exit is None else None

    async def wait(self, running: Running, exit_dir: Path) -> Exit:
        process = self._containers.get(running.container_id)
        if process is not None and process.running == running:
            await process.ended.wait()
        record = await self.exit_record(running.container_id, exit_dir)
        return record or Exit(255, time.time(), error="nothing is known of this container's end")

    async def unmounted(self, container_id: str) -> None:
        """Nothing is ever mounted."""

    async def exit_record(self, container_id: str, exit_dir: Path) -> Exit | None:
        path = exit_dir / container_id
        try:
            return Exit(int(path.read_text(encoding="ascii")), path.stat().st_mtime)
        except (OSError, ValueError):
            return None

    async def kill(self, running: Running, signal: int) -> None:
        for process in (*self._containers.values(), *self._execs.values()):
            if process.running == running:
                process.kill(signal)

    async def pause(self, container_id: str, runtime: str = "") -> None:
        self._process(container_id).paused = True

    async def is_paused(self, container_id: str) -> bool:
        process = self._containers.get(container_id)
        return process is not None and process.paused

    async def resume(self, container_id: str, runtime: str = "") -> None:
        self._process(container_id).paused = False

    async def delete(self, container_id: str, bundle: Path, runtime: str = "") -> None:
        process = self._containers.get(container_id)
        if process is None:
            return
        process.kill(_SIGKILL)
        await process.ended.wait()
        self._containers.pop(container_id, None)

    async def attach(self, container_id: str, bundle: Path, *, stdin: bool = True) -> AttachStream:
        process = self._containers.get(container_id)
        if process is None or process.exit is not None:
            raise Conflict("the process is not running: nothing to attach to")
        return process.attach()

    async def resize(self, control_dir: Path, height: int, width: int) -> None:
        self.sizes[control_dir] = (height, width)

    async def reopen_log(self, control_dir: Path) -> None:
        self.reopened.append(control_dir)

    async def exec(self, launch: ExecLaunch) -> tuple[Running, AttachStream | None]:
        container = self._containers.get(launch.container_id)
        if container is None or container.exit is not None or container.task is None:
            raise Conflict(f"container {launch.container_id} is not running")
        script, io = self._script(launch.process, starting=False)
        process = _Process(
            self._running(launch.container_id), io, script, stdin=launch.stdin, ends_stdin=True
        )
        if not launch.stdin:
            io.feed(None)
        stream = process.attach() if launch.attach else None
        self._execs[launch.exec_id] = process
        process.start()
        return process.running, stream

    async def check(self, check: Check) -> Checked:
        name = f"check-{check.container_id}"
        launch = ExecLaunch(
            name, check.container_id, check.bundle, check.process, check.bundle, False, False, True
        )
        running, stream = await self.exec(launch)
        output = bytearray()
        try:
            async with asyncio.timeout(check.timeout):
                while stream is not None and (chunk := await stream.read()) is not None:
                    output += chunk[1][: max(0, check.most - len(output))]
                end = await self.exec_wait(name, check.bundle, running)
            return Checked(end.code, bytes(output))
        except TimeoutError:
            self._execs.pop(name).kill(_SIGKILL)
            return Checked(-1, bytes(output), timed_out=True)

    async def exec_wait(self, exec_id: str, run_dir: Path, running: Running) -> Exit:
        process = self._execs.get(exec_id)
        if process is None:
            return Exit(255, time.time(), error="nothing is known of this exec session's end")
        await process.ended.wait()
        self._execs.pop(exec_id, None)
        assert process.exit is not None
        return process.exit

    async def update(
        self, container_id: str, resources: Mapping[str, Any], runtime: str = ""
    ) -> None:
        self._process(container_id)
        self.updates.append((container_id, resources))

    async def checkpoint_lack(self, runtime: str = "") -> str:
        return ""

    async def checkpoint(
        self, container_id: str, image: Path, *, leave_running: bool, runtime: str = ""
    ) -> None:
        process = self._process(container_id)
        (image / "memory").write_text(" ".join(process.io.arguments))
        if not leave_running:
            process.kill(_SIGKILL)

    def checkpoint_whole(self, image: Path) -> bool:
        return (image / "memory").exists()

    async def processes(self, container_id: str, running: Running) -> list[int]:
        process = self._process(container_id)
        if process.exit is not None:
            raise Conflict(f"container {container_id} is not running")
        return [process.running.pid]

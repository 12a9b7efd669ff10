"""Exec: further processes in a running container. Records live in memory only.

A session that has ended is kept for ``KEEP`` seconds, for a last inspect, and at most
``MOST`` of them.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from wherry.containers.attach import StdioSession
from wherry.containers.book import Book, Live
from wherry.containers.links import Links
from wherry.containers.service import ExecRequest
from wherry.containers.specs import Specs
from wherry.containers.transitions import Status
from wherry.errors import Conflict, Invalid, NotFound, WherryError
from wherry.linux.tasks import spawn
from wherry.runtime.failures import exit_code_of
from wherry.runtime.port import AttachStream, ExecLaunch, Exit, Running, Runtime
from wherry.store.paths import Paths
from wherry.wire import detach

_log = logging.getLogger(__name__)

KEEP = 300.0
MOST = 4096


@dataclass
class ExecState:
    """One exec session as inspect shows it."""

    id: str
    container_id: str
    request: ExecRequest
    running: bool = False
    started: bool = False
    exit_code: int | None = None
    process: Running | None = None
    launched: asyncio.Event = field(default_factory=asyncio.Event)
    """The process runs, or could not be started."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    ended_at: float = 0.0


class Execs:
    def __init__(
        self,
        book: Book,
        paths: Paths,
        runtime: Runtime,
        specs: Specs,
        links: Links,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._book = book
        self._paths = paths
        self._runtime = runtime
        self._specs = specs
        self._links = links
        self._clock = clock
        self._execs: dict[str, ExecState] = {}

    def create(self, live: Live, request: ExecRequest) -> str:
        """Raises ``Invalid`` without a command, ``Conflict`` when the container does not run."""
        self._refuse(live)
        if not request.cmd:
            raise Invalid("No exec command specified")
        detach.parse(request.detach_keys)
        if request.working_dir and not request.working_dir.startswith("/"):
            raise Invalid(
                f"the working directory '{request.working_dir}' is invalid, it needs to be an "
                "absolute path"
            )
        for each in request.env:
            if not each or each.startswith("="):
                raise Invalid(f"invalid environment variable: {each}")
        self._expire()
        state = ExecState(secrets.token_hex(32), live.id, request)
        self._execs[state.id] = state
        live.execs.add(state.id)
        self._event(live, f"exec_create: {_shown(request.cmd)}", state)
        return state.id

    def _refuse(self, live: Live) -> None:
        record = live.record
        if record.status is Status.PAUSED:
            raise Conflict(f"container {record.name} is paused, unpause the container before exec")
        if record.status is Status.RESTARTING:
            raise Conflict(
                f"Container {record.id} is restarting, wait until the container is running"
            )
        if record.status is not Status.RUNNING or live.running is None:
            raise Conflict(f"container {record.id} is not running")

    def get(self, exec_id: str) -> ExecState:
        """By id or unique prefix. Raises ``NotFound``: "No such exec instance: ID"."""
        state = self._execs.get(exec_id)
        if state is None:
            found = [each for each in self._execs if exec_id and each.startswith(exec_id)]
            if len(found) != 1:
                raise NotFound(f"No such exec instance: {exec_id}")
            state = self._execs[found[0]]
        if state.container_id not in self._book:
            raise NotFound(f"No such exec instance: {exec_id}")
        return state

    async def start(
        self,
        exec_id: str,
        *,
        detached: bool,
        tty: bool | None,
        console_size: tuple[int, int] | None,
    ) -> StdioSession | None:
        """A session, or None when detached.

        The session is there before the process is. A command that cannot run is told inside it,
        as Docker does, with the exit code 126 or 127; when detached it raises ``Invalid``.
        """
        state = self.get(exec_id)
        if state.started:
            word = "is already running" if state.running else "has already run"
            raise Conflict(f"exec command {state.id} {word}")
        live = self._book.get(state.container_id)
        self._refuse(live)
        request = state.request
        if tty is not None and tty != request.tty:
            request = replace(request, tty=tty)
        state.started, state.request = True, request
        self._event(live, f"exec_start: {_shown(request.cmd)}", state)
        if detached:
            await self._run(live, state, console_size, attach=False)
            return None
        # The session is handed out before the process runs: the client must have the head of the
        # reply before any output (docker-py loses what comes in the same packet).
        session = self._session(live, state)
        spawn(self._serve(live, state, console_size, session), name=f"exec {state.id[:12]}")
        return session

    async def _serve(
        self,
        live: Live,
        state: ExecState,
        console_size: tuple[int, int] | None,
        session: StdioSession,
    ) -> None:
        """Launch for a session; a command that cannot run is told in its output."""
        try:
            stream = await self._run(live, state, console_size, attach=True)
        except WherryError as error:
            session.tell(1, error.message.encode() + b"\r\n")
            session.provide(None)
        except BaseException:
            session.provide(None)
            raise
        else:
            if not session.provide(stream) and stream is not None:
                await stream.close()

    async def _run(
        self,
        live: Live,
        state: ExecState,
        console_size: tuple[int, int] | None,
        *,
        attach: bool,
    ) -> AttachStream | None:
        try:
            return await self._launch(live, state, console_size, attach=attach)
        except WherryError as error:
            code = exit_code_of(error)
            self._finish(live, state, Exit(126 if code > 127 else code, time.time()))
            raise
        except BaseException:
            self._finish(live, state, Exit(255, time.time()))
            raise
        finally:
            state.launched.set()

    def _session(self, live: Live, state: ExecState) -> StdioSession:
        request = state.request
        wanted = {1} if request.attach_stdout or request.tty else set()
        if request.attach_stderr:
            wanted.add(2)
        return StdioSession(
            tty=request.tty,
            wanted=frozenset(wanted),
            stdin=request.attach_stdin,
            keys=detach.parse(request.detach_keys),
            on_detach=lambda: self._event(live, "exec_detach", state),
            recorded=state.ended.wait,
        )

    async def _launch(
        self,
        live: Live,
        state: ExecState,
        console_size: tuple[int, int] | None,
        *,
        attach: bool,
    ) -> AttachStream | None:
        running = live.running
        if running is None:
            raise Conflict(f"container {live.id} is not running")
        request = state.request
        equipped = self._links.equip(live.record, strict=False)
        process = self._specs.exec_process(equipped, request, Path(f"/proc/{running.pid}/root"))
        launch = ExecLaunch(
            exec_id=state.id,
            container_id=live.id,
            bundle=self._paths.container(live.id).bundle,
            process=process,
            run_dir=self._paths.exec_dir(live.id, state.id),
            terminal=request.tty,
            stdin=request.attach_stdin and attach,
            attach=attach,
            runtime=live.record.host_config.runtime or "",
            console_size=console_size or request.console_size,
        )
        process_running, stream = await self._runtime.exec(launch)
        state.process, state.running = process_running, True
        spawn(self._follow(live, state, process_running), name=f"exec {state.id[:12]}")
        return stream

    async def _follow(self, live: Live, state: ExecState, process: Running) -> None:
        run_dir = self._paths.exec_dir(live.id, state.id)
        try:
            end = await self._runtime.exec_wait(state.id, run_dir, process)
        except WherryError as error:
            _log.warning("exec %s: %s", state.id[:12], error.message)
            end = Exit(255, time.time(), error=error.message)
        self._finish(live, state, end)

    def _finish(self, live: Live, state: ExecState, end: Exit) -> None:
        state.running, state.exit_code = False, end.code
        state.ended_at = self._clock()
        state.ended.set()
        live.execs.discard(state.id)
        self._event(live, "exec_die", state, exitCode=str(end.code))

    async def resize(self, exec_id: str, height: int, width: int) -> None:
        state = self.get(exec_id)
        if state.started:
            # Clients resize as soon as they have the stream, which is before the process is.
            await state.launched.wait()
        if not state.running:
            raise Conflict(f"exec {state.id} is not running")
        run_dir = self._paths.exec_dir(state.container_id, state.id)
        await self._runtime.resize(run_dir, height, width)

    def inspect(self, exec_id: str) -> dict[str, Any]:
        state = self.get(exec_id)
        request = state.request
        process: dict[str, Any] = {
            "tty": request.tty,
            "entrypoint": request.cmd[0],
            "arguments": list(request.cmd[1:]),
            "privileged": request.privileged,
        }
        if request.user:
            process["user"] = request.user
        if request.env:
            process["env"] = list(request.env)
        if request.working_dir:
            process["workingDir"] = request.working_dir
        return {
            "ID": state.id,
            "Running": state.running,
            "ExitCode": state.exit_code,
            "ProcessConfig": process,
            "OpenStdin": request.attach_stdin,
            "OpenStderr": request.attach_stderr,
            "OpenStdout": request.attach_stdout,
            "CanRemove": state.exit_code is not None,
            "ContainerID": state.container_id,
            "DetachKeys": request.detach_keys or "",
            "Pid": state.process.pid if state.process is not None and state.running else 0,
        }

    def forget(self, live: Live) -> None:
        """The container is gone."""
        for state in [each for each in self._execs.values() if each.container_id == live.id]:
            del self._execs[state.id]

    def _expire(self) -> None:
        ended = [each for each in self._execs.values() if each.ended_at]
        limit = self._clock() - KEEP
        surplus = len(self._execs) - MOST
        for state in sorted(ended, key=lambda each: each.ended_at):
            if state.ended_at > limit and surplus <= 0:
                break
            del self._execs[state.id]
            surplus -= 1

    def _event(self, live: Live, action: str, state: ExecState, **attributes: str) -> None:
        self._book.publish(live.record, action, execID=state.id, **attributes)


def _shown(command: Sequence[str]) -> str:
    """Program, a space, arguments: Docker's form, with the space even where nothing follows."""
    return f"{command[0]} {' '.join(command[1:])}"

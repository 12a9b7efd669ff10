"""Exec sessions: a monitor for each, started in a running container, attached before it runs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec

from wherry.linux.namespaces import PrivateMounts
from wherry.linux.pidfd import end_process
from wherry.linux.tasks import spawn
from wherry.runtime import bundle as files
from wherry.runtime import monitor, weight
from wherry.runtime.attach import SocketStream, connect
from wherry.runtime.commands import ENVIRONMENT, Child, reap, start
from wherry.runtime.failures import classify
from wherry.runtime.finishing import finishing
from wherry.runtime.installed import Runtimes
from wherry.runtime.launching import sized
from wherry.runtime.monitors import MONITOR_KILLED, UNKNOWN_EXIT, Monitors, created
from wherry.runtime.port import AttachStream, ExecLaunch, Exit, Running
from wherry.runtime.syncpipe import LIMIT, Gates, SyncPipe


class Sessions:
    def __init__(
        self, tools: monitor.Tools, runtimes: Runtimes, mounts: PrivateMounts, monitors: Monitors
    ) -> None:
        self._tools = tools
        self._runtimes = runtimes
        self._mounts = mounts
        self._monitors = monitors
        self._pipes: dict[str, SyncPipe] = {}
        """Of the sessions that run: the exit code comes through it."""

    async def exec(self, launch: ExecLaunch) -> tuple[Running, AttachStream | None]:
        path = self._runtimes.of_bundle(launch.bundle, launch.runtime)
        return await finishing(self._exec(launch, path), partial(self._undo, launch))

    async def _undo(self, launch: ExecLaunch, result: tuple[Running, AttachStream | None]) -> None:
        """The caller went away while the session was being started."""
        running, stream = result
        await end_process(running.pid, running.pid_start)
        if stream is not None:
            await stream.close()
        await self.wait(launch.exec_id, launch.run_dir, running)

    async def _exec(self, launch: ExecLaunch, path: str) -> tuple[Running, AttachStream | None]:
        pipe = SyncPipe()
        gates = Gates(launch.attach)
        stream: SocketStream | None = None
        child: Child | None = None
        try:
            child = await self._mounts.run(
                lambda: self._start(launch, path, pipe, gates), abandon=reap
            )
            pipe.close_writer()
            self._monitors.add(child)
            if launch.attach:
                await gates.ready(LIMIT)
                stream = SocketStream(connect(launch.run_dir))
                gates.go()
            answer = await pipe.message(LIMIT)
            if answer is None or answer.value < 0:
                text = answer.message if answer is not None else ""
                text = text or files.monitor_complaint(launch.run_dir)
                command = (launch.process.get("args") or [""])[0]
                raise classify(text, command, starting=False)
            running = created(launch.container_id, answer.value, child.pid)
            self._pipes[launch.exec_id] = pipe
            weight.set_apart(running.monitor_pid, running.monitor_start)
            return running, stream
        except BaseException:
            pipe.close()
            if stream is not None:
                await stream.close()
            if child is not None:
                self._monitors.abandon(child)
            files.clear_exec(launch.run_dir)
            raise
        finally:
            gates.close()

    def _start(self, launch: ExecLaunch, path: str, pipe: SyncPipe, gates: Gates) -> Child:
        """Called in the private namespace's thread."""
        run_dir = launch.run_dir
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        process = {
            **sized(launch.process, launch.terminal, launch.console_size),
            "terminal": launch.terminal,
        }
        (run_dir / monitor.PROCESS_SPEC).write_bytes(msgspec.json.encode(process))
        arguments = monitor.exec_arguments(
            self._tools,
            self._runtimes.program(path),
            run_dir,
            launch.container_id,
            launch.exec_id,
            terminal=launch.terminal,
            stdin=launch.stdin,
            attach=launch.attach,
        )
        environment = {**ENVIRONMENT, "_OCI_SYNCPIPE": str(pipe.writer)}
        environment.update(gates.environment())
        return start(
            arguments,
            cwd=run_dir,
            environment=environment,
            pass_fds=(pipe.writer, *gates.inherited()),
        )

    async def wait(self, exec_id: str, run_dir: Path, running: Running) -> Exit:
        pipe = self._pipes.pop(exec_id, None)
        try:
            if pipe is not None:
                answer = await pipe.message(None)
                if answer is not None:
                    return Exit(answer.value, files.now(), error=answer.message)
            await self._monitors.ended(running)
            record = files.read_exit(run_dir, running.container_id)
            if record is not None:
                return record
            if running.pid_start:
                await end_process(running.pid, running.pid_start)
            return Exit(UNKNOWN_EXIT, files.now(), error=MONITOR_KILLED)
        finally:
            if pipe is not None:
                pipe.close()
            spawn(self._forget(running, run_dir), name=f"exec-{exec_id[:12]}-forget")

    async def _forget(self, running: Running, run_dir: Path) -> None:
        """The code comes before the monitor's end, which still writes to its directory."""
        await self._monitors.ended(running)
        files.clear_exec(run_dir)

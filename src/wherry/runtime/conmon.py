"""The real runtime adapter: an OCI runtime (crun, runc) under a conmon per container.

One launch, in a thread with a private mount namespace: mount the root file system there, start
conmon there, leave. conmon keeps the namespace, so the host's mount table never sees the mount.
See ``docs/design/runtime.md``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from signal import SIGKILL
from typing import Any

import msgspec

from wherry.errors import Conflict, Internal, Invalid
from wherry.linux import cgroups
from wherry.linux.namespaces import PrivateMounts
from wherry.linux.pidfd import end_process, is_alive, send_signal
from wherry.runtime import bundle as files
from wherry.runtime import criu, crun, launching, monitor, weight
from wherry.runtime.attach import SocketStream, connect, taken
from wherry.runtime.checks import Checks, Launcher, sweep
from wherry.runtime.commands import ENVIRONMENT, Child, Commands, reap
from wherry.runtime.failures import classify, message_text
from wherry.runtime.finishing import finishing
from wherry.runtime.holds import Holds
from wherry.runtime.installed import Runtimes
from wherry.runtime.monitors import (
    MONITOR_KILLED,
    UNKNOWN_EXIT,
    Monitors,
    created,
    end_half_created,
)
from wherry.runtime.port import AttachStream, Check, Checked, ExecLaunch, Exit, Launch, Running
from wherry.runtime.sessions import Sessions
from wherry.runtime.syncpipe import LIMIT, SyncPipe


class ConmonRuntime:
    """Implements ``runtime.port.Runtime``."""

    def __init__(
        self,
        *,
        monitor_path: str,
        runtimes: Mapping[str, str],
        default: str,
        state_root: Path,
        mounts: PrivateMounts,
    ) -> None:
        self._tools = tools = monitor.Tools(monitor_path, state_root)
        self._mounts = mounts
        commands = Commands(mounts)
        self._runtimes = Runtimes(runtimes, default, tools, commands)
        self._monitors = Monitors()
        self._launching = launching.Launching(tools, self._runtimes, mounts.calls)
        self._sessions = Sessions(tools, self._runtimes, mounts, self._monitors)
        self._criu = criu.Criu(commands)
        self._holds = Holds()
        self._checks = Checks(Launcher(mounts))

    # --- runtimes

    def runtimes(self) -> dict[str, str]:
        return self._runtimes.all()

    def _note(self, container_id: str) -> monitor.Note | None:
        """What is noted of a launched container; None when there is nothing."""
        bundle = files.find_note(self._tools.state_root, container_id)
        return files.read_note(bundle) if bundle is not None else None

    # --- launching

    async def create(self, launch: Launch) -> Running:
        runtime = self._runtimes.named(launch.runtime)
        return await finishing(self._create(launch, runtime), self._undo_create)

    async def _undo_create(self, running: Running) -> None:
        """The caller went away while the container was being created."""
        note = files.find_note(self._tools.state_root, running.container_id)
        if note is not None:
            await self.delete(running.container_id, note)

    async def _create(self, launch: Launch, runtime: tuple[str, str]) -> Running:
        bundle = launch.bundle
        environment = ENVIRONMENT if launch.restore is None else self._criu.environment()
        await self._holds.gone(launch.container_id)
        pipe = SyncPipe()
        child: Child | None = None
        try:
            child = await self._mounts.run(
                lambda: self._launching.start(launch, runtime, pipe, environment), abandon=reap
            )
            pipe.close_writer()
            self._monitors.add(child)
            answer = await pipe.message(LIMIT)
            if answer is None or answer.value <= 0:
                raise await launching.failure(launch, child, answer.message if answer else "")
            running = created(launch.container_id, answer.value, child.pid)
            self._holds.take(running)
            note = files.complete_note(bundle, running)
            if launch.restore is not None:
                weight.slow_down(note)
            return running
        except BaseException:
            if child is not None:
                child.kill()
            await self.delete(launch.container_id, bundle, launch.runtime)
            raise
        finally:
            pipe.close()

    async def start(self, container_id: str, runtime: str = "") -> None:
        path = self._runtimes.of_container(container_id, runtime)
        note = self._note(container_id)
        if crun.is_crun(path):
            pid = note.pid if note is not None else 0
            waiting = crun.program(pid)
            if crun.start(self._tools.state_root, container_id):
                await crun.begun(pid, waiting)
                weight.slow_down(note)
                return
        done = await self._runtimes.call(path, "start", container_id)
        if done.code != 0:
            raise classify(done.stderr, files.command_of(self._tools.state_root, container_id))
        weight.slow_down(note)

    # --- finding again

    async def adopt(self, container_id: str, bundle: Path) -> Running | None:
        note = files.read_note(bundle)
        if note is None or note.container_id != container_id or note.pid == 0:
            return None
        if not is_alive(note.monitor_pid, note.monitor_start):
            return None
        files.link_bundle(self._tools.state_root, container_id, bundle)
        weight.mend(note)
        await sweep(bundle, cgroups.processes(note.cgroup) if note.cgroup else ())
        return Running(container_id, note.pid, note.pid_start, note.monitor_pid, note.monitor_start)

    # --- ending

    async def wait(self, running: Running, exit_dir: Path) -> Exit:
        await self._monitors.ended(running)
        self._holds.drop(running.container_id)
        record = await self.exit_record(running.container_id, exit_dir)
        if record is not None:
            return record
        await self._end_orphans(running)
        return files.write_exit(exit_dir, running.container_id, UNKNOWN_EXIT, MONITOR_KILLED)

    async def unmounted(self, container_id: str) -> None:
        await self._holds.gone(container_id)

    async def _end_orphans(self, running: Running) -> None:
        """The monitor died before its container: the processes have no stdio and no keeper."""
        if running.pid_start:
            await end_process(running.pid, running.pid_start)
        note = self._note(running.container_id)
        if note is not None and note.cgroup:
            await cgroups.kill_all(note.cgroup)

    async def exit_record(self, container_id: str, exit_dir: Path) -> Exit | None:
        found = files.read_exit(exit_dir, container_id)
        if found is None or found.oom:
            return found
        note = self._note(container_id)
        if note is not None and note.cgroup and cgroups.oom_kills(note.cgroup):
            # The monitor may end before it hears of it: the cgroup, where it still is, knows.
            files.write_oom(exit_dir)
            return replace(found, oom=True)
        return found

    async def kill(self, running: Running, signal: int) -> None:
        if signal == SIGKILL:
            note = self._note(running.container_id)
            if note is not None:
                weight.hurry(note.cgroup)
        self._holds.take(running)
        send_signal(running.pid, running.pid_start, signal)

    async def pause(self, container_id: str, runtime: str = "") -> None:
        await self._must(container_id, runtime, "pause")

    async def resume(self, container_id: str, runtime: str = "") -> None:
        await self._must(container_id, runtime, "resume")

    async def is_paused(self, container_id: str) -> bool:
        note = self._note(container_id)
        return note is not None and bool(note.cgroup) and cgroups.is_frozen(note.cgroup)

    async def _must(self, container_id: str, runtime: str, word: str) -> None:
        path = self._runtimes.of_container(container_id, runtime)
        done = await self._runtimes.call(path, word, container_id)
        if done.code != 0:
            raise Internal(f"cannot {word} container {container_id}: {message_text(done.stderr)}")

    async def delete(self, container_id: str, bundle: Path, runtime: str = "") -> None:
        note = files.read_note(bundle)
        if note is None or note.pid == 0:
            await end_half_created(note, bundle)
        path = self._runtimes.of_bundle(bundle, runtime)
        quick = False
        if crun.is_crun(path) and note is not None:
            # In threads: the kernel and the disk take their time for what is removed.
            quick = await asyncio.to_thread(crun.sweep, self._tools.state_root, note)
        if not quick and (self._tools.state_root / container_id).exists():
            done = await self._runtimes.call(path, "delete", "--force", container_id)
            if done.code != 0 and (self._tools.state_root / container_id).exists():
                raise Internal(
                    f"cannot delete container {container_id}: {message_text(done.stderr)}"
                )
        if note is not None:
            await self._monitors.end(note.monitor_pid, note.monitor_start)
            self._holds.drop(container_id)
            if note.cgroup and not quick:
                await cgroups.kill_all(note.cgroup)
                cgroups.remove(note.cgroup)
        self._checks.forget(bundle)
        await asyncio.to_thread(files.clear, bundle, self._tools.state_root, container_id)

    # --- stdio

    async def attach(self, container_id: str, bundle: Path, *, stdin: bool = True) -> AttachStream:
        note = files.read_note(bundle)
        ends_stdin = note is not None and note.stdin and not note.leave_stdin_open
        sock = connect(bundle)
        try:
            await taken(sock)
        except asyncio.CancelledError:
            sock.close()
            raise
        return SocketStream(sock, park=ends_stdin and not stdin)

    async def resize(self, control_dir: Path, height: int, width: int) -> None:
        files.control(control_dir, monitor.resize_message(height, width))

    async def reopen_log(self, control_dir: Path) -> None:
        files.control(control_dir, monitor.REOPEN_MESSAGE)

    # --- further processes

    async def exec(self, launch: ExecLaunch) -> tuple[Running, AttachStream | None]:
        return await self._sessions.exec(launch)

    async def exec_wait(self, exec_id: str, run_dir: Path, running: Running) -> Exit:
        return await self._sessions.wait(exec_id, run_dir, running)

    async def check(self, check: Check) -> Checked:
        program = self._runtimes.program(self._runtimes.of_bundle(check.bundle, check.runtime))
        return await self._checks.run(check, [program, f"--root={self._tools.state_root}"])

    # --- changing and looking

    async def update(
        self, container_id: str, resources: Mapping[str, Any], runtime: str = ""
    ) -> None:
        path = self._runtimes.of_container(container_id, runtime)
        fd = os.memfd_create("resources", 0)
        try:
            os.write(fd, msgspec.json.encode(resources))
            done = await self._runtimes.call(
                path, "update", "--resources", f"/proc/{os.getpid()}/fd/{fd}", container_id
            )
        finally:
            os.close(fd)
        if done.code != 0:
            # What the kernel calls an invalid argument is the user's.
            kind = Invalid if "Invalid argument" in done.stderr else Internal
            raise kind(f"cannot update container {container_id}: {message_text(done.stderr)}")
        weight.changed(files.find_note(self._tools.state_root, container_id), resources)

    async def checkpoint_lack(self, runtime: str = "") -> str:
        return await self._criu.lack(self._runtimes.named(runtime)[1])

    async def checkpoint(
        self, container_id: str, image: Path, *, leave_running: bool, runtime: str = ""
    ) -> None:
        done = await self._runtimes.call(
            self._runtimes.of_container(container_id, runtime),
            *criu.checkpoint_words(image, container_id, leave_running=leave_running),
            limit=criu.LIMIT,
            environment=self._criu.environment(),
        )
        if done.code != 0:
            reason = criu.complaint(image / criu.DUMP_LOG) or message_text(done.stderr)
            raise Internal(f"cannot checkpoint container {container_id}: {reason}")

    def checkpoint_whole(self, image: Path) -> bool:
        return criu.finished(image)

    async def processes(self, container_id: str, running: Running) -> list[int]:
        if not is_alive(running.pid, running.pid_start):
            raise Conflict(f"container {container_id} is not running")
        note = self._note(container_id)
        if note is None or not note.cgroup:
            return [running.pid]
        return cgroups.processes(note.cgroup) or [running.pid]

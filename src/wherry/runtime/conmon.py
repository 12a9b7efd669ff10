"""The real runtime adapter: an OCI runtime (crun, runc) under a conmon per container.

One launch, in a thread with a private mount namespace: mount the root file system there, start
conmon there, leave. conmon keeps the namespace, so the host's mount table never sees the mount.
See ``docs/design/runtime.md``.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from signal import SIGKILL
from typing import Any

import msgspec

from wherry.errors import Conflict, Internal, Invalid, NotFound, WherryError
from wherry.linux import cgroups
from wherry.linux.mounts import Overlay, mount_overlay
from wherry.linux.namespaces import PrivateMounts
from wherry.linux.pidfd import (
    end_process,
    is_alive,
    open_process,
    send_signal,
    start_time,
    wait_ended,
)
from wherry.linux.sealed import SealedPrograms
from wherry.linux.seccompfilter import FilterCache
from wherry.linux.tasks import spawn
from wherry.runtime import bundle as files
from wherry.runtime import criu, crun, monitor, targets, weight
from wherry.runtime.attach import SocketStream, connect, taken
from wherry.runtime.checks import Checks, Launcher, sweep
from wherry.runtime.commands import ENVIRONMENT, Child, Commands, Finished, reap, start
from wherry.runtime.failures import classify, message_text
from wherry.runtime.finishing import finishing
from wherry.runtime.port import (
    AttachStream,
    Check,
    Checked,
    ExecLaunch,
    Exit,
    Launch,
    RootMounts,
    Running,
)
from wherry.runtime.syncpipe import Gates, SyncPipe

CREATE_LIMIT = 120.0
"""Seconds for a create or exec to be reported; generous, for hosts under load."""
MONITOR_KILLED = "the container's monitor was killed: its processes have been ended"
UNKNOWN_EXIT = 255


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
        self._tools = monitor.Tools(monitor_path, state_root)
        self._runtimes = dict(runtimes)
        self._default = default
        self._mounts = mounts
        self._commands = Commands(mounts)
        self._children: dict[int, Child] = {}
        self._exec_pipes: dict[str, SyncPipe] = {}
        self._filters = FilterCache()
        self._programs = SealedPrograms()
        self._criu = criu.Criu(self._commands)
        self._checks = Checks(Launcher(mounts))

    # --- runtimes

    def runtimes(self) -> dict[str, str]:
        return {**self._runtimes, "": self._runtimes[self._default]}

    def _runtime(self, name: str) -> tuple[str, str]:
        chosen = name or self._default
        path = self._runtimes.get(chosen)
        if path is None:
            raise NotFound(f"unknown or invalid runtime name: {chosen}")
        return chosen, path

    def _runtime_of(self, bundle: Path, name: str) -> str:
        """The runtime that launched what is in this bundle, else the named one."""
        note = files.read_note(bundle)
        for candidate in ([note.runtime] if note else []) + [name]:
            if candidate in self._runtimes:
                return self._runtimes[candidate]
        return self._runtime(name)[1]

    async def _call(self, runtime: str, *words: str, limit: float = 30.0) -> Finished:
        return await self._commands.run(
            monitor.runtime_arguments(self._programs.path(runtime), self._tools, words),
            limit=limit,
        )

    # --- launching

    async def create(self, launch: Launch) -> Running:
        name, path = self._runtime(launch.runtime)
        return await finishing(self._create(launch, name, path), self._undo_create)

    async def _undo_create(self, running: Running) -> None:
        """The caller went away while the container was being created."""
        note = files.find_note(self._tools.state_root, running.container_id)
        if note is not None:
            await self.delete(running.container_id, note)

    async def _create(self, launch: Launch, name: str, path: str) -> Running:
        bundle = launch.bundle
        pipe = SyncPipe()
        child: Child | None = None
        try:
            child = await self._mounts.run(
                lambda: self._start_monitor(launch, name, path, pipe), abandon=reap
            )
            pipe.close_writer()
            self._children[child.pid] = child
            answer = await pipe.message(CREATE_LIMIT)
            if answer is None or answer.value <= 0:
                raise await self._create_failure(launch, child, answer)
            running = self._running(launch.container_id, answer.value, child.pid)
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

    def _start_monitor(self, launch: Launch, name: str, path: str, pipe: SyncPipe) -> Child:
        """In the private namespace's thread."""
        bundle = launch.bundle
        files.prepare(bundle, launch.root.target, launch.exit_dir, launch.container_id)
        files.link_bundle(self._tools.state_root, launch.container_id, bundle)
        spec = weight.hurried(launch.spec)
        if launch.terminal and launch.console_size is not None:
            height, width = launch.console_size
            spec["process"] = {
                **spec["process"],
                "consoleSize": {"height": height, "width": width},
            }
        if crun.is_crun(path):
            self._with_filter(spec)
        (bundle / monitor.SPEC).write_bytes(msgspec.json.encode(spec))
        self._mount_root(launch.root)
        targets.ensure(launch.root.target, spec.get("mounts", ()))
        arguments = monitor.create_arguments(
            self._tools,
            self._programs.path(path),
            bundle,
            launch.container_id,
            log_path=launch.log_path,
            exit_dir=launch.exit_dir,
            terminal=launch.terminal,
            stdin=launch.stdin,
            leave_stdin_open=launch.leave_stdin_open,
            restore=launch.restore,
        )
        note = monitor.Note(
            container_id=launch.container_id,
            runtime=name,
            monitor_pid=0,
            monitor_start=0,
            terminal=launch.terminal,
            stdin=launch.stdin,
            leave_stdin_open=launch.leave_stdin_open,
            cgroup=str(spec.get("linux", {}).get("cgroupsPath", "")),
            shares=weight.asked(launch.spec),
        )
        environment = ENVIRONMENT if launch.restore is None else self._criu.environment()
        return _start_noted(arguments, bundle, note, pipe, environment)

    def _with_filter(self, spec: dict[str, Any]) -> None:
        """Give crun the system call filter ready made; it would compile it in every create."""
        profile = spec.get("linux", {}).get("seccomp")
        if not profile:
            return
        program = self._filters.get(hashlib.sha256(msgspec.json.encode(profile)).digest(), profile)
        if program is not None:
            annotations = dict(spec.get("annotations") or {})
            annotations[crun.FILTER] = base64.b64encode(program).decode("ascii")
            spec["annotations"] = annotations

    def _mount_root(self, root: RootMounts) -> None:
        if not root.upper.is_dir():
            root.upper.mkdir(parents=True, exist_ok=True)
            root.upper.chmod(0o755)  # the container's ``/``, whatever our umask is
        root.work.mkdir(mode=0o700, parents=True, exist_ok=True)
        mount_overlay(
            self._mounts.calls,
            Overlay(root.lower, str(root.upper), str(root.work), str(root.target)),
        )

    async def _create_failure(self, launch: Launch, child: Child, answer: Any) -> WherryError:
        text = answer.message if answer is not None else ""
        if not text:
            with suppress(TimeoutError):
                await asyncio.wait_for(child.ended(), 2.0)
            text = files.monitor_complaint(launch.bundle)
        if launch.restore is not None:
            reason = criu.complaint(launch.bundle / criu.RESTORE_LOG) or message_text(text)
            return Internal(f"cannot restore container {launch.container_id}: {reason}")
        command = (launch.spec.get("process", {}).get("args") or [""])[0]
        return classify(text, command)

    def _running(self, container_id: str, pid: int, monitor_pid: int) -> Running:
        """A process that ended at once has no start time any more: 0 then."""
        return Running(
            container_id,
            pid,
            start_time(pid) or 0,
            monitor_pid,
            start_time(monitor_pid) or 0,
        )

    async def start(self, container_id: str, runtime: str = "") -> None:
        path = self._runtime_by_id(container_id, runtime)
        note = self._note(container_id)
        if crun.is_crun(path):
            pid = note.pid if note is not None else 0
            waiting = crun.program(pid)
            if crun.start(self._tools.state_root, container_id):
                await crun.begun(pid, waiting)
                weight.slow_down(note)
                return
        done = await self._call(path, "start", container_id)
        if done.code != 0:
            raise classify(done.stderr, files.command_of(self._tools.state_root, container_id))
        weight.slow_down(note)

    def _note(self, container_id: str) -> monitor.Note | None:
        """What is noted of a launched container; None when there is nothing."""
        bundle = files.find_note(self._tools.state_root, container_id)
        return files.read_note(bundle) if bundle is not None else None

    def _runtime_by_id(self, container_id: str, runtime: str) -> str:
        bundle = files.find_note(self._tools.state_root, container_id)
        if bundle is not None:
            return self._runtime_of(bundle, runtime)
        return self._runtime(runtime)[1]

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
        await self._monitor_ended(running)
        record = await self.exit_record(running.container_id, exit_dir)
        if record is not None:
            return record
        await self._end_orphans(running)
        return files.write_exit(exit_dir, running.container_id, UNKNOWN_EXIT, MONITOR_KILLED)

    async def _monitor_ended(self, running: Running) -> None:
        child = self._children.get(running.monitor_pid)
        if child is not None:
            await child.ended()
            self._children.pop(running.monitor_pid, None)
            return
        fd = open_process(running.monitor_pid, running.monitor_start)
        if fd is None:
            return
        try:
            await wait_ended(fd)
        finally:
            os.close(fd)

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
        send_signal(running.pid, running.pid_start, signal)

    async def pause(self, container_id: str, runtime: str = "") -> None:
        await self._must(container_id, runtime, "pause")

    async def resume(self, container_id: str, runtime: str = "") -> None:
        await self._must(container_id, runtime, "resume")

    async def is_paused(self, container_id: str) -> bool:
        note = self._note(container_id)
        return note is not None and bool(note.cgroup) and cgroups.is_frozen(note.cgroup)

    async def _must(self, container_id: str, runtime: str, *words: str) -> None:
        path = self._runtime_by_id(container_id, runtime)
        done = await self._call(path, words[0], *words[1:], container_id)
        if done.code != 0:
            raise Internal(
                f"cannot {words[0]} container {container_id}: {message_text(done.stderr)}"
            )

    async def delete(self, container_id: str, bundle: Path, runtime: str = "") -> None:
        note = files.read_note(bundle)
        if note is None or note.pid == 0:
            await self._end_half_created(note, bundle)
        path = self._runtime_of(bundle, runtime)
        quick = False
        if crun.is_crun(path) and note is not None:
            # In threads: the kernel and the disk take their time for what is removed.
            quick = await asyncio.to_thread(crun.sweep, self._tools.state_root, note)
        if not quick and (self._tools.state_root / container_id).exists():
            done = await self._call(path, "delete", "--force", container_id)
            if done.code != 0 and (self._tools.state_root / container_id).exists():
                raise Internal(
                    f"cannot delete container {container_id}: {message_text(done.stderr)}"
                )
        if note is not None:
            await self._end_monitor(note.monitor_pid, note.monitor_start)
            if note.cgroup and not quick:
                await cgroups.kill_all(note.cgroup)
                cgroups.remove(note.cgroup)
        self._checks.forget(bundle)
        await asyncio.to_thread(files.clear, bundle, self._tools.state_root, container_id)

    async def _end_half_created(self, note: monitor.Note | None, bundle: Path) -> None:
        """The daemon died while the monitor was being started or was creating.

        The spec goes first: a monitor that comes to life only now finds nothing to create. One
        whose runtime has read it already is found, by its note or among all processes.
        """
        cgroup = note.cgroup if note is not None else files.cgroup_of(bundle)
        known = (bundle / monitor.SPEC).exists()
        (bundle / monitor.SPEC).unlink(missing_ok=True)
        monitors: list[tuple[int, int]] = []
        if note is not None:
            monitors = [(note.monitor_pid, note.monitor_start)]
        elif known:
            monitors = files.monitors_of(bundle)
        for pid, started in monitors:
            await end_process(pid, started)
        if cgroup:
            await cgroups.kill_all(cgroup)
            cgroups.remove(cgroup)

    async def _end_monitor(self, pid: int, started: int) -> None:
        """A monitor ends by itself when its container has; be sure of it."""
        fd = open_process(pid, started)
        if fd is not None:
            try:
                with suppress(TimeoutError):
                    await asyncio.wait_for(wait_ended(fd), 2.0)
            finally:
                os.close(fd)
            await end_process(pid, started)
        child = self._children.pop(pid, None)
        if child is not None:
            spawn(child.ended(), name=f"reap-{pid}")

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

    # --- exec

    async def exec(self, launch: ExecLaunch) -> tuple[Running, AttachStream | None]:
        path = self._runtime_of(launch.bundle, launch.runtime)
        return await finishing(self._exec(launch, path), self._undo_exec)

    async def _undo_exec(self, result: tuple[Running, AttachStream | None]) -> None:
        running, stream = result
        await end_process(running.pid, running.pid_start)
        if stream is not None:
            await stream.close()

    async def _exec(self, launch: ExecLaunch, path: str) -> tuple[Running, AttachStream | None]:
        pipe = SyncPipe()
        gates = Gates(launch.attach)
        stream: SocketStream | None = None
        child: Child | None = None
        try:
            child = await self._mounts.run(
                lambda: self._start_exec(launch, path, pipe, gates), abandon=reap
            )
            pipe.close_writer()
            self._children[child.pid] = child
            if launch.attach:
                await gates.ready(CREATE_LIMIT)
                stream = SocketStream(connect(launch.run_dir))
                gates.go()
            answer = await pipe.message(CREATE_LIMIT)
            if answer is None or answer.value < 0:
                text = answer.message if answer is not None else ""
                text = text or files.monitor_complaint(launch.run_dir)
                command = (launch.process.get("args") or [""])[0]
                raise classify(text, command, starting=False)
            running = self._running(launch.container_id, answer.value, child.pid)
            self._exec_pipes[launch.exec_id] = pipe
            return running, stream
        except BaseException:
            pipe.close()
            if stream is not None:
                await stream.close()
            if child is not None:
                child.kill()
                self._children.pop(child.pid, None)
                spawn(child.ended(), name=f"reap-{child.pid}")
            files.clear_exec(launch.run_dir)
            raise
        finally:
            gates.close()

    def _start_exec(self, launch: ExecLaunch, path: str, pipe: SyncPipe, gates: Gates) -> Child:
        run_dir = launch.run_dir
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        process = dict(launch.process)
        process["terminal"] = launch.terminal
        if launch.terminal and launch.console_size is not None:
            height, width = launch.console_size
            process["consoleSize"] = {"height": height, "width": width}
        (run_dir / monitor.PROCESS_SPEC).write_bytes(msgspec.json.encode(process))
        arguments = monitor.exec_arguments(
            self._tools,
            self._programs.path(path),
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

    async def exec_wait(self, exec_id: str, run_dir: Path, running: Running) -> Exit:
        pipe = self._exec_pipes.pop(exec_id, None)
        try:
            if pipe is not None:
                answer = await pipe.message(None)
                if answer is not None:
                    return Exit(answer.value, files.now(), error=answer.message)
            await self._monitor_ended(running)
            record = files.read_exit(run_dir, running.container_id)
            if record is not None:
                return record
            if running.pid_start:
                await end_process(running.pid, running.pid_start)
            return Exit(UNKNOWN_EXIT, files.now(), error=MONITOR_KILLED)
        finally:
            if pipe is not None:
                pipe.close()
            spawn(self._forget_exec(running, run_dir), name=f"exec-{exec_id[:12]}-forget")

    async def _forget_exec(self, running: Running, run_dir: Path) -> None:
        """The code comes before the monitor's end, which still writes to its directory."""
        await self._monitor_ended(running)
        files.clear_exec(run_dir)

    async def check(self, check: Check) -> Checked:
        program = self._programs.path(self._runtime_of(check.bundle, check.runtime))
        return await self._checks.run(check, [program, f"--root={self._tools.state_root}"])

    # --- changing and looking

    async def update(
        self, container_id: str, resources: Mapping[str, Any], runtime: str = ""
    ) -> None:
        path = self._runtime_by_id(container_id, runtime)
        fd = os.memfd_create("resources", 0)
        try:
            os.write(fd, msgspec.json.encode(resources))
            done = await self._call(
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
        return await self._criu.lack(self._runtime(runtime)[1])

    async def checkpoint(
        self, container_id: str, image: Path, *, leave_running: bool, runtime: str = ""
    ) -> None:
        words = criu.checkpoint_words(image, container_id, leave_running=leave_running)
        path = self._programs.path(self._runtime_by_id(container_id, runtime))
        done = await self._commands.run(
            monitor.runtime_arguments(path, self._tools, words),
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


def _start_noted(
    arguments: list[str],
    bundle: Path,
    note: monitor.Note,
    pipe: SyncPipe,
    environment: Mapping[str, str],
) -> Child:
    complaints = os.open(
        bundle / monitor.STDERR, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
    )
    try:
        child = start(
            arguments,
            cwd=bundle,
            environment={**environment, "_OCI_SYNCPIPE": str(pipe.writer)},
            pass_fds=(pipe.writer,),
            stderr=complaints,
        )
    finally:
        os.close(complaints)
    note.monitor_pid = child.pid
    note.monitor_start = start_time(child.pid) or 0
    (bundle / monitor.NOTE).write_bytes(monitor.encode_note(note))
    return child

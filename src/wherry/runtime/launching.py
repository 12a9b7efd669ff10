"""One launch: in a private mount namespace, mount the root, write the bundle, start the monitor."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from wherry.errors import Internal, WherryError
from wherry.linux.mounts import Overlay, mount_overlay
from wherry.linux.pidfd import start_time
from wherry.linux.seccompfilter import FilterCache
from wherry.linux.syscalls import Syscalls
from wherry.runtime import bundle as files
from wherry.runtime import criu, crun, monitor, targets, weight
from wherry.runtime.commands import ENVIRONMENT, Child, start
from wherry.runtime.failures import classify, message_text
from wherry.runtime.installed import Runtimes
from wherry.runtime.port import Launch, RootMounts
from wherry.runtime.syncpipe import SyncPipe


class Launching:
    def __init__(self, tools: monitor.Tools, runtimes: Runtimes, calls: Syscalls) -> None:
        self._tools = tools
        self._runtimes = runtimes
        self._calls = calls
        self._filters = FilterCache()

    def start(
        self,
        launch: Launch,
        runtime: tuple[str, str],
        pipe: SyncPipe,
        environment: Mapping[str, str] = ENVIRONMENT,
    ) -> Child:
        """Start the monitor; ``runtime`` is a name and a path.

        Called in the private namespace's thread.
        """
        name, path = runtime
        bundle = launch.bundle
        files.prepare(bundle, launch.root.target, launch.exit_dir, launch.container_id)
        files.link_bundle(self._tools.state_root, launch.container_id, bundle)
        spec = weight.hurried(launch.spec)
        spec["process"] = sized(launch.spec["process"], launch.terminal, launch.console_size)
        if crun.is_crun(path):
            self._with_filter(spec)
        (bundle / monitor.SPEC).write_bytes(msgspec.json.encode(spec))
        self._mount_root(launch.root)
        targets.ensure(launch.root.target, spec.get("mounts", ()))
        arguments = monitor.create_arguments(
            self._tools,
            self._runtimes.program(path),
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
            self._calls,
            Overlay(root.lower, str(root.upper), str(root.work), str(root.target)),
        )


def sized(
    process: Mapping[str, Any], terminal: bool, size: tuple[int, int] | None
) -> Mapping[str, Any]:
    """The spec's ``process`` with the size of its terminal, where one is known."""
    if not terminal or size is None:
        return process
    height, width = size
    return {**process, "consoleSize": {"height": height, "width": width}}


async def failure(launch: Launch, child: Child, text: str) -> WherryError:
    """Why the container was not created; ``text`` is what the monitor said of it, if anything."""
    if not text:
        with suppress(TimeoutError):
            await asyncio.wait_for(child.ended(), 2.0)
        text = files.monitor_complaint(launch.bundle)
    if launch.restore is not None:
        reason = criu.complaint(launch.bundle / criu.RESTORE_LOG) or message_text(text)
        return Internal(f"cannot restore container {launch.container_id}: {reason}")
    command = (launch.spec.get("process", {}).get("args") or [""])[0]
    return classify(text, command)

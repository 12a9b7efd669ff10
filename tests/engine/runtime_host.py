"""A real runtime adapter on a layer with busybox, in a directory of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bench.processes import of_root
from tests.runtime.runtime_conformance import World, until
from tests.support.machine import command_line, temporary_root

from wherry.linux.cgroups import processes, remove
from wherry.linux.host import HostFacts, gather
from wherry.linux.mounts import make_private_directory, remove_private_directory
from wherry.linux.syscalls import LinuxSyscalls
from wherry.runtime import spec
from wherry.runtime.conmon import ConmonRuntime
from wherry.runtime.port import ExecLaunch, Launch, RootMounts, RuntimeFacts
from wherry.runtime.probe import open_runtime
from wherry.runtime.users import ResolvedUser
from wherry.wire.container import Config, HostConfig

APPLETS = (
    "sh", "true", "false", "cat", "sleep", "echo", "id", "env", "ls", "head", "yes", "stty",
    "tty", "mount", "grep", "touch", "ps", "wc",
)  # fmt: skip


def busybox() -> str:
    found = shutil.which("busybox")
    assert found is not None, "the package busybox-static is missing"
    return found


def make_layer(folder: Path) -> None:
    """A root file system: busybox with a few applets, passwd and group."""
    for name in ("bin", "etc", "tmp", "proc", "sys", "dev"):
        (folder / name).mkdir(parents=True)
    shutil.copy(busybox(), folder / "bin" / "busybox")
    for name in APPLETS:
        (folder / "bin" / name).symlink_to("busybox")
    (folder / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (folder / "etc" / "group").write_text("root:x:0:\n")
    (folder / "bin" / "plain").write_text("no program\n")


class RealWorld(World):
    """``runtime`` is the adapter; everything is below ``base``."""

    runtime: ConmonRuntime

    def __init__(
        self, base: Path, runtime: ConmonRuntime, facts: RuntimeFacts, parent: str = ""
    ) -> None:
        self.base = base
        self.runtime = runtime
        self.runtime_facts = facts
        self.host: HostFacts = gather()
        self.layer = base / "layer"
        self.parent = parent or f"/{base.name}"
        self.default_runtime = ""

    def launch(
        self,
        container_id: str,
        *arguments: str,
        stdin: bool = False,
        leave_stdin_open: bool = True,
        terminal: bool = False,
        runtime: str = "",
        config: Mapping[str, Any] | None = None,
        host_config: Mapping[str, Any] | None = None,
        request: Mapping[str, Any] | None = None,
    ) -> Launch:
        """``config``, ``host_config``: further fields; ``request``: of the spec request."""
        run, data = self.base / "mnt" / container_id, self.base / "data" / container_id
        data.mkdir(parents=True, exist_ok=True)
        wanted = Config(cmd=list(arguments), tty=terminal, **(config or {}))
        host = HostConfig(**(host_config or {}))
        spec.check(wanted, host, self.host)
        built = spec.build(
            spec.SpecRequest(
                container_id,
                wanted,
                host,
                run / "rootfs",
                f"{self.parent}/{container_id}",
                self.host,
                hostname=container_id,
                **(request or {}),
            )
        )
        return Launch(
            container_id,
            run,
            built.document,
            RootMounts([str(self.layer)], data / "upper", data / "work", run / "rootfs"),
            data / "log",
            data / "exit",
            terminal=terminal,
            stdin=stdin,
            leave_stdin_open=leave_stdin_open,
            runtime=runtime or self.default_runtime,
        )

    def exec_launch(
        self,
        exec_id: str,
        container_id: str,
        *arguments: str,
        stdin: bool = False,
        attach: bool = True,
        terminal: bool = False,
    ) -> ExecLaunch:
        process = spec.exec_process(
            Config(),
            HostConfig(),
            spec.ExecSpecRequest(list(arguments), ResolvedUser(), self.host, terminal=terminal),
        )
        return ExecLaunch(
            exec_id,
            container_id,
            self.base / "mnt" / container_id,
            process,
            self.base / "exec" / exec_id,
            terminal=terminal,
            stdin=stdin,
            attach=attach,
            runtime=self.default_runtime,
        )

    def mounts(self) -> list[str]:
        """Lines of the host's mount table that tell of ours."""
        table = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
        return [line for line in table.splitlines() if str(self.base) in line]

    def leftovers(self) -> list[str]:
        """What is left of containers: mounts in the host's table, processes, files, cgroups."""
        found = [line for line in self.mounts() if str(self.base / "mnt") + "/" in line]
        for folder in ("mnt", "runtime", "exec", "bundles"):
            if (self.base / folder).exists():
                found += [f"{folder}/{name}" for name in os.listdir(self.base / folder)]
        found += [f"process {pid}" for pid in processes(self.parent)]
        lines = {pid: command_line(pid) for pid in of_root(self.base)}
        found += [f"monitor {pid}: {line}" for pid, line in lines.items() if "conmon" in line]
        return found

    async def clean(self) -> None:
        """Wait until nothing is left; fails with what stays."""
        try:
            await until(lambda: self.leftovers() == [])
        except AssertionError:
            raise AssertionError(self.leftovers()) from None


@asynccontextmanager
async def real_world() -> AsyncIterator[RealWorld]:
    """Made and, whatever happened, removed; what a test left behind fails it."""
    base = temporary_root()
    calls = LinuxSyscalls()
    make_layer(base / "layer")
    make_private_directory(calls, base / "mnt")
    runtime, facts = await open_runtime(base)
    world = RealWorld(base, runtime, facts)
    try:
        yield world
        await world.clean()
    finally:
        for name in os.listdir(base / "mnt"):
            await runtime.delete(name, base / "mnt" / name)
        remove(world.parent)
        remove_private_directory(calls, base / "mnt")
        shutil.rmtree(base, ignore_errors=True)

"""The container engine on the real runtime, on roots of its own."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.machine import temporary_root

from wherry.containers.engine import ContainerEngine
from wherry.containers.facts import HostFacts
from wherry.containers.oci_specs import OciSpecs
from wherry.containers.plain import PlainNetworking, PlainVolumes
from wherry.containers.service import AttachOptions, ExecRequest, LogOptions, Session
from wherry.images.engine import ImageEngine
from wherry.linux import cgroups
from wherry.linux import host as linux_host
from wherry.linux.mounts import make_private_directory, read_mounts
from wherry.linux.syscalls import LinuxSyscalls
from wherry.linux.tasks import spawn
from wherry.runtime.probe import open_runtime
from wherry.store.database import Database
from wherry.store.paths import Paths
from wherry.wire.container import CreateRequest, HostConfig

BOTH = AttachOptions(stream=True, stdin=True, stdout=True, stderr=True)
_MNT_DETACH = 2


class Recorder:
    """Events, and nobody else who uses images."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, dict[str, str]]] = []
        self.engine: ContainerEngine | None = None

    def publish(self, kind: str, action: str, actor_id: str, attributes: Mapping[str, str]) -> None:
        if kind == "container":
            self.events.append((action, actor_id, dict(attributes)))

    def using(self, image_id: str) -> list[tuple[str, bool]]:
        return self.engine.using(image_id) if self.engine is not None else []


class ContainerHost:
    """An engine; ``reopen`` is what a daemon killed and started again does."""

    engine: ContainerEngine
    images: ImageEngine

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = Paths(root / "data", root / "run")
        self.calls = LinuxSyscalls()
        self.recorder = Recorder()

    async def open(self) -> None:
        self.paths.data.mkdir(mode=0o700, exist_ok=True)
        make_private_directory(self.calls, self.paths.mounts)
        self.database = Database(self.paths.database)
        runtime, facts = await open_runtime(self.paths.run, calls=self.calls)
        self.images = ImageEngine(self.database, self.paths, self.recorder, self.recorder)
        host = linux_host.gather()
        own = HostFacts(
            hostname=host.hostname,
            default_runtime=facts.default,
            init_path=host.init_path,
            cpus=host.cpus,
            cgroup_version=host.cgroup_version,
        )
        self.engine = ContainerEngine(
            self.database,
            self.paths,
            self.images,
            runtime,
            PlainNetworking(),
            PlainVolumes(),
            self.recorder,
            own,
            OciSpecs(host, cgroup_parent=f"/{self.root.name}"),
        )
        self.recorder.engine = self.engine
        await self.images.reconcile()
        await self.engine.reconcile()

    async def crash(self) -> None:
        """The engine is gone without a word; what it started goes on."""
        await self.engine.shutdown()
        self.database.close()

    async def reopen(self) -> None:
        await self.crash()
        await self.open()

    async def close(self) -> None:
        for row in self.engine.summaries({}, all=True):
            await self.engine.remove(row["Id"], force=True)
        await self.crash()
        for entry in reversed(read_mounts()):
            if entry.target.startswith(f"{self.root}/"):
                self.calls.umount(entry.target, _MNT_DETACH)
        cgroups.remove(f"/{self.root.name}")
        await asyncio.to_thread(shutil.rmtree, self.root)

    async def make(self, *cmd: str, name: str | None = None, **fields: Any) -> str:
        host = fields.pop("host", None) or HostConfig(network_mode="none")
        request = CreateRequest(image="busybox", cmd=list(cmd) or None, host_config=host, **fields)
        container, _ = await self.engine.create(name, request)
        return container

    async def run(self, *cmd: str, name: str | None = None, **fields: Any) -> str:
        container = await self.make(*cmd, name=name, **fields)
        await self.engine.start(container)
        return container

    async def output(self, *cmd: str, **fields: Any) -> tuple[int, str]:
        """Run to the end: exit code and everything it wrote."""
        container = await self.make(*cmd, **fields)
        session = await self.engine.attach(container, BOTH)
        waiting = spawn(self.engine.wait(container, "next-exit"), name="wait")
        await asyncio.sleep(0)
        await self.engine.start(container)
        text = await drain(session)
        code, _ = await waiting
        await self.engine.remove(container)
        return code, text

    async def exec(self, container: str, *cmd: str, **fields: Any) -> tuple[int, str]:
        request = ExecRequest(cmd, attach_stdout=True, attach_stderr=True, **fields)
        exec_id = await self.engine.exec_create(container, request)
        session = await self.engine.exec_start(exec_id)
        assert session is not None
        text = await drain(session)
        return self.engine.exec_inspect(exec_id)["ExitCode"], text

    async def log(self, container: str, **options: Any) -> str:
        batches = self.engine.logs(container, LogOptions(**options))
        return b"".join([line.data async for lines in batches for line in lines]).decode()

    async def logged(self, container: str, text: str) -> None:
        """Until the log has the text; fails as ``until`` does."""
        for _ in range(1500):
            if text in await self.log(container):
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"the log never had {text!r}")

    async def until(self, true: Callable[[], bool]) -> None:
        """Poll the world outside; fails after half a minute."""
        for _ in range(1500):
            if true():
                return
            await asyncio.sleep(0.02)
        raise AssertionError("it did not come about")

    def state(self, ref: str) -> dict[str, Any]:
        state: dict[str, Any] = self.engine.inspect(ref)["State"]
        return state


async def drain(session: Session) -> str:
    chunks = []
    while (chunk := await session.read()) is not None:
        chunks.append(chunk[1])
    await session.close()
    return b"".join(chunks).decode()


async def read_until(session: Session, text: str) -> str:
    """Read until ``text`` has come; fails at the end of the output."""
    seen = ""
    while text not in seen:
        chunk = await session.read()
        assert chunk is not None, seen
        seen += chunk[1].decode()
    return seen


@asynccontextmanager
async def container_host() -> AsyncIterator[ContainerHost]:
    host = ContainerHost(temporary_root())
    await host.open()
    await host.images.ensure_base()
    try:
        yield host
    finally:
        await host.close()

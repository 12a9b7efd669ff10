"""A whole engine over an in-memory runtime, images and events, for fast tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wherry.containers.engine import ContainerEngine
from wherry.containers.facts import HostFacts
from wherry.containers.plain import PlainNetworking, PlainVolumes
from wherry.containers.record import Record
from wherry.containers.service import ExecRequest
from wherry.containers.specs import SpecInputs
from wherry.errors import Internal, NotFound
from wherry.images.service import Image, Progress
from wherry.oci.image import ImageConfig
from wherry.runtime.failures import CommandNotFound
from wherry.runtime.port import (
    AttachStream,
    Check,
    Checked,
    ExecLaunch,
    Exit,
    Launch,
    Running,
)
from wherry.store.database import Database
from wherry.store.paths import Paths
from wherry.wire.container import Config, CreateRequest, HostConfig, UpdateRequest

IMAGE_CONFIG = {
    "Env": ["PATH=/bin", "FROM_IMAGE=1"],
    "Cmd": ["sh"],
    "Labels": {"origin": "image"},
    "ExposedPorts": {"80/tcp": {}},
}


class FakeImages:
    """One image, ``box``."""

    def __init__(self) -> None:
        self.image = Image(
            id="sha256:" + "1" * 64,
            target="sha256:" + "2" * 64,
            manifest="sha256:" + "2" * 64,
            config=ImageConfig(architecture="amd64", os="linux", config=dict(IMAGE_CONFIG)),
            layers=("sha256:" + "3" * 64,),
            size=1000,
        )
        self.commits: list[dict[str, Any]] = []

    def get(self, name: str, platform: str | None = None) -> Image:
        if name in ("box", self.image.id):
            return self.image
        raise NotFound(f"No such image: {name}")

    async def prepare(self, image: Image) -> None:
        pass

    def lower_dirs(self, layers: Sequence[str]) -> list[str]:
        return ["/layers/" + layer[7:] for layer in layers]

    def summaries(
        self, filters: Mapping[str, Sequence[str]], *, all: bool, shared_size: bool = False
    ) -> list[dict[str, Any]]:
        return []

    def inspect(self, name: str, platform: str | None = None) -> dict[str, Any]:
        return {}

    def history(self, name: str, platform: str | None = None) -> list[dict[str, Any]]:
        return []

    def tag(self, name: str, repo: str, tag: str) -> None:
        raise NotImplementedError

    def remove(self, name: str, *, force: bool, prune_parents: bool) -> list[dict[str, str]]:
        raise NotImplementedError

    async def prune(
        self,
        filters: Mapping[str, Sequence[str]],
        *,
        dry_run: bool = False,
        without: Collection[str] = (),
    ) -> dict[str, Any]:
        raise NotImplementedError

    async def load(
        self, stream: AsyncIterator[bytes], progress: Progress, *, platform: str | None = None
    ) -> list[str]:
        raise NotImplementedError

    def save(
        self, names: Sequence[str], *, platform: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        raise NotImplementedError

    async def import_(self, stream: AsyncIterator[bytes], **options: Any) -> str:
        raise NotImplementedError

    async def commit(self, parent: Image | None, upper: str, **options: Any) -> str:
        self.commits.append({"upper": upper, **options})
        return "sha256:" + "9" * 64

    def diff(self, lower: Sequence[str], upper: str) -> list[tuple[str, int]]:
        return [("/new", 1)]

    async def pull(self, name: str, tag: str, progress: Any, *, platform: Any = None) -> None:
        raise NotImplementedError

    async def ensure_base(self) -> Image:
        return self.image

    def disk_usage(self) -> dict[str, Any]:
        return {}

    async def reconcile(self) -> None:
        return None


class FakeStream:
    """A client's stream; what is written comes back."""

    def __init__(self, box: FakeBox) -> None:
        self._box = box
        self._queue: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue()
        box.streams.append(self)
        self.stdin_closed = False

    def push(self, chunk: tuple[int, bytes] | None) -> None:
        self._queue.put_nowait(chunk)

    async def read(self) -> tuple[int, bytes] | None:
        return await self._queue.get()

    async def write(self, data: bytes) -> None:
        self._box.stdin.append(data)
        self._box.output(1, data)

    async def close_stdin(self) -> None:
        self.stdin_closed = True

    async def close(self) -> None:
        if self in self._box.streams:
            self._box.streams.remove(self)
        self.push(None)


@dataclass
class FakeBox:
    """One container of the fake runtime."""

    launch: Launch
    running: Running
    started: bool = False
    frozen: bool = False
    signals: list[int] = field(default_factory=list)
    stdin: list[bytes] = field(default_factory=list)
    streams: list[FakeStream] = field(default_factory=list)
    end: asyncio.Future[Exit] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def output(self, stream: int, data: bytes) -> None:
        if self.launch.log_path is not None:
            name = "stdout" if stream == 1 else "stderr"
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + ".000000001+00:00"
            with self.launch.log_path.open("ab") as log:
                for line in data.decode().splitlines(keepends=True):
                    tag = "F" if line.endswith("\n") else "P"
                    text = line.removesuffix("\n")
                    log.write(f"{stamp} {name} {tag} {text}\n".encode())
        for each in self.streams:
            each.push((stream, data))

    def finish(self, code: int, oom: bool = False) -> None:
        if not self.end.done():
            self.end.set_result(Exit(code, time.time(), oom))
            for each in list(self.streams):
                each.push(None)


class FakeRuntime:
    """The command decides: ``true`` ends at once, ``fail N`` with N, ``missing`` is not there,
    ``say TEXT`` prints and ends, ``stubborn`` ignores SIGTERM; others run until killed."""

    def __init__(self) -> None:
        self.boxes: dict[str, FakeBox] = {}
        self.deleted: list[str] = []
        self.gate: asyncio.Event | None = None
        self.most_at_once = 0
        self._at_once = 0
        self._pid = 1000
        self.updates: list[Mapping[str, Any]] = []
        self.checked: list[Check] = []
        self.answer: Callable[[Check], Awaitable[Checked]] = _fine
        """What a health check finds."""
        self.exec_ends: dict[str, asyncio.Future[Exit]] = {}
        self.lack = ""
        self.dumps = True
        """Whether a checkpoint succeeds."""
        self.restored: list[Path] = []

    async def create(self, launch: Launch) -> Running:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if self.gate is not None:
                await self.gate.wait()
            if launch.spec["args"][0] == "missing":
                raise CommandNotFound('exec: "missing": executable file not found in $PATH')
            self._pid += 1
            running = Running(launch.container_id, self._pid, 1, self._pid + 10000, 1)
            self.boxes[launch.container_id] = FakeBox(launch, running)
            if launch.restore is not None:
                self.restored.append(launch.restore)
                self.boxes[launch.container_id].started = True
            return running
        finally:
            self._at_once -= 1

    async def start(self, container_id: str, runtime: str = "") -> None:
        box = self.boxes[container_id]
        box.started = True
        args = list(box.launch.spec["args"])
        if args[0] == "true":
            box.finish(0)
        elif args[0] == "fail":
            box.finish(int(args[1]))
        elif args[0] == "say":
            box.output(1, args[1].encode() + b"\n")
            box.finish(0)

    async def adopt(self, container_id: str, bundle: Path) -> Running | None:
        box = self.boxes.get(container_id)
        return box.running if box is not None and not box.end.done() else None

    async def wait(self, running: Running, exit_dir: Path) -> Exit:
        return await asyncio.shield(self.boxes[running.container_id].end)

    async def unmounted(self, container_id: str) -> None:
        return None

    async def exit_record(self, container_id: str, exit_dir: Path) -> Exit | None:
        box = self.boxes.get(container_id)
        return box.end.result() if box is not None and box.end.done() else None

    async def kill(self, running: Running, signal: int) -> None:
        box = self.boxes[running.container_id]
        box.signals.append(signal)
        args = box.launch.spec["args"]
        if signal == 9 or (signal == 15 and args[0] != "stubborn"):
            box.finish(128 + signal)

    async def pause(self, container_id: str, runtime: str = "") -> None:
        self.boxes[container_id].frozen = True

    async def is_paused(self, container_id: str) -> bool:
        return container_id in self.boxes and self.boxes[container_id].frozen

    async def resume(self, container_id: str, runtime: str = "") -> None:
        self.boxes[container_id].frozen = False

    async def delete(self, container_id: str, bundle: Path, runtime: str = "") -> None:
        self.deleted.append(container_id)
        box = self.boxes.pop(container_id, None)
        if box is not None:
            box.finish(137)

    async def attach(self, container_id: str, bundle: Path, *, stdin: bool = True) -> AttachStream:
        return FakeStream(self.boxes[container_id])

    async def resize(self, control_dir: Path, height: int, width: int) -> None:
        return None

    async def reopen_log(self, control_dir: Path) -> None:
        return None

    async def exec(self, launch: ExecLaunch) -> tuple[Running, AttachStream | None]:
        if launch.process["args"][0] == "missing":
            raise CommandNotFound('OCI runtime exec failed: "missing": not found in $PATH')
        self.exec_ends[launch.exec_id] = asyncio.get_running_loop().create_future()
        stream = FakeStream(self.boxes[launch.container_id]) if launch.attach else None
        return Running(launch.exec_id, 5000, 1, 6000, 1), stream

    async def check(self, check: Check) -> Checked:
        self.checked.append(check)
        return await self.answer(check)

    async def exec_wait(self, exec_id: str, run_dir: Path, running: Running) -> Exit:
        return await self.exec_ends[exec_id]

    async def update(
        self, container_id: str, resources: Mapping[str, Any], runtime: str = ""
    ) -> None:
        self.updates.append(resources)

    async def checkpoint_lack(self, runtime: str = "") -> str:
        return self.lack

    async def checkpoint(
        self, container_id: str, image: Path, *, leave_running: bool, runtime: str = ""
    ) -> None:
        (image / "pages").write_text("half")
        if not self.dumps:
            raise Internal("criu says no")
        (image / "pages").write_text("whole")
        if not leave_running:
            self.boxes[container_id].finish(137)

    def checkpoint_whole(self, image: Path) -> bool:
        return (image / "pages").read_text() == "whole"

    async def processes(self, container_id: str, running: Running) -> list[int]:
        return [running.pid]

    def runtimes(self) -> dict[str, str]:
        return {"": "/fake", "fake": "/fake"}


async def _fine(check: Check) -> Checked:
    return Checked(0, b"ok")


class FakeSpecs:
    def check(self, config: Config, host: HostConfig) -> list[str]:
        return []

    def build(self, inputs: SpecInputs) -> Mapping[str, Any]:
        return {"args": inputs.record.argv, "mounts": list(inputs.mounts)}

    def exec_process(self, record: Record, request: ExecRequest, root: Path) -> Mapping[str, Any]:
        return {"args": list(request.cmd)}

    def cgroup_path(self, record: Record) -> str:
        return f"/fake/{record.id}"

    def possible(self, asked: UpdateRequest) -> tuple[UpdateRequest, list[str]]:
        return asked, []

    def resources(self, host: HostConfig) -> Mapping[str, Any]:
        return {"memory": {"limit": host.memory}} if host.memory else {}


class Events:
    def __init__(self) -> None:
        self.all: list[tuple[str, str, Mapping[str, str]]] = []

    def publish(self, kind: str, action: str, actor_id: str, attributes: Mapping[str, str]) -> None:
        self.all.append((action, actor_id, attributes))

    def actions(self, container_id: str) -> list[str]:
        return [action for action, actor, _ in self.all if actor == container_id]

    def attributes(self, action: str) -> Mapping[str, str]:
        return next(found for name, _, found in reversed(self.all) if name == action)


@dataclass
class World:
    """An engine and everything around it. ``again`` is a new engine on the same state."""

    paths: Paths
    runtime: FakeRuntime = field(default_factory=FakeRuntime)
    images: FakeImages = field(default_factory=FakeImages)
    events: Events = field(default_factory=Events)
    facts: HostFacts = field(default_factory=lambda: HostFacts(init_path="/usr/bin/tini", cpus=2))

    def __post_init__(self) -> None:
        self.engine = self.build()

    def build(self) -> ContainerEngine:
        self.paths.data.mkdir(parents=True, exist_ok=True)
        self.paths.mounts.mkdir(parents=True, exist_ok=True)
        self.database = Database(self.paths.database)
        return ContainerEngine(
            self.database,
            self.paths,
            self.images,
            self.runtime,
            PlainNetworking(),
            PlainVolumes(),
            self.events,
            self.facts,
            FakeSpecs(),
        )

    async def again(self) -> ContainerEngine:
        """The daemon is killed and started again."""
        await self.engine.shutdown()
        self.database.close()
        self.engine = self.build()
        await self.engine.reconcile()
        return self.engine

    async def make(self, *cmd: str, name: str | None = None, **fields: Any) -> str:
        host = fields.pop("host", HostConfig())
        request = CreateRequest(image="box", cmd=list(cmd) or None, host_config=host, **fields)
        container_id, _ = await self.engine.create(name, request)
        return container_id

    async def run(self, *cmd: str, name: str | None = None, **fields: Any) -> str:
        container_id = await self.make(*cmd, name=name, **fields)
        await self.engine.start(container_id)
        return container_id

    async def until(self, true: Callable[[], bool]) -> None:
        """Let other tasks run until it is so; fails when it is not so after many turns."""
        for _ in range(10000):
            if true():
                return
            await asyncio.sleep(0)
        raise AssertionError("it did not come about")

    def state(self, ref: str) -> dict[str, Any]:
        state: dict[str, Any] = self.engine.inspect(ref)["State"]
        return state

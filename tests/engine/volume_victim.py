"""A process that does things to volumes and ends itself by SIGKILL at a step of its choice.

It reads lines ``{"root", "operation", "kill"}``. For each it forks a child that does the operation
on what is below ``root`` and dies before its step number ``kill`` (0: never). The answer is a line
that says whether the child came to the end, and how many steps it did.

A step is a change that others can see: of a directory, of the database, of a mount, the start and
the end of a program.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.engine.volumes_host import VolumesHost

from wherry.linux import exchange
from wherry.linux.syscalls import LinuxSyscalls
from wherry.store.database import Database

Operation = Callable[[VolumesHost], Awaitable[object]]
_AUDITED = frozenset(
    {"os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.truncate", "os.link", "fcntl.ioctl"}
)


class Steps:
    """Counts, and ends the process before the one that was asked for."""

    def __init__(self, kill: int) -> None:
        self.kill = kill
        self.done = 0
        self.on = False

    def __call__(self) -> None:
        if self.on:
            self.done += 1
            if self.done == self.kill:
                os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in _AUDITED:
            self()


def wrapped(
    step: Steps, owner: Any, name: str, counts: Callable[..., bool] = lambda *_: True
) -> None:
    """A step before and one after each call of ``owner.name`` that ``counts``."""
    real = getattr(owner, name)

    def call(*arguments: Any, **named: Any) -> Any:
        if not counts(*arguments):
            return real(*arguments, **named)
        step()
        result = real(*arguments, **named)
        step()
        return result

    setattr(owner, name, call)


def _writes(database: Database, sql: str, *parameters: object) -> bool:
    return not sql.startswith("SELECT")


def _program_steps(step: Steps) -> None:
    real = asyncio.create_subprocess_exec

    async def start(*words: Any, **named: Any) -> Any:
        step()
        process = await real(*words, **named)
        step()
        return process

    asyncio.create_subprocess_exec = start


def tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in ("x", "y"):
            info = tarfile.TarInfo(f"new/{name}")
            info.size = 3
            archive.addfile(info, io.BytesIO(b"new"))
    return out.getvalue()


async def _stream() -> AsyncIterator[bytes]:
    yield tar()


async def _export(host: VolumesHost) -> None:
    async for _ in host.archive.export("vol"):
        pass


async def _container(host: VolumesHost) -> None:
    await host.plan("c1", ["/anonymous"], binds=["named:/srv", "vol:/x"])


async def _remove_container(host: VolumesHost) -> None:
    await host.mounts.release("c1", ())
    await host.mounts.forget("c1", (), remove_anonymous=True)


SIZE = {"size": "4m"}
OPERATIONS: dict[str, Operation] = {
    "create": lambda host: host.service.create("new", labels={"a": "b"}),
    "create sized": lambda host: host.service.create("new", options=SIZE, labels={"a": "b"}),
    "remove": lambda host: host.service.remove("vol"),
    "prune": lambda host: host.service.prune({"all": ["true"]}),
    "rename": lambda host: host.service.rename("vol", "new"),
    "labels": lambda host: host.service.update("vol", labels={"n": "m"}),
    "grow": lambda host: host.service.update("vol", size=6 << 20),
    "shrink": lambda host: host.service.update("vol", size=2 << 20),
    "clone": lambda host: host.archive.clone("vol", "new", None, {"a": "b"}),
    "export": _export,
    "import": lambda host: host.archive.load("vol", _stream(), overwrite=True),
    "import new": lambda host: host.archive.load("new", _stream(), overwrite=False),
    "snapshot": lambda host: host.archive.snapshot("vol", "second"),
    "restore": lambda host: host.archive.restore("vol", "first"),
    "drop snapshot": lambda host: host.archive.drop_snapshot("vol", "first"),
    "create container": _container,
    "copy-up": lambda host: host.start("c1", binds=["fresh:/srv"]),
    "remove container": _remove_container,
}


def _child(root: Path, operation: str, step: Steps) -> None:
    calls = LinuxSyscalls()
    for name in ("mount", "umount", "move_mount", "quotactl"):
        wrapped(step, calls, name)
    wrapped(step, exchange, "_rename")
    wrapped(step, Database, "execute", _writes)
    _program_steps(step)
    sys.addaudithook(step.audit)
    host = VolumesHost(root, calls)

    async def run() -> None:
        step.on = True
        await OPERATIONS[operation](host)
        step.on = False

    asyncio.run(run())


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                step = Steps(asked["kill"])
                _child(Path(asked["root"]), asked["operation"], step)
                os.write(writer, str(step.done).encode())
                code = 0
            finally:
                os._exit(code)
        os.close(writer)
        _, status = os.waitpid(child, 0)
        done = os.read(reader, 100).decode()
        os.close(reader)
        if not done and not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
            print(json.dumps({"failed": status}), flush=True)
            continue
        print(json.dumps({"ended": bool(done), "steps": int(done or asked["kill"])}), flush=True)


if __name__ == "__main__":
    main()

"""SIGKILL at every step of every change of a volume: afterwards it is the old one or the new one.

The victim (``volume_victim``) dies before step 1, 2, 3 ... until it comes to its end. Each time the
room is opened again as a daemon's start does it, and must show the old state or the new one, with
nothing mounted, no loop device and no file that belongs to neither.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.engine.volume_victim import SIZE
from tests.engine.volumes_host import VolumesHost
from tests.support.engine import eventually
from tests.support.filesystems import EXT4_QUOTA, XFS_QUOTA, file_system, projects

from wherry.linux.syscalls import LinuxSyscalls
from wherry.volumes.files import command
from wherry.volumes.quota import Quotas

pytestmark = pytest.mark.root
REPOSITORY = Path(__file__).resolve().parents[2]
LIMIT = 150
"""More steps than any change has."""
State = dict[str, Any]


class Victim:
    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'src'}"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.engine.volume_victim"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=REPOSITORY,
        )

    def run(self, root: Path, operation: str, kill: int) -> bool:
        """Whether it came to the end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"root": str(root), "operation": operation, "kill": kill}
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "failed" not in answer, answer
        return bool(answer["ended"])

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def victim() -> Iterator[Victim]:
    made = Victim()
    yield made
    made.close()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A file system that makes and removes hundreds of roots at once."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128m", "tmpfs", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", "-l", tmp_path], check=True)


@pytest.fixture(params=[EXT4_QUOTA, XFS_QUOTA], ids=["ext4", "xfs"])
def limited(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """One that limits volumes by project quota."""
    with file_system(request.param, tmp_path / "disk") as place:
        yield place


async def prepared(root: Path, options: dict[str, str], operation: str) -> None:
    """The state that every change begins with."""
    host = VolumesHost(root)
    try:
        source = host.image / "srv"
        (source / "d").mkdir(parents=True)
        for name in ("a", "d/b"):
            (source / name).write_text("image")
        await host.service.create("vol", options=options, labels={"l": "1"})
        await host.service.create("fresh", options=options)
        row = host.service.get("vol")
        async with host.service.opened(row) as path:
            Path(path, "old").write_text("old")
        await host.archive.snapshot("vol", "first")
        if operation == "copy-up":
            await host.plan("c1", binds=["fresh:/srv"])
        if operation == "remove container":
            await host.start("c1", ["/anonymous"], binds=["vol:/x"])
        async with host.service.opened(row) as path:
            Path(path, "old").write_text("newer")
            Path(path, "old2").write_text("newer")
    finally:
        host.close()


async def state(host: VolumesHost) -> State:
    """All that a user can see of the volumes."""
    found: State = {}
    for row in host.service.table.all():
        assert (row.state, row.moved_from) == ("ready", "")
        shown = await host.service.inspect(row.name)
        async with host.service.lock(row.name), host.service.opened(row) as path:
            files = {
                str(each.relative_to(path)): each.read_text()
                for each in Path(path).rglob("*")
                if each.is_file()
            }
        name = "anonymous" if len(row.name) == 64 else row.name
        snapshots = [each["Name"] for each in host.archive.snapshots(row.name)]
        users = host.service.table.users(row.id)
        found[name] = (shown["Labels"], shown["Options"], row.size_limit, files, snapshots, users)
    return found


async def copied(base: Path, root: Path) -> None:
    """A root like another one, with projects of its own."""
    await command("cp", "-a", "--sparse=always", str(base), str(root), what="copying")
    quotas = Quotas(LinuxSyscalls())
    for data in [each for each in volumes_of(root) if quotas.available(each.parent)]:
        limit = quotas.figures(base / data.relative_to(root)).limit
        plain = data.with_name("plain")
        data.rename(plain)
        data.mkdir()
        quotas.begin(data, limit)
        await command("cp", "-a", f"{plain}/.", str(data), what="copying")
        shutil.rmtree(plain)


def volumes_of(root: Path) -> list[Path]:
    return [each for each in root.glob("data/volumes/*/_data") if each.is_dir()]


def removed(root: Path) -> None:
    for each in volumes_of(root):
        Quotas(LinuxSyscalls()).drop(each)
    shutil.rmtree(root)


async def after_restart(root: Path, containers: set[str]) -> State:
    """What the next daemon shows; nothing else may be there."""
    host = VolumesHost(root)
    try:
        await host.mounts.adopt(containers, set())
        assert host.mounted() == []
        eventually(lambda: not host.loop_devices(), seconds=60)
        found = await state(host)
        assert host.mounted() == []
        eventually(lambda: not host.loop_devices(), seconds=60)
        rows = {row.name: row for row in host.service.table.all()}
        assert {each.name for each in host.paths.volumes.iterdir()} == set(rows)
        for name, row in rows.items():
            image = {"disk.img"} if row.backing == "image" else set()
            there = {each.name for each in (host.paths.volumes / name).iterdir()}
            assert there - {"snapshots"} == {"_data"} | image
            shelf = host.paths.volumes / name / "snapshots"
            assert not list(shelf.glob("*.partial"))
        return found
    finally:
        host.close()


def agrees(found: State, old: State, new: State, operation: str) -> bool:
    """Old or new; a prune may have come through some of the volumes."""
    if operation != "prune":
        return found in (old, new)
    names = {*found, *old, *new}
    return all(found.get(each) in (old.get(each), new.get(each)) for each in names)


PLAIN = (
    "create",
    "create sized",
    "remove",
    "prune",
    "rename",
    "labels",
    "clone",
    "export",
    "import",
    "import new",
    "snapshot",
    "restore",
    "drop snapshot",
    "create container",
    "copy-up",
    "remove container",
)
SIZED = ("grow", "shrink", "remove", "clone", "import", "snapshot", "restore", "copy-up")
CASES: list[tuple[str, dict[str, str]]] = [(each, {}) for each in PLAIN] + [
    (each, SIZE) for each in SIZED
]


@pytest.mark.parametrize(
    ("operation", "options"), CASES, ids=[f"{each}{'-sized' * bool(o)}" for each, o in CASES]
)
async def test_killed_at_every_step(
    victim: Victim, memory: Path, operation: str, options: dict[str, str]
) -> None:
    await killed_at_every_step(victim, memory, operation, options)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("operation", ["create sized", "rename", *SIZED])
async def test_killed_at_every_step_with_quota(
    victim: Victim, limited: Path, operation: str
) -> None:
    """No limit is left without its volume, and no volume without its limit."""

    def check(root: Path) -> None:
        known = projects(limited)
        calls = LinuxSyscalls()
        there = [*volumes_of(limited / "base"), *volumes_of(root)]
        mine = [calls.project(str(each))[1] for each in there]
        assert sorted(known) == sorted(mine)
        assert all(limit for limit, _ in known.values())

    await killed_at_every_step(victim, limited, operation, SIZE, check)


async def killed_at_every_step(
    victim: Victim,
    place: Path,
    operation: str,
    options: dict[str, str],
    check: Callable[[Path], None] = lambda root: None,
) -> None:
    base = place / "base"
    base.mkdir()
    await prepared(base, options, operation)
    containers = {"c1"} if operation in ("copy-up", "remove container") else set()

    async def attempt(kill: int) -> tuple[bool, State]:
        root = place / "now"
        await copied(base, root)
        try:
            ended = victim.run(root, operation, kill)
            found = await after_restart(root, containers)
            check(root)
            return ended, found
        finally:
            removed(root)

    _, old = await attempt(1)
    ended, new = await attempt(0)
    assert ended
    killed = 1
    for kill in range(2, LIMIT):
        ended, found = await attempt(kill)
        if ended:
            break
        killed += 1
        assert agrees(found, old, new, operation), (kill, found)
    assert ended
    assert killed > 1

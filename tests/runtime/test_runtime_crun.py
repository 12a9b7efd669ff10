"""What is done in crun's stead: letting a created process go on, and removing its record."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

from wherry.linux.tasks import spawn
from wherry.runtime import crun
from wherry.runtime.monitor import Note

ID = "c1"


def gate(root: Path) -> Path:
    (root / ID).mkdir()
    path = root / ID / "exec.fifo"
    os.mkfifo(path)
    return path


def test_start_writes_one_byte_and_takes_the_gate_away(tmp_path: Path) -> None:
    path = gate(tmp_path)
    waiting = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert crun.start(tmp_path, ID)
        assert os.read(waiting, 10) == b"\0"
        assert not path.exists()
        assert not crun.start(tmp_path, ID)
    finally:
        os.close(waiting)


def test_start_leaves_to_crun_what_has_ended_or_is_not_there(tmp_path: Path) -> None:
    assert not crun.start(tmp_path, ID)
    path = gate(tmp_path)
    assert not crun.start(tmp_path, ID)
    assert path.exists()


async def test_a_command_has_begun_when_another_file_is_executed() -> None:
    command = ("sh", "-c", "read line; exec sleep 100")
    waiting = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE)
    try:
        shell = crun.program(waiting.pid)
        begun = spawn(crun.begun(waiting.pid, shell, limit=60), name="begun")
        assert waiting.stdin is not None
        waiting.stdin.write(b"go\n")
        await begun
        assert crun.program(waiting.pid) not in ("", shell)
    finally:
        waiting.kill()
        await waiting.wait()
    await crun.begun(waiting.pid, shell, limit=60)


def test_only_what_has_wholly_ended_is_swept(tmp_path: Path) -> None:
    record = tmp_path / ID
    record.mkdir()
    (record / "status").touch()
    note = Note(ID, "crun", 0, 0, cgroup="/wherry-no-such-cgroup")
    assert not crun.sweep(tmp_path, note), "it may still be being created"
    alive = Note(ID, "crun", 0, 0, pid=os.getpid(), cgroup="/wherry-no-such-cgroup")
    alive.pid_start = own_start()
    assert not crun.sweep(tmp_path, alive)
    assert record.exists()
    alive.pid_start += 1
    assert crun.sweep(tmp_path, alive), "another process with the same number"
    assert not record.exists()


def own_start() -> int:
    stat = Path("/proc/self/stat").read_text()
    return int(stat.rpartition(")")[2].split()[19])

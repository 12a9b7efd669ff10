"""A host without free descriptors: nobody can tell how a process is, so it has not ended."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.linux import pidfd
from wherry.linux.tasks import spawn


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def refuse(*_: object, **__: object) -> int:
    raise OSError(errno.EMFILE, "Too many open files")


async def test_an_end_is_awaited_where_nothing_can_be_opened(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pidfd, "_PAUSE", 0.001)
    tries: list[int] = []

    def few(pid: int) -> int:
        tries.append(pid)
        return refuse() if len(tries) < 5 else real(pid)

    real = os.pidfd_open
    monkeypatch.setattr(os, "pidfd_open", few)
    waiting = spawn(pidfd.wait_pid(child.pid), name="wait")
    while len(tries) < 5:
        assert not waiting.done()
        await asyncio.sleep(0.001)
    assert not waiting.done()
    child.kill()
    await asyncio.wait_for(waiting, 30)


def test_what_cannot_be_looked_at_has_not_ended(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = pidfd.start_time(child.pid)
    assert started is not None
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", refuse)
        with pytest.raises(OSError, match="Too many open files"):
            pidfd.is_alive(child.pid, started)
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(OSError, match="Too many open files"):
            pidfd.open_process(child.pid, started)
        assert len(os.listdir("/proc/self/fd")) == before
    assert pidfd.is_alive(child.pid, started)
    assert pidfd.open_process(0) is None

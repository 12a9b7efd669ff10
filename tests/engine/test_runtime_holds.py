"""Mount namespaces that are held, so that the end of their processes need not wait."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.engine import eventually

from wherry.linux.pidfd import start_time
from wherry.runtime import holds
from wherry.runtime.holds import Holds
from wherry.runtime.port import Running

pytestmark = pytest.mark.root


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process in a mount namespace of its own."""
    with subprocess.Popen(["unshare", "--mount", "sleep", "1000"]) as process:
        try:
            eventually(lambda: namespace(process.pid) != namespace(os.getpid()))
            yield process
        finally:
            process.kill()


def namespace(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/mnt")


def held(name: str) -> int:
    """How many of our descriptors are the namespace."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found += os.readlink(entry) == name
        except OSError:
            continue
    return found


def running(process: subprocess.Popen[bytes]) -> Running:
    started = start_time(process.pid) or 0
    return Running("one", process.pid, started, process.pid, started)


async def test_held_until_they_are_dropped(process: subprocess.Popen[bytes]) -> None:
    name, kept = namespace(process.pid), Holds()
    kept.take(running(process))
    kept.take(running(process))
    assert held(name) == 2
    process.kill()
    process.wait()
    kept.drop("one")
    await kept.gone("one")
    assert held(name) == 0
    kept.drop("one")
    await kept.gone("one")


async def test_what_does_not_end_is_held_for_a_while_only(
    process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holds, "SECONDS", 0.0)
    name, kept = namespace(process.pid), Holds()
    kept.take(running(process))
    await asyncio.to_thread(eventually, lambda: not held(name))
    kept.take(running(process))
    assert held(name) == 2
    kept.drop("one")
    await kept.gone("one")


async def test_a_number_that_is_another_process_now_is_not_held(
    process: subprocess.Popen[bytes],
) -> None:
    name, kept = namespace(process.pid), Holds()
    kept.take(Running("one", process.pid, 1, process.pid, 0))
    assert held(name) == 0
    kept.drop("one")

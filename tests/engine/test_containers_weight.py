"""CPU weights: of containers, raised while they are set up; of the daemon and of monitors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from bench.processes import of_root
from tests.support.engine import Engine, eventually

from wherry.linux.cgroups import (
    ENGINE,
    MOST_SHARES,
    host_layout,
    path_of,
    place,
    set_shares,
    usual_shares,
    weight_of,
)

pytestmark = pytest.mark.root


def weight(container_id: str) -> int:
    """What the kernel has, in version 1's shares or version 2's weight."""
    layout = host_layout()
    directory = layout.directory(f"/wherry/{container_id}", "cpu")
    assert directory is not None
    name = "cpu.weight" if layout.version == 2 else "cpu.shares"
    return int((directory / name).read_text())


def wanted(shares: int) -> int:
    return weight_of(shares) if host_layout().version == 2 else shares


def test_the_weight_is_as_asked_once_it_runs(engine: Engine) -> None:
    usual = engine.run("sleep", "1000")
    light = engine.run("sleep", "1000", CpuShares=300)
    assert weight(usual) == wanted(usual_shares()) == (100 if host_layout().version == 2 else 1024)
    assert weight(light) == wanted(300)
    assert engine.inspect(usual)["HostConfig"]["CpuShares"] == 0
    # An update still counts after a restart.
    assert engine.post(f"/containers/{usual}/update", {"CpuShares": 500}).status == 200
    assert weight(usual) == wanted(500)
    assert engine.post(f"/containers/{usual}/restart?t=0").status == 204
    assert weight(usual) == wanted(500)
    engine.remove_containers()


def test_a_weight_that_was_not_taken_back_is_so_by_the_next_daemon(own_engine: Engine) -> None:
    """As a kill leaves it between the begin of the command and the answer of the start."""
    engine = own_engine
    usual = engine.run("sleep", "1000")
    changed = engine.run("sleep", "1000", CpuShares=300)
    assert engine.post(f"/containers/{changed}/update", {"CpuShares": 600}).status == 200
    engine.kill()
    for each in (usual, changed):
        set_shares(f"/wherry/{each}", MOST_SHARES)
    engine.start()
    assert (weight(usual), weight(changed)) == (wanted(usual_shares()), wanted(600))


def monitors(engine: Engine) -> list[int]:
    return [pid for pid in of_root(engine.root) if command(pid) == "conmon"]


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return ""


@pytest.mark.skipif(path_of(os.getpid()) != "/", reason="a service manager has placed this process")
def test_the_daemon_comes_first_and_monitors_do_not(own_engine: Engine) -> None:
    engine = own_engine
    assert engine.process is not None
    assert path_of(engine.process.pid) == ENGINE
    container = engine.run("sleep", "1000")
    [monitor] = monitors(engine)
    eventually(lambda: path_of(monitor) == "/")
    assert path_of(engine.inspect(container)["State"]["Pid"]) == f"/wherry/{container}"
    # Killed before the monitor had left: the next daemon sees to it.
    engine.kill()
    assert place(ENGINE, monitor)
    engine.start()
    eventually(lambda: path_of(monitor) == "/")
    engine.remove_containers()
    assert engine.stop() == 0

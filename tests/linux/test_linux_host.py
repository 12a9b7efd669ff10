"""Host facts, capabilities, processes, devices, directory watches, compiled filters."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import Invalid
from wherry.linux import pidfd
from wherry.linux.capabilities import NAMES, bounding_set
from wherry.linux.devices import below, block_device_numbers, resolve
from wherry.linux.host import HostFacts, gather, parse_list, parse_os_release, warnings
from wherry.linux.inotify import DirectoryWatch
from wherry.linux.seccompfilter import FilterCache, Unsupported, compile_filter
from wherry.linux.unixdiag import accepted


@given(st.sets(st.integers(0, 300)))
def test_lists_of_numbers(numbers: set[int]) -> None:
    assert parse_list(",".join(map(str, sorted(numbers)))) == numbers


@pytest.mark.parametrize("text", ["3-1", "a", "1-", "-2", "0-99999999"])
def test_no_lists_of_numbers(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_list(text)


def test_ranges() -> None:
    assert parse_list("0-2,5\n") == {0, 1, 2, 5}


def test_os_release() -> None:
    text = '# a comment\nPRETTY_NAME="My \\"OS\\""\nVERSION_ID=\'12\'\nID=x\nnonsense\n'
    assert parse_os_release(text) == {
        "PRETTY_NAME": 'My "OS"',
        "VERSION_ID": "12",
        "ID": "x",
    }


def test_facts_of_this_host() -> None:
    facts = gather()
    assert facts.memory > 1 << 26
    assert facts.cpus >= 1
    assert facts.kernel == os.uname().release
    assert facts.capabilities == bounding_set()
    assert facts.rlimits["nofile"][1] != 0
    assert facts.boot_time > 0


def test_what_is_missing_is_said() -> None:
    full = HostFacts(init_path="/usr/bin/tini")
    assert warnings(full) == []
    poor = HostFacts(controllers=frozenset(), seccomp=False, capabilities=frozenset(), hybrid=True)
    said = "\n".join(warnings(poor))
    for word in ("memory limit", "pids limit", "seccomp", "init binary", "Hybrid", "SYS_RESOURCE"):
        assert word in said


def test_capability_names_are_in_the_kernels_order() -> None:
    assert NAMES.index("CAP_SYS_ADMIN") == 21
    assert NAMES.index("CAP_CHECKPOINT_RESTORE") == 40
    assert len(set(NAMES)) == len(NAMES)


def _sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "100"])


async def test_a_process_is_told_from_one_with_its_number() -> None:
    child = _sleeper()
    try:
        started = pidfd.start_time(child.pid)
        assert started is not None
        assert pidfd.is_alive(child.pid, started)
        assert not pidfd.is_alive(child.pid, started + 1)
        assert pidfd.open_process(child.pid, started + 1) is None
        assert not pidfd.send_signal(child.pid, started + 1, 9)
        waiting = asyncio.gather(pidfd.wait_pid(child.pid, started), pidfd.wait_pid(child.pid))
        assert await pidfd.end_process(child.pid, started)
        await asyncio.wait_for(waiting, 10)
        assert pidfd.start_time(child.pid) is None, "a zombie has ended"
    finally:
        child.kill()
        child.wait()
    await pidfd.wait_pid(child.pid, started)
    assert await pidfd.end_process(child.pid, started)


def test_devices() -> None:
    (null,) = resolve("/dev/null", "/dev/nothing")
    assert (null.path, null.kind, null.major, null.minor) == ("/dev/nothing", "c", 1, 3)
    with pytest.raises(Invalid, match=r'"/dev/absent": no such file or directory'):
        resolve("/dev/absent", "")
    with pytest.raises(Invalid, match="not a device node"):
        resolve("/etc/passwd", "")
    with pytest.raises(Invalid, match="not a block device"):
        block_device_numbers("/dev/null")


def test_devices_below_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("/dev/null")
    assert below(str(tmp_path)) == []
    with pytest.raises(Invalid):
        resolve(str(tmp_path), "/dev/x")


async def test_a_directory_watch_wakes(tmp_path: Path) -> None:
    watch = DirectoryWatch(tmp_path)
    try:
        waiting = asyncio.gather(watch.changed(30))
        await asyncio.sleep(0)
        (tmp_path / "new").write_text("x")
        await asyncio.wait_for(waiting, 10)
        stop: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = asyncio.gather(watch.changed(30, stop))
        await asyncio.sleep(0)
        stop.set_result(None)
        await asyncio.wait_for(waiting, 10)
    finally:
        watch.close()


PROFILE = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "syscalls": [{"names": ["read", "no_such_call"], "action": "SCMP_ACT_ALLOW"}],
}


def test_a_filter_compiles() -> None:
    program = compile_filter(PROFILE)
    assert len(program) % 8 == 0
    assert len(program) > 16
    more = {**PROFILE, "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"}]}
    assert len(compile_filter(more)) > len(program)


@pytest.mark.parametrize(
    "profile",
    [
        {"defaultAction": "SCMP_ACT_NOTIFY"},
        {"defaultAction": "SCMP_ACT_KILL", "architectures": ["SCMP_ARCH_NONE_SUCH"]},
        {"defaultAction": "SCMP_ACT_KILL", "flags": ["SECCOMP_FILTER_FLAG_LOG"]},
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [
                {
                    "names": ["read"],
                    "action": "SCMP_ACT_ALLOW",
                    "args": [
                        {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
                        {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"},
                    ],
                }
            ],
        },
    ],
)
def test_what_the_runtime_must_compile_itself(profile: Mapping[str, object]) -> None:
    with pytest.raises(Unsupported):
        compile_filter(profile)


def test_a_filter_is_compiled_once() -> None:
    asked = []

    def compiler(profile: Mapping[str, object]) -> bytes:
        asked.append(profile)
        if profile.get("bad"):
            raise Unsupported("bad")
        return b"program"

    cache = FilterCache(compiler)
    threads = [threading.Thread(target=cache.get, args=(b"k", {})) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.get(b"k", {}) == b"program"
    assert len(asked) == 1
    assert cache.get(b"bad", {"bad": True}) is None
    assert cache.get(b"bad", {"bad": True}) is None
    assert len(asked) == 2


def test_a_connection_is_told_from_an_accepted_one(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(4)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.connect(str(tmp_path / "s"))
            if accepted(client) is None:
                pytest.skip("this kernel does not tell")
            assert accepted(client) is False
            other, _ = listener.accept()
            with other:
                assert accepted(client) is True
    with socket.socket(socket.AF_INET) as strange:
        assert accepted(strange) is None

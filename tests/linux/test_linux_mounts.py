"""Mount logic on the recording kernel: order of calls, fall-backs, nothing left open."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import Internal, NotImplementedYet
from wherry.linux.mounts import (
    Overlay,
    escape_overlay,
    mount_of,
    mount_overlay,
    overlay_options,
    parse_mountinfo,
)
from wherry.linux.namespaces import Hidden, PrivateMounts
from wherry.linux.syscalls import (
    CLONE_NEWNS,
    MS_BIND,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    LinuxSyscalls,
    RecordingSyscalls,
)

STACK = Overlay(["/top", "/base"], "/up", "/work", "/merged")


def test_layers_are_given_one_by_one_topmost_first() -> None:
    calls = RecordingSyscalls()
    mount_overlay(calls, STACK)
    assert calls.calls == [
        ("fsopen", "overlay"),
        ("fsconfig", "source", "overlay"),
        ("fsconfig", "lowerdir+", "/top"),
        ("fsconfig", "lowerdir+", "/base"),
        ("fsconfig", "upperdir", "/up"),
        ("fsconfig", "workdir", "/work"),
        ("fsconfig_create",),
        ("fsmount", 0),
        ("move_mount", "/merged"),
    ]
    assert calls.open == set()


def test_a_kernel_without_the_new_api_gets_the_option_string() -> None:
    for name, number in (("fsopen", errno.ENOSYS), ("fsconfig", errno.EINVAL)):
        calls = RecordingSyscalls({name: number})
        mount_overlay(calls, STACK)
        assert calls.calls[-1] == (
            "mount",
            "overlay",
            "/merged",
            "overlay",
            0,
            "lowerdir=/top:/base,upperdir=/up,workdir=/work",
        )
        assert calls.open == set()


def test_an_old_kernel_is_not_asked_for_what_it_would_log() -> None:
    calls = RecordingSyscalls()
    calls.version = (6, 4)
    mount_overlay(calls, STACK)
    options = "lowerdir=/top:/base,upperdir=/up,workdir=/work"
    assert calls.calls == [("mount", "overlay", "/merged", "overlay", 0, options)]


def test_the_version_of_the_kernel_that_runs() -> None:
    major, minor = LinuxSyscalls().kernel()
    assert os.uname().release.startswith(f"{major}.{minor}")


def test_long_paths_are_shortened_through_descriptors() -> None:
    calls = RecordingSyscalls({"fsopen": errno.ENOSYS})
    layers = [f"/{'x' * 100}/{n}" for n in range(60)]
    mount_overlay(calls, Overlay(layers, "/up", "/work", "/merged"))
    data = str(calls.calls[-1][-1])
    assert data.startswith("lowerdir=/proc/thread-self/fd/101:/proc/thread-self/fd/102")
    assert len(data) < 4096
    assert calls.open == set()


def test_too_many_layers_for_an_old_kernel_is_said() -> None:
    calls = RecordingSyscalls({"fsopen": errno.ENOSYS})
    with pytest.raises(NotImplementedYet, match="500 layers"):
        mount_overlay(calls, Overlay([f"/{n:0100}" for n in range(500)], "/u", "/w", "/m"))
    assert calls.open == set()


def test_a_refusal_is_an_error_and_closes_everything() -> None:
    for name in ("fsconfig_create", "fsmount", "move_mount"):
        calls = RecordingSyscalls({name: errno.EPERM})
        with pytest.raises(Internal, match="cannot mount the file system at /merged"):
            mount_overlay(calls, STACK)
        assert calls.open == set()


def test_one_read_only_layer_is_a_bind() -> None:
    calls = RecordingSyscalls()
    mount_overlay(calls, Overlay(["/only"], None, None, "/m"))
    assert calls.names() == ["mount", "mount"]
    assert calls.calls[0] == ("mount", "/only", "/m", None, MS_BIND, None)
    assert int(str(calls.calls[1][4])) & MS_RDONLY


def test_no_layer_is_an_error() -> None:
    with pytest.raises(Internal):
        mount_overlay(RecordingSyscalls(), Overlay([], "/u", "/w", "/m"))


@given(st.lists(st.text(st.characters(exclude_characters="\0"), min_size=1), min_size=1))
def test_separators_in_paths_are_escaped(paths: list[str]) -> None:
    text = overlay_options(Overlay(paths, "/u", "/w", "/m"))
    inside = text.removeprefix("lowerdir=").removesuffix(",upperdir=/u,workdir=/w")
    parts, current, at = [], "", 0
    while at < len(inside):
        if inside[at] == "\\":
            current += inside[at + 1]
            at += 2
        elif inside[at] == ":":
            parts.append(current)
            current = ""
            at += 1
        else:
            assert inside[at] != ","
            current += inside[at]
            at += 1
    assert [*parts, current] == paths


def test_escape() -> None:
    assert escape_overlay("/a:b,c\\d") == "/a\\:b\\,c\\\\d"


async def test_a_private_namespace_hides_what_it_shall() -> None:
    calls = RecordingSyscalls()
    mounts = PrivateMounts(
        calls, hide=[Hidden("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/empty")]
    )
    assert await mounts.run(lambda: 7) == 7
    assert calls.calls == [
        ("unshare", CLONE_NEWNS),
        ("mount", None, "/sys/fs/cgroup", None, MS_PRIVATE | MS_REC, None),
        ("mount", "/empty", "/sys/fs/cgroup/unified", None, MS_BIND, None),
    ]


async def test_errors_in_a_private_namespace_come_back() -> None:
    mounts = PrivateMounts(RecordingSyscalls({"unshare": errno.EPERM}))
    with pytest.raises(PermissionError):
        await mounts.run(lambda: 1)
    mounts = PrivateMounts(RecordingSyscalls())
    with pytest.raises(ZeroDivisionError):
        await mounts.run(lambda: 1 // 0)


MOUNTINFO = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
36 35 98:0 /mnt1 /mnt2 rw,noatime shared:12 master:1 - ext3 /dev/root rw,errors=continue
40 27 0:30 / /with\040space\011and\134 ro - tmpfs none rw,size=1k
broken line
"""


def test_mountinfo() -> None:
    proc, shared, odd = parse_mountinfo(MOUNTINFO)
    assert (proc.target, proc.fstype, proc.shared) == ("/proc", "proc", False)
    assert shared.shared
    assert shared.propagation == ("shared:12", "master:1")
    assert (shared.root, shared.source) == ("/mnt1", "/dev/root")
    assert odd.target == "/with space\tand\\"
    assert odd.super_options == ("rw", "size=1k")


def test_mount_of_takes_the_longest_and_last() -> None:
    text = "\n".join(
        f"{n} 1 0:{n} / {target} rw - tmpfs t rw"
        for n, target in enumerate(["/", "/a", "/a/b", "/a/b", "/ab"])
    )
    entries = parse_mountinfo(text)
    found = mount_of(entries, "/a/b/c")
    assert found is not None
    assert found.mount_id == 3
    found = mount_of(entries, "/abc")
    assert found is not None
    assert found.target == "/"


def test_our_own_table_can_be_read() -> None:
    entries = parse_mountinfo(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    assert any(entry.target == "/" for entry in entries)


def test_a_path_may_hold_what_ends_lines_elsewhere() -> None:
    line = "30 24 0:27 / /data/a\u2028b\x0cc rw shared:1 - tmpfs tmpfs rw"
    (entry,) = parse_mountinfo(f"{line}\n")
    assert entry.target == "/data/a\u2028b\x0cc"

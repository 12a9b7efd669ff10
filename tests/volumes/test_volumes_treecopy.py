"""Copies of trees, and the first filling of a volume, in memory of a process without privileges."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.errors import Exhausted
from wherry.linux import exchange
from wherry.linux.syscalls import LinuxSyscalls
from wherry.volumes import filling
from wherry.volumes.treecopy import Stopped, TreeCopy

FLAGS = os.O_RDONLY | os.O_DIRECTORY


def copied(source: Path, target: Path, stop: threading.Event | None = None) -> None:
    target.mkdir(exist_ok=True)
    reader, writer = os.open(source, FLAGS), os.open(target, FLAGS)
    try:
        TreeCopy(LinuxSyscalls(), reader, writer, stop).run()
    finally:
        os.close(reader)
        os.close(writer)


def looks(root: Path) -> dict[str, Any]:
    """All that a copy must keep, by path."""
    found: dict[str, Any] = {}
    inodes: dict[int, str] = {}
    for path in [root, *sorted(root.rglob("*"))]:
        name = str(path.relative_to(root))
        stat = path.lstat()
        content: object = None
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = (path.read_bytes(), inodes.setdefault(stat.st_ino, name))
        found[name] = (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_mtime_ns, content)
    return found


NAMES = st.sampled_from(["a", "b", "c", "é", "x y"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
FILES = st.dictionaries(
    PATHS, st.tuples(st.binary(max_size=300), st.integers(0, 0o777)), max_size=12
)


@settings(max_examples=40, deadline=None)
@given(FILES, st.lists(st.tuples(PATHS, st.sampled_from(["soft", "hard", "hole"])), max_size=6))
def test_a_copy_looks_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    files: dict[str, tuple[bytes, int]],
    links: list[tuple[str, str]],
) -> None:
    root = tmp_path_factory.mktemp("tree")
    source = root / "source"
    source.mkdir(mode=0o751)
    regular = []
    for name, (content, mode) in files.items():
        path = source / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError:
            continue
        path.chmod(mode | 0o400)
        os.utime(path, ns=(10**18, 10**18 + len(content)))
        regular.append(path)
    for name, kind in links:
        path = source / f"{name}.{kind}"
        if not path.parent.is_dir() or os.path.lexists(path):
            continue
        if kind == "soft":
            path.symlink_to(f"../{name}")
        elif kind == "hard" and regular:
            path.hardlink_to(regular[0])
        else:
            with path.open("wb") as file:
                file.truncate(1 << 20)
                file.seek(300_000)
                file.write(b"data")
    copied(source, root / "target")
    assert looks(root / "target") == looks(source)


def test_attributes_and_holes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "d").mkdir(parents=True)
    file = source / "d" / "file"
    with file.open("wb") as opened:
        opened.truncate(64 << 20)
        opened.seek(1 << 20)
        opened.write(b"x" * 5000)
    for path in (file, source / "d"):
        os.setxattr(path, "user.note", b"kept")
    copied(source, tmp_path / "target")
    found = tmp_path / "target" / "d" / "file"
    assert found.read_bytes() == file.read_bytes()
    assert found.stat().st_blocks < 1000
    assert os.getxattr(found, "user.note") == b"kept"
    assert os.getxattr(found.parent, "user.note") == b"kept"


def test_a_full_disk_is_told_with_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "source" / "d").mkdir(parents=True)
    (tmp_path / "source" / "d" / "file").write_bytes(b"x")

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.write", full)
    with pytest.raises(Exhausted, match=r"^d/file: No space left on device$"):
        copied(tmp_path / "source", tmp_path / "target")


def test_a_copy_that_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(b"x")
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        copied(tmp_path / "source", tmp_path / "target", stop)
    assert list((tmp_path / "target").iterdir()) == []


def test_links_that_lead_out_are_copied_as_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    source = tmp_path / "source"
    source.mkdir()
    (source / "link").symlink_to(outside)
    copied(source, tmp_path / "target")
    assert (tmp_path / "target" / "link").readlink() == outside


def test_what_was_copied_whole_is_put_in_place(tmp_path: Path) -> None:
    """At any point of it, again and again; what is there already stays."""
    whole = tmp_path / filling.COPIED
    (whole / "d").mkdir(parents=True)
    (whole / "d" / "f").write_text("image")
    (whole / "taken").write_text("image")
    (whole / "folder").mkdir()
    (whole / "folder" / "g").write_text("image")
    whole.chmod(0o2750)
    (tmp_path / "taken").write_text("container")
    (tmp_path / "folder").mkdir()
    (tmp_path / filling.COPYING / "part").mkdir(parents=True)
    for _ in range(2):
        filling.recover(tmp_path)
        assert sorted(os.listdir(tmp_path)) == ["d", "folder", "taken"]
    assert (tmp_path / "d" / "f").read_text() == "image"
    assert (tmp_path / "taken").read_text() == "container"
    assert os.listdir(tmp_path / "folder") == []
    assert tmp_path.stat().st_mode & 0o7777 == 0o2750


@pytest.mark.parametrize("able", [True, False])
def test_swaps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, able: bool) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one, other):
        path.mkdir()
        (path / path.name).touch()
    if not able:

        def refuse(*arguments: object) -> None:
            raise OSError(errno.EINVAL, "no")

        monkeypatch.setattr(exchange, "_rename", refuse)
    exchange.exchange(one, other)
    assert os.listdir(other) == ["one"]
    assert os.listdir(one) == ["other"]
    assert exchange.settle(other) is None


def test_a_swap_that_was_cut_short(tmp_path: Path) -> None:
    other, aside = tmp_path / "other", tmp_path / "other.swap"
    aside.mkdir()
    assert exchange.settle(other) is None
    assert other.is_dir()
    aside.mkdir()
    assert exchange.settle(other) == aside

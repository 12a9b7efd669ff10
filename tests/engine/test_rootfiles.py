"""Files in and out of a root directory: what goes in comes out, and nothing leaves it."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wherry.containers.rootfiles import PutOptions, Root, archive, extract, path_stat
from wherry.errors import Conflict, Invalid, NotFound, WherryError
from wherry.linux.syscalls import LinuxSyscalls
from wherry.trees.flow import Bytes

pytestmark = pytest.mark.root


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    """An open root ``inside``, beside a folder ``outside`` that nothing may touch."""
    for name in ("inside", "outside"):
        (tmp_path / name).mkdir()
    (tmp_path / "outside" / "canary").write_text("alive")
    descriptor = os.open(tmp_path / "inside", os.O_PATH | os.O_DIRECTORY)
    yield Root(descriptor, LinuxSyscalls(), "c1")
    os.close(descriptor)
    assert os.listdir(tmp_path / "outside") == ["canary"]
    assert (tmp_path / "outside" / "canary").read_text() == "alive"
    assert sorted(os.listdir(tmp_path)) == ["inside", "outside"]


def tar_of(*members: tuple[str, bytes, str, bytes]) -> bytes:
    """(name, type, link, data) members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, link, data in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, link, len(data)
            info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o640
            info.uid, info.gid, info.mtime = 12, 34, 1_600_000_000
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


class In:
    """Bytes as an ``Inlet``, a few at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read_into(self, room: memoryview) -> int:
        return self._data.readinto(room[:700])

    def move(self, descriptor: int, size: int) -> int:
        return os.write(descriptor, self._data.read(min(size, 100_000)))


class Out:
    """An ``Outlet`` that keeps all."""

    def __init__(self) -> None:
        self.data = io.BytesIO()

    def write(self, data: Bytes) -> None:
        self.data.write(data)

    def file(self, descriptor: int, size: int) -> None:
        data = os.read(descriptor, size)
        self.data.write(data + bytes(size - len(data)))


def put(root: Root, path: str, data: bytes, options: PutOptions | None = None) -> None:
    extract(root, path, In(data), options or PutOptions())


def get(root: Root, path: str, name: str) -> dict[str, tarfile.TarInfo]:
    out = Out()
    archive(root, [(path, name)], out)
    out.data.seek(0)
    with tarfile.open(fileobj=out.data) as tar:
        return {member.name: member for member in tar.getmembers()}


def test_what_goes_in_comes_out(root: Root, tmp_path: Path) -> None:
    """Owners, modes, times, links and content survive the way in and out."""
    inside = tmp_path / "inside"
    put(
        root,
        "/",
        tar_of(
            ("d", tarfile.DIRTYPE, "", b""),
            ("d/file", tarfile.REGTYPE, "", b"x" * 5000),
            ("d/link", tarfile.SYMTYPE, "file", b""),
            ("d/hard", tarfile.LNKTYPE, "d/file", b""),
            ("d/pipe", tarfile.FIFOTYPE, "", b""),
        ),
    )
    assert (inside / "d/file").read_bytes() == b"x" * 5000
    found = (inside / "d/file").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (12, 34, 0o640)
    assert found.st_mtime == 1_600_000_000
    assert found.st_nlink == 2
    members = get(root, "/d", "renamed")
    assert set(members) == {f"renamed{rest}" for rest in ("", "/file", "/link", "/hard", "/pipe")}
    kinds = {name.rpartition("/")[2]: member.type for name, member in members.items()}
    assert kinds["link"] == tarfile.SYMTYPE
    assert kinds["pipe"] == tarfile.FIFOTYPE
    assert {kinds["file"], kinds["hard"]} == {tarfile.REGTYPE, tarfile.LNKTYPE}
    assert (inside / "d").stat().st_mtime == 1_600_000_000


def test_owner_of_the_container_may_be_asked_for(root: Root, tmp_path: Path) -> None:
    data = tar_of(("f", tarfile.REGTYPE, "", b"1"), ("d", tarfile.DIRTYPE, "", b""))
    put(root, "/", data, PutOptions(owner=(77, 78)))
    for name in ("f", "d"):
        found = (tmp_path / "inside" / name).stat()
        assert (found.st_uid, found.st_gid) == (77, 78)


def test_links_resolve_inside_the_root(root: Root, tmp_path: Path) -> None:
    """An absolute link in the container means the container's path, for reading and writing."""
    inside = tmp_path / "inside"
    (inside / "real").mkdir()
    os.symlink("/real", inside / "absolute")
    os.symlink(str(tmp_path / "outside"), inside / "host")
    put(root, "/absolute", tar_of(("f", tarfile.REGTYPE, "", b"1")))
    assert (inside / "real" / "f").read_bytes() == b"1"
    with pytest.raises(NotFound):
        put(root, "/host", tar_of(("f", tarfile.REGTYPE, "", b"1")))
    stat = path_stat(root, "/absolute")
    assert (stat["name"], stat["linkTarget"]) == ("absolute", "/real")
    assert stat["mode"] & (1 << 27)
    assert path_stat(root, "/absolute/")["mode"] & (1 << 31)


def test_kinds_are_kept_when_asked(root: Root, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    (inside / "d").mkdir()
    (inside / "f").write_text("old")
    strict = PutOptions(keep_kinds=True)
    with pytest.raises(Conflict, match='cannot overwrite directory "/d" with non-directory'):
        put(root, "/", tar_of(("d", tarfile.REGTYPE, "", b"1")), strict)
    with pytest.raises(Conflict, match='cannot overwrite non-directory "/f" with directory'):
        put(root, "/", tar_of(("f", tarfile.DIRTYPE, "", b"")), strict)
    assert (inside / "f").read_text() == "old"
    put(root, "/", tar_of(("f", tarfile.DIRTYPE, "", b"")))
    assert (inside / "f").is_dir()


def test_errors_name_the_path(root: Root, tmp_path: Path) -> None:
    (tmp_path / "inside" / "f").write_text("1")
    with pytest.raises(NotFound, match="Could not find the file /no in container c1"):
        path_stat(root, "/no")
    with pytest.raises(Invalid, match="extraction point is not a directory"):
        put(root, "/f", tar_of(("x", tarfile.REGTYPE, "", b"1")))
    with pytest.raises(Invalid, match="tar"):
        put(root, "/", b"this is not a tar" * 100)
    with pytest.raises(Invalid, match="EOF"):
        put(root, "/", tar_of(("x", tarfile.REGTYPE, "", b"1" * 4000))[:1500])


_PARTS = st.sampled_from(["a", "b", "..", ".", "", "outside", "canary", "l"])
_PATHS = st.lists(_PARTS, min_size=1, max_size=5).map("/".join)
_LINKS = st.one_of(
    _PATHS, st.just("../outside"), st.just("/outside"), st.just("../../outside/canary")
)
_MEMBERS = st.tuples(
    _PATHS,
    st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE]),
    _LINKS,
    st.just(b"evil"),
)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(_MEMBERS, max_size=8))
def test_no_archive_leaves_the_root(
    root: Root, members: list[tuple[str, bytes, str, bytes]]
) -> None:
    """Whatever names and links it holds: unpacked inside, or refused with an error of ours."""
    archive_bytes = tar_of(
        *((n, k, link, d if k == tarfile.REGTYPE else b"") for n, k, link, d in members)
    )
    with contextlib.suppress(WherryError):
        put(root, "/", archive_bytes)

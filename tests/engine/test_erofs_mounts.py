"""EROFS images of layers, read back by the kernel."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wherry.images.layers.erofs import INDEX, TAR, ErofsBackend
from wherry.images.worker import erofs, layertree
from wherry.linux import syscalls
from wherry.store.paths import Paths
from wherry.trees import tarfmt

_CALLS = syscalls.LinuxSyscalls()

pytestmark = pytest.mark.root


@contextmanager
def mounted(folder: Path, archive: bytes) -> Iterator[Path]:
    """The layer ``archive`` as the kernel shows it."""
    folder.mkdir(parents=True, exist_ok=True)
    tar, image, target = folder / "layer.tar", folder / "layer.erofs", folder / "mnt"
    tar.write_bytes(archive)
    target.mkdir(exist_ok=True)
    tree = layertree.build(tarfmt.entries(tarfmt.MappedSource(archive)))
    with image.open("wb") as out:
        erofs.write(tree, out, len(archive))
    _CALLS.mount(str(image), str(target), "erofs", syscalls.MS_RDONLY, f"device={tar}")
    try:
        yield target
    finally:
        _CALLS.umount(str(target))


def archive_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, **more: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in more.items():
        setattr(info, key, value)
    return info


def test_everything_a_layer_can_hold(tmp_path: Path) -> None:
    """Files, folders, links, devices, owners, modes, times, attributes come back as they were."""
    big = os.urandom(70_001)
    archive = archive_of(
        (member("bin", tarfile.DIRTYPE, mode=0o1777, uid=5, gid=70_000, mtime=1_600_000_000), b""),
        (member("bin/big", mode=0o4755, uid=1000, gid=1001, mtime=1_600_000_001), big),
        (member("bin/empty"), b""),
        (member("bin/hard", tarfile.LNKTYPE, linkname="bin/big"), b""),
        (member("short", tarfile.SYMTYPE, linkname="bin/big"), b""),
        (member("long", tarfile.SYMTYPE, linkname="x" * 1500), b""),
        (member("null", tarfile.CHRTYPE, devmajor=1, devminor=3), b""),
        (member("disk", tarfile.BLKTYPE, devmajor=259, devminor=70_000), b""),
        (member("pipe", tarfile.FIFOTYPE), b""),
        (
            member(
                "noted",
                mtime=1_600_000_002.5,
                pax_headers={"SCHILY.xattr.user.note": "hello", "SCHILY.xattr.trusted.t": "1"},
            ),
            b"x",
        ),
        (member("no/parent/mentioned"), b"y"),
    )
    with mounted(tmp_path, archive) as root:
        assert (root / "bin/big").read_bytes() == big
        found = (root / "bin/big").stat()
        assert (found.st_mode, found.st_uid, found.st_gid) == (stat.S_IFREG | 0o4755, 1000, 1001)
        assert found.st_mtime_ns == 1_600_000_001 * 10**9
        assert found.st_nlink == 2
        assert (root / "bin/hard").stat().st_ino == found.st_ino
        folder = (root / "bin").stat()
        assert (folder.st_mode, folder.st_uid, folder.st_gid) == (stat.S_IFDIR | 0o1777, 5, 70_000)
        assert (root / "bin/empty").read_bytes() == b""
        assert os.readlink(root / "short") == "bin/big"
        assert os.readlink(root / "long") == "x" * 1500
        assert os.lstat(root / "null").st_rdev == os.makedev(1, 3)
        assert os.lstat(root / "disk").st_rdev == os.makedev(259, 70_000)
        assert stat.S_ISFIFO(os.lstat(root / "pipe").st_mode)
        assert os.getxattr(root / "noted", "user.note") == b"hello"
        assert os.getxattr(root / "noted", "trusted.t") == b"1"
        assert (root / "noted").stat().st_mtime_ns == 1_600_000_002_500_000_000
        assert (root / "no/parent").stat().st_mode == stat.S_IFDIR | 0o755


def test_whiteouts_become_those_of_overlayfs(tmp_path: Path) -> None:
    archive = archive_of(
        (member("etc", tarfile.DIRTYPE), b""),
        (member("etc/.wh.passwd"), b""),
        (member("var", tarfile.DIRTYPE), b""),
        (member("var/.wh..wh..opq"), b""),
        (member("var/new"), b"n"),
        (member(".wh..wh.plnk", tarfile.DIRTYPE), b""),
    )
    with mounted(tmp_path, archive) as root:
        gone = os.lstat(root / "etc/passwd")
        assert stat.S_ISCHR(gone.st_mode)
        assert gone.st_rdev == 0
        assert os.getxattr(root / "var", "trusted.overlay.opaque") == b"y"
        assert sorted(os.listdir(root)) == ["etc", "var"]


def test_a_layer_cannot_steer_overlayfs(tmp_path: Path) -> None:
    headers = {"SCHILY.xattr.trusted.overlay.redirect": "/etc"}
    archive = archive_of((member("d", tarfile.DIRTYPE, pax_headers=headers), b""))
    with mounted(tmp_path, archive) as root:
        assert os.listxattr(root / "d") == []


def test_names_that_lead_out_stay_inside(tmp_path: Path) -> None:
    archive = archive_of(
        (member("../../escape"), b"1"),
        (member("/absolute"), b"2"),
        (member("a/../../b"), b"3"),
    )
    with mounted(tmp_path, archive) as root:
        assert sorted(os.listdir(root)) == ["absolute", "b", "escape"]


def test_a_path_through_a_link_is_left_to_the_unpacker() -> None:
    archive = archive_of(
        (member("link", tarfile.SYMTYPE, linkname="/etc"), b""), (member("link/passwd"), b"x")
    )
    with pytest.raises(layertree.NotIndexable, match="symbolic link"):
        layertree.build(tarfmt.entries(tarfmt.MappedSource(archive)))


_NAMES = st.text("abcdefgh.-_", min_size=1, max_size=40).filter(lambda s: s not in (".", ".."))
_TREES = st.dictionaries(
    st.lists(_NAMES, min_size=1, max_size=4).map("/".join).filter(lambda s: "/.wh." not in f"/{s}"),
    st.binary(max_size=3000),
    max_size=60,
)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(_TREES)
def test_any_tree_reads_back(tmp_path: Path, files: dict[str, bytes]) -> None:
    """Whatever files and folders a layer has, the kernel lists and reads exactly these."""
    wanted = {
        name: data
        for name, data in files.items()
        if not any(other.startswith(name + "/") for other in files)
    }
    archive = archive_of(*((member(name), data) for name, data in wanted.items()))
    with mounted(tmp_path, archive) as root:
        found = {
            os.path.relpath(os.path.join(folder, name), root): Path(folder, name).read_bytes()
            for folder, _, names in os.walk(root)
            for name in names
        }
    assert found == wanted


def test_the_same_members_give_the_same_bytes() -> None:
    archive = archive_of((member("a/b"), b"1"), (member("c"), b"2"))
    images = []
    for _ in range(2):
        out = io.BytesIO()
        tree = layertree.build(tarfmt.entries(tarfmt.MappedSource(archive)))
        erofs.write(tree, out, len(archive))
        images.append(out.getvalue())
    assert images[0] == images[1]


def test_what_a_killed_daemon_tried_is_cleared(tmp_path: Path) -> None:
    """It was killed between the mount of the empty layer and its end."""
    paths = Paths(tmp_path / "data", tmp_path / "run")
    folder = paths.tmp / "probe-0badcafe"
    folder.mkdir(parents=True)
    image = io.BytesIO()
    erofs.write(layertree.Tree(), image, 0)
    (folder / INDEX).write_bytes(image.getvalue())
    (folder / TAR).write_bytes(bytes(1024))
    target = folder / "mnt"
    target.mkdir()
    device = f"device={folder / TAR}"
    _CALLS.mount(str(folder / INDEX), str(target), "erofs", syscalls.MS_RDONLY, device)
    try:
        assert ErofsBackend(paths).available()
        assert list(paths.tmp.iterdir()) == []
    finally:
        if os.path.ismount(target):
            _CALLS.umount(str(target), syscalls.MNT_DETACH)

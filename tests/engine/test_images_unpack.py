"""Layers unpacked and mounted: nothing leaves the folder, and both back ends show the same."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.engine import archives
from tests.engine.archives import info
from tests.support.machine import temporary_root

from wherry.errors import Invalid, WherryError
from wherry.images.worker import layer
from wherry.linux.syscalls import MS_RDONLY, LinuxSyscalls
from wherry.trees import tarwrite

pytestmark = pytest.mark.root

_CALLS = LinuxSyscalls()


@pytest.fixture
def area() -> Iterator[Path]:
    folder = temporary_root()
    yield folder
    shutil.rmtree(folder)


def make(area: Path, archive: bytes, backend: str = layer.FOLDER) -> layer.Made:
    """The layer of ``archive`` in a fresh folder below ``area``."""
    work = Path(tempfile.mkdtemp(dir=area))
    tar = work / "some.tar"
    tar.write_bytes(archive)
    return layer.make(tar, archives.sha(archive), work / "layer", backend)


def unpacked(area: Path, archive: bytes) -> Path:
    return Path(make(area, archive).folder) / "fs"


def snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything a container could see of a layer."""
    found: dict[str, tuple[object, ...]] = {}
    inodes: dict[int, str] = {}
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted([*folders, *names, *["."] * (folder == str(root))]):
            path = os.path.join(folder, name)
            shown = os.path.relpath(path, root)
            status = os.lstat(path)
            content: object = None
            if stat.S_ISREG(status.st_mode):
                content = Path(path).read_bytes()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            first = shown
            if not stat.S_ISDIR(status.st_mode):
                first = inodes.setdefault(status.st_ino, shown)
            attributes = {
                key: os.getxattr(path, key, follow_symlinks=False)
                for key in os.listxattr(path, follow_symlinks=False)
            }
            whiteout = stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
            found[shown] = (
                # Nobody sees a whiteout's mode or time.
                "whiteout" if whiteout else status.st_mode,
                status.st_uid,
                status.st_gid,
                status.st_rdev,
                0 if whiteout else status.st_mtime_ns,
                content,
                first,
                tuple(sorted(attributes.items())),
            )
    return found


# ---- what a layer can hold


def test_attributes_are_kept(area: Path) -> None:
    root = unpacked(
        area,
        archives.tar(
            [
                (info("d", tarfile.DIRTYPE, mode=0o2750, uid=7, gid=8, mtime=1_500_000_000), b""),
                (
                    info(
                        "d/f",
                        mode=0o6755,
                        uid=1000,
                        gid=1001,
                        pax_headers={
                            "mtime": "1600000000.123456789",
                            "SCHILY.xattr.user.note": "hello",
                            "SCHILY.xattr.trusted.overlay.redirect": "/etc",
                        },
                    ),
                    b"content",
                ),
                (info("d/hard", tarfile.LNKTYPE, "d/f"), b""),
                (info("d/link", tarfile.SYMTYPE, "/nowhere", uid=3, gid=4), b""),
                (info("null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666), b""),
                (info("pipe", tarfile.FIFOTYPE, mode=0o600), b""),
                (info("x" * 120 + "/" + "y" * 200), b"long"),
            ]
        ),
    )
    found = (root / "d/f").stat()
    assert (found.st_mode, found.st_uid, found.st_gid) == (stat.S_IFREG | 0o6755, 1000, 1001)
    assert found.st_mtime_ns == 1_600_000_000_123_456_789
    assert found.st_nlink == 2
    assert os.listxattr(root / "d/f") == ["user.note"]
    folder = (root / "d").stat()
    assert (folder.st_mode, folder.st_uid, folder.st_gid) == (stat.S_IFDIR | 0o2750, 7, 8)
    assert folder.st_mtime_ns == 1_500_000_000 * 10**9
    link = (root / "d/link").lstat()
    assert (os.readlink(root / "d/link"), link.st_uid, link.st_gid) == ("/nowhere", 3, 4)
    assert (root / "null").lstat().st_rdev == os.makedev(1, 3)
    assert stat.S_IMODE((root / "null").lstat().st_mode) == 0o666
    assert stat.S_ISFIFO((root / "pipe").lstat().st_mode)
    assert (root / ("x" * 120) / ("y" * 200)).read_bytes() == b"long"


def test_capabilities_are_kept(area: Path) -> None:
    value = bytes.fromhex("0100000200200000" + "00" * 12)
    member_ = tarwrite.member(
        b"ping",
        b"0",
        tarwrite.Attributes(mode=0o755, uid=9, xattrs={b"security.capability": value}),
    )
    root = unpacked(area, member_ + tarwrite.END)
    assert os.getxattr(root / "ping", "security.capability") == value


def test_whiteouts_speak_of_layers_below_only(area: Path) -> None:
    root = unpacked(
        area,
        archives.files(
            {
                "kept": b"here",
                ".wh.kept": b"",
                ".wh.gone": b"",
                "d/new": b"",
                "d/.wh..wh..opq": b"",
                "e/.wh.sub": b"",
                "e/sub/file": b"again",
                "f/sub/file": b"before",
                "f/.wh.sub": b"",
            }
        ),
    )
    assert (root / "kept").read_bytes() == b"here"
    assert (root / "gone").lstat().st_rdev == 0
    for folder in ("d", "e/sub", "f/sub"):
        assert os.getxattr(root / folder, "trusted.overlay.opaque") == b"y"
    assert (root / "e/sub/file").read_bytes() == b"again"
    assert (root / "f/sub/file").read_bytes() == b"before"


def test_sparse_files_stay_sparse(area: Path) -> None:
    source = area / "sparse"
    with source.open("wb") as file:
        file.seek(50 << 20)
        file.write(b"end" * 1000)
        file.truncate(100 << 20)
    os.system(f"tar -C {area} -S --format=gnu -cf {area}/gnu.tar sparse")
    os.system(f"tar -C {area} -S --format=pax -cf {area}/pax.tar sparse")
    want = source.read_bytes()
    for name in ("gnu.tar", "pax.tar"):
        data = (area / name).read_bytes()
        assert len(data) < 1 << 20
        file_ = unpacked(area, data) / "sparse"
        assert file_.read_bytes() == want
        assert file_.stat().st_blocks * 512 < 1 << 20


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (archives.tar([(info("a", tarfile.LNKTYPE, "missing"), b"")]), "No such file"),
        (archives.tar([(info("f"), b"1"), (info("f/below"), b"2")]), "Not a directory"),
        (archives.files({"a": b"1" * 600})[:-9700], "unexpected EOF"),
        (b"x" * 512, "invalid tar header"),
        (archives.files({"a" * 300: b"1"}), "File name too long"),
    ],
)
@pytest.mark.parametrize("backend", [layer.FOLDER, layer.INDEXED])
def test_broken_layers_are_refused(area: Path, archive: bytes, message: str, backend: str) -> None:
    with pytest.raises(Invalid, match=f"Error processing tar file: .*{message}"):
        make(area, archive, backend)


def test_a_sparse_file_of_terabytes_costs_nothing(area: Path) -> None:
    pax = {"GNU.sparse.size": str(8 << 40), "GNU.sparse.map": "0,512"}
    archive = archives.tar([(info("huge", pax_headers=pax), b"x" * 512)])
    made = make(area, archive, layer.INDEXED)
    assert made.kind == layer.FOLDER
    assert (Path(made.folder) / "fs/huge").stat().st_size == 8 << 40


# ---- nothing leaves the folder

_PARTS = ["a", "b", "..", ".", "", "canary", "area"]
_LINKS = ["..", "/", "../..", "../../..", "a", "b", "/a", "a/..", "../canary", "/etc", "CANARY"]
_path = st.lists(st.sampled_from(_PARTS), min_size=1, max_size=5).map("/".join)
_target = st.sampled_from(_LINKS) | _path
_kinds = st.sampled_from(
    [
        tarfile.REGTYPE,
        tarfile.DIRTYPE,
        tarfile.SYMTYPE,
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.FIFOTYPE,
        tarfile.CHRTYPE,
    ]
)
_marks = st.sampled_from(["", "", "", ".wh.", ".wh..wh..opq"])


@st.composite
def _hostile(draw: st.DrawFn) -> list[tuple[str, bytes, str]]:
    """(name, kind, link): names through links, over links, up and out."""
    members = []
    for _ in range(draw(st.integers(1, 12))):
        path = draw(_path)
        mark = draw(_marks)
        if mark == ".wh..wh..opq":
            path += "/" + mark
        elif mark:
            head, slash, last = path.rpartition("/")
            path = head + slash + mark + (last or "x")
        members.append((path or "/", draw(_kinds), draw(_target)))
    return members


def archive_of(members: list[tuple[str, bytes, str]], canary: Path) -> bytes:
    return archives.tar(
        [
            (
                info(name, kind, link.replace("CANARY", str(canary)), uid=12345, mode=0o4777),
                b"overwritten" if kind == tarfile.REGTYPE else b"",
            )
            for name, kind, link in members
        ]
    )


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(_hostile())
@example([("a", tarfile.SYMTYPE, "CANARY"), ("a/file", tarfile.REGTYPE, "")])
@example([("a", tarfile.SYMTYPE, "../.."), ("a/canary/file", tarfile.REGTYPE, "")])
@example([("a", tarfile.LNKTYPE, "CANARY/file"), ("a", tarfile.REGTYPE, "")])
@example([("a", tarfile.LNKTYPE, "../../canary/file")])
@example(
    [
        ("a", tarfile.DIRTYPE, ""),
        ("a/b", tarfile.REGTYPE, ""),
        ("a", tarfile.SYMTYPE, "../../canary"),
        ("a/file", tarfile.REGTYPE, ""),
        ("a/.wh.file", tarfile.REGTYPE, ""),
        ("a/.wh..wh..opq", tarfile.REGTYPE, ""),
    ]
)
@example([("b", tarfile.SYMTYPE, "CANARY"), ("b", tarfile.DIRTYPE, "")])
@example([("a", tarfile.SYMTYPE, "CANARY/file"), ("a", tarfile.REGTYPE, "")])
def test_no_archive_writes_outside(members: list[tuple[str, bytes, str]]) -> None:
    """Whatever members come in whatever order, what lies beside the folder stays as it was."""
    outside = temporary_root()
    try:
        canary = outside / "canary"
        canary.mkdir()
        (canary / "file").write_bytes(b"alive")
        work = outside / "area"
        work.mkdir()
        before = snapshot(outside)
        archive = archive_of(members, canary)
        tar = work / "layer.tar"
        tar.write_bytes(archive)
        try:
            layer.make(tar, archives.sha(archive), work / "layer", layer.FOLDER)
        except Invalid:
            pass
        after = {
            path: each
            for path, each in snapshot(outside).items()
            if path != "area" and not path.startswith("area/")
        }
        before.pop("area")
        assert after == before
    finally:
        shutil.rmtree(outside)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(_hostile())
@example([("a/.wh.b", tarfile.REGTYPE, ""), ("a/b", tarfile.DIRTYPE, "")])
@example([("a/b", tarfile.REGTYPE, ""), ("a/b", tarfile.LNKTYPE, "a/b")])
@example([("a", tarfile.REGTYPE, ""), ("b", tarfile.LNKTYPE, "a"), ("a", tarfile.FIFOTYPE, "")])
def test_both_back_ends_show_the_same(members: list[tuple[str, bytes, str]]) -> None:
    """An archive is refused by both back ends or looks the same through both."""
    area = temporary_root()
    try:
        archive = archive_of(members, Path("/nowhere"))
        shown: list[object] = []
        for backend in (layer.FOLDER, layer.INDEXED):
            try:
                made = make(area, archive, backend)
            except WherryError:
                shown.append("refused")
                continue
            shown.append(snapshot_of(made))
        assert shown[0] == shown[1]
    finally:
        shutil.rmtree(area)


def snapshot_of(made: layer.Made) -> dict[str, tuple[object, ...]]:
    folder = Path(made.folder)
    if made.kind == layer.FOLDER:
        return snapshot(folder / "fs")
    target = folder / "mnt"
    target.mkdir()
    device = f"device={folder / 'layer.tar'}"
    _CALLS.mount(str(folder / "index.erofs"), str(target), "erofs", MS_RDONLY, device)
    try:
        return snapshot(target)
    finally:
        _CALLS.umount(str(target))

"""Users and groups by name and number, and reading their files without leaving the root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import Invalid
from wherry.runtime.users import ResolvedUser, locate, read_in_layers, read_in_root, resolve

PASSWD = """root:x:0:0:root:/root:/bin/sh
# comment:x:9:9::/:
web:x:33:44:Web:/srv:/bin/sh
100:x:7:8:a name of digits:/seven:
broken:x
cut:x:12:13
"""
GROUP = """root:x:0:
www:x:44:
extra:x:50:other,web
more:x:51:web
"""


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (None, ResolvedUser(0, 0, (0,), "/root", "root")),
        ("", ResolvedUser(0, 0, (0,), "/root", "root")),
        ("web", ResolvedUser(33, 44, (44, 50, 51), "/srv", "web")),
        ("33", ResolvedUser(33, 44, (44, 50, 51), "/srv", "web")),
        ("web:root", ResolvedUser(33, 0, (0,), "/srv", "web")),
        ("web:", ResolvedUser(33, 44, (44, 50, 51), "/srv", "web")),
        ("web:999", ResolvedUser(33, 999, (999,), "/srv", "web")),
        ("5:6", ResolvedUser(5, 6, (6,), "/", "")),
        (":www", ResolvedUser(0, 44, (44,), "/root", "root")),
        ("100", ResolvedUser(7, 8, (8,), "/seven", "100")),
        ("cut", ResolvedUser(12, 13, (13,), "/", "cut")),
        ("1234", ResolvedUser(1234, 0, (0,), "/", "")),
    ],
)
def test_resolve(spec: str | None, expected: ResolvedUser) -> None:
    assert resolve(spec, PASSWD, GROUP) == expected


def test_additional_groups() -> None:
    assert resolve("web", PASSWD, GROUP, ["root", "77", "www"]).groups == (44, 50, 51, 0, 77)


@pytest.mark.parametrize(
    ("spec", "groups", "message"),
    [
        ("nobody", None, "unable to find user nobody: no matching entries in passwd file"),
        ("web:none", None, "unable to find group none: no matching entries in group file"),
        ("web", ["none"], "unable to find group none: no matching entries in group file"),
        ("2147483648", None, "uids must be in range 0-2147483647"),
        ("1:2147483648", None, "gids must be in range 0-2147483647"),
        ("-1", None, "unable to find user -1"),
        ("²", None, "unable to find user"),
    ],
)
def test_refused(spec: str, groups: list[str] | None, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        resolve(spec, PASSWD, GROUP, groups)


@given(st.text(max_size=12), st.text(max_size=60), st.text(max_size=60))
def test_any_text_gives_numbers_or_the_one_error(spec: str, passwd: str, group: str) -> None:
    try:
        found = resolve(spec, passwd, group)
    except Invalid:
        return
    assert 0 <= found.uid < 1 << 31
    assert 0 <= found.gid < 1 << 31


def test_numbers_need_no_files() -> None:
    assert resolve("10:20", "", "") == ResolvedUser(10, 20, (20,), "/", "")


def test_reading_never_leaves_the_root(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    for number, target in enumerate(
        [
            str(secret),
            "../../../../.." + str(secret),
            "../../secret",
            "/proc/self/root" + str(secret),
        ]
    ):
        (root / f"etc/link{number}").symlink_to(target)
        assert read_in_root(root, f"/etc/link{number}") == ""
        assert read_in_layers([str(root)], None, f"/etc/link{number}") == ""
    (root / "up").symlink_to("..")
    assert read_in_root(root, "/up/up/secret") == ""
    assert read_in_layers([str(root)], None, "/up/up/../secret") == ""
    (root / "etc/passwd").symlink_to("/real")
    (root / "real").write_text("inside")
    assert read_in_root(root, "etc/passwd") == "inside"


def test_what_is_no_file_reads_as_empty(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    for name in ("pipe", "folder", "loop", "absent", "pipe/below"):
        assert read_in_root(tmp_path, name) == ""
        assert read_in_layers([str(tmp_path)], None, name) == ""
    assert read_in_root(tmp_path / "absent", "x") == ""


def test_layers_cover_each_other(tmp_path: Path) -> None:
    top, base = tmp_path / "top", tmp_path / "base"
    for layer in (top, base):
        (layer / "etc").mkdir(parents=True)
    (base / "etc/passwd").write_text("base")
    (base / "etc/group").write_text("base group")
    (top / "etc/passwd").write_text("top")
    layers = [str(top), str(base)]
    assert read_in_layers(layers, None, "/etc/passwd") == "top"
    assert read_in_layers(layers, None, "/etc/group") == "base group"
    upper = tmp_path / "upper"
    (upper / "etc").mkdir(parents=True)
    (upper / "etc/passwd").symlink_to("../usr/lib/passwd")
    (base / "usr/lib").mkdir(parents=True)
    (base / "usr/lib/passwd").write_text("linked into another layer")
    assert read_in_layers(layers, upper, "/etc/passwd") == "linked into another layer"
    assert locate([str(upper), *layers], "/etc/passwd") == (str(base), "usr/lib/passwd")
    (upper / "usr").write_text("a file where there was a directory")
    assert read_in_layers(layers, upper, "/etc/passwd") == ""


@pytest.mark.root
def test_whiteouts_and_opaque_directories_hide(tmp_path: Path) -> None:
    top, base = tmp_path / "top", tmp_path / "base"
    for layer in (top, base):
        (layer / "etc").mkdir(parents=True)
    (base / "etc/passwd").write_text("base")
    layers = [str(top), str(base)]
    os.mknod(top / "etc/passwd", 0o020000, os.makedev(0, 0))
    assert read_in_layers(layers, None, "/etc/passwd") == ""
    (top / "etc/passwd").unlink()
    assert read_in_layers(layers, None, "/etc/passwd") == "base"
    os.setxattr(top / "etc", "trusted.overlay.opaque", b"y")
    assert read_in_layers(layers, None, "/etc/passwd") == ""

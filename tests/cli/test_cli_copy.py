"""``cp``: names, both directions over the wire, and archives that try to escape."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from tests.cli.fake_daemon import Exchange, FakeDaemon

from wherry.cli.copyfiles import unpack
from wherry.cli.copyplan import inside, split_argument, target_in_container, target_on_host
from wherry.cli.errors import CliError
from wherry.cli.main import main
from wherry.trees.incoming import Chunks


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("web:/etc", ("web", "/etc")),
        ("web:rel", ("web", "rel")),
        ("/a:b", ("", "/a:b")),
        ("./a:b", ("", "./a:b")),
        ("plain", ("", "plain")),
        ("-", ("", "-")),
    ],
)
def test_split_argument(word: str, found: tuple[str, str]) -> None:
    assert split_argument(word) == found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("", "web:/tmp"), "source can not be empty"),
        (("a", "", "web:/tmp"), "source can not be empty"),
        (("web:/etc", ""), "destination can not be empty"),
        (("a", "web:"), '"web:" names no path inside the container'),
        (("web:", "a"), '"web:" names no path inside the container'),
    ],
)
def test_what_is_empty_means_nothing(
    words: tuple[str, ...], said: str, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unset variable of a script is not the root of this machine."""
    assert main(["cp", *words]) == 1
    assert said in capsys.readouterr().err
    assert [each for each in daemon.requests if "archive" in each.path] == []


def test_inside() -> None:
    assert inside("etc") == ""
    assert inside("etc/") == ""
    assert inside("etc/a/b") == "a/b"
    assert inside("./a") == "a"
    with pytest.raises(CliError):
        inside("etc/../../x")


def test_names_on_the_host(tmp_path: Path) -> None:
    folder, file, new = tmp_path / "d", tmp_path / "f", tmp_path / "new"
    folder.mkdir()
    file.write_text("")
    assert target_on_host("/etc/hosts", False, str(folder)) == f"{folder}/hosts"
    assert target_on_host("/etc/", True, str(folder)) == f"{folder}/etc"
    assert target_on_host("/etc/.", True, str(folder)) == str(folder)
    assert target_on_host("/etc", True, str(new)) == str(new)
    assert target_on_host("/etc", True, f"{new}/") == str(new)
    assert target_on_host("/etc/hosts", False, str(file)) == str(file)
    for source, is_directory, target in (
        ("/etc", True, str(file)),
        ("/etc/hosts", False, f"{new}/"),
        ("/etc/hosts", False, f"{new}/deep"),
    ):
        with pytest.raises(CliError):
            target_on_host(source, is_directory, target)


@pytest.mark.parametrize(
    ("source", "folder", "path", "exists", "into", "found"),
    [
        ("/a/f", False, "/x", True, True, ("/x", "f")),
        ("/a/f", False, "/x/y", False, False, ("/x", "y")),
        ("/a/f", False, "/x/y", True, False, ("/x", "y")),
        ("/a/d", True, "/x", True, True, ("/x", "d")),
        ("/a/d/.", True, "/x", True, True, ("/x", ".")),
        ("/a/d/.", True, "/x/y", False, False, ("/x", "y")),
        ("/a/d", True, "/y/", False, False, ("/", "y")),
    ],
)
def test_names_in_the_container(
    source: str, folder: bool, path: str, exists: bool, into: bool, found: tuple[str, str]
) -> None:
    target = target_in_container(source, folder, path, exists, into)
    assert (target.folder, target.name) == found


def test_folder_over_file_in_the_container() -> None:
    with pytest.raises(CliError, match="cannot copy directory"):
        target_in_container("/d", True, "/f", True, False)
    with pytest.raises(CliError, match="no such directory"):
        target_in_container("/f", False, "/new/", False, False)


def stat_header(mode: int, name: str = "x") -> str:
    found = {"name": name, "size": 1, "mode": mode, "linkTarget": ""}
    return base64.b64encode(json.dumps(found).encode()).decode()


def member(name: str, **attributes: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_out_of_a_container(daemon: FakeDaemon, tmp_path: Path) -> None:
    data = archive(
        (member("etc", type=tarfile.DIRTYPE, mode=0o755), b""),
        (member("etc/passwd", mode=0o600), b"root"),
        (member("etc/link", type=tarfile.SYMTYPE, linkname="passwd"), b""),
    )

    def answer(exchange: Exchange) -> None:
        exchange.raw(200, data, X_Docker_Container_Path_Stat=stat_header(1 << 31 | 0o755))

    daemon.on("GET", "/containers/web/archive", answer)
    assert main(["cp", "web:/etc", str(tmp_path / "copy")]) == 0
    assert (tmp_path / "copy" / "passwd").read_text() == "root"
    assert (tmp_path / "copy" / "passwd").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "copy" / "link").readlink() == Path("passwd")


def test_into_a_container(daemon: FakeDaemon, tmp_path: Path) -> None:
    def stat(exchange: Exchange) -> None:
        exchange.raw(200, b"", X_Docker_Container_Path_Stat=stat_header(1 << 31 | 0o755))

    daemon.on("HEAD", "/containers/web/archive", stat)
    daemon.on("PUT", "/containers/web/archive", lambda exchange: exchange.reply(200))
    source = tmp_path / "src"
    source.mkdir()
    (source / "big").write_bytes(b"x" * 3_000_000)
    assert main(["cp", "-a", str(source), "web:/tmp"]) == 0
    (put,) = daemon.sent("PUT", "/containers/web/archive")
    assert put.query["path"] == ["/tmp"]
    assert put.query["noOverwriteDirNonDir"] == ["true"]
    assert put.query["copyUIDGID"] == ["true"]
    with tarfile.open(fileobj=io.BytesIO(put.body)) as tar:
        assert tar.getnames() == ["src", "src/big"]
        assert tar.getmember("src/big").size == 3_000_000


def test_source_that_is_not_there(
    daemon: FakeDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.on("HEAD", "/containers/web/archive", lambda exchange: exchange.reply(404))
    assert main(["cp", str(tmp_path / "nope"), "web:/tmp"]) == 1
    assert capsys.readouterr().err == f"lstat {tmp_path}/nope: no such file or directory\n"


LINK_OUT = (member("d/out", type=tarfile.SYMTYPE, linkname=".."), b"")


@pytest.mark.parametrize(
    "members",
    [
        [(member("d/../../evil"), b"x")],
        [LINK_OUT, (member("d/out/evil"), b"x")],
        [(member("d", type=tarfile.SYMTYPE, linkname=".."), b""), (member("d/evil"), b"x")],
        [(member("d/h", type=tarfile.LNKTYPE, linkname="d/../../secret"), b"")],
    ],
)
def test_archives_that_try_to_escape(
    tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    place = tmp_path / "in" / "here"
    place.mkdir(parents=True)
    (tmp_path / "secret").write_text("s")
    with pytest.raises(CliError):
        unpack(Chunks(iter([archive(*members)])), str(place), keep_owner=False, within=True)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["in", "secret"]
    assert [one.name for one in (tmp_path / "in").iterdir()] == ["here"]

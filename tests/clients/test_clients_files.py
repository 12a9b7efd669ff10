"""Files in and out of containers, running or not, by every command line client and raw requests."""

from __future__ import annotations

import io
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.http import API
from tests.support.clients import Cli, programs
from tests.support.engine import Engine, eventually

pytestmark = pytest.mark.root
MAKE = (
    "mkdir -p /d/sub; echo hi > /d/f; ln -s f /d/rel; ln -s /d /to; chown 5:6 /d/f; touch /made; "
)


@pytest.fixture(params=["running", "stopped"])
def container(request: pytest.FixtureRequest, engine: Engine) -> Iterator[str]:
    """A container with a few files, running or not."""
    runs = request.param == "running"
    name = engine.run("sh", "-c", MAKE + ("sleep 1000" if runs else "exit 0"))
    if runs:
        eventually(lambda: status(engine, name, "/made") == 200)
    else:
        engine.wait(name)
    yield name
    assert engine.delete(f"/containers/{name}?force=1&v=1").status == 204


def status(engine: Engine, name: str, path: str) -> int:
    return engine.get(f"/containers/{name}/archive?path={path}").status


def members(engine: Engine, name: str, path: str, query: str = "") -> dict[str, tarfile.TarInfo]:
    answer = engine.get(f"/containers/{name}/archive?path={path}{query}")
    assert answer.status == 200, answer.body
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as tar:
        return {each.name: each for each in tar.getmembers()}


def tar_of(**files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            info.size, info.uid, info.gid = len(data), 12, 34
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def put(engine: Engine, name: str, path: str, data: bytes, query: str = "") -> Any:
    return engine.request("PUT", f"/containers/{name}/archive?path={path}{query}", data)


def text(engine: Engine, name: str, path: str) -> bytes:
    answer = engine.get(f"/containers/{name}/archive?path={path}")
    assert answer.status == 200, answer.body
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as tar:
        file = tar.extractfile(tar.getmembers()[0])
        assert file is not None
        return file.read()


def test_cp_both_ways(cli: Cli, container: str, engine: Engine, tmp_path: Path) -> None:
    """Docker's rules for names, with links, folders, contents of folders and streams."""
    out = tmp_path / "out"
    cli("cp", f"{container}:/d", str(out)).ok()
    assert (out / "f").read_text() == "hi\n"
    assert (out / "rel").readlink() == Path("f")
    assert (out / "sub").is_dir()
    cli("cp", f"{container}:/d/.", str(out / "sub")).ok()
    assert (out / "sub" / "f").read_text() == "hi\n"
    cli("cp", f"{container}:/to/f", str(tmp_path)).ok()
    assert (tmp_path / "f").read_text() == "hi\n"
    cli("cp", "-L", f"{container}:/d/rel", str(tmp_path / "followed")).ok()
    assert (tmp_path / "followed").read_text() == "hi\n"
    with tarfile.open(fileobj=io.BytesIO(cli("cp", f"{container}:/d/f", "-").ok().encode())) as tar:
        assert tar.getnames() == ["f"]

    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "big").write_bytes(b"b" * 3_000_000)
    (source / "link").symlink_to("deep/big")
    cli("cp", str(source), f"{container}:/new").ok()
    found = members(engine, container, "/new")
    assert found["new/deep/big"].size == 3_000_000
    assert found["new/link"].linkname == "deep/big"
    cli("cp", f"{source}/.", f"{container}:/d/sub").ok()
    assert "sub/deep/big" in members(engine, container, "/d/sub")
    cli("cp", "-L", str(source / "link"), f"{container}:/to/sub/plain").ok()
    assert members(engine, container, "/d/sub/plain")["plain"].size == 3_000_000
    cli("cp", "-", f"{container}:/to", stdin=tar_of(streamed=b"s")).ok()
    assert text(engine, container, "/d/streamed") == b"s"


def test_cp_refuses(cli: Cli, container: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("1")
    assert cli("cp", f"{container}:/nothing", str(tmp_path)).code == 1
    assert "nothing" in cli("cp", f"{container}:/nothing", str(tmp_path)).err
    assert cli("cp", str(tmp_path / "nothing"), f"{container}:/").code == 1
    assert (
        cli("cp", f"{container}:/d", str(tmp_path / "file"))
        .err.strip()
        .endswith("cannot copy directory")
    )
    assert cli("cp", str(tmp_path), f"{container}:/d/f").code == 1
    assert cli("cp", "/a", "/b").code == 1
    assert (tmp_path / "file").read_text() == "1"


@pytest.fixture
def wherry(engine: Engine) -> Cli:
    """Our own client, for what is beyond Docker's."""
    return Cli(programs()[0], engine)


def test_a_link_on_the_way_out_is_replaced(wherry: Cli, container: str, tmp_path: Path) -> None:
    """What a link here leads to is never written to."""
    precious = tmp_path / "precious"
    precious.write_text("keep")
    (tmp_path / "link").symlink_to(precious)
    wherry("cp", f"{container}:/d/f", str(tmp_path / "link")).ok()
    assert (tmp_path / "link").read_text() == "hi\n"
    assert not (tmp_path / "link").is_symlink()
    assert precious.read_text() == "keep"


def test_several_sources_and_wildcards(
    wherry: Cli, container: str, engine: Engine, tmp_path: Path
) -> None:
    for name in ("a.txt", "b.txt", "c.md"):
        (tmp_path / name).write_text(name)
    wherry("cp", str(tmp_path / "a.txt"), str(tmp_path / "c.md"), f"{container}:/d/sub").ok()
    wherry("cp", f"{tmp_path}/*.txt", f"{container}:/d").ok()
    assert {"sub/a.txt", "sub/c.md"} <= set(members(engine, container, "/d/sub"))
    assert text(engine, container, "/d/b.txt") == b"b.txt"
    out = tmp_path / "out"
    out.mkdir()
    wherry("cp", f"{container}:/d/*.txt", f"{container}:/d/f", str(out)).ok()
    assert sorted(each.name for each in out.iterdir()) == ["a.txt", "b.txt", "f"]
    assert wherry("cp", f"{container}:/d/*.none", str(out)).code == 1
    assert wherry("cp", f"{container}:/d/f", f"{container}:/d/b.txt", f"{out}/f").err.strip() == (
        f"target '{out}/f' is not a directory"
    )
    many = (str(tmp_path / "a.txt"), str(tmp_path / "c.md"))
    assert wherry("cp", *many, f"{container}:/none").err.strip() == (
        f'target "{container}:/none" is not a directory'
    )
    for sources in (many, (f"{container}:/d/f", f"{container}:/d/b.txt"), ("-",)):
        assert "No such container: nobody" in wherry("cp", *sources, "nobody:/d").err


def test_from_a_container_into_another(wherry: Cli, container: str, engine: Engine) -> None:
    other = engine.create("true")
    wherry("cp", f"{container}:/d", f"{other}:/copy").ok()
    assert set(members(engine, other, "/copy")) == {"copy", "copy/f", "copy/rel", "copy/sub"}
    wherry("cp", f"{container}:/d/.", f"{other}:/tmp").ok()
    wherry("cp", f"{container}:/d/f", f"{container}:/d/rel", f"{other}:/copy/sub").ok()
    assert set(members(engine, other, "/copy/sub")) == {"sub", "sub/f", "sub/rel"}
    assert text(engine, other, "/tmp/f") == b"hi\n"
    missing = wherry("cp", f"{container}:/nothing", f"{other}:/tmp")
    assert (missing.code, "/nothing" in missing.err) == (1, True)


def test_owners(container: str, engine: Engine) -> None:
    """``copyUIDGID`` gives the container's user, and the archive's owner where it names none."""
    assert put(engine, container, "/d", tar_of(kept=b"1"), "&copyUIDGID=1").status == 200
    own = engine.post(
        "/containers/create",
        {"Image": "busybox", "User": "33:44", "HostConfig": {"NetworkMode": "none"}},
    ).json["Id"]
    engine.seen.add(own)
    assert put(engine, own, "/tmp", tar_of(taken=b"1"), "&copyUIDGID=1").status == 200
    assert put(engine, own, "/tmp", tar_of(given=b"1")).status == 200
    kept = members(engine, container, "/d/kept")["kept"]
    taken = members(engine, own, "/tmp/taken")["taken"]
    given = members(engine, own, "/tmp/given")["given"]
    assert [(each.uid, each.gid) for each in (kept, taken, given)] == [
        (12, 34),
        (33, 44),
        (12, 34),
    ]


def test_volumes_of_a_container_that_was_never_started(engine: Engine, tmp_path: Path) -> None:
    """The image has no such folders: their mount points are made as by a start."""
    (tmp_path / "there").write_text("bound")
    binds = ["files-test:/far/vol", f"{tmp_path}:/far/bind", f"{tmp_path}:/far/ro:ro"]
    name = engine.create("cat", "/far/vol/in", Binds=binds)
    assert text(engine, name, "/far/bind/there") == b"bound"
    refused = put(engine, name, "/far/ro", tar_of(x=b"1"))
    assert (refused.status, refused.message) == (403, "mounted volume is marked read-only")
    data = tar_of(**{"in": b"volume"})
    assert put(engine, name, "/far/vol", data).status == 200
    assert engine.post(f"/containers/{name}/start").status == 204
    assert engine.wait(name) == 0
    assert engine.logs(name) == b"volume"
    assert text(engine, name, "/far/vol/in") == b"volume"
    assert text(engine, name, "/etc/hosts").startswith(b"127.0.0.1\tlocalhost")
    assert engine.delete(f"/containers/{name}").status == 204
    assert engine.delete("/volumes/files-test").status == 204


def test_archives_that_climb_or_break_off(container: str, engine: Engine) -> None:
    climbing = put(engine, container, "/d/sub", tar_of(**{"..__..__out": b"1"}))
    assert (climbing.status, climbing.message) == (400, '"../../out" is outside of "/d/sub"')
    for data in (tar_of(cut=b"c" * 9000)[:3000], tar_of(cut=b"c" * 900_000)[:300_000]):
        refused = put(engine, container, "/d", data)
        assert (refused.status, refused.message) == (400, "unexpected EOF")
    assert set(members(engine, container, "/d/sub")) == {"sub"}
    assert not [name for name in members(engine, container, "/d") if "cut" in name]


def test_a_client_that_dies_midway_leaves_nothing_half(container: str, engine: Engine) -> None:
    data = tar_of(before=b"whole", half=b"h" * 2_000_000)
    for head in (f"Content-Length: {len(data)}", "Transfer-Encoding: chunked"):
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(engine.socket))
            start = f"PUT {API}/containers/{container}/archive?path=/d/sub HTTP/1.1\r\nHost: e\r\n"
            link.sendall(f"{start}{head}\r\n\r\n".encode())
            if "chunked" in head:
                link.sendall(b"%x\r\n" % len(data))
            link.sendall(data[:1_000_000])
            eventually(lambda: status(engine, container, "/d/sub/before") == 200)
    eventually(lambda: put(engine, container, "/d", tar_of(after=b"1")).status == 200)
    assert set(members(engine, container, "/d/sub")) == {"sub", "sub/before"}


def test_a_large_file_replaces_the_old_one_at_once(engine: Engine) -> None:
    """A reader never finds none, or a part."""
    watch = "until [ -e /go ]; do [ -s /big ] || echo gap; done; echo done"
    name = engine.create("sh", "-c", watch)
    assert put(engine, name, "/", tar_of(big=b"0" * 200_000)).status == 200
    assert engine.post(f"/containers/{name}/start").status == 204
    for count in range(10):
        assert put(engine, name, "/", tar_of(big=b"1" * (200_000 + count))).status == 200
    assert put(engine, name, "/", tar_of(go=b"1")).status == 200
    assert engine.wait(name) == 0
    assert engine.logs(name) == b"done\n"
    assert members(engine, name, "/big")["big"].size == 200_009
    assert not [each for each in members(engine, name, "/") if "/.wherry-" in each]


def test_the_whole_root_of_a_running_container(engine: Engine) -> None:
    """What the kernel shows as files is not copied, only asked for by name."""
    name = engine.run("sleep", "1000")
    found = members(engine, name, "/")
    assert {"/proc", "/sys", "/bin"} <= set(found)
    assert not [each for each in found if each.startswith(("/proc/", "/sys/"))]
    assert "comm" in members(engine, name, "/proc/1/comm")
    exported = engine.get(f"/containers/{name}/export")
    with tarfile.open(fileobj=io.BytesIO(exported.body)) as tar:
        names = tar.getnames()
    assert {"bin", ".dockerenv", "proc"} <= set(names)
    assert not [each for each in names if each.startswith((".", "/")) and each != ".dockerenv"]


def test_mount_points_are_ordinary_folders(engine: Engine, tmp_path: Path) -> None:
    """They show in export and commit: one is made as Docker's runtime makes it."""
    name = engine.run("true", Binds=[f"{tmp_path}:/deep/point"])
    engine.wait(name)
    exported = engine.get(f"/containers/{name}/export")
    with tarfile.open(fileobj=io.BytesIO(exported.body)) as tar:
        modes = [tar.getmember(each).mode for each in ("deep", "deep/point")]
    assert modes == [0o755, 0o755]


def test_names_are_given_by_request(container: str, engine: Engine) -> None:
    """Beyond Docker: ``name`` and ``glob``."""
    assert set(members(engine, container, "/d/f", "&name=other")) == {"other"}
    assert set(members(engine, container, "/d/*", "&glob=1")) == {"f", "rel", "sub"}
    assert set(members(engine, container, "/*/[e-g]", "&glob=1")) == {"f"}
    missing = engine.get(f"/containers/{container}/archive?path=/d/*.no&glob=1")
    assert missing.status == 404
    bad = engine.get(f"/containers/{container}/archive?path=/d/[&glob=1")
    assert (bad.status, "syntax error in pattern" in bad.message) == (400, True)
    assert engine.get(f"/containers/{container}/archive?path=/d&name=a/b").status == 400


def test_what_was_changed(container: str, engine: Engine) -> None:
    put(engine, container, "/d", tar_of(f=b"new"))
    rows = engine.get(f"/containers/{container}/changes").json
    found = {(row["Path"], row["Kind"]) for row in rows}
    assert {("/d", 1), ("/d/f", 1), ("/d/sub", 1), ("/made", 1), ("/to", 1)} <= found

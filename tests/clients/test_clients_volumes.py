"""Volumes and mounts by every command line client, and what a crash leaves of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.clients import Cli
from tests.support.engine import Engine
from tests.support.images import BASE, tar_of

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def _no_volumes_stay(engine: Engine) -> Iterator[None]:
    yield
    engine.remove_containers()
    for each in engine.get("/volumes").json["Volumes"] or []:
        assert engine.delete(f"/volumes/{each['Name']}").status == 204


def run(cli: Cli, *words: str, code: int = 0) -> str:
    done = cli("run", "--rm", "--network", "none", *words)
    assert done.code == code, done
    return done.out.strip()


def sh(cli: Cli, script: str, *options: str, code: int = 0) -> str:
    return run(cli, *options, BASE, "sh", "-c", script, code=code)


def volumes(cli: Cli, *words: str) -> list[str]:
    return sorted(cli("volume", "ls", "-q", *words).ok().split())


def test_data_outlives_containers(cli: Cli) -> None:
    assert cli("volume", "create", "--label", "a=b", "keep").ok() == "keep"
    sh(cli, "echo one > /d/f", "-v", "keep:/d")
    assert sh(cli, "cat /d/f", "--mount", "type=volume,src=keep,dst=/e/d", "-v", "keep:/d:ro") == (
        "one"
    )
    assert volumes(cli, "--filter", "label=a=b") == ["keep"]
    found = json.loads(cli("volume", "inspect", "keep").ok())[0]
    assert (found["Labels"], found["Scope"]) == ({"a": "b"}, "local")
    assert not found["Options"]
    assert Path(found["Mountpoint"], "f").read_text() == "one\n"
    assert cli("volume", "rm", "keep").ok() == "keep"
    assert not Path(found["Mountpoint"]).exists()


def test_in_use_is_refused(cli: Cli) -> None:
    cli("create", "--network", "none", "--name", "user", "-v", "used:/d", BASE, "true").ok()
    refused = cli("volume", "rm", "-f", "used")
    assert refused.code == 1
    assert "volume is in use" in refused.err
    cli("rm", "-v", "user").ok()
    assert volumes(cli) == ["used"]


def test_anonymous_volumes_go_with_the_container(cli: Cli) -> None:
    sh(cli, "echo x > /d/f", "-v", "/d")
    assert volumes(cli) == []
    cli("create", "--network", "none", "--name", "one", "-v", "/d", BASE, "true").ok()
    cli("create", "--network", "none", "--name", "two", "-v", "/d", BASE, "true").ok()
    assert len(volumes(cli)) == 2
    cli("rm", "-v", "one").ok()
    cli("rm", "two").ok()
    assert len(volumes(cli, "--filter", "dangling=true")) == 1
    assert "Total reclaimed space" in cli("volume", "prune", "-f").ok()
    assert volumes(cli) == []


def test_copy_up(cli: Cli) -> None:
    inside = sh(cli, "ls -ln /bin | tail -n +2 | sort", "-v", "bins:/other")
    assert sh(cli, "ls -ln /bin | tail -n +2 | sort", "-v", "bins2:/bin") == inside
    assert sh(cli, "ls /none", "-v", "bins3:/none") == ""


def test_binds(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("host")
    assert sh(cli, "cat /m/f; echo new > /m/g", "-v", f"{tmp_path}:/m") == "host"
    assert (tmp_path / "g").read_text() == "new\n"
    sh(cli, "touch /m/x", "-v", f"{tmp_path}:/m:ro", code=1)
    assert sh(cli, "cat /deep/er/file", "-v", f"{tmp_path}/f:/deep/er/file") == "host"
    assert sh(cli, "cat /etc/passwd", "-v", f"{tmp_path}/f:/etc/passwd:ro") == "host"
    sh(cli, "echo x > /f", "-v", f"{tmp_path}/f:/f:ro", code=1)
    sh(cli, "true", "-v", f"{tmp_path}/made/here:/m")
    assert (tmp_path / "made" / "here").is_dir()
    missing = cli("create", "--mount", f"type=bind,src={tmp_path}/nope,dst=/m", BASE)
    assert missing.code != 0
    assert f"bind source path does not exist: {tmp_path}/nope" in missing.err
    assert not (tmp_path / "nope").exists()


HOST_FILES = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")


def test_files_of_ones_own_in_place_of_the_host_files(
    cli: Cli, engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "f").write_text("mine")
    binds = [word for path in HOST_FILES for word in ("-v", f"{tmp_path}/f:{path}:ro")]
    assert sh(cli, "cat /etc/host* /etc/resolv.conf", *binds) == "mine" * 3
    writable = f"type=bind,src={tmp_path}/f,dst=/etc/hosts"
    assert sh(cli, "echo more > /etc/hosts; cat /etc/hosts", "--mount", writable) == "more"
    assert (tmp_path / "f").read_text() == "more\n"
    for path in HOST_FILES:
        for words in (("--tmpfs", path), ("-v", f"some:{path}"), ("-v", f"{tmp_path}:{path}")):
            refused = cli("run", "--rm", "--network", "none", *words, BASE, "true")
            assert refused.code not in (0, 1)
            if engine.is_wherry:  # Docker creates most of them, and they cannot start
                assert f"{path} is a file in every container" in refused.err


def test_a_file_of_a_volume_in_place_of_a_host_file(engine: Engine) -> None:
    if not engine.is_wherry:
        pytest.skip("Docker 26 takes directories of volumes only")
    volume = {"Type": "volume", "Source": "files", "Target": "/v"}
    writer = engine.run("sh", "-c", "echo ours > /v/f", Mounts=[volume])
    assert engine.wait(writer) == 0
    part = {**volume, "Target": "/etc/hosts", "VolumeOptions": {"Subpath": "f"}}
    body = {"Image": BASE, "Cmd": ["cat", "/etc/hosts"], "HostConfig": {"Mounts": [part]}}
    with engine.client(api="/v1.45") as client:
        status, made = client.request("POST", "/containers/create", json.dumps(body).encode())
    assert status == 201, made
    reader = json.loads(made)["Id"]
    assert engine.post(f"/containers/{reader}/start").status == 204
    assert engine.wait(reader) == 0
    assert engine.logs(reader) == b"ours\n"


def test_a_directory_on_a_file(cli: Cli, engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    for words in (
        ("-v", f"{tmp_path}:/bin/sh"),
        ("-v", f"{tmp_path}/f:/etc"),
        ("--tmpfs", "/etc/passwd"),
    ):
        refused = cli("run", "--name", "odd", "--network", "none", *words, BASE, "true")
        assert "Are you trying to mount a directory onto a file (or vice-versa)?" in refused.err
        assert engine.inspect("odd")["State"]["ExitCode"] == 127
        cli("rm", "odd").ok()


def test_read_only_is_recursive(cli: Cli, tmp_path: Path) -> None:
    """A mount below a read-only bind is read-only too."""
    sh(cli, "touch /m/shm/x", "-v", "/dev:/m:ro", code=1)


def test_tmpfs_and_read_only_root(cli: Cli) -> None:
    script = "grep ' /t ' /proc/mounts; touch /t/x; touch /v/y; touch /z 2>/dev/null; echo $?"
    out = sh(cli, script, "--read-only", "--tmpfs", "/t:size=1m,mode=700", "-v", "rw:/v")
    mount, code = out.splitlines()
    options = mount.split()[3].split(",")
    assert {"nosuid", "nodev", "noexec", "size=1024k", "mode=700"} <= set(options)
    assert code == "1"
    sh(cli, "dd if=/dev/zero of=/t/f bs=1M count=3 2>/dev/null", "--tmpfs", "/t:size=1m", code=1)


def test_order_is_by_depth(cli: Cli) -> None:
    out = sh(cli, "touch /a/1 /a/b/c/2; find /a -type f | sort", "-v", "in:/a/b/c", "-v", "out:/a")
    assert out.split() == ["/a/1", "/a/b/c/2"]
    assert sh(cli, "ls /a/b/c; ls /etc/hosts", "-v", "out:/a", "-v", "etc:/etc") == "/etc/hosts"


def test_volumes_from(cli: Cli) -> None:
    cli("create", "--network", "none", "--name", "src", "-v", "v1:/x", "-v", "/y", BASE).ok()
    assert sh(cli, "touch /x/1 /y/2; ls /x /y", "--volumes-from", "src").split() == [
        "/x:",
        "1",
        "/y:",
        "2",
    ]
    sh(cli, "touch /x/3", "--volumes-from", "src:ro", code=1)
    missing = cli("create", "--volumes-from", "nobody", BASE)
    assert "No such container: nobody" in missing.err


def test_mount_points_of_inspect(cli: Cli, tmp_path: Path) -> None:
    words = ("-v", f"{tmp_path}:/b:ro", "-v", "named:/n", "--mount", "type=tmpfs,dst=/t")
    cli("create", "--network", "none", "--name", "mounts", "--tmpfs", "/u", *words, BASE).ok()
    found = json.loads(cli("inspect", "-f", "{{json .Mounts}}", "mounts").ok())
    by_path = {each.pop("Destination"): each for each in found}
    source = by_path["/n"].pop("Source")
    assert source.endswith("/volumes/named/_data")
    assert by_path == {
        "/b": {
            "Type": "bind",
            "Source": str(tmp_path),
            "Mode": "ro",
            "RW": False,
            "Propagation": "rprivate",
        },
        "/n": {
            "Type": "volume",
            "Name": "named",
            "Driver": "local",
            "Mode": "z",
            "RW": True,
            "Propagation": "",
        },
        "/t": {"Type": "tmpfs", "Source": "", "Mode": "", "RW": True, "Propagation": ""},
    }


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("-v", "a/b:/x"), "includes invalid characters for a local volume name"),
        (("-v", "/a:b"), "mount path must be absolute"),
        (("-v", "/a:/"), "destination can't be '/'"),
        (("-v", "/a:/b:nope"), "invalid mode: nope"),
        (("-v", "/tmp:/b", "-v", "v1:/b"), "Duplicate mount point: /b"),
        (("--mount", "type=volume,src=v1,dst=x"), "mount path must be absolute"),
        (("--mount", "type=volume,src=v1,dst=/x,volume-opt=foo=bar"), 'invalid option: "foo"'),
        (("-v", "v1:/b:shared"), "must not be specified"),
    ],
)
def test_bad_mounts_leave_nothing(cli: Cli, words: tuple[str, ...], text: str) -> None:
    refused = cli("create", *words, BASE, "true")
    assert refused.code != 0
    assert text in refused.err
    assert volumes(cli) == []
    assert cli("ps", "-aq").ok() == ""


def test_a_crash_keeps_data_and_references(own_engine: Engine) -> None:
    engine = own_engine
    engine.run("sh", "-c", "echo kept > /d/f; sleep 100", name="user", Binds=["data:/d"])
    engine.post("/volumes/create", {"Name": "idle"})
    engine.crash_and_start()
    names = [each["Name"] for each in engine.get("/volumes").json["Volumes"]]
    assert names == ["data", "idle"]
    assert engine.delete("/volumes/data").status == 409
    place = engine.get("/volumes/data").json["Mountpoint"]
    assert Path(place, "f").read_text() == "kept\n"
    engine.remove_containers()
    assert engine.delete("/volumes/data").status == 204
    assert engine.delete("/volumes/idle").status == 204


def test_a_mounted_image_stays(engine: Engine) -> None:
    """What a container mounts of an image is there at its next start, whatever the names say."""
    image = "/images/create?fromSrc=-&repo=tools&tag=1"
    assert engine.upload(image, tar_of({"t/one": b"first"})).status == 200
    old = engine.get("/images/tools:1/json").json["Id"]
    mount = {"Type": "image", "Source": "tools:1", "Target": "/tools"}
    name = engine.create("cat", "/tools/t/one", Mounts=[mount], NetworkMode="none")
    refused = engine.delete("/images/tools:1")
    assert refused.status == 409
    assert f"container {name[:12]} is using its referenced image" in refused.message
    everything = "%7B%22dangling%22%3A%5B%22false%22%5D%7D"
    assert engine.post(f"/images/prune?filters={everything}").status == 200
    assert engine.get("/images/tools:1/json").json["Id"] == old

    assert engine.upload(image, tar_of({"t/one": b"second"})).status == 200
    engine.crash_and_start()
    assert engine.post("/images/prune").status == 200
    assert engine.post(f"/containers/{name}/start").status == 204
    assert engine.wait(name) == 0, engine.logs(name)
    assert engine.logs(name) == b"first"

    assert engine.delete(f"/containers/{name}").status == 204
    assert engine.post("/images/prune").status == 200
    assert engine.get(f"/images/{old}/json").status == 404
    assert engine.delete("/images/tools:1").status == 200

"""What volumes are after the daemon's death and after a reboot; images that nobody uses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from bench.http import EngineError
from tests.support.engine import Engine
from tests.support.engine import eventually as soon
from tests.support.images import BASE, tar_of

pytestmark = pytest.mark.root
SIZED = {"size": "16m"}
FILES = 3000


def eventually(check: Callable[[], object]) -> None:
    """Deadlines are for machines that hardly move."""
    soon(check, seconds=60)


def loop_files(engine: Engine) -> list[str]:
    """Files of the engine that loop devices hold, deleted ones too."""
    found = []
    for each in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):
            found.append(each.read_text().strip())
    return [each for each in found if each.startswith(f"{engine.root}/")]


def images(engine: Engine) -> int:
    """Volumes with a disk image; none where the data root has project quota."""
    return len(list(engine.data.glob("volumes/*/disk.img")))


def make(engine: Engine, name: str, options: dict[str, str] | None = None) -> Path:
    """A volume; its directory."""
    answer = engine.post("/volumes/create", {"Name": name, "DriverOpts": options or {}})
    assert answer.status == 201, answer.body
    return Path(answer.json["Mountpoint"])


def sh(engine: Engine, script: str, bind: str) -> bytes:
    """Output of a container that comes to its end."""
    name = engine.run("sh", "-c", script, Binds=[bind])
    assert engine.wait(name) == 0, engine.logs(name)
    out = engine.logs(name)
    assert engine.delete(f"/containers/{name}").status == 204
    return out


def test_an_image_is_let_go_at_once(own_engine: Engine) -> None:
    """Monitors that started while the volume was mounted do not keep it."""
    engine = own_engine
    make(engine, "lim", SIZED)
    user = engine.run("sleep", "1000", Binds=["lim:/l"])
    part = {"Type": "volume", "Source": "lim", "Target": "/l", "VolumeOptions": {"Subpath": "d"}}
    engine.run("mkdir", "/l/d", Binds=["lim:/l"])
    eventually(lambda: (engine.data / "volumes" / "lim" / "_data" / "d").is_dir())
    body = {"Image": BASE, "Cmd": ["sleep", "1000"]}
    host = {"NetworkMode": "none", "Mounts": [part]}
    made = engine.post("/v1.45/containers/create", {**body, "HostConfig": host})
    second = made.json["Id"]
    assert engine.post(f"/containers/{second}/start").status == 204
    engine.run("sleep", "1000", name="other")
    assert len(loop_files(engine)) == images(engine)
    for each in (user, second):
        assert engine.delete(f"/containers/{each}?force=1").status == 204
    eventually(lambda: not loop_files(engine))
    assert sh(engine, "echo kept > /l/f; df -m /l | tail -n 1 | wc -l", "lim:/l") == b"1\n"
    assert sh(engine, "cat /l/f", "lim:/l") == b"kept\n"
    eventually(lambda: not loop_files(engine))
    for each in engine.containers():
        assert engine.delete(f"/containers/{each['Id']}?force=1").status == 204
    assert engine.delete("/volumes/lim").status == 204


def test_a_full_volume_is_no_space_and_no_more(own_engine: Engine) -> None:
    engine = own_engine
    make(engine, "lim", SIZED)
    script = "dd if=/dev/zero of=/l/f bs=1M count=64 2>&1; rm /l/f; echo ok > /l/g; cat /l/g"
    out = sh(engine, script, "lim:/l")
    assert (b"No space left on device" if images(engine) else b"Disk quota exceeded") in out
    assert out.endswith(b"ok\n")


def test_containers_share_a_sized_volume_over_a_crash(own_engine: Engine) -> None:
    engine = own_engine
    make(engine, "lim", SIZED)
    first = engine.run("sleep", "1000", Binds=["lim:/l"])
    engine.crash_and_start()
    assert sh(engine, "echo seen > /l/f", "lim:/l") == b""
    assert len(loop_files(engine)) == images(engine)
    pid = engine.inspect(first)["State"]["Pid"]
    assert Path(f"/proc/{pid}/root/l/f").read_text() == "seen\n"
    engine.remove_containers()
    eventually(lambda: not loop_files(engine))


def test_reboot(own_engine: Engine) -> None:
    """Every process, every mount and the run directory go; data, limits and users stay."""
    engine = own_engine
    plain, _ = make(engine, "plain"), make(engine, "lim", SIZED)
    make(engine, "mem", {"type": "tmpfs", "device": "tmpfs"})
    binds = ["plain:/p", "lim:/l", "mem:/m", "/anonymous"]
    script = "for each in /p /l /m /anonymous; do echo data > $each/f; done; sleep 1000"
    user = engine.run("sh", "-c", script, name="user", Binds=binds)
    eventually(lambda: (plain / "f").exists())
    pid = int(engine.inspect(user)["State"]["Pid"])
    anonymous = next(
        each["Name"] for each in engine.inspect(user)["Mounts"] if len(each["Name"]) == 64
    )
    eventually(lambda: Path(f"/proc/{pid}/root/anonymous/f").exists())

    engine.reboot()
    eventually(lambda: not loop_files(engine))

    engine.start()
    names = {each["Name"] for each in engine.get("/volumes").json["Volumes"]}
    assert names == {"plain", "lim", "mem", anonymous}
    assert engine.delete("/volumes/lim").status == 409
    assert (plain / "f").read_text() == "data\n"
    reading = "cat /l/f; ls /l"
    assert sh(engine, reading, "lim:/l") == b"data\nf\n"
    assert sh(engine, "ls /m", "mem:/m") == b""
    assert engine.delete(f"/containers/{user}?v=1&force=1").status == 204
    assert engine.get(f"/volumes/{anonymous}").status == 404
    for name in ("plain", "lim", "mem"):
        assert engine.delete(f"/volumes/{name}").status == 204


def test_killed_while_an_image_fills_a_volume(own_engine: Engine) -> None:
    engine = own_engine
    files: dict[str, bytes | str] = {f"data/d{n % 20}/f{n}": b"x" * 300 for n in range(FILES)}
    files["bin/busybox"] = Path("/bin/busybox").read_bytes()
    image = "/images/create?fromSrc=-&repo=filled&tag=1"
    assert engine.upload(image, tar_of(files)).status == 200
    data = make(engine, "vol")
    name = engine.create("/bin/busybox", "true", image="filled:1", Binds=["vol:/data"])

    def start() -> None:
        with suppress(OSError, EngineError):
            engine.post(f"/containers/{name}/start")

    starter = threading.Thread(target=start)
    starter.start()
    eventually(lambda: any(data.iterdir()))
    engine.kill()
    starter.join(30)
    engine.start()
    left = {each.name for each in data.iterdir()}
    assert left in (set(), {f"d{n}" for n in range(20)})
    assert engine.post(f"/containers/{name}/start").status in (204, 304)
    assert engine.wait(name) == 0
    assert sum(len(list(each.iterdir())) for each in data.iterdir()) == FILES
    assert sh(engine, "find /data -type f | wc -l", "vol:/data") == b"%d\n" % FILES

"""Updates of running containers: what the kernel has afterwards."""

from __future__ import annotations

import os
import re
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.engine import Answer, Engine, eventually
from tests.support.limits import cgroup_file, memory_limit

pytestmark = pytest.mark.root
MIB = 1 << 20


@pytest.fixture(autouse=True)
def _no_containers(engine: Engine) -> Iterator[None]:
    yield
    engine.remove_containers()


def pid_of(engine: Engine, name: str) -> int:
    return int(engine.inspect(name)["State"]["Pid"])


def update(engine: Engine, name: str, **asked: Any) -> Answer:
    return engine.post(f"/containers/{name}/update", asked)


def done(engine: Engine, name: str, **asked: Any) -> Any:
    answer = update(engine, name, **asked)
    assert answer.status == 200, answer.body
    return answer.json


def mounted(pid: int) -> dict[str, tuple[str, str]]:
    """Target -> (options, file system and its options) in the process's namespace."""
    found = {}
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        found[left.split()[4]] = (left.split()[5], right)
    return found


def test_every_limit_of_docker(engine: Engine) -> None:
    name = engine.run("sleep", "1000")
    pid = pid_of(engine, name)

    def has(controller: str, old: str, new: str) -> str:
        return cgroup_file(pid, controller, old, new)

    applied = done(
        engine,
        name,
        Memory=64 * MIB,
        MemorySwap=128 * MIB,
        MemoryReservation=32 * MIB,
        CpuShares=512,
        CpuPeriod=50_000,
        CpuQuota=25_000,
        CpusetCpus="0",
        CpusetMems="0",
        PidsLimit=50,
        RestartPolicy={"Name": "on-failure", "MaximumRetryCount": 2},
    )["Applied"]
    assert set(applied) == {
        "Memory", "MemorySwap", "MemoryReservation", "CpuShares", "CpuPeriod", "CpuQuota",
        "CpusetCpus", "CpusetMems", "PidsLimit", "RestartPolicy",
    }  # fmt: skip
    assert memory_limit(pid) == 64 * MIB
    soft = has("memory", "memory.soft_limit_in_bytes", "memory.low")
    assert int(soft) == 32 * MIB
    assert has("cpuset", "cpuset.cpus", "cpuset.cpus") == "0"
    assert has("cpuset", "cpuset.mems", "cpuset.mems") == "0"
    assert has("pids", "pids.max", "pids.max") == "50"
    shares = has("cpu", "cpu.shares", "cpu.weight")
    assert int(shares) in (512, 20)
    quota = has("cpu", "cpu.cfs_quota_us", "cpu.max")
    assert quota.split()[0] == "25000"
    found = engine.inspect(name)["HostConfig"]
    assert (found["Memory"], found["CpuQuota"], found["PidsLimit"]) == (64 * MIB, 25_000, 50)
    assert found["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}
    # Up, down, and free again.
    done(engine, name, Memory=256 * MIB, MemorySwap=512 * MIB)
    assert memory_limit(pid) == 256 * MIB
    done(engine, name, Memory=48 * MIB, MemorySwap=-1, PidsLimit=-1)
    assert memory_limit(pid) == 48 * MIB
    assert has("pids", "pids.max", "pids.max") in ("max", "4194304")
    assert pid_of(engine, name) == pid


def test_whole_cpus(engine: Engine) -> None:
    name = engine.run("sleep", "1000")
    done(engine, name, NanoCpus=500_000_000)
    quota = cgroup_file(pid_of(engine, name), "cpu", "cpu.cfs_quota_us", "cpu.max")
    assert quota.split()[0] == "50000"
    refused = update(engine, name, CpuQuota=20_000)
    assert refused.status == 400
    assert "NanoCPUs" in refused.message


def test_limits_that_contradict_change_nothing(engine: Engine) -> None:
    name = engine.run("sleep", "1000", Memory=64 * MIB, MemorySwap=64 * MIB)
    before = engine.inspect(name)
    for asked, words in (
        ({"Memory": 128 * MIB}, "memoryswap"),
        ({"Memory": 1}, "Minimum memory limit"),
        ({"CpusetCpus": "9999"}, "9999"),
        ({"RestartPolicy": {"Name": "sometimes"}}, "restart policy"),
        ({"Memory": 32 * MIB, "RestartPolicy": {"Name": "always", "MaximumRetryCount": 3}}, ""),
    ):
        refused = update(engine, name, **asked)
        assert refused.status == 400, refused.body
        assert words in refused.message
    assert engine.inspect(name) == before
    assert memory_limit(pid_of(engine, name)) == 64 * MIB
    assert update(engine, "nobody", Memory=MIB).status == 404


def test_what_the_kernel_refuses_is_taken_back_as_a_whole(engine: Engine) -> None:
    for limit in (0, 128 * MIB):
        name = engine.run("sleep", "1000", Memory=limit, MemorySwap=limit, CpuShares=512)
        pid = pid_of(engine, name)
        before = (engine.inspect(name), memory_limit(pid))
        swap = {"MemorySwap": 64 * MIB}
        refused = update(
            engine,
            name,
            Memory=64 * MIB,
            **swap,
            CpuShares=100,
            PidsLimit=1 << 40,
            LabelsAdd={"a": "b"},
        )
        assert refused.status == 400, refused.body
        assert "pids.max" in refused.message
        assert (engine.inspect(name), memory_limit(pid)) == before
        assert int(cgroup_file(pid, "cpu", "cpu.shares", "cpu.weight")) in (512, 20, 59)
        assert done(engine, name, Memory=64 * MIB, **swap, PidsLimit=9)["AtNextStart"] == []


def test_another_policy_counts_from_the_next_end(engine: Engine) -> None:
    name = engine.run("sleep", "1000")
    done(engine, name, RestartPolicy={"Name": "on-failure", "MaximumRetryCount": 1})
    os.kill(pid_of(engine, name), signal.SIGKILL)

    def again() -> bool:
        found = engine.inspect(name)
        return bool(found["RestartCount"] == 1 and found["State"]["Pid"])

    eventually(again, what="the restart")
    os.kill(pid_of(engine, name), signal.SIGKILL)
    eventually(lambda: engine.inspect(name)["State"]["Status"] == "exited", what="giving up")
    assert engine.inspect(name)["RestartCount"] == 1
    assert engine.post(f"/containers/{name}/start").status == 204
    done(engine, name, RestartPolicy={"Name": "no"})
    os.kill(pid_of(engine, name), signal.SIGKILL)
    eventually(lambda: engine.inspect(name)["State"]["Status"] == "exited")


def test_environment_and_labels(engine: Engine) -> None:
    name = engine.run("sh", "-c", "echo $A-$B; sleep 1000", Binds=[])
    answer = done(engine, name, EnvAdd=["A=1", "B=2"], LabelsAdd={"k": "v"})
    assert (answer["Applied"], answer["AtNextStart"]) == (["Labels"], ["Env"])
    rows = engine.get('/containers/json?filters={"label":["k=v"]}').json
    assert [row["Id"] for row in rows] == [name]
    eventually(lambda: engine.logs(name) == b"-\n")
    assert engine.post(f"/containers/{name}/restart?t=0").status == 204
    eventually(lambda: engine.logs(name) == b"-\n1-2\n")
    done(engine, name, EnvRemove=["A"], LabelsRemove=["k"])
    assert "A=1" not in engine.inspect(name)["Config"]["Env"]
    assert engine.inspect(name)["Config"]["Labels"] == {}


def test_mounts_come_and_go(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("seen")
    (tmp_path / "deep").mkdir()
    name = engine.run("sh", "-c", "mkdir /real; ln -s /real /link; sleep 1000")
    pid = pid_of(engine, name)
    root = Path(f"/proc/{pid}/root")
    eventually(lambda: (root / "link").is_symlink())
    answer = done(
        engine,
        name,
        MountsAdd=[
            {"Type": "bind", "Source": str(tmp_path), "Target": "/a/b", "ReadOnly": True},
            {"Type": "bind", "Source": str(tmp_path / "file"), "Target": "/etc/one"},
            {"Type": "bind", "Source": str(tmp_path / "deep"), "Target": "/link"},
            {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": MIB, "Mode": 0o700}},
            {"Type": "volume", "Source": "filled", "Target": "/etc"},
        ],
    )
    assert set(answer["Applied"]) == {
        "Mounts /a/b", "Mounts /etc/one", "Mounts /link", "Mounts /t",
    }  # fmt: skip
    # It would cover the container's own files there.
    assert answer["AtNextStart"] == ["Mounts /etc"]
    points = mounted(pid)
    assert "ro" in points["/a/b"][0].split(",")
    assert (root / "a/b/file").read_text() == "seen"
    assert "/real" in points
    assert "noexec" in points["/t"][0]
    assert "size=1024k" in points["/t"][1]
    own = {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}
    assert "/etc" not in points
    assert engine.post(f"/containers/{name}/restart?t=0").status == 204
    pid = pid_of(engine, name)
    assert {"/a/b", "/etc", "/t", "/etc/one", *own} <= set(mounted(pid))
    assert Path(f"/proc/{pid}/root/etc/passwd").exists()
    answer = done(engine, name, MountsRemove=["/a/b", "/t", "/link", "/etc/one", "/etc"])
    assert answer["AtNextStart"] == ["Mounts /etc"]
    assert not {"/a/b", "/t", "/real", "/etc/one"} & set(mounted(pid))
    assert {"/etc", *own} <= set(mounted(pid))
    assert engine.inspect(name)["Mounts"] == []
    # The running container has it still.
    assert engine.delete("/volumes/filled").status == 409
    assert engine.post(f"/containers/{name}/restart?t=0").status == 204
    assert "/etc" not in mounted(pid_of(engine, name))
    assert engine.delete("/volumes/filled").status == 204


def test_mounts_above_others_wait_for_the_next_start(engine: Engine) -> None:
    inner = {"Type": "volume", "Source": "inner", "Target": "/srv/db"}
    name = engine.run("sleep", "1000", Mounts=[inner])
    pid = pid_of(engine, name)
    before = mounted(pid)
    outer = {"Type": "volume", "Source": "outer", "Target": "/srv"}
    answer = done(engine, name, MountsAdd=[outer])
    assert (answer["Applied"], answer["AtNextStart"]) == ([], ["Mounts /srv"])
    assert mounted(pid) == before
    assert engine.post(f"/containers/{name}/restart?t=0").status == 204
    pid = pid_of(engine, name)
    (Path(f"/proc/{pid}/root") / "srv/db/seen").touch()
    assert {"/srv", "/srv/db"} <= set(mounted(pid))
    answer = done(engine, name, MountsRemove=["/srv"])
    assert (answer["Applied"], answer["AtNextStart"]) == ([], ["Mounts /srv"])
    assert {"/srv", "/srv/db"} <= set(mounted(pid))
    assert engine.post(f"/containers/{name}/restart?t=0").status == 204
    pid = pid_of(engine, name)
    assert "/srv" not in mounted(pid)
    assert (Path(f"/proc/{pid}/root") / "srv/db/seen").exists()
    # Together, in the wrong order, they are mounted the right way; and go together.
    assert done(engine, name, MountsRemove=["/srv/db"])["AtNextStart"] == []
    assert done(engine, name, MountsAdd=[inner, outer])["AtNextStart"] == []
    assert (Path(f"/proc/{pid}/root") / "srv/db/seen").exists()
    assert done(engine, name, MountsRemove=["/srv", "/srv/db"])["AtNextStart"] == []
    assert not {"/srv", "/srv/db"} & set(mounted(pid))
    for volume in ("inner", "outer"):
        assert engine.delete(f"/volumes/{volume}").status == 204


def test_a_volume_stays_in_use_until_nothing_needs_it(engine: Engine) -> None:
    """Whatever further updates do: what the running container has, and what waits for its next
    start, is not to be removed."""

    def volume(name: str, target: str, **options: Any) -> dict[str, Any]:
        return {"Type": "volume", "Source": name, "Target": target, "VolumeOptions": options}

    def removed(name: str) -> int:
        return engine.delete(f"/volumes/{name}").status

    name = engine.run("sleep", "1000", Mounts=[volume("outer", "/srv"), volume("inner", "/srv/db")])
    assert done(engine, name, MountsRemove=["/srv"])["AtNextStart"] == ["Mounts /srv"]
    assert removed("outer") == 409
    # Further updates: one that does nothing to mounts, one that adds, one that is refused.
    done(engine, name, LabelsAdd={"a": "b"})
    done(engine, name, MountsAdd=[volume("later", "/srv")])
    bad = volume("never", "/never", DriverConfig={"Options": {"bogus": "1"}})
    assert update(engine, name, MountsAdd=[bad], MountsRemove=["/srv/db"]).status == 400
    assert "/srv/db" in mounted(pid_of(engine, name))
    assert [removed(each) for each in ("outer", "later", "inner")] == [409] * 3
    engine.crash_and_start()
    done(engine, name, MountsAdd=[volume("more", "/more")])
    assert [removed(each) for each in ("outer", "later", "inner", "more")] == [409] * 4
    # With the end of its run, what was removed is free; what waits is not.
    assert engine.post(f"/containers/{name}/kill").status == 204
    eventually(lambda: removed("outer") == 204, what="the end of the last use")
    assert [removed(each) for each in ("later", "inner", "more")] == [409] * 3
    assert engine.post(f"/containers/{name}/start").status == 204
    assert {"/srv", "/srv/db", "/more"} <= set(mounted(pid_of(engine, name)))
    engine.remove_containers()
    assert [removed(each) for each in ("later", "inner", "more")] == [204] * 3


def test_what_a_container_mounts_itself_is_never_taken_from_it(engine: Engine) -> None:
    name = engine.run("sleep", "1000")
    before = mounted(pid_of(engine, name))
    for target in ("/dev/shm", "/etc/hosts"):
        mount = {"Type": "bind", "Source": "/etc/passwd", "Target": target}
        if target == "/dev/shm":
            mount = {"Type": "tmpfs", "Target": target}
        assert done(engine, name, MountsAdd=[mount])["AtNextStart"] == [f"Mounts {target}"]
        assert done(engine, name, MountsRemove=[target])["AtNextStart"] == [f"Mounts {target}"]
    assert mounted(pid_of(engine, name)) == before


def test_mounts_that_cannot_be(engine: Engine, tmp_path: Path) -> None:
    name = engine.run("sleep", "1000", ReadonlyRootfs=True)
    pid = pid_of(engine, name)
    before = (engine.inspect(name), mounted(pid))
    volume = {"Type": "volume", "Source": "never", "Target": "/never"}
    for mount, words in (
        ({"Type": "bind", "Source": "/not/there", "Target": "/x"}, "does not exist"),
        ({"Type": "bind", "Source": str(tmp_path), "Target": "x"}, "must be absolute"),
        ({"Type": "volume", "Source": "never", "Target": "/"}, "destination can't be '/'"),
        ({"Type": "bind", "Source": str(tmp_path), "Target": "/bin/sh/x"}, "/bin/sh/x"),
    ):
        refused = update(engine, name, MountsAdd=[volume, mount], LabelsAdd={"a": "b"})
        assert refused.status == 400, refused.body
        assert "MountsAdd" in refused.message
        assert words in refused.message
        assert (engine.inspect(name), mounted(pid)) == before
        assert engine.get("/volumes/never").status == 404
    # The root is read-only, so the target cannot be made now.
    answer = done(
        engine, name, MountsAdd=[{"Type": "bind", "Source": str(tmp_path), "Target": "/later"}]
    )
    assert answer["AtNextStart"] == ["Mounts /later"]
    assert "/later" not in mounted(pid)
    assert engine.post(f"/containers/{name}/restart?t=0").status == 204
    assert "/later" in mounted(pid_of(engine, name))


def port_of(engine: Engine, name: str, key: str) -> int:
    return int(engine.inspect(name)["NetworkSettings"]["Ports"][key][0]["HostPort"])


def says(port: int) -> bytes:
    """What the server on a port of this host sends; nothing when nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            found: bytes = answer.read()
            return found
    except OSError:
        return b""


def test_ports_come_and_go(engine: Engine) -> None:
    serve = "mkdir /1 /2; echo one >/1/index.html; echo two >/2/index.html; "
    serve += "httpd -p 81 -h /1; exec httpd -f -p 82 -h /2"
    name = engine.run("sh", "-c", serve, NetworkMode="bridge")
    answer = done(engine, name, PublishAdd={"81/tcp": [{"HostIp": "127.0.0.1"}]})
    assert answer["Applied"] == ["Ports"]
    first = port_of(engine, name, "81/tcp")
    eventually(lambda: says(first) == b"one\n")
    # A second one does not move the first, and a taken one changes nothing.
    done(engine, name, PublishAdd={"82/tcp": [{"HostIp": "127.0.0.1"}]})
    second = port_of(engine, name, "82/tcp")
    eventually(lambda: says(second) == b"two\n")
    assert port_of(engine, name, "81/tcp") == first
    other = engine.run("sleep", "1000", NetworkMode="bridge")
    before = engine.inspect(other)
    taken = update(
        engine,
        other,
        LabelsAdd={"a": "b"},
        Memory=64 * MIB,
        PublishAdd={"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(first)}]},
    )
    assert taken.status == 500
    assert re.search(rf"{first}.*already", taken.message)
    assert engine.inspect(other) == before
    assert memory_limit(pid_of(engine, other)) > 64 * MIB
    # The daemon's end does not forget, and removal frees the port for others.
    engine.crash_and_start()
    eventually(lambda: says(first) == b"one\n")
    done(engine, name, PublishRemove={"81/tcp": None})
    assert engine.inspect(name)["NetworkSettings"]["Ports"]["81/tcp"] is None
    eventually(lambda: says(first) == b"")
    bound = {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(first)}]}
    assert done(engine, other, PublishAdd=bound)["Applied"] == ["Ports"]
    eventually(lambda: says(second) == b"two\n")


def test_health_changes_while_it_runs(engine: Engine) -> None:
    name = engine.run("sleep", "1000")
    check = {"Test": ["CMD", "test", "-e", "/well"], "Interval": 50_000_000, "Retries": 1}
    assert done(engine, name, Healthcheck=check)["Applied"] == ["Healthcheck"]

    def status() -> str:
        return str(engine.inspect(name)["State"]["Health"]["Status"])

    eventually(lambda: status() == "unhealthy")
    Path(f"/proc/{pid_of(engine, name)}/root/well").touch()
    eventually(lambda: status() == "healthy")
    done(engine, name, Healthcheck={"Retries": 5})
    assert status() == "healthy"
    assert engine.inspect(name)["Config"]["Healthcheck"]["Interval"] == 50_000_000
    done(engine, name, Healthcheck={"Test": ["NONE"]})
    assert "Health" not in engine.inspect(name)["State"]
    done(engine, name, Healthcheck={**check, "OnUnhealthy": "kill", "Test": ["CMD", "false"]})
    eventually(lambda: engine.inspect(name)["State"]["Status"] == "exited", what="the kill")


def test_a_paused_and_a_stopped_container(engine: Engine, tmp_path: Path) -> None:
    name = engine.run("sleep", "1000")
    mount = {"Type": "bind", "Source": str(tmp_path), "Target": "/m"}
    assert engine.post(f"/containers/{name}/pause").status == 204
    assert done(engine, name, MountsAdd=[mount], Memory=64 * MIB)["AtNextStart"] == []
    assert "/m" in mounted(pid_of(engine, name))
    assert engine.inspect(name)["State"]["Paused"]
    assert engine.post(f"/containers/{name}/unpause").status == 204
    assert engine.post(f"/containers/{name}/kill").status == 204
    answer = done(engine, name, MountsRemove=["/m"], Memory=32 * MIB, MemorySwap=64 * MIB)
    assert set(answer["AtNextStart"]) == {"Memory", "MemorySwap", "Mounts /m"}
    assert engine.post(f"/containers/{name}/start").status == 204
    assert "/m" not in mounted(pid_of(engine, name))
    assert memory_limit(pid_of(engine, name)) == 32 * MIB

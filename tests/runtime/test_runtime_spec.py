"""The spec builder: against what Docker 20.10 makes of the same options, and rule by rule."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import Invalid, NotImplementedYet
from wherry.linux.capabilities import NAMES
from wherry.linux.devices import DeviceNode
from wherry.linux.host import HostFacts
from wherry.runtime import caps, limits, mounts, resources, spec
from wherry.runtime.users import ResolvedUser
from wherry.wire.container import (
    Config,
    DeviceMapping,
    DeviceRequest,
    HostConfig,
    ThrottleDevice,
    Ulimit,
    WeightDevice,
)

FACTS = HostFacts(init_path="/usr/bin/tini", blkio_weight=True)
DOCKER = json.loads((Path(__file__).parent / "docker_specs.json").read_text(encoding="utf-8"))
NULL = DeviceNode("/dev/foo", "c", 1, 3, 0o666, 0, 0)


def build(
    config: dict[str, Any] | None = None,
    host: dict[str, Any] | None = None,
    facts: HostFacts = FACTS,
    **request: Any,
) -> dict[str, Any]:
    wanted = Config(**{"cmd": ["sleep", "100"], **(config or {})})
    host_config = HostConfig(**(host or {}))
    spec.check(wanted, host_config, facts)
    made = spec.build(
        spec.SpecRequest(
            "id",
            wanted,
            host_config,
            Path("/root/fs"),
            "/wherry/id",
            facts,
            device_numbers=lambda path: (8, int(path[-1])),
            **{"hostname": "host", **request},
        )
    )
    return made.document


def comparable(document: dict[str, Any]) -> dict[str, Any]:
    """What has an effect, in one form: order, empty values and 0 defaults taken out."""
    process, linux = document["process"], document["linux"]
    limited = linux["resources"]
    return {
        "args": process["args"],
        "user": process["user"],
        "env": sorted(each for each in process["env"] if not each.startswith("HOME=/root")),
        "cwd": process["cwd"],
        "terminal": bool(process.get("terminal")),
        "caps": {key: sorted(names) for key, names in process["capabilities"].items()},
        "rlimits": process.get("rlimits", []),
        "nnp": bool(process.get("noNewPrivileges")),
        "oom": process.get("oomScoreAdj", 0),
        "hostname": document.get("hostname"),
        "readonly": bool(document["root"].get("readonly")),
        "mounts": [
            (each["destination"], each["type"], each["source"], sorted(each["options"]))
            for each in document["mounts"]
        ],
        "sysctl": linux.get("sysctl"),
        "namespaces": sorted(each["type"] for each in linux["namespaces"]),
        "devices": linux.get("devices", []),
        "rules": [
            {key: value for key, value in each.items() if value != -1}
            for each in limited["devices"]
            # Docker denies FUSE once more after denying everything.
            if each.get("minor") != 229
        ],
        "limits": {
            key: {name: value for name, value in limited.get(key, {}).items() if value}
            for key in ("memory", "cpu", "pids", "blockIO")
        },
        "readonlyPaths": sorted(linux.get("readonlyPaths", [])),
    }


def test_as_docker_makes_a_plain_container() -> None:
    made = build(user=ResolvedUser(0, 0, (0,), "/root"))
    assert comparable(made) == comparable(DOCKER["plain"])


def test_as_docker_makes_one_with_many_options() -> None:
    made = build(
        {"tty": True, "env": ["A=b", "HOME=/x"], "working_dir": "/work/x"},
        {
            "memory": 64 << 20,
            "memory_swap": 128 << 20,
            "memory_reservation": 32 << 20,
            "nano_cpus": 500_000_000,
            "pids_limit": 20,
            "cpu_shares": 512,
            "cpuset_cpus": "0",
            "group_add": ["7"],
            "device_cgroup_rules": ["c 10:* rm"],
            "readonly_rootfs": True,
            "tmpfs": {"/run": "size=1m,mode=700"},
            "cap_add": ["SYS_ADMIN"],
            "cap_drop": ["MKNOD"],
            "security_opt": ["no-new-privileges"],
            "ulimits": [Ulimit(name="nofile", soft=100, hard=200)],
            "sysctls": {"net.core.somaxconn": "100"},
            "oom_score_adj": 5,
            "ipc_mode": "private",
            "shm_size": 1 << 20,
        },
        hostname="foo",
        domainname="bar",
        user=ResolvedUser(5, 6, (6, 7)),
        devices=[(NULL, "r")],
    )
    docker, ours = comparable(DOCKER["options"]), comparable(made)
    # Docker 20.10 leaves standard mounts writable in a read-only root; newer ones do not.
    for each in (docker, ours):
        each["mounts"] = [
            (target, kind, source, [option for option in options if option != "ro"])
            for target, kind, source, options in each["mounts"]
        ]
    assert ours == docker


def test_the_default_paths_hold_dockers() -> None:
    linux = build()["linux"]
    assert set(DOCKER["plain"]["linux"]["maskedPaths"]) <= set(linux["maskedPaths"])
    assert "/proc/interrupts" in linux["maskedPaths"]
    linux = build(host={"masked_paths": [], "readonly_paths": ["/x"]})["linux"]
    assert (linux["maskedPaths"], linux["readonlyPaths"]) == ([], ["/x"])
    linux = build(host={"security_opt": ["systempaths=unconfined"]})["linux"]
    assert (linux["maskedPaths"], linux["readonlyPaths"]) == ([], [])


def test_privileged() -> None:
    disk = DeviceNode("/dev/sda", "b", 8, 0, 0o660, 0, 6)
    made = build(host={"privileged": True}, host_devices=[disk, NULL], devices=[(NULL, "rwm")])
    linux = made["linux"]
    assert "seccomp" not in linux
    assert "maskedPaths" not in linux
    assert linux["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert [each["path"] for each in linux["devices"]] == ["/dev/foo", "/dev/sda"]
    assert set(made["process"]["capabilities"]["bounding"]) == set(NAMES)
    for each in made["mounts"]:
        if each["destination"] in ("/sys", "/sys/fs/cgroup"):
            assert "ro" not in each["options"]


def test_other_users_start_without_capabilities() -> None:
    held = build(user=ResolvedUser(1000, 1000))["process"]["capabilities"]
    assert set(held) == {"bounding"}


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("pid", "pid_mode"), ("ipc", "ipc_mode"), ("uts", "uts_mode"), ("cgroup", "cgroupns_mode")],
)
def test_namespaces(kind: str, mode: str) -> None:
    def of(made: dict[str, Any]) -> dict[str, Any]:
        return {each["type"]: each.get("path") for each in made["linux"]["namespaces"]}

    assert kind in of(build(host={mode: "private"}))
    assert kind not in of(build(host={mode: "host"}))
    joined = build(host={mode: "container:x"}, namespaces={kind: "/proc/1/ns/x"})
    assert of(joined)[kind] == "/proc/1/ns/x"
    assert ("hostname" in build(host={mode: "host"})) == (kind != "uts")


def test_networks() -> None:
    def of(**request: Any) -> list[dict[str, str]]:
        made = build(**request)["linux"]["namespaces"]
        return [each for each in made if each["type"] == "network"]

    assert of() == [{"type": "network"}]
    assert of(network="/run/ns") == [{"type": "network", "path": "/run/ns"}]
    assert of(network=None) == []
    assert "net.ipv4.ping_group_range" in build()["linux"]["sysctl"]
    assert build(host={"network_mode": "host"}, network=None)["linux"]["sysctl"] == {}


def test_cgroup_namespace_follows_the_version() -> None:
    kinds = [each["type"] for each in build()["linux"]["namespaces"]]
    assert "cgroup" not in kinds
    modern = replace(FACTS, cgroup_version=2)
    kinds = [each["type"] for each in build(facts=modern)["linux"]["namespaces"]]
    assert "cgroup" in kinds


def test_shared_memory() -> None:
    def shm(host: dict[str, Any], **request: Any) -> list[dict[str, Any]]:
        return [
            each
            for each in build(host=host, **request)["mounts"]
            if each["destination"] == "/dev/shm"
        ]

    assert "size=67108864" in shm({})[0]["options"]
    assert shm({"ipc_mode": "none"}) == []
    assert shm({"ipc_mode": "host"})[0]["source"] == "/dev/shm"
    assert shm({"ipc_mode": "container:x"}, shm_source="/there")[0]["source"] == "/there"


def test_init() -> None:
    made = build(init=True)
    assert made["process"]["args"] == ["/sbin/docker-init", "--", "sleep", "100"]
    assert made["mounts"][-1]["source"] == "/usr/bin/tini"
    assert build(host={"pid_mode": "host"}, init=True)["process"]["args"] == ["sleep", "100"]
    bare = replace(FACTS, init_path="")
    with pytest.raises(Invalid, match="tini"):
        build(host={"init": True}, facts=bare)


def test_commands() -> None:
    assert build({"entrypoint": ["/e"], "cmd": ["a"]})["process"]["args"] == ["/e", "a"]
    assert build({"entrypoint": "one string", "cmd": None})["process"]["args"] == ["one string"]
    with pytest.raises(Invalid, match="no command specified"):
        build({"cmd": []})


def test_environment() -> None:
    def env(config: dict[str, Any], **request: Any) -> list[str]:
        found: list[str] = build(config, **request)["process"]["env"]
        return found

    assert env({}) == [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOSTNAME=host",
        "HOME=/",
    ]
    assert "TERM=xterm" in env({"tty": True})
    assert "TERM=dumb" in env({"tty": True, "env": ["TERM=dumb"]})
    assert "PATH=/x" in env({"env": ["PATH=/x"]})
    assert not [each for each in env({"env": ["PATH"]}) if each.startswith("PATH")]
    assert env({}, user=ResolvedUser(1, 1, (), "/home/u"))[-1] == "HOME=/home/u"
    assert env({"env": ["A=1", "A=2"]}).count("A=2") == 1


MOUNT = {"type": "bind", "source": "/s", "options": ["rbind"]}


def test_users_mounts_replace_standard_ones() -> None:
    made = build(mounts=[{"destination": "/dev/", **MOUNT}, {"destination": "/a/../sys", **MOUNT}])[
        "mounts"
    ]
    targets = [each["destination"] for each in made]
    assert "/dev" not in targets
    assert "/dev/pts" not in targets
    assert targets[-2:] == ["/dev/", "/a/../sys"]
    assert "/sys" not in targets


def test_a_mount_of_the_same_place_replaces_the_tmpfs() -> None:
    made = build(host={"tmpfs": {"/data": ""}}, mounts=[{"destination": "/data", **MOUNT}])
    found = [each for each in made["mounts"] if each["destination"] == "/data"]
    assert [each["type"] for each in found] == ["bind"]


def test_propagation() -> None:
    def of(*options: str) -> Any:
        bind = {**MOUNT, "destination": "/d", "options": list(options)}
        return build(mounts=[bind])["linux"].get("rootfsPropagation")

    assert of("rbind", "rprivate") is None
    assert of("rbind", "rshared") == "shared"
    assert of("bind", "slave") == "slave"


def test_a_read_only_root() -> None:
    made = build(host={"readonly_rootfs": True})
    assert made["root"]["readonly"] is True
    options = {each["destination"]: each["options"] for each in made["mounts"]}
    assert "ro" not in options["/dev/shm"]
    assert "ro" not in options["/proc"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["noexec", "nosuid", "nodev", "rprivate"]),
        ("exec", ["nosuid", "nodev", "exec", "rprivate"]),
        ("rw,size=64m,mode=1770", ["noexec", "nosuid", "nodev", "rw", "size=64m", "mode=1770",
                                   "rprivate"]),
        ("size=1,size=2", ["noexec", "nosuid", "nodev", "size=2", "rprivate"]),
        ("rshared", ["noexec", "nosuid", "nodev", "rshared"]),
    ],
)  # fmt: skip
def test_tmpfs_options(text: str, expected: list[str]) -> None:
    assert mounts.tmpfs_options(text) == expected


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ({"tmpfs": {"/x": "size=1,wrong"}}, r'invalid tmpfs option \["wrong"\]'),
        ({"tmpfs": {"rel": ""}}, "mount path must be absolute"),
        ({"tmpfs": {"/": ""}}, "destination can't be '/'"),
        ({"cap_add": ["NOPE"]}, 'invalid CapAdd: unknown capability: "CAP_NOPE"'),
        ({"cap_drop": ["nope"]}, 'invalid CapDrop: unknown capability: "CAP_NOPE"'),
        ({"security_opt": ["odd"]}, 'invalid --security-opt 1: "odd"'),
        ({"security_opt": ["odd=1"]}, 'invalid --security-opt 2: "odd=1"'),
        ({"security_opt": ["no-new-privileges=maybe"]}, "invalid --security-opt 2"),
        ({"security_opt": ["seccomp={"]}, "Decoding seccomp profile failed"),
        ({"security_opt": ["seccomp={}"]}, "defaultAction"),
        ({"security_opt": ["apparmor=strict"]}, "AppArmor is not enabled"),
        ({"security_opt": ["label=odd"]}, "invalid --security-opt label"),
        ({"ulimits": [Ulimit(name="odd", soft=1, hard=1)]}, "invalid ulimit type: odd"),
        ({"ulimits": [Ulimit(name="nofile", soft=2, hard=1)]}, "soft limit must be less than"),
        ({"ulimits": [Ulimit(name="core", soft=-1, hard=5)]}, "soft limit must be less than"),
        ({"sysctls": {"kernel.panic": "1"}}, "is not in a separate kernel namespace"),
        ({"sysctls": {"net.x": "1"}, "network_mode": "host"}, "not allowed in host network"),
        ({"sysctls": {"kernel.sem": "1"}, "ipc_mode": "host"}, "not allowed in host ipc"),
        ({"sysctls": {"net/../kernel": "1"}}, "invalid sysctl"),
        ({"device_cgroup_rules": ["x 1:1 r"]}, "invalid device cgroup rule format: 'x 1:1 r'"),
        ({"devices": [DeviceMapping(path_on_host="rel")]}, "not an absolute path"),
        (
            {"devices": [DeviceMapping(path_on_host="/dev/null", cgroup_permissions="rx")]},
            "invalid device mode: rx",
        ),
        ({"userns_mode": "odd"}, "invalid USER mode: odd"),
    ],
)
def test_wrong_values(host: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        build(host=host)


def test_no_graphics_cards() -> None:
    with pytest.raises(NotImplementedYet, match="could not select device driver"):
        build(host={"device_requests": [DeviceRequest(capabilities=[["gpu"]])]})


def test_limits_that_this_host_cannot_enforce_are_dropped_with_a_warning() -> None:
    poor = replace(
        FACTS, controllers=frozenset({"cpu"}), blkio_weight=False, memory_oom_control=False
    )
    host = HostConfig(
        memory=64 << 20, memory_swap=1 << 27, pids_limit=5, blkio_weight=100, oom_kill_disable=True
    )
    said = spec.check(Config(cmd=["x"]), host, poor)
    assert len(said) == 4
    assert all("iscarded" in each for each in said)
    assert spec.update_resources(host, poor) == {}
    no_swap = replace(FACTS, swap_limit=False)
    assert spec.update_resources(host, no_swap)["memory"]["swap"] == -1


def test_weights_of_devices_need_a_scheduler_that_knows_them() -> None:
    plain = replace(FACTS, cgroup_version=2, blkio_weight_device=False)
    host = HostConfig(
        blkio_weight=300, blkio_weight_device=[WeightDevice(path="/dev/sd1", weight=20)]
    )
    assert ["Weight-device discarded" in each for each in
            spec.check(Config(cmd=["x"]), host, plain)] == [True]  # fmt: skip
    assert spec.update_resources(host, plain)["blockIO"] == {"weight": 300}
    cleared, said = spec.possible(host, plain)
    assert (set(cleared) & {"blkio_weight", "blkio_weight_device"}, len(said)) == (
        {"blkio_weight_device"},
        1,
    )


def test_block_io() -> None:
    made = build(
        host={
            "blkio_weight": 300,
            "blkio_weight_device": [WeightDevice(path="/dev/sd1", weight=20)],
            "blkio_device_read_bps": [ThrottleDevice(path="/dev/sd2", rate=5)],
            "blkio_device_write_iops": [ThrottleDevice(path="/dev/sd3", rate=6)],
        }
    )["linux"]["resources"]["blockIO"]
    assert made == {
        "weight": 300,
        "weightDevice": [{"major": 8, "minor": 1, "weight": 20}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 2, "rate": 5}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 3, "rate": 6}],
    }


def test_other_limits() -> None:
    made = build(
        host={
            "cpu_quota": 5000,
            "cpu_period": 10000,
            "pids_limit": -1,
            "memory_swappiness": 0,
            "cpu_shares": 1,
        }
    )["linux"]["resources"]
    assert made["cpu"] == {"shares": 2, "period": 10000, "quota": 5000}
    assert "pids" not in made
    assert made["memory"] == {"swappiness": 0}
    assert build(host={"memory": 1 << 30})["linux"]["resources"]["memory"]["swap"] == 2 << 30


def test_annotations_and_domain() -> None:
    made = build(host={"annotations": {"a": "b"}}, domainname="corp")
    assert made["annotations"] == {"a": "b"}
    assert made["linux"]["sysctl"]["kernel.domainname"] == "corp"


def test_default_limits_are_lowered_and_asked_ones_refused() -> None:
    weak = replace(
        FACTS,
        capabilities=FACTS.capabilities - {"CAP_SYS_RESOURCE"},
        rlimits={"nofile": (1000, 1000)},
    )
    request = spec.SpecRequest(
        "id", Config(cmd=["x"]), HostConfig(), Path("/r"), "/c", weak,
        default_ulimits=[Ulimit(name="nofile", soft=5000, hard=9000)],
    )  # fmt: skip
    made = spec.build(request)
    assert made.document["process"]["rlimits"] == [
        {"type": "RLIMIT_NOFILE", "hard": 1000, "soft": 1000}
    ]
    assert "was lowered to 1000" in made.warnings[0]
    asked = [Ulimit(name="nofile", soft=1, hard=1001)]
    with pytest.raises(Invalid, match="above the host's limit of 1000"):
        spec.check(Config(cmd=["x"]), HostConfig(ulimits=asked), weak)


def test_what_the_daemon_has_of_its_unit_is_not_handed_on() -> None:
    """Open files as before it raised its own limit; no protection from the kernel's hand."""
    facts = replace(FACTS, rlimits={"nofile": (1024, -1)}, oom_score_adj=-500)
    request = spec.SpecRequest("id", Config(cmd=["x"]), HostConfig(), Path("/r"), "/c", facts)
    exec_request = spec.ExecSpecRequest(["ls"], ResolvedUser(), facts)
    for process in (
        spec.build(request).document["process"],
        spec.exec_process(Config(), HostConfig(), exec_request),
    ):
        assert process["rlimits"] == [
            {"type": "RLIMIT_NOFILE", "hard": limits.UNLIMITED, "soft": 1024}
        ]
        assert process["oomScoreAdj"] == 0
    asked = replace(request, host_config=HostConfig(oom_score_adj=-100))
    assert spec.build(asked).document["process"]["oomScoreAdj"] == -100


SOME = st.lists(st.sampled_from([*NAMES, *(name[4:].lower() for name in NAMES), "ALL", "all"]))


@given(add=SOME, drop=SOME, have=st.sets(st.sampled_from(NAMES)), privileged=st.booleans())
def test_capabilities(add: list[str], drop: list[str], have: set[str], privileged: bool) -> None:
    available = frozenset(have)
    try:
        found = caps.effective(add, drop, privileged=privileged, available=available)
    except Invalid:
        return
    assert len(found) == len(set(found))
    assert set(found) <= available
    if privileged:
        assert set(found) == available
    asked = {name.upper() for name in add}
    if "ALL" not in asked and "ALL" in {name.upper() for name in drop} and not privileged:
        assert set(found) == {name if name.startswith("CAP_") else "CAP_" + name for name in asked}


@given(st.text(max_size=20))
def test_device_rules_are_read_or_refused(text: str) -> None:
    try:
        rule = resources.parse_rule(text)
    except Invalid:
        return
    assert rule["type"] in "abc"
    assert set(rule["access"]) <= set("rwm")


def test_exec_process() -> None:
    config = Config(env=["A=1", "HOME=/set"], working_dir="/w")
    host = HostConfig(cap_drop=["ALL"], security_opt=["no-new-privileges"], oom_score_adj=3)
    request = spec.ExecSpecRequest(
        ["ls"], ResolvedUser(), FACTS, hostname="h", terminal=True, env=["A=2", "B=3"]
    )
    made = spec.exec_process(config, host, request)
    assert made["cwd"] == "/w"
    assert {"A=2", "B=3", "HOME=/set", "TERM=xterm", "HOSTNAME=h"} <= set(made["env"])
    assert made["capabilities"]["effective"] == []
    assert made["noNewPrivileges"] is True
    assert made["oomScoreAdj"] == 3
    strong = spec.exec_process(config, host, replace(request, privileged=True))
    assert set(strong["capabilities"]["effective"]) == set(NAMES)
    with pytest.raises(Invalid, match="No exec command specified"):
        spec.exec_process(config, host, replace(request, arguments=[]))

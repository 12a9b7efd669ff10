"""Names, merging, defaults, host files, log of health: pure parts, by tables."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.containers import defaults, hostfiles, names
from wherry.containers.facts import HostFacts
from wherry.containers.health import Plan, judge, next_due, pause_before, plan_of
from wherry.containers.look import select_processes
from wherry.containers.merge import check_health, merge_config, merge_env, normal_port
from wherry.containers.record import Health, Probe
from wherry.containers.resources import merge_resources
from wherry.containers.watch import next_delay
from wherry.errors import Invalid, NotImplementedYet
from wherry.wire.container import (
    Config,
    CreateRequest,
    HealthConfig,
    HostConfig,
    LogConfig,
    RestartPolicy,
)

# --- names


@pytest.mark.parametrize("name", ["ab", "/ab", "A.b-c_d", "0x", "a" * 200])
def test_good_names(name: str) -> None:
    assert names.validate(name) == name.removeprefix("/")


@pytest.mark.parametrize("name", ["a", "/", "-ab", ".ab", "a b", "a/b", "ä1", "ab\n", "//ab", ""])
def test_bad_names(name: str) -> None:
    with pytest.raises(Invalid, match=r"only \[a-zA-Z0-9\]\[a-zA-Z0-9_.-\] are allowed"):
        names.validate(name)


@given(st.sets(st.text(max_size=5)))
def test_generated_names_are_valid_and_free(taken: set[str]) -> None:
    name = names.generate(taken)
    assert names.validate(name) == name
    assert name not in taken


def test_a_generated_name_is_free_even_when_few_are() -> None:
    first = names.generate((), choice=lambda words: words[0])
    taken = {first}
    for _ in range(300):
        name = names.generate(taken, choice=lambda words: words[0])
        assert name not in taken
        taken.add(name)


# --- what runs

IMAGE = {"Entrypoint": ["/entry"], "Cmd": ["image", "cmd"], "Env": ["A=1", "B=2"]}


@pytest.mark.parametrize(
    ("image", "entrypoint", "cmd", "argv"),
    [
        (IMAGE, None, None, ["/entry", "image", "cmd"]),
        (IMAGE, None, ["mine"], ["/entry", "mine"]),
        (IMAGE, ["/own"], None, ["/own"]),
        (IMAGE, ["/own"], ["mine"], ["/own", "mine"]),
        (IMAGE, [""], ["mine"], ["mine"]),
        (IMAGE, "/own", None, ["/own"]),
        ({"Cmd": ["sh"]}, None, None, ["sh"]),
        ({"Cmd": ["sh"]}, [], [], ["sh"]),
    ],
)
def test_entrypoint_and_cmd(image: Any, entrypoint: Any, cmd: Any, argv: list[str]) -> None:
    merged = merge_config(CreateRequest(entrypoint=entrypoint, cmd=cmd), image)
    assert [*(merged.entrypoint or []), *(merged.cmd or [])] == argv


def test_nothing_to_run() -> None:
    for image, request in (
        ({}, CreateRequest()),
        (None, CreateRequest(entrypoint=[])),
        ({"Entrypoint": ["/x"]}, CreateRequest(entrypoint=[""])),
    ):
        with pytest.raises(Invalid, match="no command specified"):
            merge_config(request, image)


def test_the_request_wins_and_the_rest_is_joined() -> None:
    image = {
        **IMAGE,
        "Labels": {"a": "image", "b": "image"},
        "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/data": {}},
        "User": "nobody",
        "WorkingDir": "/w",
        "StopSignal": "SIGINT",
        "Healthcheck": {"Test": ["CMD", "ok"], "Interval": 5_000_000_000},
    }
    merged = merge_config(
        CreateRequest(
            env=["B=mine", "C=3"],
            labels={"b": "own"},
            exposed_ports={"53/udp": {}, "90": {}},
            volumes={"/more": {}},
            working_dir="/own",
            healthcheck=HealthConfig(retries=7),
        ),
        image,
    )
    assert merged.env == ["B=mine", "C=3", "A=1"]
    assert merged.labels == {"a": "image", "b": "own"}
    assert merged.exposed_ports == {"80/tcp": {}, "53/udp": {}, "90/tcp": {}}
    assert merged.volumes == {"/data": {}, "/more": {}}
    assert (merged.user, merged.working_dir, merged.stop_signal) == ("nobody", "/own", "SIGINT")
    assert merged.healthcheck == HealthConfig(test=["CMD", "ok"], interval=5_000_000_000, retries=7)


def test_a_bare_name_removes_a_variable() -> None:
    assert merge_env(["A", "C=1"], ["A=1", "B=2"]) == ["C=1", "B=2"]


@pytest.mark.parametrize(
    ("text", "port"),
    [("80", "80/tcp"), ("80/UDP", "80/udp"), ("1-3/sctp", "1-3/sctp"), ("0", "0/tcp")],
)
def test_ports(text: str, port: str) -> None:
    assert normal_port(text) == port


@pytest.mark.parametrize("text", ["", "x", "65536", "80/icmp", "3-1", "-1", "1-", "8 0", "٣"])
def test_bad_ports(text: str) -> None:
    with pytest.raises(Invalid, match="invalid port specification"):
        normal_port(text)


# --- limits and modes

FACTS = HostFacts(cpus=2)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (HostConfig(memory=1000), "Minimum memory limit allowed is 6MB"),
        (HostConfig(memory=-1), "Minimum memory limit allowed is 6MB"),
        (HostConfig(memory=8 << 20, memory_swap=7 << 20), "larger than memory limit"),
        (HostConfig(memory_swap=8 << 20), "always set the Memory limit"),
        (HostConfig(memory=8 << 20, memory_reservation=9 << 20), "less than memory reservation"),
        (HostConfig(memory_swappiness=101), "valid memory swappiness range is 0-100"),
        (HostConfig(nano_cpus=3_000_000_000), "Range of CPUs is from 0.01 to 2.00"),
        (HostConfig(nano_cpus=1, cpu_period=2000), "Nano CPUs and CPU Period"),
        (HostConfig(nano_cpus=1, cpu_quota=2000), "Nano CPUs and CPU Quota"),
        (HostConfig(cpu_period=10), "CPU cfs period"),
        (HostConfig(cpu_quota=10), "CPU cfs quota"),
        (HostConfig(cpuset_cpus="0-7"), "Requested CPUs are not available"),
        (HostConfig(cpuset_cpus="a"), "Invalid value a for cpuset-cpus"),
        (HostConfig(blkio_weight=5), "Range of blkio weight"),
        (HostConfig(oom_score_adj=1001), "range for oom score adj"),
        (HostConfig(shm_size=-1), "SHM size can not be less than 0"),
    ],
)
def test_limits_out_of_range(host: HostConfig, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        defaults.check_resources(host, FACTS)


def test_good_limits_pass() -> None:
    good = HostConfig(
        memory=6 << 20, memory_swap=-1, nano_cpus=2_000_000_000, cpuset_cpus="0,1", pids_limit=-1
    )
    assert defaults.check_resources(good, FACTS) == []


@pytest.mark.parametrize(
    ("host", "kind", "words"),
    [
        (HostConfig(ipc_mode="x"), Invalid, "invalid IPC mode: x"),
        (HostConfig(pid_mode="container:"), Invalid, "invalid PID mode"),
        (HostConfig(uts_mode="container:x"), Invalid, "invalid UTS mode"),
        (HostConfig(runtime="nope"), Invalid, "unknown or invalid runtime name: nope"),
        (HostConfig(log_config=LogConfig(type="nope")), Invalid, "no log driver named 'nope'"),
        (HostConfig(log_config=LogConfig(type="splunk")), NotImplementedYet, "splunk"),
        (HostConfig(isolation="hyperv"), Invalid, "invalid isolation"),
    ],
)
def test_bad_modes(host: HostConfig, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        defaults.check_modes(host, Config(), ["crun"])


@pytest.mark.parametrize(
    ("policy", "auto_remove", "words"),
    [
        (RestartPolicy(name="sometimes"), False, "unknown policy 'sometimes'"),
        (RestartPolicy(name="always", maximum_retry_count=1), False, "maximum retry count"),
        (RestartPolicy(name="on-failure", maximum_retry_count=-1), False, "cannot be negative"),
        (RestartPolicy(name="always"), True, "can't create 'AutoRemove' container"),
    ],
)
def test_bad_restart_policies(policy: RestartPolicy, auto_remove: bool, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        defaults.check_policy(HostConfig(restart_policy=policy, auto_remove=auto_remove))


def test_docker_fills_these() -> None:
    filled = defaults.fill(HostConfig(memory=8 << 20), FACTS)
    assert filled.memory_swap == 16 << 20
    assert filled.shm_size == 64 << 20
    assert filled.ipc_mode == "private"
    assert filled.restart_policy == RestartPolicy(name="no", maximum_retry_count=0)
    assert filled.masked_paths is not None
    assert "/proc/kcore" in filled.masked_paths
    assert defaults.fill(HostConfig(privileged=True), FACTS).masked_paths is None


# --- update, restart delays


def test_update_takes_only_what_was_given() -> None:
    old = HostConfig(memory=8 << 20, memory_swap=16 << 20, cpu_shares=5)
    assert merge_resources(old, HostConfig(cpu_shares=7)) == HostConfig(
        memory=8 << 20, memory_swap=16 << 20, cpu_shares=7
    )
    with pytest.raises(Invalid, match="already set memoryswap limit"):
        merge_resources(old, HostConfig(memory=32 << 20))
    with pytest.raises(Invalid, match="NanoCPUs has already been set"):
        merge_resources(HostConfig(nano_cpus=5), HostConfig(cpu_quota=5000))


def test_delays_double_up_to_a_minute_and_start_anew() -> None:
    delay, seen = 0.0, []
    for _ in range(12):
        delay = next_delay(delay, 0.0)
        seen.append(delay)
    assert seen[:4] == [0.1, 0.2, 0.4, 0.8]
    assert seen[-1] == 60.0
    assert next_delay(60.0, 10.0) == 0.1


# --- host files


def test_hosts_and_extra_hosts() -> None:
    extra = hostfiles.parse_extra_hosts(
        ["db:10.0.0.1", "six:::1", "gw=host-gateway", "v6=[2001:db8::1]"], "172.17.0.1"
    )
    assert extra == [
        ("db", "10.0.0.1"),
        ("six", "::1"),
        ("gw", "172.17.0.1"),
        ("v6", "2001:db8::1"),
    ]
    text = hostfiles.hosts_text(extra, [("10.1.1.1", ["box", "alias"])])
    assert text.startswith("127.0.0.1\tlocalhost\n")
    assert "10.0.0.1\tdb\n" in text
    assert text.endswith("10.1.1.1\tbox alias\n")


@pytest.mark.parametrize("entry", ["db", "db:", ":1.1.1.1", "db:300.1.1.1", "db:name"])
def test_bad_extra_hosts(entry: str) -> None:
    with pytest.raises(Invalid, match="add-host"):
        hostfiles.parse_extra_hosts([entry])


def test_resolv_conf() -> None:
    host = "# x\nnameserver 127.0.0.53\nnameserver 9.9.9.9\nsearch a b\noptions ndots:2\n"
    assert hostfiles.resolv_text(host) == "nameserver 9.9.9.9\nsearch a b\noptions ndots:2\n"
    assert "127.0.0.53" in hostfiles.resolv_text(host, keep_loopback=True)
    assert hostfiles.resolv_text(host, servers=["1.1.1.1"], search=["."], options=["edns0"]) == (
        "nameserver 1.1.1.1\noptions edns0\n"
    )


# --- health

PLAN = Plan(("true",), 30.0, 30.0, 10.0, 1.0, 2)


def probe(code: int, at: float) -> Probe:
    return Probe(int(at * 1e9), int(at * 1e9) + 1, code, "")


def test_failures_count_only_after_the_start_period() -> None:
    health = judge(Health(), probe(1, 5), PLAN, 0)
    assert (health.status, health.failing) == ("starting", 0)
    health = judge(health, probe(1, 11), PLAN, 0)
    assert (health.status, health.failing) == ("starting", 1)
    health = judge(health, probe(1, 12), PLAN, 0)
    assert (health.status, health.failing) == ("unhealthy", 2)
    health = judge(health, probe(0, 13), PLAN, 0)
    assert (health.status, health.failing) == ("healthy", 0)
    for second in range(14, 20):
        health = judge(health, probe(0, second), PLAN, 0)
    assert len(health.probes) == 5


def test_probes_come_faster_while_starting() -> None:
    assert pause_before(Health(), PLAN, 1.0) == 1.0
    assert pause_before(Health("healthy"), PLAN, 1.0) == 30.0
    assert pause_before(Health(), PLAN, 11.0) == 30.0


def test_probes_come_at_whole_intervals() -> None:
    """However long one takes, and however late the loop is."""
    assert next_due(100.0, 5.0, 100.0) == 105.0
    assert next_due(100.0, 5.0, 105.0) == 110.0
    assert next_due(100.0, 5.0, 105.3) == 110.0
    assert next_due(100.0, 5.0, 117.5) == 120.0
    assert next_due(100.0, 5.0, 90.0) == 105.0
    assert next_due(100.0, 5.0, 104.9999) == 110.0


def test_plans() -> None:
    assert plan_of(None, None) is None
    assert plan_of(HealthConfig(test=["NONE"]), None) is None
    shell = plan_of(HealthConfig(test=["CMD-SHELL", "a b"]), ["/bin/ash", "-c"])
    assert shell is not None
    assert (shell.command, shell.interval, shell.retries) == (("/bin/ash", "-c", "a b"), 30.0, 3)


# --- top


def test_rows_of_ps_are_cut_as_docker_does() -> None:
    output = "UID PID CMD\nroot 7 sleep 10 x\nroot 8 other\n"
    assert select_processes(output, {7}) == (["UID", "PID", "CMD"], [["root", "7", "sleep 10 x"]])
    with pytest.raises(Invalid, match="Couldn't find PID field"):
        select_processes("USER CMD\n", {1})


def test_what_follows_when_unhealthy() -> None:
    config = HealthConfig(test=["CMD", "x"], on_unhealthy="restart")
    plan = plan_of(config, None)
    assert plan is not None
    assert plan.on_unhealthy == "restart"
    quiet = plan_of(HealthConfig(test=["CMD", "x"], on_unhealthy="none"), None)
    assert quiet is not None
    assert quiet.on_unhealthy == ""
    check_health(config)
    with pytest.raises(Invalid, match="OnUnhealthy in Healthcheck is 'reboot'"):
        check_health(HealthConfig(on_unhealthy="reboot"))

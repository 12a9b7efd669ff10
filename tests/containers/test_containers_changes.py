"""Updates: what they make of a record, and how they are undone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.containers.container_fakes import World

from wherry.containers.changes import Changed, changes, health_after, merge_env, merge_ports, shown
from wherry.containers.record import Health, ImageUse, Record
from wherry.containers.resources import UNIFIED, transition
from wherry.containers.transitions import Event
from wherry.errors import Conflict, Exhausted, Internal, Invalid
from wherry.wire.container import (
    Config,
    HealthConfig,
    HostConfig,
    Mount,
    PortBinding,
    RestartPolicy,
    UpdateRequest,
)
from wherry.wire.mounts import MountPoint


def record(**parts: Any) -> Record:
    values: dict[str, Any] = {
        "id": "1" * 64,
        "name": "box",
        "created_ns": 1,
        "image": ImageUse("i", "t", "m", ()),
        "config": Config(env=["A=1", "B=2"], labels={"x": "1"}, exposed_ports={"80/tcp": {}}),
        "host_config": HostConfig(
            network_mode="bridge",
            port_bindings={"80/tcp": [PortBinding(host_ip="", host_port="8080")]},
            binds=["/h:/data/:ro"],
            tmpfs={"/t": "size=1m"},
        ),
        "mount_points": (MountPoint("bind", "/data", "/h"), MountPoint("tmpfs", "/t")),
    }
    return Record(**{**values, **parts})


def change(**asked: Any) -> Changed:
    return changes(record(), UpdateRequest(**asked))


def test_every_part() -> None:
    made = change(
        memory=64 << 20,
        restart_policy=RestartPolicy(name="always"),
        env_add=["C=3", "A=9"],
        env_remove=["B"],
        labels_add={"y": "2"},
        labels_remove=["x"],
        publish_add={"81": [PortBinding(host_port="8081")]},
        publish_remove={"80/tcp": None},
        mounts_add=[Mount(type="tmpfs", target="/new/")],
        mounts_remove=["/data", "/t/"],
        healthcheck=HealthConfig(test=["CMD", "true"], retries=2),
    )
    assert made.config.env == ["A=9", "C=3"]
    assert made.config.labels == {"y": "2"}
    assert made.host.port_bindings == {"81/tcp": [PortBinding(host_ip="", host_port="8081")]}
    assert set(made.config.exposed_ports or ()) == {"80/tcp", "81/tcp"}
    assert (made.host.binds, made.host.tmpfs) == (None, None)
    assert [each.target for each in made.host.mounts or ()] == ["/new/"]
    assert [each.destination for each in made.removing] == ["/data", "/t"]
    assert made.points == ()
    assert made.resources == ("Memory", "MemorySwap")
    assert (made.ports, made.health, made.env) == (True, True, True)
    assert made.plain == ("RestartPolicy", "Labels")
    assert made.warnings == ()


def test_nothing_asked_changes_nothing() -> None:
    made = change()
    old = record()
    assert (made.config, made.host, made.points) == (
        old.config,
        old.host_config,
        old.mount_points,
    )
    assert (made.resources, made.plain) == ((), ())
    assert (made.ports, made.health, made.env) == (False, False, False)


def test_what_is_not_there_is_a_warning() -> None:
    made = change(
        env_remove=["Z"], labels_remove=["z"], publish_remove={"9": None}, mounts_remove=["/z"]
    )
    assert list(made.warnings) == [
        "EnvRemove: the container has no variable Z",
        "LabelsRemove: the container has no label z",
        "PublishRemove: 9/tcp is not published",
        "MountsRemove: nothing is mounted at /z",
    ]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"env_add": ["A"]}, "EnvAdd: 'A'"),
        ({"env_add": ["=x"]}, "EnvAdd"),
        ({"env_add": ["A=\0"]}, "EnvAdd"),
        ({"env_remove": [""]}, "EnvRemove"),
        ({"env_remove": ["A=1"]}, "EnvRemove"),
        ({"env_add": ["A=1"], "env_remove": ["A"]}, "EnvAdd and EnvRemove both name A"),
        ({"labels_add": {"": "x"}}, "LabelsAdd"),
        ({"labels_add": {"a": ""}, "labels_remove": ["a"]}, "LabelsAdd and LabelsRemove both"),
        ({"publish_add": {"0x/tcp": None}}, "PublishAdd: invalid port"),
        ({"publish_add": {"80-81": [PortBinding(host_port="80")]}}, "PublishAdd: 80-81 needs"),
        ({"publish_add": {"80-81": [PortBinding(host_port="80-84")]}}, "unequal length"),
        ({"publish_remove": {"80/xyz": None}}, "PublishRemove: invalid port"),
        (
            {"publish_add": {"80": None}, "publish_remove": {"80/tcp": None}},
            "PublishAdd and PublishRemove both name 80/tcp",
        ),
        ({"mounts_remove": ["data"]}, "MountsRemove: 'data'"),
        (
            {"mounts_remove": ["/t"], "mounts_add": [Mount(type="tmpfs", target="/t/")]},
            "MountsAdd and MountsRemove both name /t",
        ),
        ({"mounts_add": [Mount(type="tmpfs", target="/t")]}, "MountsAdd: Duplicate mount point"),
        ({"healthcheck": HealthConfig(retries=3)}, "Healthcheck: Test is needed"),
        (
            {"healthcheck": HealthConfig(test=["NONE"], retries=3, on_unhealthy="kill")},
            "Test NONE contradicts Retries, OnUnhealthy",
        ),
        ({"healthcheck": HealthConfig(test=["CMD", "x"], interval=5)}, "Interval"),
        ({"healthcheck": HealthConfig(test=["CMD", "x"], on_unhealthy="x")}, "OnUnhealthy"),
        ({"nano_cpus": 5, "cpu_quota": 5000}, "Nano CPUs and CPU Quota"),
    ],
)  # fmt: skip
async def test_contradictions_change_nothing(
    world: World, asked: dict[str, Any], words: str
) -> None:
    container = await world.make("sleep", host=HostConfig(binds=["/h:/t"]), env=["A=1"])
    before = world.engine.inspect(container)
    with pytest.raises(Invalid) as error:
        await world.engine.update(container, UpdateRequest(**asked))
    assert words in error.value.message
    assert world.engine.inspect(container) == before


@pytest.mark.parametrize("mode", ["host", "none", "container:x"])
def test_ports_need_a_network(mode: str) -> None:
    old = record(host_config=HostConfig(network_mode=mode))
    with pytest.raises(Invalid, match=f"PublishAdd: .* {mode} "):
        changes(old, UpdateRequest(publish_add={"80": None}))


def test_automatic_removal_and_restarts_contradict() -> None:
    old = record(host_config=HostConfig(auto_remove=True))
    with pytest.raises(Conflict, match="AutoRemove"):
        changes(old, UpdateRequest(restart_policy=RestartPolicy(name="always")))


def test_a_policy_without_a_count_has_none_to_count() -> None:
    policy = change(restart_policy=RestartPolicy(name="always")).host.restart_policy
    assert policy == RestartPolicy(name="always", maximum_retry_count=0)


NAMES = st.sampled_from(["A", "B", "C", "D"])
VALUES = st.sampled_from(["", "1", "x=y"])


@settings(derandomize=True, max_examples=100)
@given(st.dictionaries(NAMES, VALUES), st.dictionaries(NAMES, VALUES), st.sets(NAMES, max_size=2))
def test_environment_as_a_dictionary(
    old: dict[str, str], add: dict[str, str], remove: set[str]
) -> None:
    remove -= set(add)
    warnings: list[str] = []
    made = merge_env(
        [f"{key}={value}" for key, value in old.items()],
        [f"{key}={value}" for key, value in add.items()],
        sorted(remove),
        warnings,
    )
    wanted = {key: value for key, value in {**old, **add}.items() if key not in remove}
    assert made == [f"{key}={value}" for key, value in wanted.items()]
    assert len(warnings) == len(remove - set(old))


PORTS = st.dictionaries(
    st.sampled_from(["80/tcp", "81/tcp", "80/udp"]),
    st.lists(
        st.builds(
            PortBinding,
            host_ip=st.sampled_from(["", "127.0.0.1"]),
            host_port=st.sampled_from(["8080", "8081", "9000-9001"]),
        ),
        min_size=1,
        max_size=2,
        unique_by=lambda each: (each.host_ip, each.host_port),
    ),
)


@settings(derandomize=True, max_examples=100)
@given(PORTS, PORTS)
def test_ports_added_and_removed_again(
    old: dict[str, list[PortBinding]], add: dict[str, list[PortBinding]]
) -> None:
    warnings: list[str] = []
    more = merge_ports(old, add, {}, warnings)
    for key, entries in {**old, **add}.items():
        assert all(each in more[key] for each in entries)
    assert merge_ports(more, add, {}, warnings) == more
    everything: dict[str, Any] = dict.fromkeys(more)
    assert merge_ports(more, {}, everything, warnings) == {}
    assert warnings == []


def test_ranges_are_taken_apart_and_single_ports_leave_them() -> None:
    warnings: list[str] = []
    ranges = {"80-82/tcp": [PortBinding(host_port="8080-8082")]}
    made = merge_ports(ranges, {}, {"81": [PortBinding(host_ip="", host_port="")]}, warnings)
    assert {key: rows[0].host_port for key, rows in made.items()} == {
        "80/tcp": "8080",
        "82/tcp": "8082",
    }
    assert warnings == []
    assert shown("80/tcp", PortBinding(host_ip="::1", host_port="8")) == "::1:8:80/tcp"


def test_health_begins_anew_with_another_test_only() -> None:
    old, test = Health("healthy"), HealthConfig(test=["CMD", "a"])
    assert health_after(old, test, Config(healthcheck=HealthConfig(test=["CMD", "a"]))) is old
    assert health_after(old, test, Config(healthcheck=HealthConfig(test=["CMD", "b"]))) == Health()
    assert health_after(None, None, Config(healthcheck=test)) == Health()
    assert health_after(old, test, Config(healthcheck=HealthConfig(test=["NONE"]))) is None
    assert health_after(old, test, Config()) is None


FREE: dict[str, dict[str, Any]] = {
    "memory": {"limit": -1, "reservation": -1, "swap": -1},
    "cpu": {"shares": 1024, "quota": -1, "period": 100_000, "cpus": "0-3"},
    "pids": {"limit": 4_194_304},
}
LIMITS = st.fixed_dictionaries(
    {},
    optional={
        part: st.fixed_dictionaries(
            {},
            optional={
                key: st.just("0") if key == "cpus" else st.integers(10_000, 20_000) for key in keys
            },
        )
        for part, keys in FREE.items()
    },
)


def state(limits: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What a kernel has that was given these limits."""
    return {part: {**keys, **limits.get(part, {})} for part, keys in FREE.items()}


@settings(derandomize=True, max_examples=100)
@given(LIMITS, LIMITS)
def test_limits_go_there_and_back(before: dict[str, Any], after: dict[str, Any]) -> None:
    kernel = state(before)
    for old, new in ((before, after), (after, before)):
        for part, keys in transition(old, new, {"cpus": "0-3", "reservation": -1}).items():
            kernel[part].update(keys)
        assert kernel == state(new)


def test_what_means_none_differs_in_version_2() -> None:
    old = {"memory": {"reservation": 5}, "cpu": {"shares": 7}, "blockIO": {"weight": 30}}
    assert transition(old, {}, UNIFIED) == {
        "memory": {"reservation": 0}, "cpu": {"shares": 2622}, "blockIO": {"weight": 20},
    }  # fmt: skip


def test_limits_of_devices_are_set_free() -> None:
    old = {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 7}],
                       "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 5}]}}  # fmt: skip
    assert transition(old, {}, {})["blockIO"] == {
        "weightDevice": [{"major": 8, "minor": 0, "weight": 500}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 0}],
    }


async def test_a_running_container_by_fakes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    container = await world.run("sleep", host=HostConfig(memory=32 << 20))
    asked = UpdateRequest(memory=64 << 20, memory_swap=-1, env_add=["N=1"], labels_add={"n": "1"})
    outcome = await world.engine.update(container, asked)
    assert outcome.applied == ["Labels", "Memory", "MemorySwap"]
    assert outcome.at_next_start == ["Env"]
    assert world.runtime.updates == [{"memory": {"limit": 64 << 20}}]
    assert world.events.actions(container)[-1] == "update"

    async def fail(*words: object) -> None:
        raise Internal("the kernel says no")

    before = world.engine.inspect(container)
    monkeypatch.setattr(world.runtime, "update", fail)
    with pytest.raises(Internal, match="the kernel says no"):
        await world.engine.update(container, UpdateRequest(memory=16 << 20, memory_swap=-1))
    assert world.engine.inspect(container) == before
    assert world.events.actions(container).count("update") == 1


async def test_at_rest_everything_waits_for_the_start(world: World) -> None:
    container = await world.make("sleep")
    outcome = await world.engine.update(
        container,
        UpdateRequest(
            memory=64 << 20,
            labels_add={"n": "1"},
            mounts_add=[Mount(type="bind", source="/h", target="/n")],
        ),
    )
    assert outcome.applied == ["Labels"]
    assert outcome.at_next_start == ["Memory", "MemorySwap", "Mounts /n"]
    assert [each["Destination"] for each in world.engine.inspect(container)["Mounts"]] == ["/n"]
    await world.again()
    assert [each["Destination"] for each in world.engine.inspect(container)["Mounts"]] == ["/n"]


async def test_not_while_it_is_removed(world: World) -> None:
    container = await world.make("sleep")
    live = world.engine._book.get(container)
    async with live.lock:
        world.engine._book.step(live, Event.REMOVE)
    with pytest.raises(Conflict, match="marked for removal"):
        await world.engine.update(container, UpdateRequest(memory=64 << 20))


async def test_an_update_that_is_not_settled_comes_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = await world.run("sleep", host=HostConfig(memory=32 << 20))
    live = world.engine._book.get(container)
    table = world.engine._book._table
    real, room = table.update, [True, False, False]  # the intent is written, not that it is undone

    def update(row: Any) -> None:
        if room and not room.pop(0):
            raise Exhausted("no space left on device")
        real(row)

    monkeypatch.setattr(table, "update", update)
    asked = UpdateRequest(memory=64 << 20, memory_swap=-1)
    with pytest.raises(Exhausted, match="no space left"):
        await world.engine.update(container, asked)
    left = live.record.intent
    assert left is not None
    assert room == []
    room.append(False)  # there is room again, but not for the first word of it
    with pytest.raises(Exhausted, match="its update before this one cannot be settled"):
        await world.engine.update(container, UpdateRequest(labels_add={"n": "1"}))
    assert live.record.intent == left
    await world.engine.update(container, asked)
    assert live.record.intent is None
    assert live.record.host_config.memory == 64 << 20


async def test_a_full_disk(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    container = await world.run("sleep", host=HostConfig(memory=32 << 20))
    table = world.engine._book._table
    real, writes = table.update, 0
    before = world.engine.inspect(container)
    for room in (0, 1, 3):

        def full(row: Any, room: int = room) -> None:
            nonlocal writes
            writes += 1
            if writes > room:
                raise Exhausted("no space left on device")
            real(row)

        writes = 0
        monkeypatch.setattr(table, "update", full)
        asked = UpdateRequest(memory=64 << 20, memory_swap=-1)
        if room == 3:  # written, but for the last word
            await world.engine.update(container, asked)
        else:
            with pytest.raises(Exhausted):
                await world.engine.update(container, asked)
            assert world.engine.inspect(container) == before
        monkeypatch.setattr(table, "update", real)
    assert world.engine.inspect(container)["HostConfig"]["Memory"] == 64 << 20
    await world.again()
    record = world.engine._book.get(container).record
    assert record.intent is None
    assert record.host_config.memory == 64 << 20

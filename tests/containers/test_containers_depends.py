"""What must be there before a container starts."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import secrets
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.containers.container_fakes import World
from tests.containers.test_containers_changes import record

from wherry.containers.depends import LABEL, MOST_RESTARTS, Wish, circle, judge, parse, wishes
from wherry.containers.record import Health, State
from wherry.containers.transitions import Status
from wherry.errors import Conflict, Invalid, NotModified
from wherry.linux.tasks import spawn
from wherry.wire.container import Config, HealthConfig, HostConfig, RestartPolicy, UpdateRequest

CHECK = HealthConfig(test=["CMD", "true"])


def test_words() -> None:
    assert parse(" /db ") == Wish("db", "started")
    assert parse("db:healthy") == Wish("db", "healthy")
    for bad in ("", ":healthy", "db:", "db:ready"):
        with pytest.raises(Invalid, match="DependsOn"):
            parse(bad)
    host = HostConfig(depends_on=["a", "b:completed"])
    assert wishes(host, {LABEL: "c:healthy, a ,"}) == [
        Wish("a"),
        Wish("b", "completed"),
        Wish("c", "healthy"),
    ]
    with pytest.raises(Invalid, match="a is named with different conditions"):
        wishes(host, {LABEL: "a:healthy"})
    for nothing in ("", " "):
        assert wishes(HostConfig(), {LABEL: nothing}) == []
    for hole in ("a,,b", ",a", "a, ,b", "a,,", ","):
        with pytest.raises(Invalid, match=rf"wherry.depends-on: '{hole}' .* empty"):
            wishes(HostConfig(), {LABEL: hole})


def test_a_long_chain() -> None:
    last = 5000
    chain = {str(number): [str(number + 1)] for number in range(last)}
    assert circle("0", lambda name: chain.get(name, ())) == []
    chain[str(last)] = [str(last - 1)]
    back = [str(last - 1), str(last), str(last - 1)]
    assert circle("0", lambda name: chain.get(name, ())) == back


def seen(status: Status, **parts: Any) -> Any:
    state = State(status=status, exit_code=parts.pop("code", 0), health=parts.pop("health", None))
    policy = RestartPolicy(name=parts.pop("policy", "no"))
    check = parts.pop("check", CHECK)
    return record(
        state=state, config=Config(healthcheck=check), host_config=HostConfig(restart_policy=policy)
    )


@pytest.mark.parametrize(
    ("condition", "container", "flags", "verdict"),
    [
        ("started", seen(Status.CREATED), "", "start"),
        ("started", seen(Status.EXITED), "", "start"),
        ("started", seen(Status.EXITED, code=1), "begun", "met"),
        ("started", seen(Status.RUNNING), "", "met"),
        ("started", seen(Status.PAUSED), "", "met"),
        ("started", seen(Status.RESTARTING), "seen", "wait"),
        ("started", seen(Status.REMOVING), "", "it is being removed"),
        ("healthy", seen(Status.RUNNING, check=None), "", "it has no health check"),
        ("healthy", seen(Status.CREATED), "", "start"),
        ("healthy", seen(Status.RUNNING, health=Health()), "", "wait"),
        ("healthy", seen(Status.RUNNING, health=Health("healthy")), "", "met"),
        ("healthy", seen(Status.RUNNING, health=Health("unhealthy")), "", "it is unhealthy"),
        ("healthy", seen(Status.RESTARTING, health=Health("healthy")), "", "wait"),
        ("healthy", seen(Status.EXITED, code=2), "seen", "it has exited with code 2"),
        ("completed", seen(Status.CREATED), "", "start"),
        ("completed", seen(Status.RUNNING), "", "wait"),
        ("completed", seen(Status.EXITED), "", "met"),
        ("completed", seen(Status.EXITED, code=1), "", "start"),
        ("completed", seen(Status.EXITED, code=1), "begun", "it has exited with code 1"),
        ("completed", seen(Status.RUNNING, policy="always"), "", "its restart policy is always"),
        ("completed", seen(Status.RUNNING, policy="on-failure"), "", "wait"),
    ],
)
def test_verdicts(condition: str, container: Any, flags: str, verdict: str) -> None:
    wish = Wish("db", condition)
    begun, ran = flags == "begun", flags == "seen"
    assert judge(wish, container, begun=begun, seen=ran, restarts=0) == verdict
    tired = judge(wish, container, begun=begun, seen=ran, restarts=MOST_RESTARTS)
    assert "keeps restarting" in tired or "removed" in tired


GRAPH = st.dictionaries(
    st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=3), max_size=6
)


@settings(derandomize=True, max_examples=200)
@given(GRAPH)
def test_circles(graph: dict[str, list[str]]) -> None:
    found = circle("a", lambda name: graph.get(name, []))
    # Reachable names that can be removed one after the other, when nothing they need is left.
    names, todo = set(), ["a"]
    while todo:
        name = todo.pop()
        if name not in names:
            names.add(name)
            todo += graph.get(name, [])
    while free := {each for each in names if not set(graph.get(each, [])) & names}:
        names -= free
    assert bool(found) == bool(names)
    if found:
        assert found[0] == found[-1]
        assert all(right in graph[left] for left, right in itertools.pairwise(found))


async def make(world: World, name: str, *cmd: str, **host: Any) -> str:
    check = host.pop("check", None)
    labels = host.pop("labels", None)
    return await world.make(
        *(cmd or ("sleep",)), name=name, host=HostConfig(**host), healthcheck=check, labels=labels
    )


async def test_wishes_are_checked_at_create(world: World) -> None:
    for wish, words in (
        ("db", "db, which does not exist"),
        ("web", "a circle: web -> web"),
        ("db:soon", "invalid condition"),
    ):
        with pytest.raises(Invalid, match=words):
            await make(world, "web", depends_on=[wish])
    assert len(world.engine._book.names) == 0
    await make(world, "db")
    web = await make(world, "web", labels={LABEL: "db"})
    # The name is given away, and its new holder wants to come after.
    await world.engine.rename("db", "old")
    with pytest.raises(Invalid, match="a circle: db -> web -> db"):
        await make(world, "db", depends_on=["web:healthy"])
    with pytest.raises(Conflict, match="web depends on db, which does not exist"):
        await world.engine.start("web")
    assert world.state(web)["Status"] == "created"
    await world.engine.rename("old", "db")
    await world.engine.start("web")
    assert world.state("db")["Running"]
    assert world.engine.inspect("web")["HostConfig"]["DependsOn"] == ["db"]


async def test_a_name_is_never_the_beginning_of_an_id(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = iter(("db" + "0" * 62, "db" + "1" * 62))
    monkeypatch.setattr(secrets, "token_hex", lambda size: next(ids))
    first = await make(world, "web")
    monkeypatch.undo()
    for short in ("db", "db000000000"):
        with pytest.raises(Invalid, match=f"{short}, which does not exist"):
            await make(world, "shop", depends_on=[short])
    await make(world, "db")
    await make(world, "shop", depends_on=["db"])
    await world.engine.rename("db", "old")
    with pytest.raises(Conflict, match="shop depends on db, which does not exist"):
        await world.engine.start("shop")
    assert world.state(first)["Status"] == "created"
    # As ps shows it, it is an id.
    await make(world, "late", depends_on=[first[:12]])
    await world.engine.start("late")
    assert world.state(first)["Running"]


async def test_an_image_has_no_wishes(world: World) -> None:
    config = world.images.image.config
    labels = {"Labels": {LABEL: "nobody"}}
    image = dataclasses.replace(
        world.images.image, config=msgspec.structs.replace(config, config=labels)
    )
    world.images.image = image
    await make(world, "web")
    await world.engine.start("web")
    assert world.engine.inspect("web")["Config"]["Labels"] == {LABEL: "nobody"}


async def test_an_update_of_the_label_changes_the_wishes(world: World) -> None:
    for name in ("db", "cache", "setup"):
        await make(world, name)
    web = await make(world, "web", depends_on=["cache"], labels={LABEL: "db"})

    async def relabel(**asked: Any) -> tuple[list[str], list[str]]:
        outcome = await world.engine.update("web", UpdateRequest(**asked))
        return outcome.applied, outcome.at_next_start

    def wished() -> Any:
        return world.engine.inspect(web)["HostConfig"].get("DependsOn")

    assert wished() == ["cache", "db"]
    for text, words in (
        ("nobody", "nobody, which does not exist"),
        ("web", "a circle: web -> web"),
        ("db:soon", "invalid condition"),
        ("cache:healthy", "cache is named with different conditions"),
    ):
        before = world.engine.inspect(web)
        with pytest.raises(Invalid, match=f"DependsOn: .*{words}"):
            await relabel(labels_add={LABEL: text, "a": "b"})
        assert world.engine.inspect(web) == before
    assert await relabel(labels_add={LABEL: "setup"}) == (["Labels"], ["DependsOn"])
    assert wished() == ["cache", "setup"]
    assert await relabel(labels_add={LABEL: "setup", "a": "b"}) == (["Labels"], [])
    await world.engine.start("web")
    assert world.state("setup")["Running"]
    assert not world.state("db")["Running"]
    assert await relabel(labels_remove=[LABEL]) == (["Labels"], ["DependsOn"])
    assert wished() == ["cache"]


async def test_a_chain_starts_from_its_end(world: World) -> None:
    await make(world, "c1")
    await make(world, "c2", depends_on=["c1"])
    await make(world, "c3", depends_on=["c2", "c1"])
    await world.engine.start("c3")
    started = [
        attributes["name"] for action, _, attributes in world.events.all if action == "start"
    ]
    assert started == ["c1", "c2", "c3"]
    assert world.engine.inspect("c3")["HostConfig"]["DependsOn"] == ["c2", "c1"]
    assert "DependsOn" not in world.engine.inspect("c1")["HostConfig"]
    with pytest.raises(NotModified):
        await world.engine.start("c3")
    await world.engine.stop("c1")
    await world.engine.restart("c3")
    assert world.state("c1")["Running"]


async def test_work_that_must_be_done_first(world: World) -> None:
    await make(world, "init", "true")
    await make(world, "bad", "fail", "3")
    await make(world, "web", depends_on=["init:completed"])
    await make(world, "poor", depends_on=["init:completed", "bad:completed"])
    await world.engine.start("web")
    assert world.state("init")["Status"] == "exited"
    with pytest.raises(Conflict, match=r"poor depends on bad being completed: .* code 3"):
        await world.engine.start("poor")
    assert world.state("poor")["Status"] == "created"
    starts = world.events.actions(world.engine.inspect("init")["Id"]).count("start")
    assert starts == 1


def set_health(world: World, name: str, status: str) -> None:
    live = world.engine._book.get(name)
    state = msgspec.structs.replace(live.record.state, health=Health(status))
    world.engine._book.commit(live, state=state)


@pytest.mark.parametrize("verdict", ["healthy", "unhealthy"])
async def test_health_is_waited_for(world: World, verdict: str) -> None:
    await make(world, "db", check=CHECK)
    await make(world, "web", depends_on=["db:healthy"])
    task = spawn(world.engine.start("web"), name="start")
    await world.until(lambda: world.state("db")["Running"])
    await asyncio.sleep(0)
    assert not task.done()
    set_health(world, "db", verdict)
    if verdict == "healthy":
        await task
    else:
        with pytest.raises(Conflict, match="db being healthy: it is unhealthy"):
            await task
    assert world.state("web")["Running"] is (verdict == "healthy")


@pytest.mark.parametrize("by", ["stop", "kill"])
@pytest.mark.parametrize("again", ["start", "restart"])
async def test_waiting_is_cancelled(world: World, by: str, again: str) -> None:
    engine = world.engine
    await make(world, "db", check=CHECK)
    await make(world, "mid", depends_on=["db:healthy"])
    web = await make(world, "web", depends_on=["db:healthy"])
    await make(world, "far", depends_on=["mid"])
    tasks = {}
    for name in ("web", "far"):
        tasks[name] = spawn(getattr(engine, again)(name), name=name)
    await world.until(lambda: world.state("db")["Running"] and bool(engine._book.get("mid").waits))
    with pytest.raises(Conflict, match="is not running"):
        await engine.kill("web", "HUP")
    assert not tasks["web"].done()
    for name, task in tasks.items():
        await getattr(engine, by)(name)
        with pytest.raises(Conflict, match=f"{name} waited for .* cancelled by {by}"):
            await task
    with pytest.raises(NotModified if by == "stop" else Conflict, match="is not running"):
        await getattr(engine, by)("web")
    set_health(world, "db", "healthy")
    # What was begun for another goes on; what was cancelled does not.
    await world.until(lambda: world.state("mid")["Running"])
    assert world.state("web")["Status"] == world.state("far")["Status"] == "created"
    assert not engine._book.get("web").watchers
    await engine.start("web")
    assert world.state(web)["Running"]


async def test_what_is_removed_meanwhile(world: World) -> None:
    await make(world, "db", check=CHECK)
    await make(world, "web", depends_on=["db:healthy"])
    task = spawn(world.engine.start("web"), name="start")
    await world.until(lambda: world.state("db")["Running"])
    await world.engine.remove("db", force=True)
    with pytest.raises(Conflict, match=r"it was removed|it is being removed|exited"):
        await task
    failing = await make(world, "gone", "missing")
    await make(world, "last", depends_on=["gone"], auto_remove=True)
    with pytest.raises(Conflict, match=r"gone, which cannot be started: .*not found"):
        await world.engine.start("last")
    await world.until(lambda: "last" not in world.engine._book.names)
    assert world.state(failing)["ExitCode"] == 127


async def test_boot_keeps_the_order(world: World) -> None:
    policy = RestartPolicy(name="always")
    await make(world, "job", "true")
    await make(world, "db", restart_policy=policy, depends_on=["job:completed"])
    await make(world, "web", restart_policy=policy, depends_on=["db"])
    await make(world, "lost", restart_policy=policy, depends_on=["db"])
    for name in ("web", "lost"):
        await world.engine.start(name)
    await world.engine.remove("job")
    await make(world, "job", "fail", "1")
    await world.engine.shutdown()
    world.runtime.boxes.clear()
    world.events.all.clear()
    await world.again()
    await world.until(lambda: "job being completed" in world.state("db")["Error"])
    await world.until(lambda: "depends on db" in world.state("web")["Error"])
    assert not world.state("web")["Running"]
    await world.engine.remove("job")
    await make(world, "job", "true")
    await world.engine.shutdown()
    world.events.all.clear()
    await world.again()
    await world.until(lambda: world.state("lost")["Running"] and world.state("web")["Running"])
    names = [attributes["name"] for action, _, attributes in world.events.all if action == "start"]
    assert names[:2] == ["job", "db"]
    assert set(names[2:]) == {"web", "lost"}

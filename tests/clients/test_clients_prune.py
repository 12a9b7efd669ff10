"""Prunes on a real daemon: filters, names, and dry runs that tell what the prune then does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from tests.support.clients import Cli, programs
from tests.support.engine import Engine
from tests.support.images import busybox_root, docker_archive

pytestmark = pytest.mark.root


@pytest.fixture
def wherry(engine: Engine) -> Iterator[Cli]:
    yield Cli(programs()[0], engine)
    engine.remove_containers()
    everything = quote(json.dumps({"dangling": ["false"]}))
    for path in ("/networks/prune", f"/images/prune?filters={everything}", "/volumes/prune"):
        assert engine.post(path).status == 200


def fill(engine: Engine) -> None:
    """Things of every kind, some of them held by a container that runs or does not."""
    for name, root in (("throw:1", busybox_root()), ("throw:2", bytes(1024))):
        assert engine.upload("/images/load", docker_archive(name, root)).status == 200
    for network, labels in (("net-a", {}), ("net-b", {"keep": "1"}), ("other", {})):
        body = {"Name": network, "Labels": labels}
        assert engine.post("/networks/create", body).status == 201
    volumes = [{"Type": "volume", "Target": "/v"}]
    engine.create("true", name="old-1", image="throw:1", Mounts=volumes)
    engine.create("true", name="old-2", image="throw:1", Mounts=volumes)
    engine.create("true", name="joined", image="throw:1", NetworkMode="net-a")
    engine.run("sleep", "600", name="busy", image="throw:1")


def world(engine: Engine) -> list[str]:
    """Names of everything there is."""
    volumes = engine.get("/volumes").json["Volumes"]
    images = engine.get("/images/json?all=1").json
    return [
        *sorted(one["Names"][0] for one in engine.containers()),
        *sorted(one["Name"] for one in engine.get("/networks").json),
        *sorted(one["Name"] for one in volumes),
        *sorted(tag for one in images for tag in one["RepoTags"]),
    ]


@pytest.mark.parametrize(
    "options",
    ["", "-a", "-a --volumes", "-a --filter name=old-*", "--volumes --filter label!=keep",
     "-a --volumes --filter until=1h", "-a --filter name!=throw:* --filter name!=net-*"],
)  # fmt: skip
def test_a_dry_run_of_the_system_tells_what_is_then_removed(
    wherry: Cli, engine: Engine, options: str
) -> None:
    fill(engine)
    before = world(engine)
    told = wherry("system", "prune", "--dry-run", *options.split()).ok()
    assert world(engine) == before
    done = wherry("system", "prune", "--force", *options.split()).ok()
    assert "/busy" in world(engine)
    told = told.replace("Would delete c", "Deleted C").replace("Would delete n", "Deleted N")
    told = told.replace("Would delete v", "Deleted V").replace("Would delete i", "Deleted I")
    told = told.replace("reclaimable", "reclaimed")
    assert [line.partition("  ")[0] for line in told.splitlines()] == done.splitlines()


@pytest.mark.parametrize("kind", ["containers", "images", "networks", "volumes"])
@pytest.mark.parametrize(
    ("filters", "named"),
    [
        ({"nope": ["x"]}, "nope"),
        ({"until": ["soon"]}, "until"),
        ({"until": ["1h", "2h"]}, "until"),
        ({"name": ["[x"]}, "name"),
        ({"label": [1]}, "label"),
        ({"dangling": ["maybe"], "all": ["maybe"]}, ""),
    ],
)
def test_bad_filters_are_named_and_nothing_is_removed(
    engine: Engine, kind: str, filters: dict[str, list[object]], named: str
) -> None:
    for dry in ("", "&dry-run=1"):
        answer = engine.post(f"/{kind}/prune?filters={quote(json.dumps(filters))}{dry}")
        assert answer.status == 400, answer.body
        assert "filter" in answer.message
        assert named in answer.message


def test_what_is_taken_as_removed_is_for_dry_runs_only(engine: Engine) -> None:
    answer = engine.post("/volumes/prune?without=x")
    assert answer.status == 400
    assert "without" in answer.message


def test_configurations_of_networks_stay(wherry: Cli, engine: Engine) -> None:
    """As with Docker: what no container can belong to is not unused."""
    wherry("network", "create", "--config-only", "--subnet", "10.99.7.0/24", "plan").ok()
    try:
        wherry("network", "create", "--config-from", "plan", "real").ok()
        shown = wherry("network", "prune", "--dry-run").ok()
        assert "real" in shown
        assert "plan" not in shown
        removed = wherry("network", "prune", "-f").ok()
        assert "real" in removed
        assert "plan" not in removed
        names = [one["Name"] for one in engine.get("/networks").json]
        assert "plan" in names
        assert "real" not in names
    finally:
        wherry("network", "rm", "-f", "real", "plan").ok()

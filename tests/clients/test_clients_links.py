"""``--link`` in the default bridge network, by every command line client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.clients import Cli, Program
from tests.support.engine import Engine
from tests.support.images import BASE

pytestmark = pytest.mark.root
SLEEP = ("sleep", "100000")


@pytest.fixture
def linked(cli: Cli) -> Iterator[Cli]:
    """``web`` links ``db``, also as ``store``."""
    options = ("-e", "FOO=bar", "--expose", "80", "--hostname", "dbhost")
    cli("run", "-d", "--name", "db", *options, BASE, *SLEEP).ok()
    cli("run", "-d", "--name", "web", "--link", "db", "--link", "db:store", BASE, *SLEEP).ok()
    yield cli
    cli("rm", "-f", "web", "db", "other")


def shown(cli: Cli, name: str) -> Any:
    return json.loads(cli("inspect", name).ok())[0]


def names(cli: Cli) -> set[str]:
    text = cli("ps", "-a", "--no-trunc", "--format", "{{.Names}}").ok()
    return {each for line in text.splitlines() for each in line.split(",")}


def test_names_hosts_and_environment(linked: Cli) -> None:
    cli = linked
    address = shown(cli, "db")["NetworkSettings"]["IPAddress"]
    assert shown(cli, "web")["HostConfig"]["Links"] == ["/db:/web/db", "/db:/web/store"]
    assert shown(cli, "db")["HostConfig"]["Links"] is None
    assert shown(cli, "web/store")["Name"] == "/db"
    assert names(cli) >= {"db", "web", "web/db", "web/store"}
    assert "web/" not in cli("ps", "--format", "{{.Names}}").ok()
    hosts = cli("exec", "web", "cat", "/etc/hosts").ok()
    assert f"{address}\tdb dbhost\n" in hosts
    assert f"{address}\tstore dbhost db\n" in hosts
    env = cli("exec", "web", "env").ok().splitlines()
    first = cli("exec", "web", "cat", "/proc/1/environ").ok().split("\0")
    for seen in (env, first):
        assert f"STORE_PORT_80_TCP=tcp://{address}:80" in seen
        assert "DB_NAME=/web/db" in seen
        assert "STORE_ENV_FOO=bar" in seen
    cli("exec", "web", "ping", "-c1", "-W5", "store").ok()


def test_addresses_follow_a_restart_and_links_are_removed(linked: Cli) -> None:
    cli = linked
    cli("stop", "-t0", "db").ok()
    cli("run", "-d", "--name", "other", BASE, *SLEEP).ok()
    cli("start", "db").ok()
    address = shown(cli, "db")["NetworkSettings"]["IPAddress"]
    assert f"{address}\tstore dbhost db" in cli("exec", "web", "cat", "/etc/hosts").ok()
    assert cli("rm", "--link", "web").code == 1
    assert cli("rm", "--link", "web/nothere").code == 1
    assert cli("rm", "--link", "web/store").ok() == "web/store"
    assert shown(cli, "web")["HostConfig"]["Links"] == ["/db:/web/db"]
    assert "store" not in cli("exec", "web", "cat", "/etc/hosts").ok()
    assert "web/store" not in names(cli)
    cli("rename", "web", "front").ok()
    assert "front/db" in names(cli)
    cli("stop", "-t0", "db", "front").ok()
    refused = cli("start", "front")
    assert refused.code == 1
    assert "Cannot link to a non running container: /db AS /front/db" in refused.err
    cli("start", "db").ok()
    cli("start", "front").ok()
    cli("rm", "-f", "front").ok()


def test_what_cannot_be_linked_is_named(cli: Cli) -> None:
    done = cli("run", "--rm", "--link", "nothere", BASE, "true")
    assert done.code == 125
    assert "could not get container for nothere" in done.err
    cli("network", "create", "own").ok()
    cli("run", "-d", "--name", "inside", "--network", "own", BASE, *SLEEP).ok()
    try:
        done = cli("run", "--name", "try", "--link", "inside", BASE, "true")
        assert done.code == 125
        assert "Cannot link to /inside, as it does not belong to the default network" in done.err
        cli("rm", "-f", "try").ok()
        options = ("--network", "own", "--link", "inside:alias")
        cli("run", "--rm", *options, BASE, "ping", "-c1", "-W5", "alias").ok()
        assert cli("run", "--rm", "--network", "own", BASE, "ping", "-c1", "alias").code != 0
    finally:
        cli("rm", "-f", "inside")
        cli("network", "rm", "own").ok()


def test_links_outlive_the_daemon(program: Program, own_engine: Engine) -> None:
    cli = Cli(program, own_engine)
    cli("run", "-d", "--name", "db", BASE, *SLEEP).ok()
    cli("run", "-d", "--name", "web", "--link", "db", BASE, *SLEEP).ok()
    own_engine.crash_and_start()
    assert shown(cli, "web")["HostConfig"]["Links"] == ["/db:/web/db"]
    assert "web/db" in names(cli)
    cli("restart", "-t0", "web").ok()
    cli("exec", "web", "ping", "-c1", "-W5", "db").ok()
    cli("rm", "-f", "db", "web").ok()

"""Networks by every command line client, and names and ports while the daemon is away."""

from __future__ import annotations

import json
import socket
import urllib.request
from pathlib import Path

import pytest
from tests.support.clients import Cli, Program
from tests.support.engine import Engine, eventually
from tests.support.images import BASE

pytestmark = pytest.mark.root
SLEEP = ("sleep", "100000")
SERVE = ("sh", "-c", "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("0.0.0.0", 0))
        return int(sock.getsockname()[1])


def fetch(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
        return str(answer.read().decode())


def answers(port: int) -> bool:
    try:
        return fetch(port) == "hello\n"
    except OSError:
        return False


def test_a_published_port(cli: Cli) -> None:
    port = free_port()
    cli("run", "-d", "--name", "web", "-p", f"{port}:80", BASE, *SERVE).ok()
    eventually(lambda: answers(port))
    assert f"80/tcp -> 0.0.0.0:{port}" in cli("port", "web").ok()
    assert cli("port", "web", "80").ok().splitlines()[0] == f"0.0.0.0:{port}"
    assert f"0.0.0.0:{port}->80/tcp" in cli("ps").ok()
    second = cli("run", "-d", "--name", "web2", "-p", f"{port}:80", BASE, *SERVE)
    assert second.code == 125
    assert f"0.0.0.0:{port} failed: port is already allocated" in second.err
    cli("rm", "-f", "web").ok()
    assert not answers(port)


def test_names_in_a_network_of_ones_own(cli: Cli) -> None:
    cli("network", "create", "--label", "a=b", "shop").ok()
    try:
        wide = ("--network-alias", "alias", "--hostname", "host")
        cli("run", "-d", "--network", "shop", "--name", "first", *wide, BASE, *SLEEP).ok()
        for name in ("first", "alias", "host", "first.shop"):
            cli("run", "--rm", "--network", "shop", BASE, "ping", "-c1", "-W2", name).ok()
        gone = cli("run", "--rm", "--network", "shop", BASE, "ping", "-c1", "nobody")
        assert gone.code != 0
        seen = json.loads(cli("network", "inspect", "shop").ok())[0]
        assert [each["Name"] for each in seen["Containers"].values()] == ["first"]
        assert seen["Labels"] == {"a": "b"}
        refused = cli("network", "rm", "shop")
        assert refused.code == 1
        assert "has active endpoints" in refused.err
    finally:
        cli("rm", "-f", "first")
        assert cli("network", "rm", "shop").ok() == "shop"
    assert "shop" not in cli("network", "ls").ok()


def test_names_for_a_container_that_is_connected_later(cli: Cli) -> None:
    cli("network", "create", "shop").ok()
    keep = ("sh", "-c", "echo nameserver 192.0.2.1 > /etc/resolv.conf; exec sleep 100000")
    try:
        cli("run", "-d", "--name", "late", "--dns-search", "example.test", BASE, *SLEEP).ok()
        cli("run", "-d", "--name", "own", BASE, *keep).ok()
        eventually(lambda: "192.0.2.1" in cli("exec", "own", "cat", "/etc/resolv.conf").out)
        cli("network", "connect", "shop", "late").ok()
        cli("network", "connect", "shop", "own").ok()
        cli("run", "-d", "--network", "shop", "--name", "found", BASE, *SLEEP).ok()
        cli("exec", "late", "ping", "-c1", "-W2", "found").ok()
        rows = cli("exec", "late", "cat", "/etc/resolv.conf").ok().splitlines()
        assert {"nameserver 127.0.0.11", "search example.test"} <= set(rows)
        assert [each for each in rows if each.startswith("nameserver")] == rows[:1]
        kept = cli("exec", "own", "cat", "/etc/resolv.conf").ok()
        assert kept.splitlines() == ["nameserver 192.0.2.1"]
    finally:
        cli("rm", "-f", "late", "own", "found")
        cli("network", "rm", "shop").ok()


@pytest.mark.parametrize("running", [True, False])
def test_a_container_leaves_none_for_another_network(cli: Cli, running: bool) -> None:
    def networks() -> set[str]:
        return set(json.loads(cli("inspect", "alone").ok())[0]["NetworkSettings"]["Networks"])

    cli("network", "create", "shop").ok()
    begin = ("run", "-d") if running else ("create",)
    try:
        cli(*begin, "--name", "alone", "--network", "none", BASE, *SLEEP).ok()
        refused = cli("network", "connect", "shop", "alone")
        assert refused.code == 1
        assert "private (none) mode" in refused.err
        cli("network", "disconnect", "none", "alone").ok()
        assert networks() == set()
        cli("network", "connect", "shop", "alone").ok()
        assert networks() == {"shop"}
        if not running:
            cli("start", "alone").ok()
        cli("run", "--rm", "--network", "shop", BASE, "ping", "-c1", "-W2", "alone").ok()
        cli("exec", "alone", "ping", "-c1", "-W2", "alone.shop").ok()
        cli("restart", "-t", "0", "alone").ok()
        cli("run", "--rm", "--network", "shop", BASE, "ping", "-c1", "-W2", "alone").ok()
        assert networks() == {"shop"}
    finally:
        cli("rm", "-f", "alone")
        cli("network", "rm", "shop").ok()


def test_ports_are_published_when_none_is_left(cli: Cli, engine: Engine) -> None:
    port = free_port()
    words = ("-p", f"{port}:80", BASE, *SERVE)
    cli("network", "create", "shop").ok()
    try:
        cli("run", "-d", "--name", "other", *words).ok()
        cli("run", "-d", "--name", "alone", "--network", "none", *words).ok()
        assert cli("port", "alone").ok() == ""
        cli("network", "disconnect", "none", "alone").ok()
        refused = cli("network", "connect", "shop", "alone")
        assert refused.code == 1
        assert f"{port} failed: port is already allocated" in refused.err
        assert engine.inspect("alone")["NetworkSettings"]["Networks"] == {}
        assert cli("exec", "alone", "ls", "/sys/class/net").ok().split() == ["lo"]
        cli("rm", "-f", "other").ok()
        assert not answers(port)
        cli("network", "connect", "shop", "alone").ok()
        eventually(lambda: answers(port))
        assert f"80/tcp -> 0.0.0.0:{port}" in cli("port", "alone").ok()
        cli("network", "disconnect", "shop", "alone").ok()
        assert not answers(port)
        cli("network", "connect", "bridge", "alone").ok()
        eventually(lambda: answers(port))
        cli("restart", "-t", "0", "alone").ok()
        eventually(lambda: answers(port))
    finally:
        cli("rm", "-f", "alone", "other")
        cli("network", "rm", "shop").ok()


def test_connect_and_disconnect(cli: Cli) -> None:
    cli("network", "create", "--subnet", "10.211.7.0/24", "second").ok()
    try:
        cli("run", "-d", "--name", "both", BASE, *SLEEP).ok()
        cli("network", "connect", "--alias", "other", "--ip", "10.211.7.77", "second", "both").ok()
        shown = json.loads(cli("inspect", "both").ok())[0]["NetworkSettings"]["Networks"]
        assert set(shown) == {"bridge", "second"}
        assert shown["second"]["IPAddress"] == "10.211.7.77"
        assert "10.211.7.77" in cli("exec", "both", "ip", "-o", "addr").ok()
        cli("run", "--rm", "--network", "second", BASE, "ping", "-c1", "-W2", "other").ok()
        cli("network", "disconnect", "second", "both").ok()
        assert "10.211.7.77" not in cli("exec", "both", "ip", "-o", "addr").ok()
        twice = cli("network", "disconnect", "second", "both")
        assert twice.code == 1
        assert "is not connected to network second" in twice.err
    finally:
        cli("rm", "-f", "both")
        cli("network", "rm", "second").ok()


def test_the_resolver_stays_with_a_container_that_leaves_its_last_network_with_names(
    cli: Cli,
) -> None:
    """Until its next start, as with Docker: programs have read resolv.conf by then."""

    def servers() -> list[str]:
        rows = cli("exec", "late", "cat", "/etc/resolv.conf").ok().splitlines()
        return [row.split()[1] for row in rows if row.startswith("nameserver")]

    cli("network", "create", "shop").ok()
    try:
        cli("run", "-d", "--name", "late", "--dns", "192.0.2.1", BASE, *SLEEP).ok()
        assert servers() == ["192.0.2.1"]
        for left in (("shop",), ("shop", "bridge")):
            cli("network", "connect", "shop", "late").ok()
            assert servers() == ["127.0.0.11"]
            for network in left:
                cli("network", "disconnect", network, "late").ok()
                assert servers() == ["127.0.0.11"]
        cli("network", "connect", "bridge", "late").ok()
        cli("restart", "-t", "0", "late").ok()
        assert servers() == ["192.0.2.1"]
    finally:
        cli("rm", "-f", "late")
        cli("network", "rm", "shop").ok()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("network", "create", "bridge"), "operation is not permitted on predefined bridge"),
        (("network", "rm", "bridge"), "bridge is a pre-defined network and cannot be removed"),
        (("network", "rm", "nothere"), "nothere"),
        (("network", "create", "--subnet", "10.1.1.1/24", "bad"), "10.1.1."),
        (("network", "create", "-d", "nodriver", "bad"), "nodriver"),
        (
            ("network", "create", "--subnet", "10.1.1.0/24", "--subnet", "10.1.2.0/24", "bad"),
            "bridge driver doesn't support multiple subnets",
        ),
        (("network", "ls", "-f", "nofilter=1"), "nofilter"),
        (("run", "--rm", "--network", "nothere", BASE, "true"), "network nothere not found"),
        (
            ("run", "--rm", "--network", "container:nobody", BASE, "true"),
            "No such container: nobody",
        ),
    ],
)
def test_bad_input_is_named(cli: Cli, words: tuple[str, ...], message: str) -> None:
    done = cli(*words)
    assert done.code in (1, 125)
    assert message in done.err


def test_names_and_ports_while_the_daemon_is_away(program: Program, own_engine: Engine) -> None:
    if not own_engine.is_wherry:
        pytest.skip("this is what the other engine cannot do")
    cli = Cli(program, own_engine)
    port = free_port()
    cli("network", "create", "kept").ok()
    options = ("--network", "kept", "-p", f"{port}:80")
    cli("run", "-d", "--name", "web", *options, BASE, *SERVE).ok()
    look = "while :; do nslookup web >/dev/null && echo yes || echo no; sleep 0.05; done"
    cli("run", "-d", "--name", "asks", "--network", "kept", BASE, "sh", "-c", look).ok()
    eventually(lambda: answers(port))
    eventually(lambda: "yes" in cli("logs", "asks").out)
    own_engine.kill()
    for _ in range(20):
        assert fetch(port) == "hello\n"
    own_engine.start()
    assert fetch(port) == "hello\n"
    before = cli("logs", "asks").out.count("yes")
    eventually(lambda: cli("logs", "asks").out.count("yes") > before + 5)
    assert "no" not in cli("logs", "asks").out.split()
    cli("run", "--rm", "--network", "kept", BASE, "wget", "-qO-", "http://web/").ok()
    cli("rm", "-f", "web", "asks").ok()
    assert not answers(port)
    cli("network", "rm", "kept").ok()


def test_ports_by_the_forwarder_while_the_daemon_is_away(program: Program) -> None:
    """``"firewall": "host"``: one process serves them, and goes when nothing is left to serve."""
    with Engine(options=["--firewall", "host"]) as engine:
        engine.start()
        cli = Cli(program, engine)
        port = free_port()
        cli("run", "-d", "--name", "web", "-p", f"{port}:80", BASE, *SERVE).ok()
        eventually(lambda: answers(port))
        engine.kill()
        six = Path("/proc/net/if_inet6")
        hosts = ["127.0.0.1"] + ["[::1]"] * (six.exists() and "0" * 31 + "1" in six.read_text())
        for host in hosts:
            with urllib.request.urlopen(f"http://{host}:{port}/", timeout=30) as answer:
                assert answer.read() == b"hello\n"
        engine.start()
        assert answers(port)
        cli("restart", "-t0", "web").ok()
        eventually(lambda: answers(port))
        cli("rm", "-f", "web").ok()
        assert not answers(port)
        with socket.socket() as free:
            free.bind(("0.0.0.0", port))

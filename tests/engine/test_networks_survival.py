"""What the daemon's end and a flushed firewall do to running containers."""

from __future__ import annotations

import dataclasses
import logging
import socket
import subprocess
from pathlib import Path

import pytest
from tests.support.networks import (
    SETTINGS,
    Daemon,
    Echo,
    ask,
    end,
    eventually,
    lookup,
    request,
    rules,
    run,
)

from wherry.linux import nft
from wherry.linux.netlink import Netlink
from wherry.wire.network import NetworkCreate

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("near")]


async def test_a_killed_daemon_disturbs_nothing_and_the_next_takes_over(
    daemon: Daemon, tmp_path: Path
) -> None:
    await daemon.management.create(NetworkCreate(name="mine"))
    one = await run(daemon, request("one", "mine", ports={"7000/tcp": [("", "8080")]}))
    two = await run(daemon, request("two", "mine"))
    gone = await run(daemon, request("gone", "mine", ports={"7000/tcp": [("", "8081")]}))
    before = rules(daemon)
    daemon.abandon()
    gone.end()
    echo = Echo(one.fd, 7000, "one")
    try:
        assert ask("127.0.0.1", 8080).startswith("one ")
        address = one.network("mine")["IPAddress"]
        assert two.inside(lambda: lookup("one")) == [address]
        # The one that went on without us, and the one whose end nobody saw.
        second = Daemon(tmp_path, SETTINGS)
        await second.start({one.id: one.pid, two.id: two.pid})
        try:
            assert ask("127.0.0.1", 8080).startswith("one ")
            assert two.inside(lambda: lookup("one")) == [address]
            assert two.inside(lambda: lookup("gone")) == []
            assert not second.service.book.endpoints.get(gone.id)
            assert rules(daemon) == before.replace(port_element(before, 8081), "")
            three = await run(second, request("three", "mine"))
            taken = {one.network("mine")["IPAddress"], two.network("mine")["IPAddress"]}
            assert three.network("mine")["IPAddress"] not in taken
            assert three.inside(lambda: lookup("two")) == [two.network("mine")["IPAddress"]]
            await second.management.connect("bridge", one.id)
            three.end()
        finally:
            await second.dismantle()
    finally:
        echo.close()
        end(one, two)


async def test_an_end_in_the_midst_of_the_daemons_start(
    daemon: Daemon, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The container was seen to run; then it ended, before its networks were taken over."""
    one = await run(daemon, request("one", ports={"7000/tcp": [("", "8080")]}))
    daemon.abandon()
    one.end()
    second = Daemon(tmp_path, SETTINGS)
    await second.start({one.id: one.pid})
    assert [each.message for each in caplog.records if each.levelno > logging.INFO] == []
    await second.service.detach(one.id)
    assert not second.service.book.endpoints.get(one.id)
    await second.dismantle()


def port_element(text: str, port: int) -> str:
    """The element of a map for one published port, with the comma that goes with it."""
    line = next(each for each in text.splitlines() if f". {port} :" in each)
    rest = line.strip().removeprefix("elements = {").removesuffix(",").removesuffix("}").strip()
    joined = f",\n\t\t\t     {rest}"
    assert joined in text
    return joined


async def test_a_flushed_firewall_is_written_again(daemon: Daemon) -> None:
    one = await run(daemon, request("one", ports={"7000/tcp": [("", "8080")]}))
    echo = Echo(one.fd, 7000, "one")
    table = daemon.networks.firewall.table
    before = rules(daemon)
    try:
        nft.run("flush ruleset")
        assert ask("127.0.0.1", 8080, timeout=0.3) == ""
        await eventually(lambda: table in nft.run("list tables"))
        assert rules(daemon) == before
        assert ask("127.0.0.1", 8080).startswith("one ")
        nft.run(f"add rule inet {table} user ip saddr 192.0.2.1 drop")
        nft.run(f"flush chain inet {table} forward")
        await eventually(lambda: "jump user" in rules(daemon))
        assert "ip saddr 192.0.2.1 drop" in rules(daemon)
    finally:
        echo.close()
        end(one)


async def test_a_dead_resolver_is_replaced(daemon: Daemon) -> None:
    await daemon.management.create(NetworkCreate(name="mine"))
    one = await run(daemon, request("one", "mine"))
    try:
        process = daemon.networks.service.names.helper.process
        assert process is not None
        process.kill()
        process.wait()
        address = one.network("mine")["IPAddress"]
        await eventually(lambda: one.inside(lambda: lookup("one")) == [address])
    finally:
        end(one)


async def test_nothing_is_left_when_the_last_container_is_gone(tmp_path: Path) -> None:
    clean = state()
    daemon = await Daemon(tmp_path, SETTINGS).start()
    await daemon.management.create(NetworkCreate(name="mine", enable_ipv6=True))
    one = await run(daemon, request("one", "mine", ports={"7000/tcp": [("", "8080")]}))
    assert state() != clean
    await daemon.service.detach(one.id)
    one.end()
    resolver = daemon.service.names.helper.process
    assert resolver is not None
    await daemon.close()
    assert state() == clean
    assert resolver.wait(5) == 0
    assert not daemon.paths.resolver_socket.exists()
    with socket.socket() as sock:
        sock.bind(("0.0.0.0", 8080))


async def test_the_users_rules_outlive_the_daemon(tmp_path: Path) -> None:
    daemon = await Daemon(tmp_path, SETTINGS).start()
    table = daemon.networks.firewall.table
    nft.run(f"add rule inet {table} user ip saddr 192.0.2.1 drop")
    await daemon.close()
    assert "ip saddr 192.0.2.1 drop" in rules(daemon)
    daemon = await Daemon(tmp_path, SETTINGS).start()
    assert "ip saddr 192.0.2.1 drop" in rules(daemon)
    nft.run(f"flush chain inet {table} user")
    await daemon.close()
    assert table not in nft.run("list tables")


def state() -> tuple[list[str], str]:
    with Netlink() as kernel:
        links = sorted(each.name for each in kernel.links())
    return links, nft.run("list ruleset")


async def test_no_foreign_rule_is_touched(daemon: Daemon) -> None:
    """Rules of others stay. Two of ours are behind them while, and only while, a policy drops."""
    iptables("-A", "FORWARD", "-s", "192.0.2.1", "-j", "DROP")
    before = iptables()
    await daemon.networks._meet_neighbours()
    assert iptables() == before
    iptables("-P", "FORWARD", "DROP")
    await eventually(lambda: iptables()[-1].endswith("-j ACCEPT"))
    assert [each for each in iptables() if "wherry" not in each] == [
        each.replace("-P FORWARD ACCEPT", "-P FORWARD DROP") for each in before
    ]
    one, two = await run(daemon, request("one")), await run(daemon, request("two"))
    echo = Echo(one.fd, 7000, "one")
    try:
        assert two.inside(lambda: ask("10.90.0.2", 7000)) == "one 10.90.0.3"
    finally:
        echo.close()
        end(one, two)
    iptables("-P", "FORWARD", "ACCEPT")
    await eventually(lambda: iptables() == before)


async def test_nothing_stays_in_iptables_at_the_end(tmp_path: Path) -> None:
    iptables("-P", "FORWARD", "DROP")
    before = iptables(), nft.run("list ruleset")
    daemon = await Daemon(tmp_path, SETTINGS).start()
    await eventually(lambda: iptables()[-1].endswith("-j ACCEPT"))
    await daemon.close()
    assert (iptables(), nft.run("list ruleset")) == before
    # What a killed daemon left is taken away by one that may not use iptables.
    daemon = await Daemon(tmp_path, SETTINGS).start()
    await eventually(lambda: iptables()[-1].endswith("-j ACCEPT"))
    daemon.abandon()
    allowed = dataclasses.replace(SETTINGS, iptables=False)
    daemon = await Daemon(tmp_path, allowed).start()
    await eventually(lambda: iptables() == before[0])
    await daemon.close()
    assert (iptables(), nft.run("list ruleset")) == before


async def test_iptables_false_leaves_iptables_alone(tmp_path: Path) -> None:
    iptables("-P", "FORWARD", "DROP")
    before, table = iptables(), nft.run("list table ip filter")
    daemon = await Daemon(tmp_path, dataclasses.replace(SETTINGS, iptables=False)).start()
    one = await run(daemon, request("one", ports={"7000/tcp": [("", "8080")]}))
    echo = Echo(one.fd, 7000, "one")
    try:
        assert iptables() == before
        assert nft.run("list table ip filter") == table
        assert any("'ip filter'" in each for each in daemon.networks.warnings())
        # The host itself needs nobody to forward.
        assert ask("127.0.0.1", 8080).startswith("one ")
    finally:
        echo.close()
        end(one)
        await daemon.dismantle()
    assert iptables() == before


async def test_tables_of_the_old_iptables_are_met_too(tmp_path: Path) -> None:
    """nftables does not show them. Not every kernel has them."""
    try:
        iptables("-P", "FORWARD", "DROP", program="iptables-legacy")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no tables of the old iptables: {error}")
    before = iptables(program="iptables-legacy")
    daemon = await Daemon(tmp_path, SETTINGS).start()
    await eventually(lambda: iptables(program="iptables-legacy")[-1].endswith("-j ACCEPT"))
    await daemon.close()
    assert iptables(program="iptables-legacy") == before
    daemon = await Daemon(tmp_path, dataclasses.replace(SETTINGS, iptables=False)).start()
    assert any("legacy" in each for each in daemon.networks.warnings())
    await daemon.close()
    assert iptables(program="iptables-legacy") == before


def iptables(*words: str, program: str = "iptables") -> list[str]:
    """Run iptables; what it prints, by default its rules."""
    command = [program, *(words or ("-S",))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


async def test_a_resolver_of_another_version_is_replaced(tmp_path: Path) -> None:
    first = await Daemon(tmp_path, SETTINGS).start()
    await first.management.create(NetworkCreate(name="mine"))
    one = await run(first, request("one", "mine"))
    old = first.service.names.helper.process
    assert old is not None
    address = one.network("mine")["IPAddress"]
    first.abandon()
    assert one.inside(lambda: lookup("one")) == [address]
    second = Daemon(tmp_path, SETTINGS)
    second.service.names.helper.version = "another"
    await second.start({one.id: one.pid})
    try:
        await eventually(lambda: old.poll() is not None)
        assert second.service.names.helper.process is not None
        assert one.inside(lambda: lookup("one")) == [address]
    finally:
        await second.dismantle()
        end(one)

"""Changes of networks that are cut short, or that somebody else changes at the same moment."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.support.networks import SETTINGS, Container, Daemon, eventually, request, rules, run

from wherry.linux import netlink, nft
from wherry.linux.netlink import Netlink
from wherry.networks.bridges import alias_of
from wherry.wire.network import NetworkCreate

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("near")]


def inner_names(container: Container) -> list[str]:
    """Interfaces in the container's namespace."""

    def names() -> list[str]:
        with Netlink() as kernel:
            return sorted(each.name for each in kernel.links())

    return container.inside(names)


async def test_a_flush_in_the_very_moment_of_a_change_is_noticed(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    firewall = daemon.networks.firewall
    change = nft.Nftables.run
    flushed: list[str] = []

    def and_flush(own: nft.Nftables, script: str) -> str:
        answer = change(own, script)
        if not flushed:
            flushed.append(script)
            subprocess.run(["nft", "flush", "table", "inet", firewall.table], check=True)
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(nft.Nftables, "run", and_flush)
        one = await run(daemon, request("one", ports={"7000/tcp": [("", "8080")]}))
    try:
        assert flushed
        await eventually(lambda: "jump publish" in rules(daemon))
        assert ". 8080 :" in rules(daemon)
    finally:
        one.end()


async def test_own_changes_are_not_taken_for_those_of_others(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    firewall = daemon.networks.firewall
    rebuilt: list[str] = []
    monkeypatch.setattr(firewall, "_start_repair", lambda: rebuilt.append("repair"))
    for number in range(5):
        _, _ = await daemon.management.create(NetworkCreate(name=f"n{number}"))
        await daemon.management.remove(f"n{number}")
    # What the kernel told is read by now, or with the next turn of the loop.
    await asyncio.sleep(0)
    assert firewall._repair is None
    assert rebuilt == []


async def test_a_connect_that_was_cut_short_is_undone(daemon: Daemon, tmp_path: Path) -> None:
    await daemon.management.create(NetworkCreate(name="first"))
    await daemon.management.create(NetworkCreate(name="second"))
    one = await run(daemon, request("one", "second"))
    book = daemon.service.book
    before = book.sandboxes[one.id]
    await daemon.management.connect("first", one.id)
    assert inner_names(one) == ["eth0", "eth1", "lo"]
    # As a kill leaves it between the interface and the record; so does a disconnect.
    book.put_sandbox(before)
    daemon.abandon()
    second = await Daemon(tmp_path, SETTINGS).start({one.id: one.pid})
    try:
        assert inner_names(one) == ["eth0", "lo"]
        endpoints = second.service.endpoints(one.id)
        assert [each.interface for each in endpoints] == ["eth0"]
        assert list(second.service.settings(one.id)["Networks"]) == ["second"]
        await second.management.remove("first")
        await second.management.connect("bridge", one.id)
        assert inner_names(one) == ["eth0", "eth1", "lo"]
    finally:
        await second.dismantle()
        one.end()


async def test_the_first_change_of_a_new_daemon_keeps_published_ports(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await daemon.management.create(NetworkCreate(name="mine"))
    one = await run(daemon, request("one", "mine", ports={"7000/tcp": [("", "8080")]}))
    daemon.abandon()
    scripts: list[str] = []
    change = nft.Nftables.run

    def record(own: nft.Nftables, script: str) -> str:
        scripts.append(script)
        return change(own, script)

    monkeypatch.setattr(nft.Nftables, "run", record)
    second = Daemon(tmp_path, SETTINGS)
    await second.start({one.id: one.pid})
    try:
        device = second.service.book.network("mine").device
        writing = [each for each in scripts if "flush chain" in each]
        assert writing
        for script in writing:
            assert ". 8080 :" in script
            assert f'"{device}"' in script
    finally:
        await second.dismantle()
        one.end()


async def test_a_bridge_has_its_mark_from_the_beginning(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever moment the daemon is killed at, no bridge is left that nobody owns."""
    looks: list[list[str]] = []
    send = Netlink.run

    def looking(own: Netlink, messages: list[netlink.Message], **options: Any) -> None:
        send(own, messages, **options)
        with Netlink() as kernel:
            looks.append([each.alias for each in kernel.links() if each.kind == "bridge"])

    monkeypatch.setattr(Netlink, "run", looking)
    network, _ = await daemon.management.create(NetworkCreate(name="mine"))
    alias = alias_of(daemon.networks.firewall.table, network)
    assert any(alias in look for look in looks)
    assert all("" not in look for look in looks)

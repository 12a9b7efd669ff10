"""The daemon's table, with a stand-in for nft."""

from __future__ import annotations

import asyncio
import threading

import pytest

from wherry.linux.nft import Nftables
from wherry.networks.firewall import Firewall


class Slow(Nftables):
    """A change takes until it is let go, and goes nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.started = threading.Event()
        self.go = threading.Event()

    def run(self, script: str) -> str:
        self.scripts.append(script)
        self.started.set()
        self.go.wait(10)
        return ""

    def made(self, port: int) -> bool:
        return True


async def test_a_table_that_is_lost_during_a_change_is_written_again() -> None:
    firewall = Firewall("test")
    nft = Slow()
    firewall._nft = nft
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(firewall.sync())
        await asyncio.to_thread(nft.started.wait, 10)
        # Somebody deletes the table now; the change is under way.
        tasks.create_task(firewall.rebuild())
        await asyncio.sleep(0.05)
        nft.go.set()
    assert len(nft.scripts) == 2
    assert nft.scripts[0] == nft.scripts[1]


async def test_what_others_delete_while_the_table_is_written_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    firewall = Firewall("test")
    nft = Slow()
    nft.go.set()
    firewall._nft = nft
    told = iter([(True, True), (True, True)])
    monkeypatch.setattr(firewall, "_drain", lambda: next(told))
    for write in (firewall.sync, firewall.rebuild):
        await write()
        assert firewall._repair is not None
        firewall._stop_repair()

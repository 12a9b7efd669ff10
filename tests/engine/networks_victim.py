"""Does one change of networks as a daemon would, and is killed at a chosen step of it.

Reads lines of JSON, ``{"root", "running": {id: pid}, "change", "step"}``, and forks for each: the
child is killed by SIGKILL just before its step number ``step`` (a call of the kernel, a write of
the database, a message to a helper). Answers ``killed``, ``done`` when there were fewer steps, or
``failed``.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.networks import SETTINGS, Daemon, request

from wherry.linux.netlink import Netlink
from wherry.linux.nft import Nftables
from wherry.networks.helper import Helper
from wherry.store.database import Database
from wherry.wire.network import NetworkCreate

PORTS = {"7000/tcp": [("", "8090")]}


async def _change(daemon: Daemon, change: str) -> None:
    if change == "create":
        await daemon.management.create(NetworkCreate(name="made", enable_ipv6=True))
    elif change == "remove":
        await daemon.management.remove("spare")
    elif change == "connect":
        await daemon.management.connect("spare", "one")
    elif change == "disconnect":
        await daemon.management.disconnect("home", "one")
    elif change == "attach":
        await daemon.service.attach(request("two", "home", ports=PORTS))
    elif change == "detach":
        await daemon.service.detach(request("one").container_id)
    elif change == "ports":
        moved = {"7000/tcp": [("", "8081")], "7000/udp": [("", "8080")]}
        await daemon.service.change_ports(request("one", "home", ports=moved))
    else:
        raise ValueError(change)


class _Killer:
    def __init__(self, step: int) -> None:
        self._left = step

    def arm(self) -> None:
        for owner, name in (
            (Netlink, "run"),
            (Nftables, "run"),
            (Database, "execute"),
            (Helper, "exchange"),
        ):
            setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*words: Any, **options: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*words, **options)

        return counted


async def _victim(wanted: dict[str, Any]) -> None:
    daemon = await Daemon(Path(wanted["root"]), SETTINGS).start(wanted["running"])
    _Killer(wanted["step"]).arm()
    await _change(daemon, wanted["change"])


def _child(wanted: dict[str, Any]) -> int:
    try:
        asyncio.run(_victim(wanted))
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if not child:
            # No exit handlers: the end after the last step is as sudden as a kill.
            os._exit(_child(json.loads(line)))
        _, status = os.waitpid(child, 0)
        word = "killed" if os.WIFSIGNALED(status) else "done" if status == 0 else "failed"
        print(word, flush=True)


if __name__ == "__main__":
    main()

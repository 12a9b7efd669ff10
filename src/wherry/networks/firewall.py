"""The daemon's own nftables table: what it should hold, and one transaction to get there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Callable, Iterable
from typing import TypeVar

from wherry.errors import WherryError
from wherry.linux import nft
from wherry.linux.tasks import spawn
from wherry.networks import ruleset, zones
from wherry.networks.ruleset import BridgeRules, Linked, Published

_log = logging.getLogger(__name__)
T = TypeVar("T")

_NETFILTER, _NFTABLES_GROUP = 12, 7
_NFT_SUBSYSTEM = 10
_DELETIONS = frozenset({2, 5, 8, 11, 14})
"""DELTABLE, DELCHAIN, DELRULE, DELSET, DELSETELEM of ``nf_tables_msg_types``."""
_CHANGES = frozenset({2, 3, 5, 8})
"""Also NEWCHAIN, which tells of a changed policy."""
_OTHERS = (b"filter\0", zones.TABLE.encode() + b"\0")
"""Tables of other firewalls that are in our way."""
_SO_RCVBUFFORCE, _ROOM = 33, 8 << 20
_QUIET = 0.3
"""Seconds without a foreign change before the table is repaired."""


class Firewall:
    """Callers change what is wanted and then ``await sync()``; waiting callers share one change."""

    def __init__(self, table: str, *, host_rules: bool = False) -> None:
        """``host_rules``: published ports are left to the host's sockets and INPUT rules."""
        self.table = table
        self._host_rules = host_rules
        self._bridges: dict[str, BridgeRules] = {}
        self._published: dict[str, list[Published]] = {}
        self._linked: set[Linked] = set()
        self._applied: ruleset.Elements | None = None
        self._lock = asyncio.Lock()
        self._nft = nft.Nftables()
        self._watch: socket.socket | None = None
        self._working = False
        self._repair: asyncio.TimerHandle | None = None
        self._others: asyncio.TimerHandle | None = None
        self.on_others: Callable[[], None] | None = None
        """Called when the tables of iptables or firewalld have changed, some time after."""

    def set_bridge(self, network_id: str, rules: BridgeRules | None) -> None:
        """None takes the network's rules away."""
        if rules is None:
            self._bridges.pop(network_id, None)
        else:
            self._bridges[network_id] = rules

    def bridges(self) -> list[str]:
        """The bridges that the rules know; any thread may ask."""
        return [each.device for each in list(self._bridges.values())]

    def set_published(self, container_id: str, published: Iterable[Published]) -> None:
        """The container's ports from now on; none takes them away."""
        entries = list(published)
        if entries:
            self._published[container_id] = entries
        else:
            self._published.pop(container_id, None)

    def set_linked(self, rows: set[Linked]) -> None:
        """Ports that links open from now on, see ``linking``."""
        self._linked = rows

    async def sync(self) -> None:
        """Bring the kernel to what is wanted. Raises ``Internal`` with nft's words."""
        async with self._lock:
            wanted = self._wanted()
            if self._applied is None:
                await self._write(wanted)
                return
            script = ruleset.change(self.table, self._applied, wanted)
            if not script:
                return
            try:
                await self._apply(script, wanted)
            except WherryError as error:
                # Somebody else changed our table: put the whole of it right.
                _log.warning("firewall table %s is rebuilt: %s", self.table, error.message)
                await self._write(wanted)

    async def rebuild(self) -> None:
        """Write the whole table again, in one transaction."""
        async with self._lock:
            await self._write(self._wanted())

    async def remove(self) -> None:
        """Take the table away (a daemon that gives up its networks).

        Rules that somebody has put into the chain ``user`` are his: then the table stays, empty
        of ours.
        """
        async with self._lock:
            self._stop_repair()
            self._applied = None
            self._published.clear()
            await self._quietly(self._remove)

    def _remove(self) -> None:
        try:
            users = self._nft.run(f"list chain inet {self.table} user")
        except WherryError:
            return
        if ruleset.has_rules(users):
            self._nft.run(self._whole(ruleset.elements((), ())))
        else:
            self._nft.run(ruleset.remove(self.table))

    def _whole(self, wanted: ruleset.Elements) -> str:
        return ruleset.rebuild(self.table, wanted, host_rules=self._host_rules)

    def _wanted(self) -> ruleset.Elements:
        published = [each for entries in self._published.values() for each in entries]
        return ruleset.elements(self._bridges.values(), published, self._linked)

    async def _write(self, wanted: ruleset.Elements) -> None:
        """The whole table; where that fails, the next ``sync`` writes it.

        What others take from it before we have heard that it stands is noticed too.
        """
        self._applied = wanted
        try:
            await self._apply(self._whole(wanted), wanted)
        except BaseException:
            self._applied = None
            raise

    async def _apply(self, script: str, wanted: ruleset.Elements) -> None:
        await self._quietly(lambda: self._nft.run(script))
        self._applied = wanted

    async def _quietly(self, work: Callable[[], T]) -> T:
        """Run in a thread; what the kernel tells of others meanwhile is noticed."""
        self._working = True
        try:
            return await asyncio.to_thread(work)
        finally:
            self._changed()
            self._working = False

    def watch(self) -> None:
        """Notice when somebody flushes or deletes our rules, and repair them."""
        if self._watch is not None:
            return
        try:
            sock = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER
            )
            sock.setblocking(False)
            sock.bind((0, 1 << (_NFTABLES_GROUP - 1)))
        except OSError as error:
            _log.warning("firewall changes by others are not noticed: %s", error)
            return
        # The words of a large change of ours must fit, or those of others among them are lost.
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
        self._watch = sock
        asyncio.get_running_loop().add_reader(sock, self._changed)

    async def rest(self) -> None:
        """Nothing to do for now: drop the library's copy of the host's rules (megabytes where
        there are many). The next change reads them again."""
        await asyncio.to_thread(self._nft.close)

    def close(self) -> None:
        """Stop watching; the rules stay."""
        self._stop_repair()
        self.on_others = None
        if self._others is not None:
            self._others.cancel()
            self._others = None
        if self._watch is not None:
            asyncio.get_running_loop().remove_reader(self._watch)
            self._watch.close()
            self._watch = None
        self._nft.close()

    def _stop_repair(self) -> None:
        if self._repair is not None:
            self._repair.cancel()
            self._repair = None

    def _drain(self) -> tuple[bool, bool]:
        """Read what the kernel has told: whether our table, and those of others, lost something."""
        ours = others = False
        name = self.table.encode() + b"\0"
        while self._watch is not None:
            try:
                data = self._watch.recv(1 << 18)
            except BlockingIOError:
                break
            except OSError:
                # More was told than the socket could hold: assume the worst, unless it was us.
                ours = ours or not self._working
                others = True
                continue
            ours = ours or _changed(data, name, _DELETIONS, self._nft.made)
            others = others or any(
                _changed(data, each, _CHANGES, self._nft.made) for each in _OTHERS
            )
        if others and self._others is None and self.on_others is not None:
            self._others = asyncio.get_running_loop().call_later(1.0, self._tell_others)
        return ours, others

    def _tell_others(self) -> None:
        self._others = None
        if self.on_others is not None:
            self.on_others()

    def _changed(self) -> None:
        ours, _ = self._drain()
        if not ours or self._applied is None:
            return
        self._stop_repair()
        loop = asyncio.get_running_loop()
        self._repair = loop.call_later(_QUIET, self._start_repair)

    def _start_repair(self) -> None:
        self._repair = None
        _log.warning("firewall table %s was changed by others and is rebuilt", self.table)
        spawn(self.rebuild(), name="firewall repair")


def _changed(data: bytes, table: bytes, kinds: frozenset[int], made: Callable[[int], bool]) -> bool:
    """Whether one of the messages is of these kinds, about that table, and by somebody else."""
    at = 0
    while at + 20 <= len(data):
        size, kind, _, _, port = struct.unpack_from("=IHHII", data, at)
        if size < 16:
            return False
        if kind >> 8 == _NFT_SUBSYSTEM and kind & 0xFF in kinds and at + 24 <= len(data):
            width, attribute = struct.unpack_from("=HH", data, at + 20)
            about = attribute & 0x3FFF == 1 and data[at + 24 : at + 20 + width] == table
            if about and not made(port):
                return True
        at += (size + 3) & ~3
    return False

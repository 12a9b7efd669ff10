"""Other resolvers: which, in what order, and what they said not long ago."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable

from dnslib import QTYPE, DNSRecord

MAX_SERVERS = 3
_KEEP_ANSWER, _KEEP_FAILURE = 30.0, 3.0
_CACHE = 2000
_BAD = 10.0
"""Seconds for which a server that did not answer is asked last."""


class HostServers:
    """Name servers of the host's resolv.conf, read again when the file changes."""

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._looked = -10.0
        self._stamp: tuple[int, int] | None = None
        self._servers: list[str] = []

    def servers(self) -> list[str]:
        now = self._clock()
        if now - self._looked > 1:
            self._looked = now
            try:
                status = os.stat(self._path)
                stamp = (status.st_mtime_ns, status.st_ino)
                if stamp != self._stamp:
                    with open(self._path, errors="replace") as file:
                        self._servers = parse_servers(file.read())
                    self._stamp = stamp
            except OSError:
                self._servers = []
        return self._servers


def parse_servers(text: str) -> list[str]:
    """Addresses after ``nameserver``, at most three, as resolv.conf(5) has it."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            found.append(words[1])
    return found[:MAX_SERVERS]


class Order:
    """Servers that failed a moment ago come last."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._bad: dict[str, float] = {}

    def sort(self, servers: list[str]) -> list[str]:
        now = self._clock()
        return sorted(servers, key=lambda each: self._bad.get(each, 0) > now)

    def failed(self, server: str) -> None:
        self._bad[server] = self._clock() + _BAD
        if len(self._bad) > 64:
            self._bad.pop(next(iter(self._bad)))

    def worked(self, server: str) -> None:
        self._bad.pop(server, None)


class Cache:
    """Replies by (servers, query without its id), for as long as they live but not long."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rows: OrderedDict[tuple[tuple[str, ...], bytes], tuple[float, bytes]] = OrderedDict()

    def get(self, servers: tuple[str, ...], query: bytes) -> bytes | None:
        row = self._rows.get((servers, query[2:]))
        if row is None or row[0] < self._clock():
            return None
        return query[:2] + row[1]

    def put(self, servers: tuple[str, ...], query: bytes, reply: bytes) -> None:
        life = lifetime(reply)
        if life <= 0:
            return
        self._rows[servers, query[2:]] = (self._clock() + life, reply[2:])
        if len(self._rows) > _CACHE:
            self._rows.popitem(last=False)


def lifetime(reply: bytes) -> float:
    """Seconds for which a reply may be repeated; 0 for failures and what is cut short."""
    try:
        record = DNSRecord.parse(reply)
    except Exception:
        return 0
    header = record.header
    if header.tc or header.rcode not in (0, 3):
        return 0
    lives = [each.ttl for each in record.rr if each.rtype != QTYPE.OPT]
    return float(min(_KEEP_ANSWER, *lives)) if lives else _KEEP_FAILURE

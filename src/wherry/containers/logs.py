"""Logs of containers: reading them, across rotated segments, and clearing them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from wherry.containers.book import Live
from wherry.containers.logoptions import details, policy
from wherry.containers.rotation import Rotator
from wherry.containers.service import LogLine, LogOptions
from wherry.containers.transitions import has_process
from wherry.errors import Internal, NotImplementedYet
from wherry.runtime import logfile
from wherry.runtime.logfile import Selection
from wherry.runtime.logline import Entry
from wherry.store.paths import Paths

_LONGEST = 16 << 10
"""Bytes of one line at most, as Docker cuts them."""


class Joiner:
    """Puts the pieces of a line together again: the monitor cuts where its buffer ends."""

    def __init__(self, attributes: str = "") -> None:
        self._attributes = attributes
        self._open: dict[int, LogLine] = {}

    def add(self, entry: Entry) -> LogLine | None:
        """The line that ``entry`` completes; None while it goes on."""
        begun = self._open.pop(entry.stream, None)
        data = entry.data if begun is None else begun.data + entry.data
        timestamp = entry.timestamp if begun is None else begun.timestamp
        line = LogLine(entry.stream, data, timestamp, self._attributes)
        if data.endswith(b"\n") or len(data) >= _LONGEST:
            return line
        self._open[entry.stream] = line
        return None

    def rest(self) -> list[LogLine]:
        """Lines without an end, when nothing more comes."""
        return list(self._open.values())


class Logs:
    def __init__(self, paths: Paths, rotator: Rotator) -> None:
        self._paths = paths
        self._rotator = rotator

    def read(self, live: Live, options: LogOptions) -> AsyncIterator[LogLine]:
        """See ``containers.service.Containers.logs``. Raises before the first line."""
        record = live.record
        if not policy(record.host_config.log_config).keeps:
            raise NotImplementedYet("configured logging driver does not support reading")
        attributes = ""
        if options.details:
            pairs = (each.partition("=") for each in record.config.env or ())
            environment = {name: value for name, _, value in pairs}
            found = details(record.host_config.log_config, record.labels, environment)
            attributes = ",".join(f"{key}={value}" for key, value in found.items())
        selection = Selection(
            options.stdout, options.stderr, options.since, options.until, options.tail
        )
        over = live.over
        if not (options.follow and has_process(record.status)):
            over = asyncio.Event()
            over.set()
        return self._lines(live, selection, over, attributes)

    async def _lines(
        self, live: Live, selection: Selection, over: asyncio.Event, attributes: str
    ) -> AsyncIterator[LogLine]:
        """Until ``over`` is set, and everything logged by then has been read."""
        try:
            entries = logfile.follow(self._paths.container(live.id).log, selection, over)
            joiner = Joiner(attributes)
            async with aclosing(entries):
                async for entry in entries:
                    line = joiner.add(entry)
                    if line is not None:
                        yield line
            for line in joiner.rest():
                yield line
        except OSError as error:
            raise _unreadable(live, error) from error

    async def history(self, live: Live) -> list[tuple[int, bytes]]:
        """Everything logged so far, for an attach with ``logs``."""
        path = self._paths.container(live.id).log

        def everything() -> list[tuple[int, bytes]]:
            return [(entry.stream, entry.data) for entry in logfile.read(path, Selection())]

        try:
            return await asyncio.to_thread(everything)
        except OSError as error:
            raise _unreadable(live, error) from error

    async def clear(self, live: Live) -> None:
        """Forget everything logged so far; what comes later is kept as before."""
        try:
            await self._rotator.clear(live)
        except OSError as error:
            raise Internal(f"the log of container {live.id} cannot be cleared: {error}") from error


def _unreadable(live: Live, error: OSError) -> Internal:
    return Internal(f"the log of container {live.id} cannot be read: {error}")

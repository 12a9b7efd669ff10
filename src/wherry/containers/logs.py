"""The log of a container for the API: by ``runtime.logfile``, which knows the monitor's format."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from wherry.containers.book import Live
from wherry.containers.service import LogLine, LogOptions
from wherry.containers.transitions import has_process
from wherry.errors import Internal, NotImplementedYet
from wherry.runtime import logfile
from wherry.runtime.logfile import Selection
from wherry.store.paths import Paths

_BATCH = 256
"""Lines between two looks at the other tasks."""


class Logs:
    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def read(self, live: Live, options: LogOptions) -> AsyncIterator[LogLine]:
        """See ``containers.service.Containers.logs``. Raises before the first line."""
        config = live.record.host_config.log_config
        if config is not None and config.type == "none":
            raise NotImplementedYet("configured logging driver does not support reading")
        selection = Selection(
            stdout=options.stdout,
            stderr=options.stderr,
            since=options.since,
            until=options.until,
            tail=options.tail,
        )
        if options.follow and has_process(live.record.status):
            return self._follow(live, selection, live.over)
        return self._lines(live, selection)

    async def _lines(self, live: Live, selection: Selection) -> AsyncIterator[LogLine]:
        try:
            entries = logfile.read(self._paths.container(live.id).log, selection)
            for number, entry in enumerate(entries):
                yield LogLine(entry.stream, entry.data, entry.timestamp)
                if number % _BATCH == _BATCH - 1:
                    await asyncio.sleep(0)
        except OSError as error:
            raise _unreadable(live, error) from error

    async def _follow(
        self, live: Live, selection: Selection, over: asyncio.Event
    ) -> AsyncIterator[LogLine]:
        log = self._paths.container(live.id).log
        try:
            async for entry in logfile.follow(log, selection, over):
                yield LogLine(entry.stream, entry.data, entry.timestamp)
        except OSError as error:
            raise _unreadable(live, error) from error

    def history(self, live: Live) -> list[tuple[int, bytes]]:
        """Everything logged so far, for an attach with ``logs``."""
        try:
            entries = logfile.read(self._paths.container(live.id).log, Selection())
            return [(entry.stream, entry.data) for entry in entries]
        except OSError as error:
            raise _unreadable(live, error) from error


def _unreadable(live: Live, error: OSError) -> Internal:
    return Internal(f"the log of container {live.id} cannot be read: {error}")

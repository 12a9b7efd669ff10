"""The event bus: what services publish is kept in the database and streamed to who listens.

A listener holds no queue: it remembers the number of the last event it took and reads on from the
table, so a slow one costs nothing but its own lag.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping

from wherry.errors import WherryError
from wherry.store.events import EventTable
from wherry.wire.events import Event

_log = logging.getLogger(__name__)


class EventBus:
    """Implements ``containers.ports.EventSink`` and ``api.events.Events``."""

    def __init__(self, table: EventTable, clock: Callable[[], int] = time.time_ns) -> None:
        self._table = table
        self._clock = clock
        self._waiting: set[asyncio.Future[None]] = set()
        self.listeners = 0
        """Streams that are open now."""

    def publish(self, kind: str, action: str, actor_id: str, attributes: Mapping[str, str]) -> None:
        """Keep and stream one event. A full disk loses the event, not the caller's work."""
        try:
            self._table.append(self._clock(), kind, action, actor_id, attributes)
        except WherryError as error:
            _log.error("event %s %s of %s is lost: %s", kind, action, actor_id, error)
            return
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def stream(self, since: int | None, until: int | None) -> AsyncIterator[Event]:
        """Events from ``since`` (None: from now) to ``until`` (None: for ever), in order."""
        at = self._table.last() if since is None else self._table.before_time(since)
        return self._stream(at, until)

    async def _stream(self, at: int, until: int | None) -> AsyncIterator[Event]:
        self.listeners += 1
        try:
            while True:
                rows = self._table.after(at)
                for row in rows:
                    at = row.sequence
                    if until is not None and row.time > until:
                        return
                    yield Event(at, row.time, row.kind, row.action, row.actor, row.attributes)
                if not rows and not await self._more(until):
                    return
        finally:
            self.listeners -= 1

    async def _more(self, until: int | None) -> bool:
        """Wait for the next event; False when ``until`` passes first."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        left = None if until is None else (until - self._clock()) / 1e9
        try:
            if left is not None and left <= 0:
                return False
            await asyncio.wait_for(future, left)
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(future)
        return True

"""All containers of this daemon, in memory and in the database, in step.

``Live`` is one container: its current ``Record`` and what only this process knows (lock, tasks,
waiters). ``Book.commit`` is the one way to change a record: a new value is written to the
database first, and only then seen by others, so that a failed write or an illegal event changes
nothing. Everything here runs in the event loop's thread; only ``change`` awaits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from wherry.containers.ports import EventSink
from wherry.containers.record import Record, State, decode, encode
from wherry.containers.transitions import Event, advance
from wherry.errors import Conflict, Invalid, NotFound
from wherry.runtime.port import Running
from wherry.store.containers import ContainerTable, Row

_log = logging.getLogger(__name__)


class Live:
    """One container of the book."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.lock = asyncio.Lock()
        """Held by start, stop, pause, remove ...: one change at a time."""
        self.running: Running | None = None
        self.supervisor: asyncio.Task[None] | None = None
        """Waits for the end of the running process."""
        self.over = asyncio.Event()
        """Set when the running process has ended and its log is complete; a new one each run."""
        self.cleanup: asyncio.Task[None] | None = None
        """Frees what a run used; start and remove wait for it."""
        self.restart: asyncio.Task[None] | None = None
        """A restart that is due."""
        self.stopping = False
        """An end was asked for: no restart follows this run."""
        self.keep = False
        """A restart is under way: the end between is no reason for auto-removal."""
        self.backoff = 0.0
        """Seconds before the last restart."""
        self.next_exit: list[asyncio.Future[tuple[int, str]]] = []
        self.next_stop: list[asyncio.Future[tuple[int, str]]] = []
        self.removal: list[asyncio.Future[tuple[int, str]]] = []
        self.execs: set[str] = set()
        self.watchers: set[asyncio.Event] = set()
        """Told of every change of the record, and of its end."""
        self.waits: set[asyncio.Future[str]] = set()
        """Starts that wait for what the container depends on; the result is who cancels one."""

    @property
    def id(self) -> str:
        return self.record.id

    def call_off(self, by: str) -> bool:
        """Cancel the starts that still wait; False when there are none."""
        waiting = [each for each in self.waits if not each.done()]
        for each in waiting:
            each.set_result(by)
        return bool(waiting)


class Book:
    """The containers by id, unique id prefix and name."""

    def __init__(self, table: ContainerTable, events: EventSink) -> None:
        self._table = table
        self._events = events
        self._lives: dict[str, Live] = {}
        self._names: dict[str, str] = {}

    def load(self) -> None:
        """Read every row; a record that cannot be read is logged and left alone."""
        for row in self._table.all():
            try:
                record = decode(row.record)
            except (msgspec.MsgspecError, ValueError) as error:
                _log.error("container %s: its record cannot be read: %s", row.id, error)
                continue
            live = Live(record)
            live.running = record.running
            self._lives[record.id] = live
            self._names[record.name] = record.id

    def __iter__(self) -> Iterator[Live]:
        return iter(list(self._lives.values()))

    def __len__(self) -> int:
        return len(self._lives)

    def __contains__(self, container_id: str) -> bool:
        return container_id in self._lives

    @property
    def names(self) -> Mapping[str, str]:
        """Name -> id, names reserved by a create that is under way included."""
        return self._names

    def get(self, ref: str) -> Live:
        """By id, name or unique id prefix, in this order.

        Raises ``NotFound`` "No such container: REF"; ``Invalid`` for an ambiguous prefix.
        """
        if not ref:
            raise Invalid("No container name or ID supplied")
        live = self.called(ref)
        if live is not None:
            return live
        found = [each for each in self._lives if each.startswith(ref)]
        if len(found) > 1:
            raise Invalid(f"Multiple IDs found with provided prefix: {ref}")
        if not found:
            raise NotFound(f"No such container: {ref}")
        return self._lives[found[0]]

    def called(self, ref: str) -> Live | None:
        """By full id or name, those that links gave included; no prefix."""
        live = self._lives.get(ref)
        if live is None:
            live = self._lives.get(self._names.get(ref.removeprefix("/"), ""))
        return live or self._linked(ref)

    def _linked(self, ref: str) -> Live | None:
        """A container by a name that another's link gave it, ``web/db``."""
        parent, slash, alias = ref.removeprefix("/").partition("/")
        holder = self._lives.get(self._names.get(parent, "")) if slash else None
        return self._lives.get(holder.record.links.get(alias, "")) if holder else None

    def find(self, container_id: str) -> Live | None:
        """By full id."""
        return self._lives.get(container_id)

    def reserve(self, name: str, container_id: str) -> None:
        """Take a name. Raises ``Conflict`` in Docker's words."""
        holder = self._names.get(name)
        if holder is not None:
            raise Conflict(
                f'Conflict. The container name "/{name}" is already in use by container '
                f'"{holder}". You have to remove (or rename) that container to be able to '
                "reuse that name."
            )
        self._names[name] = container_id

    def unreserve(self, name: str, container_id: str) -> None:
        if self._names.get(name) == container_id:
            del self._names[name]

    def add(self, record: Record) -> Live:
        """A container whose name was reserved becomes visible to everybody."""
        self._table.insert(Row(record.id, record.name, record.created_ns, encode(record)))
        live = Live(record)
        self._lives[record.id] = live
        return live

    def commit(self, live: Live, **changes: Any) -> Record:
        """Write the record with ``changes``, then make it the current one."""
        record: Record = msgspec.structs.replace(live.record, **changes)
        self._table.update(Row(record.id, record.name, record.created_ns, encode(record)))
        live.record = record
        _tell(live)
        return record

    def keep(self, live: Live, state: State) -> None:
        """Change the state in memory alone, where the database cannot be written."""
        live.record = msgspec.structs.replace(live.record, state=state)
        _tell(live)

    def settle(self, live: Live, state: State) -> None:
        """What has come about, whether or not it can be written: a full disk must not hide it.
        The next daemon finds it out from the world."""
        try:
            self.commit(live, state=state)
        except Exception as error:
            _log.error(
                "container %s: that it is %s was not written: %s", live.id, state.status, error
            )
            self.keep(live, state)

    def step(self, live: Live, event: Event, **state: Any) -> Record:
        """Apply ``event`` and fields of ``State``. Raises ``IllegalEvent`` and changes nothing."""
        return self.commit(live, state=self.after(live, event, **state))

    def after(self, live: Live, event: Event, **state: Any) -> State:
        """The state that ``event`` would lead to. Raises ``IllegalEvent``."""
        old = live.record.state
        changed: State = msgspec.structs.replace(old, status=advance(old.status, event), **state)
        return changed

    def drop(self, live: Live) -> None:
        """Forget a container: its row, then its name and id."""
        self._table.delete(live.id)
        self._lives.pop(live.id, None)
        self.unreserve(live.record.name, live.id)
        _tell(live)

    async def change(self, *lives: Live) -> None:
        """Until the record of one of them changes, or it is dropped. The caller has just looked:
        nothing is missed that happens after the call."""
        event = asyncio.Event()
        for live in lives:
            live.watchers.add(event)
        try:
            await event.wait()
        finally:
            for live in lives:
                live.watchers.discard(event)

    def publish(self, record: Record, action: str, **attributes: str) -> None:
        """An event with Docker's attributes: labels, image and name, and those given."""
        self._events.publish(
            "container",
            action,
            record.id,
            {
                **record.labels,
                "image": record.config.image or "",
                "name": record.name,
                **attributes,
            },
        )


def _tell(live: Live) -> None:
    for event in live.watchers:
        event.set()

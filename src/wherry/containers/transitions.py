"""The life cycle of a container: one table, and nothing else decides about states.

A pair (state, event) that is not in ``TABLE`` is illegal: ``advance`` raises ``IllegalEvent`` and
nothing has changed. ``diagram`` draws the table for ``docs/design/life-cycle.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from wherry.errors import Conflict


class Status(StrEnum):
    """Docker's words for ``State.Status`` (Engine API, ``ContainerState``)."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


class Event(StrEnum):
    START = "start"
    """The first process runs."""
    EXIT = "exit"
    """The monitor has ended and no restart follows."""
    BACKOFF = "backoff"
    """The monitor has ended and a restart is due."""
    HALT = "halt"
    """A due restart was given up (stopped, removed, or it failed)."""
    PAUSE = "pause"
    UNPAUSE = "unpause"
    REMOVE = "remove"
    """Removal begins."""
    FAIL = "fail"
    """Removal could not be finished."""


_S, _E = Status, Event

TABLE: Mapping[Status, Mapping[Event, Status]] = {
    _S.CREATED: {_E.START: _S.RUNNING, _E.REMOVE: _S.REMOVING},
    _S.RUNNING: {_E.PAUSE: _S.PAUSED, _E.EXIT: _S.EXITED, _E.BACKOFF: _S.RESTARTING},
    _S.PAUSED: {_E.UNPAUSE: _S.RUNNING, _E.EXIT: _S.EXITED, _E.BACKOFF: _S.RESTARTING},
    _S.RESTARTING: {_E.START: _S.RUNNING, _E.HALT: _S.EXITED},
    _S.EXITED: {_E.START: _S.RUNNING, _E.REMOVE: _S.REMOVING},
    _S.REMOVING: {_E.FAIL: _S.DEAD},
    _S.DEAD: {_E.REMOVE: _S.REMOVING},
}


class IllegalEvent(Conflict):
    """The event is not possible in this state; nothing was changed."""


def can(status: Status, event: Event) -> bool:
    return event in TABLE[status]


def advance(status: Status, event: Event) -> Status:
    """The state after ``event``. Raises ``IllegalEvent``."""
    after = TABLE[status].get(event)
    if after is None:
        raise IllegalEvent(f"a container that is {status} cannot {event}")
    return after


def can_start(status: Status) -> bool:
    return can(status, Event.START)


def can_pause(status: Status) -> bool:
    return can(status, Event.PAUSE)


def can_unpause(status: Status) -> bool:
    return can(status, Event.UNPAUSE)


def can_remove(status: Status) -> bool:
    """Without force."""
    return can(status, Event.REMOVE)


def has_process(status: Status) -> bool:
    """Whether a first process exists (running or frozen)."""
    return status in (Status.RUNNING, Status.PAUSED)


def counts_as_running(status: Status) -> bool:
    """Docker's ``State.Running``: true while a restart is due, too."""
    return status in (Status.RUNNING, Status.PAUSED, Status.RESTARTING)


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {Status.CREATED}"]
    for status, events in TABLE.items():
        lines += [f"    {status} --> {after}: {event}" for event, after in events.items()]
    lines.append(f"    {Status.REMOVING} --> [*]")
    return "\n".join(lines) + "\n"

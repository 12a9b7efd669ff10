"""What must be there before a container starts: ``--depends-on NAME[:started|healthy|completed]``.

A wish names another container, not its id: one that was made anew under the name is meant as well.
An id is taken from twelve digits on, as ``ps`` shows it: a name such as ``db`` that is not there
must never mean whatever container's id begins so.
Wishes are ``HostConfig.DependsOn``; clients that know no such field say the same in the label
``wherry.depends-on`` of a create or an update, with commas. An image's label is not asked: what it
is run beside is not its maker's to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec

from wherry.containers.book import Book, Live
from wherry.containers.health import plan_of
from wherry.containers.record import Record
from wherry.containers.transitions import Status, has_process
from wherry.errors import Conflict, Invalid, NotFound, NotModified, WherryError
from wherry.linux.tasks import spawn
from wherry.wire.container import HostConfig

LABEL = "wherry.depends-on"
CONDITIONS = ("started", "healthy", "completed")
SHORT_ID = 12
MOST_RESTARTS = 5
"""A container that restarted so often while another waits for it is given up."""


@dataclass(frozen=True)
class Wish:
    name: str
    condition: str = "started"

    def __str__(self) -> str:
        """As it was written, without the default condition."""
        return self.name if self.condition == "started" else f"{self.name}:{self.condition}"


def parse(text: str) -> Wish:
    """``db``, ``db:healthy``. ``Invalid`` names the field."""
    name, colon, condition = text.strip().removeprefix("/").partition(":")
    if not name:
        raise Invalid(f"DependsOn: {text!r} names no container")
    if colon and condition not in CONDITIONS:
        raise Invalid(
            f"DependsOn: invalid condition {condition!r} for {name}: it must be started, healthy "
            "or completed"
        )
    return Wish(name, condition or "started")


def wishes(host: HostConfig, labels: Mapping[str, str] = MappingProxyType({})) -> list[Wish]:
    """All of them, in order; ``Invalid`` for two different ones of the same container."""
    texts = list(host.depends_on or ())
    texts += _labelled(labels.get(LABEL, ""))
    found: dict[str, Wish] = {}
    for wish in map(parse, texts):
        if found.setdefault(wish.name, wish) != wish:
            raise Invalid(f"DependsOn: {wish.name} is named with different conditions")
    return list(found.values())


def _labelled(text: str) -> list[str]:
    """The label's wishes; a comma may end it."""
    *wished, last = text.split(",")
    wished += [last] if last.strip() else []
    if not all(each.strip() for each in wished):
        raise Invalid(f"{LABEL}: {text!r} has an empty place where a container is to be named")
    return wished


def relabelled(host: HostConfig, before: Mapping[str, str], after: Mapping[str, str]) -> HostConfig:
    """At update: the wishes without those that the label said ``before``; ``Dependencies.check``
    adds what it says ``after``."""
    if before.get(LABEL) == after.get(LABEL):
        return host
    try:
        old = wishes(HostConfig(), before)
    except Invalid:  # an image's, that was never asked
        return host
    kept = [str(each) for each in wishes(host) if each not in old]
    changed: HostConfig = msgspec.structs.replace(host, depends_on=kept or None)
    return changed


def circle(start: str, needs: Callable[[str], Sequence[str]]) -> list[str]:
    """A way from ``start`` back to itself, or to a name that is passed twice; empty: none."""
    path = [start]
    """The way walked so far; beside it what each name on it still needs. No recursion: a chain may
    be longer than the interpreter's stack."""
    left = [iter(needs(start))]
    seen = {start}
    while path:
        each = next(left[-1], None)
        if each is None:
            path.pop()
            left.pop()
        elif each not in seen:
            seen.add(each)
            path.append(each)
            left.append(iter(needs(each)))
        elif each in path:
            return [*path[path.index(each) :], each]
    return []


def judge(wish: Wish, record: Record, *, begun: bool, seen: bool, restarts: int) -> str:
    """``met``, ``start``, ``wait``, or why it cannot be met any more; pure.

    ``begun``: we have started it; ``seen``: it ran while we waited; ``restarts``: how often its
    policy has started it since.
    """
    status, state = record.status, record.state
    if status in (Status.REMOVING, Status.DEAD):
        return "it is being removed"
    if restarts >= MOST_RESTARTS:
        return f"it keeps restarting (exit code {state.exit_code})"
    alive = has_process(status) or status is Status.RESTARTING
    ran = begun or seen
    if wish.condition == "started":
        if has_process(status) or begun:
            return "met"
        return "wait" if alive else "start"
    if wish.condition == "completed":
        if alive:
            return _never_completes(record) or "wait"
        if status is Status.EXITED and state.exit_code == 0 and not state.error:
            return "met"
        return f"it has exited with code {state.exit_code}" if ran else "start"
    if plan_of(record.config.healthcheck, record.config.shell) is None:
        return "it has no health check"
    if not alive:
        return f"it has exited with code {state.exit_code}" if ran else "start"
    health = state.health.status if state.health is not None and has_process(status) else ""
    if health == "unhealthy":
        return "it is unhealthy"
    return "met" if health == "healthy" else "wait"


def _never_completes(record: Record) -> str:
    policy = record.host_config.restart_policy
    name = (policy.name if policy else "") or "no"
    return f"its restart policy is {name}" if name in ("always", "unless-stopped") else ""


class Dependencies:
    """``start`` starts a container, with what that one needs."""

    def __init__(self, book: Book, start: Callable[[Live], Coroutine[Any, Any, None]]) -> None:
        self._book = book
        self._start = start

    def check(self, name: str, host: HostConfig, labels: Mapping[str, str]) -> HostConfig:
        """At create and update: every wish is for a container that is there, and none leads back.

        ``labels``: those of the request; the result has their wishes too. Raises ``Invalid``
        naming the field.
        """
        mine = wishes(host, labels)
        if not mine:
            return host
        for wish in mine:
            if wish.name != name:
                self._find(wish, Invalid, "DependsOn: ")
        own = {name: [self._canonical(each.name) for each in mine]}
        found = circle(name, lambda each: own.get(each) or self._needs(each))
        if found:
            raise Invalid(f"DependsOn: a circle: {' -> '.join(found)}")
        texts = [str(each) for each in mine]
        filled: HostConfig = msgspec.structs.replace(host, depends_on=texts)
        return filled

    async def ready(self, live: Live) -> None:
        """Start what the container needs and wait until it is as wished.

        ``Conflict`` says which one cannot be had, and why, or that a stop or kill cancelled the
        waiting. What was begun for it goes on then.
        """
        record = live.record
        mine = wishes(record.host_config)
        if not mine:
            return
        found = circle(record.name, self._needs)
        if found:
            raise Conflict(f"container {record.name} depends on itself: {' -> '.join(found)}")
        off: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        all_met = spawn(self._meet_all(live, mine), name=f"dependencies of {live.id[:12]}")
        live.waits.add(off)
        try:
            await asyncio.wait((off, all_met), return_when=asyncio.FIRST_COMPLETED)
        finally:
            live.waits.discard(off)
            all_met.cancel()
        if off.done():
            names = ", ".join(map(str, mine))
            raise Conflict(
                f"container {record.name} waited for {names}: the start was cancelled by "
                f"{off.result()}"
            )
        for result in await all_met:
            if result is not None:
                raise result

    async def _meet_all(self, live: Live, mine: list[Wish]) -> list[BaseException | None]:
        """Why each wish cannot be met, in order."""
        return await asyncio.gather(
            *(self._meet(live, wish) for wish in mine), return_exceptions=True
        )

    async def _meet(self, live: Live, wish: Wish) -> None:
        name = live.record.name
        needed = self._find(wish, Conflict, f"container {name} depends on ")
        before = needed.record.restart_count
        begun = seen = False
        while True:
            if live.id not in self._book:
                raise NotFound(f"No such container: {live.id}")
            record = needed.record
            restarts = max(0, record.restart_count - before)
            gone = needed.id not in self._book
            verdict = judge(wish, record, begun=begun, seen=seen, restarts=restarts)
            if gone or verdict not in ("met", "start", "wait"):
                reason = "it was removed" if gone else verdict
                raise Conflict(
                    f"container {name} depends on {wish.name} being {wish.condition}: {reason}"
                )
            if verdict == "met":
                return
            if verdict == "start":
                before = 0
                await self._begin(name, wish, needed)
                begun = True
            else:
                seen = True
                await self._book.change(needed, live)

    async def _begin(self, name: str, wish: Wish, needed: Live) -> None:
        try:
            # A start is never torn in two, whoever waits for it.
            title = f"start {needed.id[:12]}"
            await asyncio.shield(spawn(self._start(needed), name=title, awaited=True))
        except NotModified:
            return
        except WherryError as error:
            raise Conflict(
                f"container {name} depends on {wish.name}, which cannot be started: {error.message}"
            ) from error

    def _find(self, wish: Wish, kind: type[WherryError], before: str) -> Live:
        try:
            return self._get(wish.name)
        except NotFound as error:
            raise kind(f"{before}{wish.name}, which does not exist: create it first") from error
        except Invalid as error:
            raise kind(f"{before}{wish.name}: {error.message}") from error

    def _get(self, ref: str) -> Live:
        """Raises ``NotFound``, and ``Invalid`` for an ambiguous id."""
        live = self._book.called(ref)
        if live is None and len(ref) < SHORT_ID:
            raise NotFound(f"No such container: {ref}")
        return live or self._book.get(ref)

    def _canonical(self, ref: str) -> str:
        """The name behind an id; what is not there stays."""
        try:
            return self._get(ref).record.name
        except WherryError:
            return ref

    def _needs(self, name: str) -> list[str]:
        try:
            record = self._get(name).record
        except WherryError:
            return []
        return [self._canonical(each.name) for each in wishes(record.host_config)]

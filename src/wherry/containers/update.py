"""Update: a container that exists is made another, as a whole or not at all.

What touches the running container is announced in the record first (``Intent``), done, and then
made true by one write. Until that write everything can be taken back, by ``settle``, which also
does so when the daemon was killed in between; after it only leftovers have to go. See
``docs/design/life-cycle.md``.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from wherry.containers import defaults
from wherry.containers.book import Book, Live
from wherry.containers.changes import Changed, changes, health_after
from wherry.containers.depends import LABEL, Dependencies, relabelled
from wherry.containers.facts import HostFacts
from wherry.containers.health import HealthChecks
from wherry.containers.layers import lower_dirs, user_of
from wherry.containers.ports import MountPoint, Networking, RootView, Volumes
from wherry.containers.record import Intent, Record, network_request
from wherry.containers.resources import UNIFIED, transition
from wherry.containers.service import Outcome
from wherry.containers.specs import Specs
from wherry.containers.transitions import Status, has_process
from wherry.containers.watch import let_go
from wherry.errors import Conflict, Exhausted, Internal, Invalid, WherryError
from wherry.images.service import Images
from wherry.linux.failpoint import reach
from wherry.linux.livemounts import LiveMounts, is_above
from wherry.runtime.port import Runtime
from wherry.store.paths import Paths
from wherry.wire.container import HostConfig, UpdateRequest

_log = logging.getLogger(__name__)

_HOPELESS = frozenset({errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG})
"""Errors of a target that the next start would meet as well."""

_OWN = (
    "/dev/mqueue",
    "/dev/pts",
    "/dev/shm",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/proc",
    "/sbin/docker-init",
    "/sys/fs/cgroup",
)
"""What a container has mounted by itself: it would go along with a mount above it."""


class Updater:
    def __init__(
        self,
        book: Book,
        paths: Paths,
        images: Images,
        runtime: Runtime,
        networking: Networking,
        volumes: Volumes,
        specs: Specs,
        facts: HostFacts,
        health: HealthChecks,
        dependencies: Dependencies,
        mounts: LiveMounts,
    ) -> None:
        self._book = book
        self._paths = paths
        self._images = images
        self._runtime = runtime
        self._networking = networking
        self._volumes = volumes
        self._specs = specs
        self._facts = facts
        self._health = health
        self._dependencies = dependencies
        self._mounts = mounts

    async def update(self, live: Live, asked: UpdateRequest) -> Outcome:
        """See ``containers.service.Containers.update``. All of it, or nothing."""
        async with live.lock:
            record = live.record
            if record.status in (Status.REMOVING, Status.DEAD):
                raise Conflict(
                    f"Cannot update container {record.id}: container is marked for removal and "
                    'cannot be "update"'
                )
            if record.intent is not None:
                await self.settle(live)
                if live.record.intent is not None:
                    # What is known of the earlier one must not be lost before it is taken back.
                    raise Exhausted(
                        f"container {record.id}: its update before this one cannot be settled: "
                        "the disk is full"
                    )
                record = live.record
            asked, discarded = self._specs.possible(asked)
            changed = self._with_wishes(record, changes(record, asked))
            outcome = Outcome([*discarded, *changed.warnings])
            outcome.warnings += defaults.check_resources(changed.host, self._facts)
            defaults.check_policy(changed.host)
            if changed.ports:
                outcome.warnings += self._networking.check(changed.host, record.networking)[1]
            ran = live.running is not None
            try:
                points = await self._make(live, changed, outcome)
                leaving = await self._leaving(live, changed, points, outcome)
                self._commit(live, changed, points, leaving)
            except BaseException:
                await asyncio.shield(self.settle(live))
                raise
            reach("update.committed")
            await self.settle(live)
            if changed.health and has_process(live.record.status):
                self._health.begin(live)
            if ran and live.running is None:
                await self._ended(live)
            self._book.publish(live.record, "update")
            return outcome

    def _with_wishes(self, record: Record, changed: Changed) -> Changed:
        """The label that says what the container depends on may be another one."""
        old, new = record.labels, changed.config.labels or {}
        if old.get(LABEL) == new.get(LABEL):
            return changed
        host = relabelled(changed.host, old, new)
        host = self._dependencies.check(record.name, host, new)
        return replace(changed, host=host)

    async def _make(self, live: Live, changed: Changed, outcome: Outcome) -> list[MountPoint]:
        """Do what can be taken back; returns the new mount points."""
        running = has_process(live.record.status) and live.running is not None
        now = outcome.applied if running else outcome.at_next_start
        outcome.applied += changed.plain
        now += changed.resources
        now += ["Healthcheck"] if changed.health else []
        now += ["Ports"] if changed.ports else []
        outcome.at_next_start += ["Env"] if changed.env else []
        if changed.host.depends_on != live.record.host_config.depends_on:
            outcome.at_next_start.append("DependsOn")
        if changed.adding or (running and (changed.resources or changed.ports)):
            first = 10_000 * (live.record.revision + 1)
            intent = Intent(
                resources=changed.host if changed.resources and running else None,
                ports=changed.ports and running,
                first=first,
                volumes=tuple(self._volumes.unknown(changed.adding)),
            )
            self._book.commit(live, intent=intent)
            reach("update.intent")
        points: list[MountPoint] = []
        if changed.adding:
            points = await self._new_points(live, changed)
            reach("update.planned")
        if running:
            await self._mount(live, points, outcome)
            await self._limit(live, live.record.host_config, changed.host, changed.resources)
            if changed.ports:
                await self._networking.change_ports(
                    network_request(
                        msgspec.structs.replace(
                            live.record, config=changed.config, host_config=changed.host
                        )
                    )
                )
                reach("update.ports")
        else:
            outcome.at_next_start += [f"Mounts {each.destination}" for each in points]
        return points

    async def _new_points(self, live: Live, changed: Changed) -> list[MountPoint]:
        try:
            return await self._volumes.extend(live.id, changed.adding, changed.points)
        except Invalid as error:
            raise Invalid(f"MountsAdd: {error.message}") from error

    async def _mount(self, live: Live, points: Sequence[MountPoint], outcome: Outcome) -> None:
        """Mount what can be mounted in the running container."""
        if not points or live.running is None or live.record.intent is None:
            return
        pid = live.running.pid
        try:
            places = await self._mounts.places(pid, [each.destination for each in points])
        except OSError as error:
            raise self._gone(live, error) from error
        intent = msgspec.structs.replace(
            live.record.intent,
            mounting=tuple(
                each.path for each in places.values() if not each.taken and not each.above
            ),
        )
        self._book.commit(live, intent=intent)
        sources = await self._volumes.add(live.id, points, self._root(live.record), intent.first)
        limited = {each.destination for each in points if each.limited}
        # Shallow ones first, links followed: none may cover another.
        for mount in sorted(sources, key=lambda each: _depth(places[each["destination"]].path)):
            target = str(mount["destination"])
            if target in limited:
                outcome.at_next_start.append(f"Mounts {target}")
                outcome.warnings.append(
                    f"{target} is limited by a project quota, which a container that was started "
                    "without it could lift: it is mounted at the next start only"
                )
                continue
            if places[target].taken or places[target].above:
                outcome.at_next_start.append(f"Mounts {target}")
                outcome.warnings.append(
                    f"{target} is a mount point in the container by itself"
                    if places[target].taken
                    else f"{target} has other mounts below it: it is mounted at the next start only"
                )
                continue
            try:
                await self._mounts.attach(pid, mount)
                outcome.applied.append(f"Mounts {target}")
            except OSError as error:
                if live.running is None:
                    raise self._gone(live, error) from error
                if error.errno in _HOPELESS:
                    reason = f"{error.strerror or error}"
                    raise Invalid(f"MountsAdd: cannot mount at {target}: {reason}") from error
                outcome.at_next_start.append(f"Mounts {target}")
                outcome.warnings.append(f"{target} is mounted at the next start only: {error}")
            reach("update.mounted")

    async def _leaving(
        self, live: Live, changed: Changed, points: Sequence[MountPoint], outcome: Outcome
    ) -> frozenset[str]:
        """Targets of the removed mounts that go at once: those without a mount below that stays,
        since taking one out takes all below it along; nor one in the place of a mount of its own,
        which it would be left without."""
        gone = [each.destination for each in changed.removing]
        if not gone or not has_process(live.record.status) or live.running is None:
            outcome.at_next_start += [f"Mounts {target}" for target in gone]
            return frozenset()
        kept = [each.destination for each in (*changed.points, *points)]
        try:
            places = await self._mounts.places(live.running.pid, [*gone, *kept])
        except OSError as error:
            raise self._gone(live, error) from error
        stay = [*_OWN, *(places[target].path for target in kept)]
        own = [target for target in gone if places[target].path in _OWN]
        waiting = [
            target for target in gone if target in own or is_above(places[target].path, stay)
        ]
        leaving = [target for target in gone if target not in waiting]
        outcome.applied += [f"Mounts {target}" for target in leaving]
        outcome.at_next_start += [f"Mounts {target}" for target in waiting]
        outcome.warnings += [
            f"{target} is a mount point in the container by itself: it changes at the next start"
            if target in own
            else f"{target} has other mounts below it: it is taken out at the next start only"
            for target in waiting
        ]
        return frozenset(leaving)

    def _root(self, record: Record) -> RootView:
        lower = lower_dirs(self._paths, self._images, record)
        upper = self._paths.container(record.id).upper
        return RootView(lower, upper, lambda: user_of(record, lower, upper))

    async def _limit(
        self, live: Live, before: HostConfig, after: HostConfig, names: Sequence[str]
    ) -> None:
        """Give the running container other limits."""
        if not names or live.running is None:
            return
        change = transition(
            self._specs.resources(before),
            self._specs.resources(after),
            {**self._facts.whole, **(UNIFIED if self._facts.cgroup_version == 2 else {})},
        )
        try:
            await self._runtime.update(live.id, change, before.runtime or "")
        except WherryError as error:
            if live.running is None:
                raise self._gone(live, error) from error
            await self._runtime.processes(live.id, live.running)  # a conflict when it has ended
            raise
        reach("update.resources")

    def _gone(self, live: Live, error: Exception) -> WherryError:
        if live.running is None or isinstance(error, ProcessLookupError):
            return Conflict(f"container {live.id} has ended while it was being updated")
        return Internal(f"container {live.id}: cannot look into its mounts: {error}")

    def _commit(
        self,
        live: Live,
        changed: Changed,
        points: Sequence[MountPoint],
        leaving: frozenset[str],
    ) -> None:
        record = live.record
        intent = record.intent
        if changed.removing and intent is None:
            intent = Intent()
        if intent is not None:
            intent = msgspec.structs.replace(
                intent,
                done=True,
                unmounting=tuple(leaving),
            )
        staying = [*record.staying, *changed.removing] if live.running is not None else []
        extra: dict[str, Any] = {}
        if changed.health and has_process(record.status):
            health = health_after(record.state.health, record.config.healthcheck, changed.config)
            extra["state"] = msgspec.structs.replace(record.state, health=health)
        self._book.commit(
            live,
            config=changed.config,
            host_config=changed.host,
            mount_points=tuple(_ordered([*changed.points, *points])),
            staying=tuple(each for each in staying if each.destination not in leaving),
            revision=record.revision + 1,
            intent=intent,
            **extra,
        )

    async def settle(self, live: Live) -> None:
        """Bring an update that was under way to its end: what was not done is taken back. Never
        raises for what cannot be mended; under the container's lock."""
        intent = live.record.intent
        if intent is None:
            return
        pid = live.running.pid if live.running is not None else 0
        targets = intent.unmounting if intent.done else intent.mounting
        await self._unmount(live, pid, targets)
        if intent.done:
            await self._try(live, self._volumes.retain(live.id, live.record.used_mounts))
        else:
            await self._take_back(live, intent)
        reach("update.settled")
        try:
            self._book.commit(live, intent=None)
        except WherryError as error:
            # A full disk: the next update, or the next start of the daemon, settles it again.
            _log.error("container %s: its update is not settled: %s", live.id, error.message)
        await let_go(self._book, self._volumes, live)

    async def _take_back(self, live: Live, intent: Intent) -> None:
        record = live.record
        if intent.resources is not None:
            work = self._limit(live, intent.resources, record.host_config, ("all",))
            await self._try(live, work)
        if intent.ports:
            await self._try(live, self._networking.change_ports(network_request(record)))
        work = self._volumes.withdraw(live.id, record.used_mounts, intent.first, intent.volumes)
        await self._try(live, work)

    async def _unmount(self, live: Live, pid: int, targets: Sequence[str]) -> None:
        if not pid or not targets:
            return
        try:
            for target in targets:
                await self._mounts.detach(pid, target)
                reach("update.unmounted")
        except OSError as error:
            if live.running is not None:
                _log.warning("container %s: taking a mount out: %s", live.id, error)

    async def _try(self, live: Live, work: Any) -> None:
        try:
            await work
        except WherryError as error:
            _log.error("container %s: settling its update: %s", live.id, error.message)

    async def _ended(self, live: Live) -> None:
        """It ended meanwhile: what the update took for a running one goes as well."""
        if live.cleanup is not None:
            await asyncio.wait([live.cleanup])
        await self._volumes.release(live.id, live.record.mount_points)


def _ordered(points: Sequence[MountPoint]) -> list[MountPoint]:
    """Shallow ones first, so that none covers another."""
    return sorted(points, key=lambda each: _depth(each.destination))


def _depth(path: str) -> int:
    return path.rstrip("/").count("/")

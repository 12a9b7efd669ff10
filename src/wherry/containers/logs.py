"""Logs of containers: reading them, across rotated segments, and clearing them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from urllib.parse import quote_plus

from wherry.containers.attach import Chunks
from wherry.containers.book import Live
from wherry.containers.joiner import Joiner
from wherry.containers.logoptions import details, policy
from wherry.containers.record import Record, stamp
from wherry.containers.rotation import Rotator
from wherry.containers.service import LogLine, LogOptions
from wherry.containers.shipping.courier import Errand
from wherry.containers.shipping.origin import Origin, tag_of
from wherry.containers.transitions import has_process
from wherry.errors import Internal, NotImplementedYet
from wherry.runtime import logfile
from wherry.runtime.logfile import Selection, Snapshot
from wherry.store.paths import ContainerPaths, Paths


class Logs:
    def __init__(self, paths: Paths, rotator: Rotator) -> None:
        self._paths = paths
        self._rotator = rotator

    def read(self, live: Live, options: LogOptions) -> AsyncGenerator[list[LogLine], None]:
        """See ``containers.service.Containers.logs``. Raises before the first line."""
        record = live.record
        _refuse(record)
        selection = Selection(
            options.stdout, options.stderr, options.since, options.until, options.tail
        )
        path = self._paths.container(live.id).log
        try:
            if options.follow and has_process(record.status):
                return _lines(live, logfile.follow(path, selection, live.over))
            return _lines(live, logfile.history(Snapshot(path), selection))
        except OSError as error:
            raise _unreadable(live, error) from error

    def pieces(self, live: Live, *, follow: bool) -> Chunks:
        """Everything that was written, byte for byte, for an attach with ``logs``: what is in the
        log at the call, or with ``follow`` to the end of the run as well. Raises at once."""
        _refuse(live.record)
        path = self._paths.container(live.id).log
        try:
            if follow:
                return _chunks(live, logfile.follow(path, Selection(), live.over))
            return _chunks(live, logfile.history(Snapshot(path), Selection()))
        except OSError as error:
            raise _unreadable(live, error) from error

    async def clear(self, live: Live) -> None:
        """Forget everything logged so far; what comes later is kept as before."""
        try:
            await self._rotator.clear(live)
        except OSError as error:
            raise Internal(f"the log of container {live.id} cannot be cleared: {error}") from error


def attributes(record: Record) -> str:
    """What ``logs --details`` puts before each line: ``key=value,...``, escaped as in a URL."""
    found = extra_of(record)
    return ",".join(f"{quote_plus(key)}={quote_plus(value)}" for key, value in found.items())


def extra_of(record: Record) -> dict[str, str]:
    """Labels and variables that the log options name."""
    pairs = (each.partition("=") for each in record.config.env or ())
    environment = {name: value for name, _, value in pairs}
    return details(record.host_config.log_config, record.labels, environment)


def errand_of(record: Record, place: ContainerPaths, hostname: str) -> Errand | None:
    """What the courier of a container's log is to do; None where the log stays here."""
    config = record.host_config.log_config
    rules = policy(config)
    if rules.target is None or config is None:
        return None
    origin = Origin(
        id=record.id,
        name=record.name,
        image_id=record.image.id,
        image_name=record.config.image or "",
        command=record.argv,
        created=stamp(record.created_ns),
        hostname=hostname,
        extra=extra_of(record),
    )
    origin = replace(origin, tag=tag_of(origin, config.config or {}))
    return Errand(
        config.type or "", rules.target, origin, place.log, place.log_cursor, rules.backlog
    )


async def _lines(
    live: Live, batches: AsyncGenerator[list[LogLine], None]
) -> AsyncGenerator[list[LogLine], None]:
    joiner = Joiner()
    try:
        async with aclosing(batches):
            async for batch in batches:
                if lines := joiner.add(batch):
                    yield lines
        if lines := joiner.rest():
            yield lines
    except OSError as error:
        raise _unreadable(live, error) from error


async def _chunks(live: Live, batches: AsyncGenerator[list[LogLine], None]) -> Chunks:
    try:
        async with aclosing(batches):
            async for batch in batches:
                yield [(entry.stream, entry.data) for entry in batch]
    except OSError as error:
        raise _unreadable(live, error) from error


def _refuse(record: Record) -> None:
    if not policy(record.host_config.log_config).readable:
        raise NotImplementedYet("configured logging driver does not support reading")


def _unreadable(live: Live, error: OSError) -> Internal:
    return Internal(f"the log of container {live.id} cannot be read: {error}")

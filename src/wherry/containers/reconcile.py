"""The daemon starts: make the book and the world agree.

- a container that runs is adopted; one that ended meanwhile gets its real code and time;
- what was being made is removed; what was being removed is gone; an update that was under way
  has happened or not;
- restart policies are honoured.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Collection

import msgspec

from wherry.containers.book import Book, Live
from wherry.containers.checkpoints import Checkpoints
from wherry.containers.layers import make_init_layer
from wherry.containers.ports import Networking, Volumes
from wherry.containers.remove import Remover
from wherry.containers.transitions import Event, Status, has_process
from wherry.containers.update import Updater
from wherry.containers.watch import Supervisor, let_go, restart_due
from wherry.errors import WherryError
from wherry.runtime.port import Exit, Runtime
from wherry.store.paths import Paths

_log = logging.getLogger(__name__)


class Reconciler:
    def __init__(
        self,
        book: Book,
        paths: Paths,
        runtime: Runtime,
        networking: Networking,
        volumes: Volumes,
        supervisor: Supervisor,
        remover: Remover,
        updater: Updater,
        checkpoints: Checkpoints,
    ) -> None:
        self._book = book
        self._paths = paths
        self._runtime = runtime
        self._networking = networking
        self._volumes = volumes
        self._supervisor = supervisor
        self._remover = remover
        self._updater = updater
        self._checkpoints = checkpoints

    async def reconcile(self) -> None:
        """Containers are looked at side by side; one that fails does not stop the others."""
        make_init_layer(self._paths.init_layer)
        running = await self._networks()
        await self._volumes.adopt({live.id for live in self._book}, running)
        await self._orphans()
        limit = asyncio.Semaphore(16)

        async def one(live: Live) -> None:
            async with limit, live.lock:
                try:
                    await self._settle(live)
                except Exception:
                    _log.exception("container %s: reconcile failed", live.id)

        await asyncio.gather(*(one(live) for live in self._book))
        self._supervisor.settled.set()

    async def _networks(self) -> Collection[str]:
        """Give the networks what runs, before anything is started or removed; its ids."""
        running = {}
        for live in self._book:
            state = live.record.state
            if has_process(state.status) and state.pid:
                place = self._paths.container(live.id)
                found = await self._runtime.adopt(live.id, place.bundle)
                if found is not None:
                    live.running = found
                    running[live.id] = found.pid
                else:
                    live.running = None
        await self._networking.adopt(running)
        return running.keys()

    async def _orphans(self) -> None:
        """Directories without a row: a create that did not reach its end, or a removal."""
        known = {live.id for live in self._book}
        for parent in (self._paths.containers, self._paths.mounts):
            if not parent.is_dir():
                continue
            for folder in parent.iterdir():
                if folder.name in known or not _is_id(folder.name):
                    continue
                _log.info("container %s was half made or half removed: removed", folder.name)
                place = self._paths.container(folder.name)
                try:
                    await self._runtime.delete(folder.name, place.bundle)
                    await self._networking.detach(folder.name)
                    await self._networking.forget(folder.name)
                    await self._volumes.forget(folder.name, (), remove_anonymous=True)
                except WherryError as error:
                    _log.warning("container %s: %s", folder.name, error.message)
                await asyncio.to_thread(shutil.rmtree, folder, True)

    async def _settle(self, live: Live) -> None:
        await self._updater.settle(live)
        await self._checkpoints.settle(live)
        status = live.record.status
        if status in (Status.REMOVING, Status.DEAD):
            if status is Status.DEAD:
                self._book.step(live, Event.REMOVE)
            await self._end_run(live)
            whole = live.record.state.with_volumes or bool(live.record.host_config.auto_remove)
            await self._remover.finish(live, volumes=whole)
        elif has_process(status):
            await self._adopt(live)
        elif status is Status.RESTARTING:
            await self._end_run(live)
            self._supervisor.schedule(live, at_boot=True)
        else:
            await self._rest(live)

    async def _adopt(self, live: Live) -> None:
        record = live.record
        place = self._paths.container(live.id)
        found = live.running
        if found is not None:
            if found != record.running:
                self._book.commit(
                    live,
                    state=msgspec.structs.replace(
                        record.state,
                        pid=found.pid,
                        pid_start=found.pid_start,
                        monitor_pid=found.monitor_pid,
                        monitor_start=found.monitor_start,
                    ),
                )
            await self._thaw_or_freeze(live)
            self._supervisor.watch(live)
            return
        end = await self._runtime.exit_record(live.id, place.exit_dir)
        if end is None or end.at < record.state.started_ns / 1e9 - 1:
            end = Exit(255, time.time(), error="the end was not seen: the host or monitor died")
        live.stopping = record.stopped_by_user
        self._supervisor.ended(live, end, at_boot=True)

    async def _thaw_or_freeze(self, live: Live) -> None:
        """A pause or its end that was under way when the daemon ended is an end of pauses: the
        user was not told of a pause, or the daemon froze it for a commit."""
        frozen = await self._runtime.is_paused(live.id)
        if frozen and live.record.status is Status.RUNNING:
            await self._runtime.resume(live.id, live.record.host_config.runtime or "")
        elif not frozen and live.record.status is Status.PAUSED:
            self._book.step(live, Event.UNPAUSE)

    async def _rest(self, live: Live) -> None:
        """A container at rest: undo a half start, then auto-removal or restart policy."""
        record = live.record
        if self._paths.container(live.id).run.exists():
            await self._end_run(live)
        await let_go(self._book, self._volumes, live)
        if not record.state.started_ns:
            return
        if record.host_config.auto_remove:
            self._book.step(live, Event.REMOVE)
            await self._remover.finish(live, volumes=True)
            return
        if restart_due(
            record,
            code=record.state.exit_code,
            asked=record.stopped_by_user,
            at_boot=True,
        ):
            self._supervisor.boot(live)

    async def _end_run(self, live: Live) -> None:
        """Free whatever a run of this container may have left."""
        record = live.record
        bundle = self._paths.container(live.id).bundle
        await self._runtime.delete(live.id, bundle, record.host_config.runtime or "")
        await self._networking.detach(live.id)
        await self._volumes.release(live.id, record.mount_points)


def _is_id(name: str) -> bool:
    return len(name) == 64 and all(char in "0123456789abcdef" for char in name)

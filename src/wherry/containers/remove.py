"""Remove: the row says ``removing`` first and goes last, so that reconcile can finish it."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from wherry.containers.attach import Sessions
from wherry.containers.book import Book, Live
from wherry.containers.ports import Networking, Volumes
from wherry.containers.stop import Stopper
from wherry.containers.storage import storage_error
from wherry.containers.transitions import Event, Status, counts_as_running
from wherry.containers.watch import resolve
from wherry.errors import Conflict, NotFound
from wherry.linux.tasks import spawn
from wherry.runtime.port import Runtime
from wherry.store.paths import Paths

_log = logging.getLogger(__name__)


class Remover:
    def __init__(
        self,
        book: Book,
        paths: Paths,
        runtime: Runtime,
        networking: Networking,
        volumes: Volumes,
        sessions: Sessions,
        stopper: Stopper,
    ) -> None:
        self._book = book
        self._paths = paths
        self._runtime = runtime
        self._networking = networking
        self._volumes = volumes
        self._sessions = sessions
        self._stopper = stopper
        self._sweeps: set[asyncio.Task[None]] = set()
        self.before_remove: list[Callable[[Live], Awaitable[None]]] = []
        """Awaited when the container has ended and everything of it is still there."""
        self.on_remove: list[Callable[[Live], None]] = []

    async def remove(self, live: Live, *, force: bool, volumes: bool) -> None:
        """See ``containers.service.Containers.remove``."""
        if live.record.status is Status.REMOVING:
            raise Conflict(f"removal of container {live.record.name} is already in progress")
        async with live.lock:
            if live.id not in self._book:
                raise NotFound(f"No such container: {live.id}")
            self._refuse(live, force)
            if counts_as_running(live.record.status):
                await self._stopper.force(live)
            if live.cleanup is not None:
                await asyncio.wait([live.cleanup])
            for hook in self.before_remove:
                await hook(live)
            self._book.step(live, Event.REMOVE, with_volumes=volumes)
            await self.finish(live, volumes=volumes)

    def _refuse(self, live: Live, force: bool) -> None:
        status = live.record.status
        if not counts_as_running(status) or force:
            return
        name = live.record.name
        if status is Status.PAUSED:
            reason = "container is paused and must be unpaused first"
        else:
            reason = f"container is {status}: stop the container before removing or force remove"
        raise Conflict(f'cannot remove container "/{name}": {reason}')

    async def finish(self, live: Live, *, volumes: bool) -> None:
        """From ``removing`` to gone. On failure the container is ``dead`` and can be retried."""
        record = live.record
        place = self._paths.container(live.id)
        try:
            await self._networking.forget(live.id)
            await self._volumes.forget(live.id, record.mount_points, remove_anonymous=volumes)
            trash = self._discard(live, place.root)
            self._book.drop(live)
        except BaseException as error:
            if live.record.status is Status.REMOVING:
                state = self._book.after(live, Event.FAIL, error=str(error))
                self._book.keep(live, state)
            raise
        self._sessions.abandon(live)
        for hook in self.on_remove:
            hook(live)
        state = record.state
        self._book.publish(record, "destroy")
        # The error of a failed start was told by the start; the removal itself went well.
        for waiters in (live.removal, live.next_exit, live.next_stop):
            resolve(waiters, state.exit_code, "")
        if trash is not None or place.run.exists():
            sweep = spawn(self._sweep(trash, place.run), name=f"sweep {live.id[:12]}")
            self._sweeps.add(sweep)
            sweep.add_done_callback(self._sweeps.discard)

    async def close(self) -> None:
        """Finish deleting what was removed."""
        if self._sweeps:
            await asyncio.wait(set(self._sweeps), timeout=5.0)

    def _discard(self, live: Live, folder: Path) -> Path | None:
        try:
            return discard(folder, self._paths.tmp / f"removed-{live.id}")
        except OSError as error:
            what = f"cannot remove container {live.id}: unable to remove its directory"
            raise storage_error(what, error) from error

    async def _sweep(self, *folders: Path | None) -> None:
        for folder in folders:
            if folder is not None:
                await asyncio.to_thread(shutil.rmtree, folder, True)


def discard(folder: Path, target: Path) -> Path | None:
    """Rename a directory out of the way, at once; it is deleted later. None: it was gone.

    ``target`` is below the temporary directory, which is emptied at the daemon's start. What is
    on another file system (the run directory) cannot go there and stays where it is.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(folder, target)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return folder
    return target

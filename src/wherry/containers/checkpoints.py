"""Checkpoints: the processes of a container as files, to go on from at a later start.

A checkpoint is a directory, ``<container>/checkpoints/<name>`` or below one that the user names.
It is written under another name and renamed when it is whole; what a crash left is kept if it is
whole and removed else.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
from pathlib import Path

from wherry.containers.book import Book, Live
from wherry.containers.storage import storage_error
from wherry.containers.transitions import Status
from wherry.errors import Conflict, Internal, Invalid, NotFound, NotImplementedYet
from wherry.runtime.port import Runtime
from wherry.store.paths import Paths

_log = logging.getLogger(__name__)

ALLOWED = "[a-zA-Z0-9][a-zA-Z0-9_.-]"
_NAME = re.compile(rf"{ALLOWED}{{1,200}}")
_HALF = ".new"
PATIENCE = 30.0
"""Seconds for the end of processes that were written down."""


class Checkpoints:
    def __init__(self, book: Book, paths: Paths, runtime: Runtime) -> None:
        self._book = book
        self._paths = paths
        self._runtime = runtime

    def _folder(self, live: Live, folder: str) -> Path:
        if not folder:
            return self._paths.container(live.id).root / "checkpoints"
        if not folder.startswith("/"):
            raise Invalid(f"CheckpointDir: {folder!r} is not an absolute path")
        return Path(folder)

    async def create(self, live: Live, name: str, folder: str, *, end: bool) -> None:
        """Write the running container down; it ends, unless ``end`` is False.

        ``NotImplementedYet`` says what this host lacks.
        """
        if not _NAME.fullmatch(name):
            raise Invalid(f"Invalid checkpoint ID ({name}), only {ALLOWED} are allowed")
        place = self._folder(live, folder) / name
        await self._must_work(live)
        async with live.lock:
            record = live.record
            if record.status is not Status.RUNNING or live.running is None:
                raise Conflict(
                    f"Container {record.name} is {record.status}: only a running one can be "
                    "checkpointed"
                )
            if end and record.host_config.auto_remove:
                raise Conflict(
                    f"Container {record.name} is removed at its end, and the checkpoint with it: "
                    "leave it running"
                )
            if record.config.tty:
                raise Invalid("checkpoint not supported on containers with tty")
            if os.path.lexists(place):
                raise Conflict(
                    f"checkpoint with name {name} already exists for container {record.name}"
                )
            await self._write(live, place, end=end)
        self._book.publish(live.record, "checkpoint")

    async def _must_work(self, live: Live) -> None:
        lack = await self._runtime.checkpoint_lack(live.record.host_config.runtime or "")
        if lack:
            raise NotImplementedYet(f"checkpoints of container {live.record.name}: {lack}")

    async def _write(self, live: Live, place: Path, *, end: bool) -> None:
        half = _half(place)
        try:
            await asyncio.to_thread(shutil.rmtree, half, True)
            half.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise storage_error(f"cannot make the checkpoint {place.name}", error) from error
        ended: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        if end:
            # The end is asked for: no restart policy brings the container back.
            live.stopping = True
            live.next_stop.append(ended)
            self._book.commit(live, stopped_by_user=True)
        try:
            runtime = live.record.host_config.runtime or ""
            await self._runtime.checkpoint(live.id, half, leave_running=not end, runtime=runtime)
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, half, True)
            if end and live.running is not None:
                live.stopping = False
                self._book.commit(live, stopped_by_user=False)
            raise
        try:
            os.rename(half, place)
        except OSError as error:
            raise storage_error(f"cannot keep the checkpoint {place.name}", error) from error
        if end and not (await asyncio.wait([ended], timeout=PATIENCE))[0]:
            raise Internal(f"container {live.id} was checkpointed, but does not end")

    def listing(self, live: Live, folder: str) -> list[str]:
        """Names, sorted."""
        try:
            entries = list(self._folder(live, folder).iterdir())
        except OSError:
            return []
        return sorted(each.name for each in entries if each.is_dir() and _NAME.fullmatch(each.name))

    async def remove(self, live: Live, name: str, folder: str) -> None:
        place = self._find(live, name, folder)
        gone = _half(place)
        try:
            await asyncio.to_thread(shutil.rmtree, gone, True)
            os.rename(place, gone)
        except OSError as error:
            raise storage_error(f"cannot remove the checkpoint {name}", error) from error
        await asyncio.to_thread(shutil.rmtree, gone, True)

    def _find(self, live: Live, name: str, folder: str) -> Path:
        place = self._folder(live, folder) / name
        if not _NAME.fullmatch(name) or not os.path.isdir(place):
            raise NotFound(f"checkpoint {name} does not exist for container {live.record.name}")
        return place

    async def restored(self, live: Live, name: str, folder: str) -> Path:
        """The directory that a start goes on from. ``NotFound``, ``NotImplementedYet``."""
        place = self._find(live, name, folder)
        await self._must_work(live)
        return place

    async def settle(self, live: Live) -> None:
        """At the daemon's start: what was being written is whole, or goes."""
        folder = self._folder(live, "")
        if not folder.is_dir():
            return
        for half in folder.glob(f".*{_HALF}"):
            place = half.with_name(half.name[1 : -len(_HALF)])
            if self._runtime.checkpoint_whole(half) and not place.exists():
                try:
                    os.rename(half, place)
                except OSError as error:
                    # The next start of the daemon tries again.
                    _log.warning("checkpoint %s of container %s: %s", place.name, live.id, error)
            else:
                await asyncio.to_thread(shutil.rmtree, half, True)


def _half(place: Path) -> Path:
    return place.with_name(f".{place.name}{_HALF}")

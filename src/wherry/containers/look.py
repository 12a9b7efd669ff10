"""Looking at containers: list, sizes, top, changes, commit, what prune may take."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any

from wherry.containers import listing
from wherry.containers.book import Book, Live
from wherry.containers.inspect import render_config
from wherry.containers.layers import lower_dirs
from wherry.containers.links import Links
from wherry.containers.listing import Query
from wherry.containers.ports import Networking
from wherry.containers.record import Record
from wherry.containers.stop import Stopper
from wherry.containers.transitions import Status, counts_as_running
from wherry.errors import Conflict, Internal, Invalid, NotFound
from wherry.images import changes as instructions
from wherry.images.service import Image, Images
from wherry.runtime.port import Runtime
from wherry.store.paths import Paths
from wherry.trees.size import tree_size
from wherry.wire.prune import Choice

_PS_TIMEOUT = 10.0


class Looker:
    def __init__(
        self,
        book: Book,
        paths: Paths,
        images: Images,
        runtime: Runtime,
        networking: Networking,
        links: Links,
    ) -> None:
        self._book = book
        self._paths = paths
        self._images = images
        self._runtime = runtime
        self._networking = networking
        self._links = links

    def lower(self, record: Record) -> list[str]:
        """Layer directories, topmost first; [] when the image's layers are gone."""
        try:
            return lower_dirs(self._paths, self._images, record)
        except NotFound:
            return []

    def chosen(
        self, filters: Mapping[str, Sequence[str]], *, every: bool, limit: int | None
    ) -> list[Live]:
        """Newest first; see ``containers.service.Containers.summaries``."""
        query = Query(
            filters,
            lambda ref: self._book.get(ref).record,
            self._descendants,
            self._networking.settings,
        )
        stopped_too = every or limit is not None or query.shows_stopped
        lives = sorted(self._book, key=lambda live: live.record.created_ns, reverse=True)
        found: list[Live] = []
        for live in lives:
            record = live.record
            if not stopped_too and not counts_as_running(record.status):
                continue
            if not query.matches(record):
                continue
            if limit is not None and len(found) >= limit:
                break
            found.append(live)
        return found

    def rows(
        self, lives: Sequence[Live], sizes: Sequence[tuple[int, int]] | None = None
    ) -> list[dict[str, Any]]:
        """Rows of the list, with ``sizes`` as ``sizes`` gave them."""
        names: dict[str, str] = {}
        linked = self._links.names()
        now = time.time_ns()
        return [
            listing.summary(
                live.record,
                image=self._shown(live.record, names),
                networks=self._networking.settings(live.id),
                now_ns=now,
                names=linked.get(live.id, ()),
                size=None if sizes is None else sizes[at],
            )
            for at, live in enumerate(lives)
        ]

    def _shown(self, record: Record, names: dict[str, str]) -> str:
        """The image's name as asked, or its id when the name means another image now."""
        asked = record.config.image or record.image.id
        if asked not in names:
            try:
                names[asked] = self._images.get(asked).id
            except (NotFound, Invalid, Conflict):
                names[asked] = ""
        return asked if names[asked] == record.image.id else record.image.id

    def _descendants(self, name: str) -> Sequence[str]:
        """Ids of the images that ``name`` or its descendants mean (filter ``ancestor``)."""
        try:
            ancestor = self._images.get(name)
        except (NotFound, Invalid):
            return ()
        ids = {ancestor.id}
        base = ancestor.layers
        for live in self._book:
            use = live.record.image
            if base and use.layers[: len(base)] == base:
                ids.add(use.id)
        return sorted(ids)

    async def sizes(self, lives: Sequence[Live]) -> list[tuple[int, int]]:
        """(bytes of the writable layer, those and the image's). In a thread: trees may be large."""
        uppers = [str(self._paths.container(live.id).upper) for live in lives]
        own = await asyncio.to_thread(lambda: [tree_size(each) for each in uppers])
        return [
            (size, size + self._image_size(live)) for size, live in zip(own, lives, strict=True)
        ]

    def _image_size(self, live: Live) -> int:
        try:
            return self._images.get(live.record.image.id).size
        except (NotFound, Invalid):
            return 0

    async def top(self, live: Live, arguments: str) -> tuple[list[str], list[list[str]]]:
        """Titles and rows of the host's ``ps``, the container's processes only."""
        record, running = live.record, live.running
        if record.status is Status.RESTARTING:
            raise Conflict(
                f"container {record.id} is restarting, wait until the container is running"
            )
        if running is None or not counts_as_running(record.status):
            raise Conflict(f"container {record.id} is not running")
        pids = set(await self._runtime.processes(live.id, running))
        output = await _ps(arguments.split() or ["-ef"])
        self._book.publish(record, "top")
        return select_processes(output, pids)

    async def changes(self, live: Live) -> list[tuple[str, int]]:
        lower = self.lower(live.record)
        upper = str(self._paths.container(live.id).upper)
        return await asyncio.to_thread(self._images.diff, lower, upper)

    async def commit(
        self,
        live: Live,
        stopper: Stopper,
        *,
        reference: str | None,
        comment: str,
        author: str,
        pause: bool,
        changes: Sequence[str],
        config: Mapping[str, Any] | None,
    ) -> str:
        """The writable layer as a new image. ``changes`` are Dockerfile instructions.

        A ``config`` given replaces the fields that it has. Raises ``Conflict`` while the
        container is being removed.
        """
        record = live.record
        if record.status in (Status.REMOVING, Status.DEAD):
            raise Conflict(f"You cannot commit container {record.id} which is being removed")
        merged = {**render_config(record.config), **(config or {})}
        merged.pop("Image", None)
        parent = self._parent(record)
        frozen = pause and await stopper.freeze(live)
        try:
            image_id = await self._images.commit(
                parent,
                str(self._paths.container(live.id).upper),
                reference=reference,
                config=self._changed(merged, changes),
                author=author,
                comment=comment,
                created_by=" ".join(record.argv),
                container_id=record.id,
            )
        finally:
            if frozen:
                await stopper.unfreeze(live)
        self._book.publish(
            record, "commit", comment=comment, imageID=image_id, imageRef=reference or ""
        )
        return image_id

    def _parent(self, record: Record) -> Image | None:
        try:
            return self._images.get(record.image.id)
        except (NotFound, Invalid) as error:
            if not record.image.layers:
                return None
            raise Conflict(f"the container's image is gone: {error}") from error

    def _changed(self, config: Mapping[str, Any], changes: Sequence[str]) -> Mapping[str, Any]:
        return instructions.apply(config, changes)

    def prunable(self, filters: Mapping[str, Sequence[str]]) -> list[Live]:
        """Containers that do not run, by the filters of ``wire.prune``."""
        choice = Choice(filters)
        return [
            live
            for live in self._book
            if live.record.status in (Status.CREATED, Status.EXITED, Status.DEAD)
            and choice.takes(live.record.labels, live.record.created_ns)
            and choice.names(live.record.name)
        ]


async def _ps(arguments: Sequence[str]) -> str:
    """In a thread: starting a program holds whoever does it until the program runs."""

    def run() -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["ps", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PS_TIMEOUT,
            check=False,
        )

    try:
        done = await asyncio.to_thread(run)
    except OSError as error:
        raise Internal(f"ps cannot be run on this host: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise Internal("ps did not answer in time") from error
    if done.returncode:
        # The rest is how to use ps, which the user did not ask for.
        first = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise Invalid(f"ps: {first}")
    return done.stdout.decode(errors="replace")


def select_processes(output: str, pids: set[int]) -> tuple[list[str], list[list[str]]]:
    """Titles, and the rows whose PID is in ``pids``. Raises ``Invalid`` without a PID column."""
    lines = output.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise Invalid("Couldn't find PID field in ps output")
    at = titles.index("PID")
    rows = []
    for line in lines[1:]:
        fields = line.split(None, len(titles) - 1)
        if len(fields) > at and fields[at].isdigit() and int(fields[at]) in pids:
            rows.append(fields)
    return titles, rows

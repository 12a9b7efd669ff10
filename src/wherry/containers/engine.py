"""The containers service, put together from its concerns. See ``containers.service``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from wherry.containers import inspect, wait
from wherry.containers.archive import Archiver
from wherry.containers.attach import Sessions
from wherry.containers.book import Book, Live
from wherry.containers.checkpoints import Checkpoints
from wherry.containers.create import Creator
from wherry.containers.depends import Dependencies
from wherry.containers.exec import Execs
from wherry.containers.facts import HostFacts
from wherry.containers.health import HealthChecks
from wherry.containers.links import Links
from wherry.containers.logs import Logs, attributes, errand_of
from wherry.containers.look import Looker
from wherry.containers.names import validate
from wherry.containers.ports import EventSink, Networking, NetworkRequest, Volumes
from wherry.containers.reconcile import Reconciler
from wherry.containers.record import network_request
from wherry.containers.remove import Remover
from wherry.containers.rotation import Rotator
from wherry.containers.service import (
    AttachOptions,
    ExecRequest,
    LogLine,
    LogOptions,
    Outcome,
    Outgoing,
    Session,
)
from wherry.containers.shipping.courier import Couriers
from wherry.containers.specs import Specs
from wherry.containers.start import Starter, refuse
from wherry.containers.stats import Stats
from wherry.containers.stop import Stopper
from wherry.containers.transitions import Status, counts_as_running, has_process
from wherry.containers.update import Updater
from wherry.containers.watch import Supervisor
from wherry.errors import Conflict, Invalid, NotFound, NotModified, WherryError
from wherry.images.service import Images
from wherry.linux.livemounts import LiveMounts
from wherry.linux.namespaces import PrivateMounts
from wherry.linux.syscalls import LinuxSyscalls
from wherry.linux.tasks import spawn
from wherry.runtime.port import Runtime
from wherry.store.containers import ContainerTable
from wherry.store.database import Database
from wherry.store.paths import Paths
from wherry.trees.flow import Inlet
from wherry.wire.container import CreateRequest, UpdateRequest
from wherry.wire.mounts import MountPoint


class ContainerEngine:
    """Implements ``containers.service.Containers``; every method's contract is there."""

    def __init__(
        self,
        database: Database,
        paths: Paths,
        images: Images,
        runtime: Runtime,
        networking: Networking,
        volumes: Volumes,
        events: EventSink,
        facts: HostFacts,
        specs: Specs,
        namespaces: PrivateMounts | None = None,
        live_mounts: LiveMounts | None = None,
    ) -> None:
        private = namespaces or PrivateMounts(LinuxSyscalls())
        self._events = events
        self._facts = facts
        self._paths = paths
        self._images = images
        self._runtime = runtime
        self._networking = networking
        book = self._book = Book(ContainerTable(database), events)
        self._sessions = Sessions(book, paths, runtime)
        self._links = Links(book, paths, networking)
        self._supervisor = Supervisor(book, paths, runtime, networking, volumes)
        self._creator = Creator(
            book, paths, images, networking, volumes, facts, specs.check, self._links
        )
        self._starter = Starter(
            book,
            paths,
            images,
            runtime,
            networking,
            volumes,
            self._sessions,
            specs,
            facts,
            self._supervisor.watch,
            self._links,
        )
        self._stopper = Stopper(book, runtime, self._supervisor)
        self._remover = Remover(
            book, paths, runtime, networking, volumes, self._sessions, self._stopper
        )
        self._execs = Execs(book, paths, runtime, specs, self._links)
        self._checkpoints = Checkpoints(book, paths, runtime)
        self._rotator = Rotator(book, paths, runtime)
        self._logs = Logs(paths, self._rotator)
        self._couriers = Couriers(
            lambda live: errand_of(live.record, paths.container(live.id), facts.hostname)
        )
        self._archiver = Archiver(paths, images, volumes, private, runtime.unmounted)
        self._stats = Stats(book, specs.cgroup_path, facts.memory_total)
        self._looker = Looker(book, paths, images, runtime, networking, self._links)
        self._dependencies = Dependencies(book, lambda live: self.start(live.id))
        self._health = HealthChecks(book, paths, runtime, specs, self._unhealthy)
        self._updater = Updater(
            book,
            paths,
            images,
            runtime,
            networking,
            volumes,
            specs,
            facts,
            self._health,
            self._dependencies,
            live_mounts or LiveMounts(private),
        )
        self._reconciler = Reconciler(
            book,
            paths,
            runtime,
            networking,
            volumes,
            self._supervisor,
            self._remover,
            self._updater,
            self._checkpoints,
        )
        self._introduce()

    def _introduce(self) -> None:
        """Who is told of a container's start, end and removal, by those who bring them about."""
        self._creator.on_check.append(self._dependencies.check)
        self._supervisor.bind(
            self._again, self._starter.start, self._gone, self._dependencies.ready
        )
        self._remover.on_remove.append(self._execs.forget)
        self._supervisor.on_start.append(self._health.begin)
        self._supervisor.on_end.append(self._health.end)
        self._supervisor.on_start.append(self._rotator.begin)
        self._supervisor.on_end.append(self._rotator.end)
        self._supervisor.on_start.append(self._couriers.begin)
        self._supervisor.on_end.append(self._couriers.end)
        self._remover.before_remove.append(self._couriers.settle)
        self._remover.on_remove.append(self._couriers.forget)
        self._remover.on_remove.append(self._rotator.forget)

    async def _again(self, live: Live) -> None:
        await self._starter.start(live, again=True)

    async def _unhealthy(self, live: Live, action: str) -> None:
        """``--on-unhealthy``; after ``kill`` the restart policy decides, after ``stop`` not."""
        if action == "restart":
            await self.restart(live.id)
        elif action == "stop":
            await self._stopper.stop(live, None, None)
        else:
            await self._stopper.strike(live)

    async def _gone(self, live: Live) -> None:
        await self._remover.remove(live, force=False, volumes=True)

    def labels_of(self, ref: str) -> tuple[str, Mapping[str, str]]:
        """Full id and labels. Raises ``NotFound``, and ``Invalid`` for an ambiguous prefix."""
        live = self._book.get(ref)
        return live.id, live.record.labels

    def pid_of(self, container_id: str) -> int:
        """Of its first process, in the host's numbers; 0 if it does not run."""
        live = self._book.find(container_id)
        return live.running.pid if live is not None and live.running is not None else 0

    def request_of(self, container_id: str) -> NetworkRequest | None:
        live = self._book.find(container_id)
        return network_request(live.record) if live is not None else None

    def holder(self, name: str) -> str | None:
        """Id of the container that has the name, or is being made with it."""
        return self._book.names.get(name.removeprefix("/"))

    async def create(
        self, name: str | None, request: CreateRequest, platform: str | None = None
    ) -> tuple[str, list[str]]:
        return await self._creator.create(name, request, platform)

    async def start(self, ref: str, checkpoint: str = "", checkpoint_dir: str = "") -> None:
        live = self._book.get(ref)
        refuse(live.record)
        restore = None
        if checkpoint:
            restore = await self._checkpoints.restored(live, checkpoint, checkpoint_dir)
        elif checkpoint_dir:
            raise Invalid("checkpoint-dir: without a checkpoint it means nothing")
        await self._ready(live)
        async with live.lock:
            if live.record.status is Status.RESTARTING:
                self._supervisor.halt(live)
            try:
                await self._starter.start(live, restore=restore)
            except (NotModified, Conflict):
                raise
            except WherryError:
                if live.record.host_config.auto_remove:
                    spawn(self._gone(live), name=f"auto-remove {live.id[:12]}")
                raise

    async def _ready(self, live: Live) -> None:
        """What it depends on comes first; no lock is held meanwhile."""
        try:
            await self._dependencies.ready(live)
        except WherryError:
            if live.record.host_config.auto_remove and live.record.status is Status.CREATED:
                spawn(self._gone(live), name=f"auto-remove {live.id[:12]}")
            raise

    async def stop(self, ref: str, timeout: int | None = None, signal: str | None = None) -> None:
        await self._stopper.stop(self._book.get(ref), timeout, signal)

    async def restart(
        self, ref: str, timeout: int | None = None, signal: str | None = None
    ) -> None:
        live = self._book.get(ref)
        if live.record.status in (Status.REMOVING, Status.DEAD):
            raise Conflict("container is marked for removal and cannot be started")
        await self._dependencies.ready(live)
        live.keep = True
        try:
            try:
                await self._stopper.stop(live, timeout, signal)
            except NotModified:
                pass
            async with live.lock:
                await self._starter.start(live)
        finally:
            live.keep = False
        self._book.publish(live.record, "restart")

    async def kill(self, ref: str, signal: str | None = None) -> None:
        await self._stopper.kill(self._book.get(ref), signal)

    async def pause(self, ref: str) -> None:
        await self._stopper.pause(self._book.get(ref))

    async def unpause(self, ref: str) -> None:
        await self._stopper.unpause(self._book.get(ref))

    async def wait(self, ref: str, condition: str = "not-running") -> tuple[int, str]:
        future = wait.register(self._book, ref, condition)
        try:
            return await future
        finally:
            future.cancel()

    async def rename(self, ref: str, name: str) -> None:
        live = self._book.get(ref)
        if not name:
            raise Invalid("Neither old nor new names may be empty")
        new = validate(name)
        async with live.lock:
            if live.id not in self._book:
                raise NotFound(f"No such container: {ref}")
            old = live.record.name
            if new == old:
                raise Invalid("Renaming a container with the same name as its current name")
            self._book.reserve(new, live.id)
            try:
                await self._networking.renamed(live.id, new)
                self._book.commit(live, name=new, revision=live.record.revision + 1)
            except BaseException:
                self._book.unreserve(new, live.id)
                await self._networking.renamed(live.id, old)
                raise
            self._book.unreserve(old, live.id)
            self._book.publish(live.record, "rename", oldName="/" + old)

    async def remove(
        self, ref: str, *, force: bool = False, volumes: bool = False, link: bool = False
    ) -> None:
        live = self._book.get(ref)
        if link:
            await self._links.remove(ref)
            return
        await self._remover.remove(live, force=force, volumes=volumes)

    def summaries(
        self,
        filters: Mapping[str, Sequence[str]],
        *,
        all: bool = False,
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        return self._looker.rows(self._looker.chosen(filters, every=all, limit=limit))

    async def sized(
        self,
        filters: Mapping[str, Sequence[str]],
        *,
        all: bool = False,
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        chosen = self._looker.chosen(filters, every=all, limit=limit)
        return self._looker.rows(chosen, await self._looker.sizes(chosen))

    async def sizes(self, ref: str) -> tuple[int, int]:
        (found,) = await self._looker.sizes([self._book.get(ref)])
        return found

    def inspect(self, ref: str, *, sizes: tuple[int, int] | None = None) -> dict[str, Any]:
        live = self._book.get(ref)
        return inspect.render(
            live.record,
            place=self._paths.container(live.id),
            networks=self._networking.settings(live.id),
            execs=sorted(live.execs),
            facts=self._facts,
            lower=self._looker.lower(live.record),
            links=self._links.shown(live.record),
            size=sizes,
        )

    def logs(self, ref: str, options: LogOptions) -> AsyncGenerator[list[LogLine], None]:
        return self._logs.read(self._book.get(ref), options)

    def log_details(self, ref: str) -> str:
        return attributes(self._book.get(ref).record)

    async def clear_logs(self, ref: str) -> None:
        await self._logs.clear(self._book.get(ref))

    def tty(self, ref: str) -> bool:
        return bool(self._book.get(ref).record.config.tty)

    async def attach(self, ref: str, options: AttachOptions) -> Session:
        live = self._book.get(ref)
        return await self._sessions.attach(live, options, self._logs.pieces)

    async def resize(self, ref: str, height: int, width: int) -> None:
        live = self._book.get(ref)
        if not has_process(live.record.status):
            raise Conflict(f"container {live.id} is not running")
        await self._runtime.resize(self._paths.container(live.id).bundle, height, width)
        self._book.publish(live.record, "resize", height=str(height), width=str(width))

    async def exec_create(self, ref: str, request: ExecRequest) -> str:
        return self._execs.create(self._book.get(ref), request)

    async def exec_start(
        self,
        exec_id: str,
        *,
        detach: bool = False,
        tty: bool | None = None,
        console_size: tuple[int, int] | None = None,
    ) -> Session | None:
        return await self._execs.start(exec_id, detached=detach, tty=tty, console_size=console_size)

    async def exec_resize(self, exec_id: str, height: int, width: int) -> None:
        await self._execs.resize(exec_id, height, width)

    def exec_inspect(self, exec_id: str) -> dict[str, Any]:
        return self._execs.inspect(exec_id)

    async def update(self, ref: str, asked: UpdateRequest) -> Outcome:
        return await self._updater.update(self._book.get(ref), asked)

    async def checkpoint(self, ref: str, name: str, folder: str = "", *, end: bool = False) -> None:
        await self._checkpoints.create(self._book.get(ref), name, folder, end=end)

    def checkpoints(self, ref: str, folder: str = "") -> list[str]:
        return self._checkpoints.listing(self._book.get(ref), folder)

    async def remove_checkpoint(self, ref: str, name: str, folder: str = "") -> None:
        await self._checkpoints.remove(self._book.get(ref), name, folder)

    async def top(self, ref: str, ps_args: str = "-ef") -> tuple[list[str], list[list[str]]]:
        return await self._looker.top(self._book.get(ref), ps_args)

    async def changes(self, ref: str) -> list[tuple[str, int]]:
        return await self._looker.changes(self._book.get(ref))

    def stats(
        self, ref: str, *, follow: bool, one_shot: bool = False
    ) -> AsyncGenerator[dict[str, Any], None]:
        return self._stats.stream(self._book.get(ref), follow=follow, one_shot=one_shot)

    async def path_stat(self, ref: str, path: str) -> dict[str, Any]:
        return await self._archiver.stat(self._book.get(ref), path)

    async def archive(
        self, ref: str, path: str, *, name: str = "", pattern: bool = False
    ) -> tuple[dict[str, Any], Outgoing]:
        live = self._book.get(ref)
        found = await self._archiver.get(live, path, name=name, pattern=pattern)
        self._book.publish(live.record, "archive-path")
        return found

    async def extract(
        self,
        ref: str,
        path: str,
        inlet: Inlet,
        stop: Callable[[], None],
        *,
        keep_kinds: bool = False,
        copy_owner: bool = False,
    ) -> None:
        live = self._book.get(ref)
        await self._archiver.put(
            live, path, inlet, stop, keep_kinds=keep_kinds, copy_owner=copy_owner
        )
        self._book.publish(live.record, "extract-to-dir")

    async def export(self, ref: str) -> Outgoing:
        live = self._book.get(ref)
        outgoing = await self._archiver.export(live)
        self._book.publish(live.record, "export")
        return outgoing

    async def commit(
        self,
        ref: str,
        *,
        reference: str | None,
        comment: str = "",
        author: str = "",
        pause: bool = True,
        changes: Sequence[str] = (),
        config: Mapping[str, Any] | None = None,
    ) -> str:
        return await self._looker.commit(
            self._book.get(ref),
            self._stopper,
            reference=reference,
            comment=comment,
            author=author,
            pause=pause,
            changes=changes,
            config=config,
        )

    async def prune(
        self, filters: Mapping[str, Sequence[str]], *, dry_run: bool = False
    ) -> dict[str, Any]:
        deleted, reclaimed = [], 0
        chosen = self._looker.prunable(filters)
        sizes = [own for own, _ in await self._looker.sizes(chosen)]
        if dry_run:
            return {
                "ContainersDeleted": [live.id for live in chosen] or None,
                "SpaceReclaimed": sum(sizes),
            }
        for live, size in zip(chosen, sizes, strict=True):
            try:
                await self._remover.remove(live, force=False, volumes=False)
            except (Conflict, NotFound):
                continue
            deleted.append(live.id)
            reclaimed += size
        self._events.publish("container", "prune", "", {"reclaimed": str(reclaimed)})
        return {"ContainersDeleted": deleted or None, "SpaceReclaimed": reclaimed}

    async def disk_usage(self) -> list[dict[str, Any]]:
        return await self.sized({}, all=True)

    def counts(self) -> dict[str, int]:
        counts = {"running": 0, "paused": 0, "stopped": 0}
        for live in self._book:
            status = live.record.status
            if status is Status.PAUSED:
                counts["paused"] += 1
            elif counts_as_running(status):
                counts["running"] += 1
            else:
                counts["stopped"] += 1
        return counts

    def using(self, image_id: str) -> list[tuple[str, bool]]:
        return [
            (live.id, counts_as_running(live.record.status))
            for live in self._book
            if image_id == live.record.image.id
            or any(point.image == image_id for point in live.record.used_mounts)
        ]

    def mount_points(self, ref: str) -> Sequence[MountPoint]:
        """What is mounted in a container, for ``--volumes-from``. Raises ``NotFound``."""
        return self._book.get(ref).record.mount_points

    async def reconcile(self) -> None:
        self._book.load()
        await self._reconciler.reconcile()
        for live in self._book:
            self._couriers.begin(live)

    async def end_all(self, extend: Callable[[float], None]) -> None:
        self._health.close()
        await self._stopper.rest_all(list(self._book), extend)

    async def shutdown(self) -> None:
        self._health.close()
        self._rotator.close()
        self._couriers.close()
        self._supervisor.close()
        self._sessions.close()
        await self._remover.close()

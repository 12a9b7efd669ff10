"""Start: from a record to a running first process, all or nothing.

Networks, host files, volumes and the spec come first; then the monitor creates the container,
clients that attached before are connected, and only then the process runs, so that no output is
lost. Nothing here is global: starts of different containers run at the same time.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from wherry.containers import hostfiles
from wherry.containers.attach import Sessions
from wherry.containers.book import Book, Live
from wherry.containers.facts import HostFacts
from wherry.containers.layers import lower_dirs, user_of
from wherry.containers.links import Links
from wherry.containers.ports import (
    NetworkAttachment,
    Networking,
    RootView,
    Volumes,
)
from wherry.containers.record import Health, Record, network_request
from wherry.containers.specs import SpecInputs, Specs
from wherry.containers.storage import storage_error
from wherry.containers.transitions import Event, Status, can_start
from wherry.errors import Conflict, Invalid, NotFound, NotModified, WherryError
from wherry.images.service import Images
from wherry.runtime.failures import exit_code_of
from wherry.runtime.port import Launch, RootMounts, Running, Runtime
from wherry.store.paths import Paths

_log = logging.getLogger(__name__)

HOST_RESOLV = Path("/etc/resolv.conf")
HOST_HOSTS = Path("/etc/hosts")


def refuse(record: Record) -> None:
    """Raises what Docker answers to a start that is not possible in this state."""
    status = record.status
    if status is Status.PAUSED:
        raise Conflict("cannot start a paused container, try unpause instead")
    if status is Status.RUNNING:
        raise NotModified(f"container {record.id} is already running")
    if status in (Status.REMOVING, Status.DEAD):
        raise Conflict("container is marked for removal and cannot be started")


class Starter:
    def __init__(
        self,
        book: Book,
        paths: Paths,
        images: Images,
        runtime: Runtime,
        networking: Networking,
        volumes: Volumes,
        sessions: Sessions,
        specs: Specs,
        facts: HostFacts,
        watch: Callable[[Live], None],
        links: Links,
    ) -> None:
        self._book = book
        self._paths = paths
        self._images = images
        self._runtime = runtime
        self._networking = networking
        self._volumes = volumes
        self._sessions = sessions
        self._specs = specs
        self._facts = facts
        self._watch = watch
        self._links = links

    async def start(self, live: Live, *, again: bool = False, restore: Path | None = None) -> None:
        """Start under the container's lock. ``again``: by restart policy; ``restore``: from the
        checkpoint in this directory.

        Raises as Docker answers; after a failure the state is as before, with the error and the
        exit code (126, 127, else 128) recorded.
        """
        refuse(live.record)
        if not can_start(live.record.status):
            raise Conflict(f"container {live.id} cannot be started: it is {live.record.status}")
        if live.cleanup is not None:
            await asyncio.wait([live.cleanup])
        refuse(live.record)
        live.stopping = False
        try:
            running, begun = await self._launch(live, restore)
            self._started(live, running, begun, again=again)
        except BaseException as error:
            await self._undo(live)
            self._failed(live, error)
            raise
        self._links.moved(live)
        self._watch(live)

    def _started(self, live: Live, running: Running, begun: int, *, again: bool) -> None:
        record = live.record
        health = record.config.healthcheck
        checked = health is not None and bool(health.test) and health.test != ["NONE"]
        state = self._book.after(
            live,
            Event.START,
            pid=running.pid,
            pid_start=running.pid_start,
            monitor_pid=running.monitor_pid,
            monitor_start=running.monitor_start,
            exit_code=0,
            error="",
            oom=False,
            started_ns=begun,
            health=Health() if checked else None,
        )
        if again:
            changes: dict[str, Any] = {"restart_count": record.restart_count + 1}
        else:
            changes = {"restart_count": 0, "stopped_by_user": False}
            live.backoff = 0.0
        live.running = running
        self._book.commit(live, state=state, staying=(), **changes)
        self._book.publish(live.record, "start")

    def _failed(self, live: Live, error: BaseException) -> None:
        self._sessions.abandon(live)
        if not isinstance(error, WherryError):
            return
        state = msgspec.structs.replace(
            live.record.state, exit_code=exit_code_of(error), error=error.message
        )
        try:
            self._book.commit(live, state=state)
        except Exception as problem:
            _log.error("container %s: its failed start was not written: %s", live.id, problem)

    async def _undo(self, live: Live) -> None:
        """Take back what a failed start made; errors must not hide the first one."""
        record = live.record
        place = self._paths.container(record.id)
        live.running = None
        await asyncio.gather(
            self._runtime.delete(record.id, place.bundle, record.host_config.runtime or ""),
            self._networking.detach(record.id),
            self._volumes.release(record.id, record.mount_points),
            return_exceptions=True,
        )

    async def _launch(self, live: Live, restore: Path | None) -> tuple[Running, int]:
        """The processes, and when the first one was let run (Unix nanoseconds)."""
        record = live.record
        place = self._paths.container(record.id)
        host = record.host_config
        peers = self._peers(record)
        equipped = self._links.equip(record)
        attachment = await self._attach(record, peers)
        lower = lower_dirs(self._paths, self._images, record)
        mounts = await self._volumes.prepare(
            record.id,
            record.mount_points,
            RootView(lower, place.upper, lambda: user_of(record, lower, place.upper)),
        )
        files = self._write_files(record, attachment, peers)
        covered = {str(mount.get("destination")) for mount in mounts}
        shared = self._shared_memory(record, peers)
        spec = self._specs.build(
            SpecInputs(
                record=equipped,
                rootfs=place.rootfs,
                lower=lower,
                upper=place.upper,
                network_namespace=attachment.namespace,
                namespaces=_namespaces(record, peers),
                shm_source=shared,
                mounts=_in_depth_order(
                    [*(each for each in files if each["destination"] not in covered), *mounts]
                ),
            )
        )
        logs = host.log_config.type if host.log_config else ""
        height, width = (host.console_size or [0, 0])[:2]
        launch = Launch(
            container_id=record.id,
            bundle=place.bundle,
            spec=spec,
            root=RootMounts(lower, place.upper, place.work, place.rootfs),
            log_path=None if logs == "none" else place.log,
            exit_dir=place.exit_dir,
            terminal=bool(record.config.tty),
            stdin=bool(record.config.open_stdin),
            leave_stdin_open=not record.config.stdin_once or bool(record.config.tty),
            runtime=host.runtime or "",
            console_size=(height, width) if height and width else None,
            restore=restore,
        )
        running = await self._runtime.create(launch)
        live.running = running
        await self._sessions.connect(live)
        begun = time.time_ns()
        if restore is None:
            await self._runtime.start(record.id, launch.runtime)
        return running, begun

    def _shared_memory(self, record: Record, peers: Mapping[str, Live]) -> str:
        """Host directory behind /dev/shm, where containers share it; empty: their own."""
        peer = peers.get("ipc")
        if peer is not None:
            mode = peer.record.host_config.ipc_mode
            if mode == "host":
                return "/dev/shm"
            if mode != "shareable":
                raise Conflict(
                    f"cannot join IPC of container {peer.id}: non-shareable IPC (hint: use "
                    "IpcMode:shareable for the donor container)"
                )
            return str(self._paths.container(peer.id).shm)
        if record.host_config.ipc_mode != "shareable":
            return ""
        folder = self._paths.container(record.id).shm
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o1777, parents=True, exist_ok=True)
        folder.chmod(0o1777)
        return str(folder)

    def _peers(self, record: Record) -> dict[str, Live]:
        """Containers whose namespaces are joined: mode ``container:REF`` -> a running one."""
        host = record.host_config
        found = {}
        for kind, mode in (
            ("network", host.network_mode),
            ("ipc", host.ipc_mode),
            ("pid", host.pid_mode),
        ):
            if not mode or not mode.startswith("container:"):
                continue
            ref = mode.removeprefix("container:")
            try:
                peer = self._book.get(ref)
            except NotFound as error:
                raise Conflict(f"cannot join {kind} namespace: {error.message}") from error
            if peer.id == record.id:
                raise Invalid(f"cannot join {kind} of itself")
            if peer.running is None or peer.record.status is not Status.RUNNING:
                raise Conflict(
                    f"cannot join {kind} namespace of a non running container: {peer.id}"
                )
            found[kind] = peer
        return found

    async def _attach(self, record: Record, peers: Mapping[str, Live]) -> NetworkAttachment:
        peer = peers.get("network")
        if peer is not None and peer.running is not None:
            return NetworkAttachment(f"/proc/{peer.running.pid}/ns/net", {})
        return await self._networking.attach(network_request(record))

    def _write_files(
        self, record: Record, attachment: NetworkAttachment, peers: Mapping[str, Live]
    ) -> list[Mapping[str, Any]]:
        """hosts, hostname and resolv.conf, and their mounts."""
        place = self._paths.container(record.id)
        peer = peers.get("network")
        if peer is not None:
            other = self._paths.container(peer.id)
            files = (other.hosts, other.hostname, other.resolv_conf)
        else:
            try:
                self._render_files(record, attachment)
            except OSError as error:
                raise storage_error("cannot write the container's host files", error) from error
            files = (place.hosts, place.hostname, place.resolv_conf)
        mode = ["rbind", "rprivate", "ro" if record.host_config.readonly_rootfs else "rw"]
        targets = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
        return [
            {"destination": target, "type": "bind", "source": str(source), "options": mode}
            for target, source in zip(targets, files, strict=True)
        ]

    def _render_files(self, record: Record, attachment: NetworkAttachment) -> None:
        place = self._paths.container(record.id)
        host, config = record.host_config, record.config
        on_host = host.network_mode == "host"
        name = config.hostname or ""
        extra = hostfiles.parse_extra_hosts(host.extra_hosts or (), self._facts.host_gateway)
        if on_host:
            text = _read(HOST_HOSTS)
            text += "".join(f"{address}\t{each}\n" for each, address in extra)
        else:
            linked = self._links.lines(record)
            text = hostfiles.hosts_text(extra, [*linked, *attachment.hosts])
        hostfiles.write(place.hosts, text)
        domain = config.domainname or ""
        hostfiles.write(place.hostname, f"{name}.{domain}\n" if domain else f"{name}\n")
        resolv = hostfiles.resolv_text(
            _read(HOST_RESOLV),
            servers=attachment.nameservers or host.dns or (),
            search=attachment.search or host.dns_search or (),
            options=attachment.dns_options or host.dns_options or (),
            keep_loopback=on_host,
        )
        hostfiles.write_resolv(place.resolv_conf, resolv)


def _in_depth_order(mounts: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Shallow ones first, so that none covers another (a volume on /etc and /etc/hosts)."""
    return sorted(mounts, key=lambda each: str(each["destination"]).rstrip("/").count("/"))


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _namespaces(record: Record, peers: Mapping[str, Live]) -> dict[str, str]:
    return {
        kind: f"/proc/{peer.running.pid}/ns/{kind}"
        for kind, peer in peers.items()
        if kind != "network" and peer.running is not None
    }

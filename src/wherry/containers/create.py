"""Create: check the request, reserve the name, make the directory, write the row.

The order makes it whole or nothing: a directory without a row is removed by reconcile, and the
row is the last step.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from wherry.containers import bounds, defaults, hostfiles, merge, names
from wherry.containers.book import Book
from wherry.containers.facts import HostFacts
from wherry.containers.links import Links
from wherry.containers.ports import MountRequest, Networking, Volumes
from wherry.containers.record import ImageUse, Record, network_request
from wherry.containers.shipping.options import check_present
from wherry.containers.storage import storage_error
from wherry.errors import Invalid
from wherry.images.service import Image, Images
from wherry.networks.ipam import check_mac
from wherry.store.paths import Paths
from wherry.wire import signals
from wherry.wire.container import Config, CreateRequest, HostConfig

Check = Callable[[Config, HostConfig], Sequence[str]]
"""Further validation by the builder of runtime specs; returns warnings, raises ``Invalid``."""


class Creator:
    def __init__(
        self,
        book: Book,
        paths: Paths,
        images: Images,
        networking: Networking,
        volumes: Volumes,
        facts: HostFacts,
        check: Check,
        links: Links,
    ) -> None:
        self._book = book
        self._paths = paths
        self._images = images
        self._networking = networking
        self._volumes = volumes
        self._facts = facts
        self._check = check
        self._links = links
        self.on_check: list[Callable[[str, HostConfig, Mapping[str, str]], HostConfig]] = []
        """Further checks of name, host configuration and the request's labels: what the host
        configuration becomes. They raise ``Invalid``."""

    async def create(
        self, name: str | None, request: CreateRequest, platform: str | None
    ) -> tuple[str, list[str]]:
        """Id and warnings. See ``containers.service.Containers.create``."""
        wanted = names.validate(name) if name else None
        if not request.image:
            raise Invalid("no image specified")
        image = self._images.get(request.image, platform)
        await self._images.prepare(image)
        config = merge.merge_config(request, image.config.config)
        host, warnings = self._host_config(config, request)
        container_id = secrets.token_hex(32)
        while container_id.isdigit():
            container_id = secrets.token_hex(32)
        config = _named(config, host, container_id, self._facts.hostname, self._peer_hostname)
        bare = wanted or names.generate(self._book.names)
        for each in self.on_check:
            host = each(bare, host, request.labels or {})
        self._book.reserve(bare, container_id)
        try:
            more = await self._make(container_id, bare, config, host, request, image)
        except BaseException:
            self._book.unreserve(bare, container_id)
            raise
        return container_id, warnings + more

    def _host_config(self, config: Config, request: CreateRequest) -> tuple[HostConfig, list[str]]:
        facts = self._facts
        host = request.host_config or HostConfig()
        defaults.check_config(config)
        merge.check_health(config.healthcheck)
        if config.stop_signal:
            signals.parse(config.stop_signal)
        defaults.check_policy(host)
        defaults.check_modes(host, config, sorted(facts.runtimes))
        check_present(host.log_config.type if host.log_config else "")
        bounds.check_processes(host.pids_limit)
        warnings = defaults.check_resources(host, facts)
        hostfiles.parse_extra_hosts(host.extra_hosts or (), facts.host_gateway)
        hostfiles.check_dns(host.dns or ())
        for port in config.exposed_ports or ():
            merge.normal_port(port)
        defaults.check_network_mode(host, request)
        host = self._with_peers(host)
        if host.init and not facts.init_path:
            raise Invalid("--init needs tini, catatonit or docker-init, and none is installed")
        filled, more = self._networking.check(defaults.fill(host, facts), request.networking_config)
        warnings += more
        if config.mac_address:
            check_mac(config.mac_address)
        warnings += self._check(config, filled)
        return self._links.register(filled), warnings

    def _with_peers(self, host: HostConfig) -> HostConfig:
        """The containers whose namespaces are joined must be there; a network's goes by its id,
        so that it is found when that container is renamed."""
        for mode in (host.ipc_mode, host.pid_mode):
            if mode and mode.startswith("container:"):
                self._book.get(mode.removeprefix("container:"))
        mode = host.network_mode or ""
        if not mode.startswith("container:"):
            return host
        peer = self._book.get(mode.removeprefix("container:"))
        joined: HostConfig = msgspec.structs.replace(host, network_mode=f"container:{peer.id}")
        return joined

    def _peer_hostname(self, ref: str) -> str:
        return self._book.get(ref).record.config.hostname or ""

    async def _make(
        self,
        container_id: str,
        name: str,
        config: Config,
        host: HostConfig,
        request: CreateRequest,
        image: Image,
    ) -> list[str]:
        place = self._paths.container(container_id)
        try:
            for folder in (place.root, place.upper, place.work):
                folder.mkdir(mode=0o755, parents=folder is place.root)
            place.root.chmod(0o710)
        except OSError as error:
            await asyncio.to_thread(shutil.rmtree, place.root, True)
            raise storage_error("cannot make the container's directory", error) from error
        try:
            points, warnings = await self._volumes.plan(
                MountRequest(container_id, host, sorted(config.volumes or ()))
            )
            # Removed meanwhile? From here to the row nothing else runs.
            for image_id in (image.id, *(point.image for point in points if point.image)):
                self._images.get(image_id)
            record = Record(
                id=container_id,
                name=name,
                created_ns=time.time_ns(),
                image=ImageUse(
                    image.id, image.target, image.manifest, image.layers, image.config.os or "linux"
                ),
                config=config,
                host_config=host,
                networking=request.networking_config,
                mount_points=tuple(points),
            )
            self._networking.enrol(network_request(record))
            self._book.add(record)
        except BaseException:
            await self._volumes.forget(container_id, (), remove_anonymous=True)
            await self._networking.forget(container_id)
            await asyncio.to_thread(shutil.rmtree, place.root, True)
            raise
        self._book.publish(record, "create")
        return warnings


def _named(
    config: Config,
    host: HostConfig,
    container_id: str,
    host_name: str,
    peer: Callable[[str], str],
) -> Config:
    """The hostname as Docker sets it at create."""
    mode = host.network_mode or ""
    hostname = config.hostname or ""
    if mode.startswith("container:"):
        hostname = peer(mode.removeprefix("container:"))
    if not hostname:
        shared = mode == "host" or host.uts_mode == "host"
        hostname = (host_name or socket.gethostname()) if shared else container_id[:12]
    named: Config = msgspec.structs.replace(config, hostname=hostname)
    return named

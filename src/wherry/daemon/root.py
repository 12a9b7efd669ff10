"""The composition root: every service is built here, by constructor, and nowhere else."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wherry.api import missing
from wherry.api.archive import ArchiveRoutes
from wherry.api.checkpoints import CheckpointRoutes
from wherry.api.containers import ContainerRoutes
from wherry.api.events import EventRoutes
from wherry.api.images import ImageRoutes
from wherry.api.networks import NetworkRoutes
from wherry.api.policy import Directory
from wherry.api.routing import Router
from wherry.api.stats import StatsRoutes
from wherry.api.streams import StreamRoutes
from wherry.api.system import SystemRoutes
from wherry.api.volume_archive import VolumeArchiveRoutes
from wherry.api.volumes import VolumeRoutes
from wherry.containers import hostfiles
from wherry.containers.engine import ContainerEngine
from wherry.containers.facts import HostFacts as ContainerFacts
from wherry.containers.oci_specs import OciSpecs
from wherry.daemon import listeners
from wherry.daemon.config import Config
from wherry.daemon.defaults import ContainerDefaults, container_defaults
from wherry.daemon.events import EventBus
from wherry.daemon.process import Live
from wherry.daemon.system import SystemFacts, SystemService
from wherry.errors import Invalid, NotFound, WherryError
from wherry.images.engine import ImageEngine
from wherry.linux import host as host_facts
from wherry.linux.mounts import make_private_directory, remove_private_directory
from wherry.linux.namespaces import PrivateMounts
from wherry.linux.syscalls import LinuxSyscalls, Syscalls
from wherry.networks.assembly import Networks
from wherry.networks.settings import NetworkSettings
from wherry.networks.wiring import RESOLVER
from wherry.runtime.commands import find
from wherry.runtime.port import RuntimeFacts
from wherry.runtime.probe import PREFERRED, hidden_mounts, open_runtime
from wherry.store.database import Database
from wherry.volumes.containers import ContainerVolumes
from wherry.volumes.plugins import SOCKET_FOLDERS, PluginFolder
from wherry.volumes.setup import build as build_volumes
from wherry.wire.mounts import MountPoint

_log = logging.getLogger(__name__)


class _Peers:
    """The containers, for rooms that are built before them."""

    def __init__(self) -> None:
        self.containers: ContainerEngine | None = None

    def using(self, image_id: str) -> list[tuple[str, bool]]:
        return [] if self.containers is None else self.containers.using(image_id)

    def mount_points(self, ref: str) -> Sequence[MountPoint]:
        if self.containers is None:
            raise NotFound(f"No such container: {ref}")
        return self.containers.mount_points(ref)


class _MountedImages:
    """Implements ``volumes.ports.ImageMounts``."""

    def __init__(self, images: ImageEngine) -> None:
        self._images = images

    def resolve(self, reference: str) -> tuple[str, tuple[str, ...]]:
        image = self._images.get(reference)
        return image.id, image.layers

    def lower_dirs(self, layers: Sequence[str]) -> list[str]:
        return self._images.lower_dirs(layers)


class WherryEngine:
    """The built services; implements ``daemon.process.Engine``."""

    def __init__(
        self,
        images: ImageEngine,
        networks: Networks,
        containers: ContainerEngine,
        groups: list[Any],
        volumes: ContainerVolumes,
        calls: Syscalls,
        mounts: Path,
    ) -> None:
        self._images = images
        self._networks = networks
        self._containers = containers
        self._groups = groups
        self._volumes = volumes
        self._calls = calls
        self._mounts = mounts

    async def start(self) -> None:
        """Reconcile, lower rooms first; the containers tell networks and volumes what runs."""
        await self._images.reconcile()
        await self._networks.start()
        await self._containers.reconcile()
        try:
            await self._images.ensure_base()
        except WherryError as error:
            _log.warning("no built-in base image: %s", error)

    def register(self, router: Router) -> None:
        for group in self._groups:
            group.register(router)
        missing.register(router)

    @property
    def directory(self) -> Directory:
        return self._containers

    async def rest(self) -> None:
        await self._networks.rest()

    async def end_containers(self, extend: Callable[[float], None]) -> None:
        await self._containers.end_all(extend)

    async def stop(self) -> None:
        """Containers go on. Where none runs, nothing of the networks stays on the host either."""
        counts = self._containers.counts()
        await self._containers.shutdown()
        if counts["running"] or counts["paused"]:
            await self._networks.close()
        else:
            await self._networks.dismantle()
            self._volumes.dismantle()
            remove_private_directory(self._calls, self._mounts)
        self._images.close()


def check(config: Config) -> None:
    """Everything that can be said about a configuration before anything is made of it.

    Raises ``Invalid`` that names the option.
    """
    NetworkSettings.parse(config.settings).default_subnet()
    if container_defaults(config).init and not host_facts.find_init():
        raise Invalid("init needs tini, catatonit or docker-init, and none is installed")
    _default_runtime(config, _runtimes(config))
    listeners.check(config)


async def build(live: Live, database: Database, events: EventBus, identity: str) -> WherryEngine:
    """Probe the host and build everything. Raises ``WherryError`` when something needed lacks."""
    config = live.config
    paths = config.paths
    calls = LinuxSyscalls()
    fresh = make_private_directory(calls, paths.mounts)
    try:
        return await _build(live, database, events, identity, calls)
    except BaseException:
        if fresh:
            remove_private_directory(calls, paths.mounts)
        raise


async def _build(
    live: Live, database: Database, events: EventBus, identity: str, calls: Syscalls
) -> WherryEngine:
    config = live.config
    paths = config.paths
    defaults = container_defaults(config)
    host = host_facts.gather()
    host_facts.raise_open_files()
    runtime, runtime_facts = await open_runtime(
        paths.run,
        configured=_runtimes(config),
        default=config.text("default_runtime"),
        calls=calls,
    )
    networks = Networks(
        paths=paths,
        database=database,
        settings=NetworkSettings.parse(config.settings),
        events=events,
    )
    peers = _Peers()
    images = ImageEngine(database, paths, events, peers)
    volume_service, volume_archive, volumes = build_volumes(
        database,
        paths,
        PrivateMounts(calls, hide=hidden_mounts(paths.run)),
        events,
        peers.mount_points,
        images=_MountedImages(images),
        plugins=PluginFolder([paths.run / "plugins", *SOCKET_FOLDERS]),
    )
    containers = ContainerEngine(
        database,
        paths,
        images,
        runtime,
        networks.service,
        volumes,
        events,
        _container_facts(host, runtime_facts, runtime.runtimes(), networks.host_gateway, defaults),
        _specs(host, defaults),
    )
    peers.containers = containers
    networks.service.pid_of = containers.pid_of
    networks.service.request_of = containers.request_of
    networks.service.on_names = lambda container_id: hostfiles.redirect(
        paths.container(container_id).resolv_conf, RESOLVER
    )
    system = SystemService(
        _system_facts(identity, config, host, runtime_facts, runtime.runtimes(), images, networks),
        containers,
        images,
        volume_service,
        lambda: live.labels,
        lambda: live.debug,
        lambda: events.listeners,
    )
    groups: list[Any] = [
        SystemRoutes(system),
        EventRoutes(events),
        ContainerRoutes(containers),
        StreamRoutes(containers),
        ArchiveRoutes(containers),
        CheckpointRoutes(containers),
        StatsRoutes(containers),
        ImageRoutes(images),
        NetworkRoutes(networks.management),
        VolumeRoutes(volume_service),
        VolumeArchiveRoutes(volume_archive),
    ]
    return WherryEngine(images, networks, containers, groups, volumes, calls, paths.mounts)


def _specs(host: host_facts.HostFacts, defaults: ContainerDefaults) -> OciSpecs:
    return OciSpecs(
        host,
        cgroup_parent=defaults.cgroup_parent or "/wherry",
        default_ulimits=defaults.ulimits,
        init_by_default=defaults.init,
        seccomp_profile=defaults.seccomp_profile,
    )


def _system_facts(
    identity: str,
    config: Config,
    host: host_facts.HostFacts,
    runtime: RuntimeFacts,
    runtimes: Mapping[str, str],
    images: ImageEngine,
    networks: Networks,
) -> SystemFacts:
    return SystemFacts(
        identity=identity,
        data_root=config.paths.data,
        host=host,
        runtime=runtime,
        runtimes=runtimes,
        storage_driver="overlay2",
        storage_status=_storage(images),
        warnings=tuple(warnings(host, config)),
        log_driver=container_defaults(config).log.type or "json-file",
        networks=networks.DRIVERS,
        address_pools=address_pools(config),
        network_warnings=networks.warnings,
        experimental=config.flag("experimental"),
    )


def address_pools(config: Config) -> tuple[dict[str, Any], ...]:
    """As ``info`` shows them: those of the configuration alone."""
    if not config.listed("default_address_pools"):
        return ()
    pools = NetworkSettings.parse(config.settings).pools
    return tuple({"Base": str(each.base), "Size": each.size} for each in pools)


def _container_facts(
    host: host_facts.HostFacts,
    runtime: RuntimeFacts,
    runtimes: Mapping[str, str],
    host_gateway: str,
    defaults: ContainerDefaults,
) -> ContainerFacts:
    return ContainerFacts(
        hostname=host.hostname,
        default_runtime=runtime.default,
        runtimes=frozenset(name for name in runtimes if name),
        cgroup_version=host.cgroup_version,
        init_path=host.init_path,
        memory_total=host.memory,
        cpus=host.cpus,
        whole={
            "cpus": ",".join(map(str, sorted(host.cpu_list))),
            "mems": ",".join(map(str, sorted(host.memory_nodes))),
        },
        swap_accounting=host.swap_limit,
        host_gateway=host_gateway,
        shm_size=defaults.shm_size,
        log_driver=defaults.log.type or "json-file",
        log_options=defaults.log.config or {},
        ipc_mode=defaults.ipc_mode,
        cgroupns_mode=defaults.cgroupns_mode,
        no_new_privileges=defaults.no_new_privileges,
    )


def _storage(images: ImageEngine) -> tuple[tuple[str, str], ...]:
    return (("Layer back end", images.layer_backend()), ("Containers", "overlayfs"))


def _runtimes(config: Config) -> Mapping[str, str]:
    for name, path in config.runtimes.items():
        if find(path) is None:
            raise Invalid(f"runtime {name}: {path} is not an executable file")
    return {name: str(find(path)) for name, path in config.runtimes.items()}


def _default_runtime(config: Config, runtimes: Mapping[str, str]) -> None:
    name = config.text("default_runtime")
    if not name or name in runtimes:
        return
    if name not in PREFERRED:
        raise Invalid(f"default-runtime {name}: there is no such runtime (see runtimes)")
    if find(name) is None:
        raise Invalid(f"default-runtime {name} is not installed: install the package {name}")


def warnings(host: host_facts.HostFacts, config: Config) -> list[str]:
    """What is missing on this host, and what the configuration risks."""
    found = host_facts.warnings(host)
    if not host.apparmor and not host.selinux:
        found.append("WARNING: Neither AppArmor nor SELinux confines containers on this host")
    elif host.apparmor:
        found.append(
            "WARNING: AppArmor confines only containers that ask for a loaded profile "
            "(--security-opt apparmor=NAME)"
        )
    if any(each.startswith("tcp://") for each in config.hosts) and not config.flag("tlsverify"):
        found.append("WARNING: API is accessible on a TCP socket without encryption")
    return found

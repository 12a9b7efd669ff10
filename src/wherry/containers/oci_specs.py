"""Runtime specs of containers, built with ``runtime.spec`` and what this host is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from wherry.containers.record import Record
from wherry.containers.service import ExecRequest
from wherry.containers.specs import SpecInputs
from wherry.linux.devices import DeviceNode, host_devices, resolve
from wherry.linux.host import HostFacts
from wherry.runtime import spec, users
from wherry.runtime.spec import ExecSpecRequest, SpecRequest
from wherry.wire.container import Config, HostConfig, Ulimit, UpdateRequest


@dataclass(frozen=True)
class OciSpecs:
    """Implements ``containers.specs.Specs``."""

    facts: HostFacts
    cgroup_parent: str = "/wherry"
    default_ulimits: Sequence[Ulimit] = ()
    init_by_default: bool = False
    seccomp_profile: str = ""

    def check(self, config: Config, host: HostConfig) -> list[str]:
        return spec.check(config, host, self.facts)

    def build(self, inputs: SpecInputs) -> Mapping[str, Any]:
        record = inputs.record
        host, config = record.host_config, record.config
        user = users.resolve(
            config.user,
            users.read_in_layers(inputs.lower, inputs.upper, "/etc/passwd"),
            users.read_in_layers(inputs.lower, inputs.upper, "/etc/group"),
            host.group_add,
        )
        init = self.init_by_default if host.init is None else host.init
        return spec.build(
            SpecRequest(
                container_id=record.id,
                config=config,
                host_config=host,
                rootfs=inputs.rootfs,
                cgroup_path=self.cgroup_path(record),
                facts=self.facts,
                hostname=config.hostname or "",
                domainname=config.domainname or "",
                user=user,
                network=inputs.network_namespace,
                namespaces=inputs.namespaces,
                shm_source=inputs.shm_source,
                mounts=inputs.mounts,
                devices=_devices(host),
                host_devices=host_devices() if host.privileged else (),
                default_ulimits=self.default_ulimits,
                init=init,
                seccomp_profile=self.seccomp_profile,
                keep_projects=any(each.limited for each in record.mount_points),
            )
        ).document

    def cgroup_path(self, record: Record) -> str:
        """Such as ``/wherry/<id>``; below ``CgroupParent`` where that was asked."""
        parent = record.host_config.cgroup_parent or self.cgroup_parent
        return f"/{parent.strip('/')}/{record.id}"

    def exec_process(self, record: Record, request: ExecRequest, root: Path) -> Mapping[str, Any]:
        user = users.resolve(
            request.user or record.config.user,
            users.read_in_root(root, "/etc/passwd"),
            users.read_in_root(root, "/etc/group"),
            None if request.user else record.host_config.group_add,
        )
        return spec.exec_process(
            record.config,
            record.host_config,
            ExecSpecRequest(
                arguments=list(request.cmd),
                user=user,
                facts=self.facts,
                hostname=record.config.hostname or "",
                terminal=request.tty,
                env=list(request.env),
                working_dir=request.working_dir,
                privileged=request.privileged,
                default_ulimits=self.default_ulimits,
            ),
        )

    def possible(self, asked: UpdateRequest) -> tuple[UpdateRequest, list[str]]:
        clear, warnings = spec.possible(asked, self.facts)
        return msgspec.structs.replace(asked, **clear), warnings

    def resources(self, host: HostConfig) -> Mapping[str, Any]:
        return spec.update_resources(host, self.facts)


def _devices(host: HostConfig) -> list[tuple[DeviceNode, str]]:
    return [
        (node, device.cgroup_permissions or "rwm")
        for device in host.devices or ()
        for node in resolve(device.path_on_host, device.path_in_container)
    ]

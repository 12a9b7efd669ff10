"""What the life cycle needs of the builder of runtime specs, and what it hands over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from wherry.containers.record import Record
from wherry.containers.service import ExecRequest
from wherry.wire.container import Config, HostConfig, UpdateRequest


@dataclass(frozen=True)
class SpecInputs:
    """Everything of one start that the OCI runtime spec depends on."""

    record: Record
    rootfs: Path
    lower: Sequence[str]
    """Layer directories, topmost first: user names are looked up in them."""
    upper: Path
    network_namespace: str | None
    """As ``NetworkAttachment.namespace``."""
    namespaces: Mapping[str, str] = field(default_factory=dict)
    """Joined namespaces of other containers: ``ipc``, ``pid`` -> path."""
    mounts: Sequence[Mapping[str, Any]] = ()
    """OCI mounts beyond the standard ones, in order."""
    shm_source: str = ""
    """Directory of the shared memory of the container whose IPC namespace is joined."""


class Specs(Protocol):
    """Builds runtime specs. ``containers.oci_specs`` does it with ``runtime.spec``."""

    def check(self, config: Config, host: HostConfig) -> list[str]:
        """Validate at create; returns warnings. Raises ``Invalid`` naming the value."""

    def build(self, inputs: SpecInputs) -> Mapping[str, Any]:
        """The runtime spec (``config.json``). Raises ``Invalid`` (an unknown user ...)."""

    def exec_process(self, record: Record, request: ExecRequest, root: Path) -> Mapping[str, Any]:
        """``process`` of an exec; ``root``: the running container's root directory."""

    def possible(self, asked: UpdateRequest) -> tuple[UpdateRequest, list[str]]:
        """An update without the limits that this host cannot enforce, and warnings of them."""

    def resources(self, host: HostConfig) -> Mapping[str, Any]:
        """OCI ``linux.resources`` for an update."""

    def cgroup_path(self, record: Record) -> str:
        """Below every controller's mount point."""

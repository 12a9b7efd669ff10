"""What a container gives the networks at its start, and what it gets back: values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wherry.wire.container import EndpointSettings, HostConfig


@dataclass(frozen=True)
class NetworkRequest:
    """A container about to be created or started, as the networks see it."""

    container_id: str
    name: str
    hostname: str
    domainname: str
    host_config: HostConfig
    endpoints: dict[str, EndpointSettings | None]
    exposed_ports: Sequence[str]
    """``80/tcp`` forms from the image and the request."""
    network_disabled: bool = False
    mac_address: str | None = None


@dataclass(frozen=True)
class NetworkAttachment:
    """A namespace with its interfaces, ready for the runtime to join."""

    namespace: str | None
    """Path of a network namespace for the OCI spec; None: the host's own; "": a fresh one."""
    settings: Mapping[str, Any]
    """``NetworkSettings`` of inspect, API keys (Networks, Ports, SandboxKey, ...)."""
    hosts: Sequence[tuple[str, Sequence[str]]] = ()
    """(address, names) lines for /etc/hosts beyond localhost."""
    nameservers: Sequence[str] = ()
    search: Sequence[str] = ()
    dns_options: Sequence[str] = ()

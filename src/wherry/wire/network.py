"""Bodies of the network calls of the Engine API (v1.24-v1.55)."""

from __future__ import annotations

import msgspec

from wherry.wire.container import EndpointSettings, Wire


class IPAMPool(Wire):
    """One entry of ``IPAM.Config``."""

    subnet: str | None = None
    ip_range: str | None = msgspec.field(default=None, name="IPRange")
    gateway: str | None = None
    auxiliary_addresses: dict[str, str] | None = None


class IPAM(Wire):
    driver: str | None = None
    options: dict[str, str] | None = None
    config: list[IPAMPool] | None = None


class ConfigReference(Wire):
    network: str | None = None


class NetworkCreate(Wire):
    """Body of ``POST /networks/create``."""

    name: str = ""
    driver: str | None = None
    scope: str | None = None
    check_duplicate: bool | None = None
    internal: bool | None = None
    attachable: bool | None = None
    ingress: bool | None = None
    config_only: bool | None = None
    config_from: ConfigReference | None = None
    ipam: IPAM | None = msgspec.field(default=None, name="IPAM")
    enable_ipv4: bool | None = msgspec.field(default=None, name="EnableIPv4")
    enable_ipv6: bool | None = msgspec.field(default=None, name="EnableIPv6")
    options: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class NetworkConnect(Wire):
    """Body of ``POST /networks/{id}/connect``."""

    container: str = ""
    endpoint_config: EndpointSettings | None = None


class NetworkDisconnect(Wire):
    """Body of ``POST /networks/{id}/disconnect``."""

    container: str = ""
    force: bool | None = None

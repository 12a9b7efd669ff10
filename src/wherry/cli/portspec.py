"""``-p``, ``--expose``: port words to the API's ``ExposedPorts`` and ``PortBindings``. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Bindings = dict[str, list[dict[str, str]]]


def publish(words: Iterable[str]) -> tuple[dict[str, dict[str, str]], Bindings]:
    """All ``-p`` words: exposed ports and bindings.

    ``[ip:]host[-range]:container[-range][/proto]``, ``container``, or the long form
    ``published=8080,target=80,protocol=tcp``. Raises ``ValueError``.
    """
    exposed: dict[str, dict[str, str]] = {}
    bindings: Bindings = {}
    for word in words:
        for port, address, host in _one(_standard(word)):
            exposed[port] = {}
            bindings.setdefault(port, []).append({"HostIp": address, "HostPort": host})
    return exposed, bindings


def expose(words: Iterable[str]) -> dict[str, dict[str, str]]:
    """All ``--expose`` words. Raises ``ValueError``."""
    exposed: dict[str, dict[str, str]] = {}
    for word in words:
        if ":" in word:
            raise ValueError(f"invalid port format for --expose: {word}")
        ports, proto = _split_proto(word)
        try:
            first, last = _range(ports)
        except ValueError as error:
            raise ValueError(f"invalid range format for --expose: {word}, error: {error}") from None
        for port in range(first, last + 1):
            exposed[f"{port}/{proto}"] = {}
    return exposed


def _standard(word: str) -> str:
    """The long form as a short one."""
    if "=" not in word:
        return word
    fields = {"published": "", "target": "", "protocol": "tcp", "mode": ""}
    for field in word.split(","):
        key, equals, text = field.partition("=")
        if not equals or not text:
            raise ValueError(
                f"invalid publish opts format (should be name=value but got '{field}')"
            )
        fields[key] = text
    return f"{fields['published']}:{fields['target']}/{fields['protocol']}"


def _split_proto(word: str) -> tuple[str, str]:
    port, slash, proto = word.partition("/")
    return port, (proto or "tcp").lower() if slash else "tcp"


def _range(word: str) -> tuple[int, int]:
    if not word:
        raise ValueError("empty string specified for ports")
    first, dash, last = word.partition("-")
    start = _port(first)
    end = _port(last) if dash else start
    if end < start:
        raise ValueError(f"invalid range specified for port: {word}")
    return start, end


def _port(word: str) -> int:
    if not word.isascii() or not word.isdigit():
        raise ValueError(f"invalid port '{word}'")
    found = int(word)
    if found > 65535:
        raise ValueError(f"port '{word}' out of range")
    return found


def _one(word: str) -> list[tuple[str, str, str]]:
    """(container port with protocol, host address, host port or range) for one word."""
    import ipaddress

    address, host, container = _parts(word)
    container, proto = _split_proto(container)
    if not container:
        raise ValueError(f"no port specified: {word}<empty>")
    if proto not in ("tcp", "udp", "sctp"):
        raise ValueError(f"invalid proto: {proto}")
    if address:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise ValueError(f"invalid IP address: {address}") from None
    try:
        first, last = _range(container)
    except ValueError:
        raise ValueError(f"invalid containerPort: {container}") from None
    if not host:
        return [(f"{port}/{proto}", address, "") for port in range(first, last + 1)]
    try:
        host_first, host_last = _range(host)
    except ValueError:
        raise ValueError(f"invalid hostPort: {host}") from None
    if last - first != host_last - host_first:
        if first != last:
            raise ValueError(
                f"invalid ranges specified for container and host Ports: {container} and {host}"
            )
        return [(f"{first}/{proto}", address, f"{host_first}-{host_last}")]
    return [
        (f"{port}/{proto}", address, str(host_first + port - first))
        for port in range(first, last + 1)
    ]


def _parts(word: str) -> tuple[str, str, str]:
    if word.startswith("["):
        address, bracket, rest = word[1:].partition("]")
        if not bracket or not rest.startswith(":"):
            raise ValueError(f"invalid IP address: {word}")
        host, _, container = rest[1:].rpartition(":")
        return address, host, container
    pieces = word.split(":")
    if len(pieces) > 3:
        return ":".join(pieces[:-2]), pieces[-2], pieces[-1]
    return ("", "", "", *pieces)[-3], ("", "", *pieces)[-2], pieces[-1]

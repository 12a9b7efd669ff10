"""/etc/hosts, /etc/hostname and /etc/resolv.conf of a container: pure text, and writing it.

Rules: moby ``libnetwork/etchosts`` and ``libnetwork/internal/resolvconf``.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from wherry.errors import Invalid

_LOCAL = (
    ("127.0.0.1", ("localhost",)),
    ("::1", ("localhost", "ip6-localhost", "ip6-loopback")),
    ("fe00::", ("ip6-localnet",)),
    ("ff00::", ("ip6-mcastprefix",)),
    ("ff02::1", ("ip6-allnodes",)),
    ("ff02::2", ("ip6-allrouters",)),
)


def hosts_text(
    extra: Sequence[tuple[str, str]],
    attached: Sequence[tuple[str, Sequence[str]]],
) -> str:
    """``extra``: (name, address) of ExtraHosts; ``attached``: lines of the networks."""
    lines = [f"{address}\t{' '.join(names)}" for address, names in _LOCAL]
    lines += [f"{address}\t{name}" for name, address in extra]
    lines += [f"{address}\t{' '.join(names)}" for address, names in attached]
    return "\n".join(lines) + "\n"


def readdressed(text: str, names: Sequence[str], addresses: Sequence[str]) -> str:
    """``text`` with other addresses (or none) for the lines that give just these names."""
    lines: list[str] = []
    new = [f"{address}\t{' '.join(names)}" for address in addresses]
    for line in text.splitlines():
        if line.split()[1:] == list(names):
            lines, new = [*lines, *new], []
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def parse_extra_hosts(entries: Sequence[str], host_gateway: str = "") -> list[tuple[str, str]]:
    """``name:address`` or ``name=address`` -> (name, address); ``host-gateway`` is replaced.

    Raises ``Invalid``: "bad format for add-host: ..." or "invalid IP address in add-host: ...".
    """
    result = []
    for entry in entries:
        cuts = [at for at in (entry.find(":"), entry.find("=")) if at > 0]
        if not cuts:
            raise Invalid(f'bad format for add-host: "{entry}"')
        name, address = entry[: min(cuts)], entry[min(cuts) + 1 :]
        if not address:
            raise Invalid(f'bad format for add-host: "{entry}"')
        if address == "host-gateway":
            if host_gateway:
                result += [(name, each) for each in host_gateway.split(",")]
            else:
                result.append((name, "127.0.0.1"))
            continue
        try:
            ipaddress.ip_address(address.removeprefix("[").removesuffix("]"))
        except ValueError as error:
            raise Invalid(f'invalid IP address in add-host: "{address}"') from error
        result.append((name, address.removeprefix("[").removesuffix("]")))
    return result


def check_dns(servers: Sequence[str]) -> None:
    """Raises ``Invalid`` for what is no address."""
    for server in servers:
        try:
            ipaddress.ip_address(server)
        except ValueError as error:
            raise Invalid(f"invalid nameserver address: {server}") from error


def resolv_text(
    host: str,
    *,
    servers: Sequence[str] = (),
    search: Sequence[str] = (),
    options: Sequence[str] = (),
    keep_loopback: bool = False,
) -> str:
    """A resolv.conf from the host's text with what was asked for in its place.

    Without an own namespace's resolver, servers on the host's loopback cannot be reached from
    a container and are left out, unless ``keep_loopback`` (the host's own network).
    A search of ``.`` means none.
    """
    found: dict[str, list[str]] = {"nameserver": [], "search": [], "options": []}
    for line in host.splitlines():
        words = line.split()
        if not words or line.lstrip()[:1] in ("#", ";"):
            continue
        if words[0] == "nameserver" and len(words) > 1:
            found["nameserver"].append(words[1])
        elif words[0] in ("search", "domain"):
            found["search"] = words[1:]
        elif words[0] == "options":
            found["options"] += words[1:]
    chosen = list(servers) or [
        each for each in found["nameserver"] if keep_loopback or not _loopback(each)
    ]
    names = list(search) or found["search"]
    lines = [f"nameserver {each}" for each in chosen]
    if names and names != ["."]:
        lines.append("search " + " ".join(names))
    words = list(options) or found["options"]
    if words:
        lines.append("options " + " ".join(words))
    return "\n".join(lines) + "\n" if lines else ""


def asking(text: str, server: str) -> str:
    """A resolv.conf that asks ``server`` only; search and options stay, but names with no dot are
    the server's own."""
    rows = [line.split() for line in text.splitlines()]
    options = [word for row in rows if row[:1] == ["options"] for word in row[1:]]
    if not any(each.startswith("ndots:") for each in options):
        options.append("ndots:0")
    return resolv_text(text, servers=(server,), options=options)


def _loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return True


def read(path: Path) -> str:
    """A container may have written any bytes: ``write`` gives them back."""
    return path.read_text(encoding="utf-8", errors="surrogateescape")


def write(path: Path, text: str) -> None:
    """Write in place: a running container has this very file mounted."""
    try:
        if read(path) == text:
            return
    except OSError:
        pass
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    path.chmod(0o644)


def write_resolv(path: Path, text: str) -> None:
    """As ``write``, and remember beside it what was written."""
    write(path, text)
    write(_mark(path), _digest(text))


def redirect(path: Path, server: str) -> None:
    """The container of this resolv.conf asks ``server`` from now on; what somebody else has
    written there since stays. Idempotent. Raises ``OSError``."""
    text = read(path)
    if _mark(path).read_text() == _digest(text):
        write_resolv(path, asking(text, server))


def _mark(path: Path) -> Path:
    return path.with_name(f"{path.name}.hash")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()

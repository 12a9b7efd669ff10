"""Open a byte stream to the daemon: unix socket, TCP with or without TLS, or ssh."""

from __future__ import annotations

import socket

from wherry.client.errors import BadHost, CannotConnect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherry.client.config import Endpoint, Tls

CONNECT_TIMEOUT = 30.0


def connect(endpoint: Endpoint) -> socket.socket:
    """A connected, blocking stream. Raises :class:`CannotConnect` or :class:`BadHost`."""
    scheme, _, rest = endpoint.host.partition("://")
    try:
        if scheme == "unix":
            return _unix(rest)
        if scheme in ("tcp", "http", "https"):
            sock = _tcp(rest, "https" if endpoint.tls or scheme == "https" else "http")
            if endpoint.tls or scheme == "https":
                return _secure(sock, rest, endpoint.tls)
            return sock
    except OSError as error:
        denied = isinstance(error, PermissionError)
        raise CannotConnect(endpoint.host, error.strerror or str(error), denied) from None
    if scheme == "ssh":
        return _ssh(rest)
    raise BadHost(f"unable to parse docker host `{endpoint.host}`: unknown scheme {scheme!r}")


def host_header(endpoint: Endpoint) -> str:
    """What to write after ``Host:``."""
    scheme, _, rest = endpoint.host.partition("://")
    return rest.split("/", 1)[0] if scheme in ("tcp", "http", "https") else "api.moby.localhost"


def _unix(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path or "/run/wherry/wherry.sock")
    except OSError:
        sock.close()
        raise
    return sock


def _tcp(rest: str, scheme: str) -> socket.socket:
    address = rest.split("/", 1)[0]
    name, port = split_address(address, 2376 if scheme == "https" else 2375)
    sock = socket.create_connection((name, port), timeout=CONNECT_TIMEOUT)
    sock.settimeout(None)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return sock


def split_address(address: str, default_port: int) -> tuple[str, int]:
    """``host[:port]`` or ``[v6][:port]``. Raises :class:`BadHost` for a port that is none."""
    if address.startswith("["):
        name, _, after = address[1:].partition("]")
        port = after.removeprefix(":")
    else:
        name, _, port = address.partition(":")
    if port and not (port.isdigit() and 0 < int(port) < 65536):
        raise BadHost(f"unable to parse docker host `tcp://{address}`: bad port {port!r}")
    return name or "127.0.0.1", int(port) if port else default_port


def _secure(sock: socket.socket, rest: str, tls: Tls | None) -> socket.socket:
    import os
    import ssl

    try:
        context = ssl.create_default_context(
            cafile=tls.ca if tls and tls.verify and tls.ca and os.path.exists(tls.ca) else None
        )
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls is not None and not tls.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if tls is not None and tls.cert and os.path.exists(tls.cert):
            context.load_cert_chain(tls.cert, tls.key or None)
        name, _ = split_address(rest.split("/", 1)[0], 2376)
        return context.wrap_socket(sock, server_hostname=name)
    except ssl.SSLError as error:
        sock.close()
        raise BadHost(f"error during connect: tls: {error.reason or error}") from None
    except OSError as error:
        sock.close()
        raise BadHost(f"error during connect: {error}") from None


def _ssh(rest: str) -> socket.socket:
    """``ssh [user@]host[:port][/socket]``: the remote client carries the bytes (dial-stdio)."""
    import subprocess

    address, _, path = rest.partition("/")
    user, _, place = address.rpartition("@")
    name, _, port = place.partition(":")
    if not name or name.startswith("-") or user.startswith("-"):
        raise BadHost(f"unable to parse docker host `ssh://{rest}`: no host")
    command = ["ssh", "-o", "ConnectTimeout=30", "-T"]
    command += ["-l", user] if user else []
    command += ["-p", port] if port else []
    remote = ["wherry"] + (["--host", f"unix:///{path}"] if path else [])
    ours, theirs = socket.socketpair()
    try:
        subprocess.Popen(
            [*command, "--", name, *remote, "system", "dial-stdio"],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
        )
    except OSError as error:
        ours.close()
        raise CannotConnect(f"ssh://{rest}", error.strerror or str(error)) from None
    finally:
        theirs.close()
    return ours

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
                sock = _secure(sock, rest, endpoint.tls)
            sock.settimeout(None)
            return sock
    except OSError as error:
        denied = isinstance(error, PermissionError)
        raise CannotConnect(endpoint.host, error.strerror or str(error), denied) from None
    except ValueError as error:
        # A name that cannot be asked for, as with a label of over 63 characters.
        raise BadHost(f"unable to parse docker host `{endpoint.host}`: {error}") from None
    if scheme == "ssh":
        return _ssh(rest)
    raise BadHost(f"unable to parse docker host `{endpoint.host}`: unknown scheme {scheme!r}")


def host_header(endpoint: Endpoint) -> str:
    """What to write after ``Host:``."""
    scheme, _, rest = endpoint.host.partition("://")
    return rest.split("/", 1)[0] if scheme in ("tcp", "http", "https") else "api.moby.localhost"


def explain(endpoint: Endpoint, error: OSError) -> str:
    """What it means that a transfer failed. In TLS 1.3 the daemon's word on our certificate comes
    with the first answer, long after the connection was made."""
    if type(error).__name__.startswith("SSL"):
        import ssl

        from wherry.client.tls import explained

        if isinstance(error, ssl.SSLError):
            return f"error during connect: {explained(error, endpoint.tls)}"
    return f"the connection to {endpoint.host} broke: {error.strerror or error}"


def hint(endpoint: Endpoint) -> str:
    """What to look at when a daemon hung up without a word; "" when there is nothing to say."""
    scheme = endpoint.host.partition("://")[0]
    if scheme == "ssh":
        return (
            f" (ssh to {endpoint.host} has ended: what it said stands above; the other machine "
            "needs wherry or docker on its PATH, and a daemon)"
        )
    if scheme in ("tcp", "http") and endpoint.tls is None:
        return " (does it want TLS? --tlsverify, or a context with certificates)"
    if endpoint.tls is not None or scheme == "https":
        # Since TLS 1.3 a server judges our certificate when we think we are connected, and not
        # every one sends its verdict before it hangs up.
        from wherry.client.tls import none_given, own_certificate

        own = own_certificate(endpoint.tls)
        if own:
            return f": perhaps it does not accept the client certificate {own}"
        return f": perhaps it asks for {none_given(endpoint.tls)}"
    return ""


def _unix(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path or "/run/wherry/wherry.sock")
    except OSError:
        sock.close()
        raise
    return sock


def _tcp(rest: str, scheme: str) -> socket.socket:
    """Connected; the time limit stays on it, for the TLS handshake."""
    address = rest.split("/", 1)[0]
    name, port = split_address(address, 2376 if scheme == "https" else 2375)
    sock = socket.create_connection((name, port), timeout=CONNECT_TIMEOUT)
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
    plain = port.isascii() and port.isdigit() and len(port) <= 5
    if port and not (plain and 0 < int(port) < 65536):
        raise BadHost(f"unable to parse docker host `tcp://{address}`: bad port {port!r}")
    return name or "127.0.0.1", int(port) if port else default_port


def _secure(sock: socket.socket, rest: str, tls: Tls | None) -> socket.socket:
    import ssl

    from wherry.client.tls import client_context, explained

    try:
        name, _ = split_address(rest.split("/", 1)[0], 2376)
        return client_context(tls).wrap_socket(sock, server_hostname=name)
    except ssl.SSLError as error:
        sock.close()
        raise BadHost(f"error during connect: {explained(error, tls)}") from None
    except TimeoutError:
        sock.close()
        reason = f"no answer to the TLS handshake in {CONNECT_TIMEOUT:g} s"
        raise BadHost(f"error during connect: {reason}") from None
    except OSError as error:
        sock.close()
        raise BadHost(f"error during connect: {error}") from None


# ``wherry`` or ``docker`` on the other machine carries the bytes to its socket. The login shell may
# be any, so the choice between the two is given to ``sh``.
_REMOTE = (
    "sh -c 'if command -v wherry >/dev/null 2>&1; then exec wherry{0} system dial-stdio; "
    "else exec docker{0} system dial-stdio; fi'"
)
# An interrupt from the terminal is for the container, not for the connection to it.
_STEADY = "trap '' INT QUIT; exec ssh \"$@\""


def ssh_arguments(rest: str) -> list[str]:
    """What ``ssh`` is given for ``[user@]host[:port][/socket]``. Raises :class:`BadHost`."""
    address, _, path = rest.partition("/")
    user, _, place = address.rpartition("@")
    name, port = split_address(place, 0) if place else ("", 0)
    if not place or name.startswith("-") or user.startswith("-"):
        raise BadHost(f"unable to parse docker host `ssh://{rest}`: it names no machine")
    if ":" in user:
        raise BadHost(f"unable to parse docker host `ssh://{rest}`: a password cannot be given")
    quoted = path and all(char.isalnum() or char in "/._-+" for char in path)
    if path and not quoted:
        raise BadHost(f"unable to parse docker host `ssh://{rest}`: odd path of a socket")
    command = ["-o", "ConnectTimeout=30", "-T"]
    command += ["-l", user] if user else []
    command += ["-p", str(port)] if port else []
    return [*command, "--", name, _REMOTE.format(f" --host unix:///{path}" if path else "")]


def _ssh(rest: str) -> socket.socket:
    import shutil
    import subprocess

    arguments = ssh_arguments(rest)
    if shutil.which("ssh") is None:
        raise BadHost(f"ssh://{rest} needs the program ssh, which is not installed here")
    ours, theirs = socket.socketpair()
    try:
        subprocess.Popen(
            ["sh", "-c", _STEADY, "ssh", *arguments],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
        )
    except OSError as error:
        ours.close()
        raise CannotConnect(f"ssh://{rest}", error.strerror or str(error)) from None
    finally:
        theirs.close()
    return ours

"""The sockets of ``--host``: unix, TCP with mutual TLS, and sockets passed by systemd."""

from __future__ import annotations

import contextlib
import grp
import ipaddress
import os
import socket
import ssl
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from wherry.api.scope import Scope
from wherry.daemon import systemd
from wherry.daemon.config import Config
from wherry.errors import Conflict, Invalid

_GROUPS = ("docker", "wherry")
_PATH_LIMIT = 107
"""Bytes of a unix socket's path that the kernel can hold."""
_PASSED = "fd://"
_Address = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
_Found = tuple[socket.AddressFamily, socket.SocketKind, int, str, _Address]


@dataclass
class Listener:
    """A bound socket that does not listen yet."""

    sock: socket.socket
    tls: ssl.SSLContext | None = None
    path: Path | None = None
    inode: int = 0
    host: str = ""
    """As it was configured."""
    scope: Scope | None = None
    """What its callers may do; None: everything."""

    def close(self) -> None:
        """Close; a unix socket's file goes when it is still ours."""
        self.sock.close()
        if self.path is not None:
            with contextlib.suppress(OSError):
                if self.path.stat().st_ino == self.inode:
                    self.path.unlink()


def check(config: Config) -> None:
    """What ``open_all`` would refuse of the configuration, with nothing made.

    ``Invalid`` names the host or the option. Sockets that systemd passes (``fd://``) are not
    looked for: only the started daemon has them.
    """
    asked = [(host, "") for host in config.hosts]
    asked += [(limited.host, limited.group) for limited in config.sockets]
    for host, group in asked:
        scheme, rest = _split(host)
        if scheme == "unix":
            _socket_path(rest, config)
            _group(group or config.text("group"))
        elif scheme == "tcp":
            _resolved(host, rest, config)


def open_all(config: Config) -> list[Listener]:
    """Bind every host of the configuration, or none. ``Invalid`` and ``Conflict`` name the host.

    Sockets that systemd passed are served beside the configured hosts, or in the place of the
    same one, so that neither a flag nor ``hosts`` need speak of them.
    """
    listeners: list[Listener] = []
    try:
        if systemd.passed() and _PASSED not in config.hosts:
            listeners += _open(_PASSED, config, config.text("group"))
        there = {_socket_path_of(listener) for listener in listeners}
        for host in config.hosts:
            scheme, rest = _split(host)
            if scheme != "unix" or str(_socket_path(rest, config)) not in there:
                listeners += _open(host, config, config.text("group"))
        for limited in config.sockets:
            opened = _open(limited.host, config, limited.group or config.text("group"))
            listeners += [replace(each, scope=limited.scope) for each in opened]
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _socket_path_of(listener: Listener) -> str:
    """Of a unix socket with a path; else empty."""
    name = listener.sock.getsockname()
    return name if isinstance(name, str) else ""


def _open(host: str, config: Config, group: str) -> list[Listener]:
    return [replace(each, host=each.host or host) for each in _bound(host, config, group)]


def _bound(host: str, config: Config, group: str) -> list[Listener]:
    scheme, rest = _split(host)
    if scheme == "unix":
        return [_unix(_socket_path(rest, config), group)]
    if scheme == "tcp":
        return _tcp(host, rest, config)
    return _passed(host, group)


def _split(host: str) -> tuple[str, str]:
    """The scheme (unix, tcp or fd; also where it is left out) and what comes after it."""
    scheme, separator, rest = host.partition("://")
    if not separator:
        return ("unix" if host.startswith("/") else "tcp"), host
    if scheme not in ("unix", "tcp", "fd"):
        raise Invalid(f"invalid host {host}: it starts with unix://, tcp:// or fd://")
    return scheme, rest


def _socket_path(rest: str, config: Config) -> Path:
    path = Path(rest or config.paths.socket)
    if not path.is_absolute():
        raise Invalid(f"invalid host unix://{path}: the path is not absolute")
    if len(os.fsencode(path)) > _PATH_LIMIT:
        raise Invalid(f"invalid host unix://{path}: a socket's path has at most 107 bytes")
    return path


def _unix(path: Path, group: str) -> Listener:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o711)
    _clear(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        sock.bind(str(path))
    except OSError as error:
        sock.close()
        raise Invalid(f"cannot listen on unix://{path}: {error.strerror}") from error
    finally:
        os.umask(mask)
    try:
        number = _group(group)
        if number is not None:
            os.chown(path, -1, number)
        path.chmod(0o660)
    except BaseException:
        sock.close()
        path.unlink()
        raise
    return Listener(sock, path=path, inode=path.stat().st_ino)


def _clear(path: Path) -> None:
    """Remove the socket of a daemon that is gone; refuse when one answers."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Conflict(f"cannot listen on unix://{path}: a file that is no socket is there")
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.settimeout(2)
    try:
        probe.connect(str(path))
    except (ConnectionRefusedError, FileNotFoundError):
        path.unlink(missing_ok=True)
        return
    except OSError:
        pass
    finally:
        probe.close()
    raise Conflict(f"cannot listen on unix://{path}: another daemon is listening there")


def _group(name: str) -> int | None:
    """Group id of the socket: the one asked for, else docker or wherry, else our own."""
    if name:
        if name.isdigit():
            return int(name)
        try:
            return grp.getgrnam(name).gr_gid
        except KeyError:
            raise Invalid(f"group {name} not found") from None
    for each in _GROUPS:
        with contextlib.suppress(KeyError):
            return grp.getgrnam(each).gr_gid
    return None


def _resolved(host: str, rest: str, config: Config) -> tuple[ssl.SSLContext | None, list[_Found]]:
    """The TLS context, and what ``getaddrinfo`` says of every socket to bind."""
    tls = _context(config) if config.flag("tlsverify") else None
    if tls is None and config.flag("tls"):
        raise Invalid("tls alone does not check who calls: use tlsverify with tlscacert")
    try:
        split = urlsplit(f"//{rest}")
        port = split.port if split.port is not None else (2376 if tls else 2375)
    except ValueError as error:
        raise Invalid(f"invalid host {host}: {error}") from error
    name = split.hostname or ("localhost" if tls is None else "0.0.0.0")
    if split.path not in ("", "/"):
        raise Invalid(f"invalid host {host}: a TCP address has no path")
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:  # the latter: a label of over 63 characters
        raise Invalid(f"invalid host {host}: {error}") from error
    if tls is None:
        _refuse_open(host, [str(each[4][0]) for each in found], config)
    return tls, list(dict.fromkeys(found))


def _tcp(host: str, rest: str, config: Config) -> list[Listener]:
    tls, found = _resolved(host, rest, config)
    listeners: list[Listener] = []
    for family, kind, protocol, _, address in found:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
        except OSError as error:
            sock.close()
            if listeners and family == socket.AF_INET6:
                continue
            for listener in listeners:
                listener.close()
            raise Invalid(f"cannot listen on {host}: {error.strerror}") from error
        listeners.append(Listener(sock, tls))
    return listeners


def _refuse_open(host: str, addresses: list[str], config: Config) -> None:
    """Whoever reaches an open daemon is root on this machine."""
    inside = all(ipaddress.ip_address(each.partition("%")[0]).is_loopback for each in addresses)
    if not inside:
        raise Invalid(
            f"refusing to listen on {host} without TLS: use tlsverify with tlscacert, "
            "tlscert and tlskey"
        )
    if not config.flag("insecure_loopback"):
        raise Invalid(
            f"refusing to listen on {host} without TLS: use tlsverify, or insecure-loopback "
            "if every user of this machine may control it"
        )


def _context(config: Config) -> ssl.SSLContext:
    files = {name: config.text(name) for name in ("tlscacert", "tlscert", "tlskey")}
    for name, path in files.items():
        if not path:
            raise Invalid(f"tlsverify needs {name}")
        if not Path(path).is_file():
            raise Invalid(f"{name} {path}: no such file")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(files["tlscacert"])
        context.load_cert_chain(files["tlscert"], files["tlskey"])
    except (ssl.SSLError, OSError) as error:
        raise Invalid(f"cannot use the TLS certificates: {error}") from error
    return context


def _passed(host: str, group: str) -> list[Listener]:
    """Sockets that systemd opened for us (``fd://``). Their files are systemd's, their group is
    as of our own sockets."""
    descriptors = systemd.passed()
    if not descriptors:
        raise Invalid(f"invalid host {host}: no sockets were passed to this process")
    listeners: list[Listener] = []
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
        sock = socket.socket(fileno=descriptor)
        if sock.family != socket.AF_UNIX:
            raise Invalid(f"invalid host {host}: only unix sockets may be passed")
        listener = Listener(sock)
        path, number = _socket_path_of(listener), _group(group)
        if path and number is not None:
            os.chown(path, -1, number)
        listeners.append(replace(listener, host=f"unix://{path}" if path else host))
    return listeners

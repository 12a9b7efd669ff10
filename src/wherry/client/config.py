"""The client's configuration: where the daemon is and what the user prefers. Reads files.

The folder is ``--config``, ``WHERRY_CONFIG``, ``DOCKER_CONFIG``, ``~/.wherry`` where it exists,
else ``~/.docker`` (so that formats, detach keys and credentials of Docker users apply). The
``currentContext`` of that last one is not followed: it names a Docker daemon.
"""

from __future__ import annotations

import os

from wherry.client.errors import BadHost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

DEFAULT_HOST = "unix:///run/wherry/wherry.sock"


class Tls:
    """How to speak TLS; paths of PEM files, empty where none is used."""

    __slots__ = ("ca", "cert", "key", "verify")

    def __init__(self, ca: str = "", cert: str = "", key: str = "", verify: bool = True) -> None:
        self.ca = ca
        self.cert = cert
        self.key = key
        self.verify = verify


class Endpoint:
    """Where the daemon is. ``chosen`` is False when nothing but the default named it."""

    __slots__ = ("chosen", "context", "host", "tls")

    def __init__(self, host: str, tls: Tls | None, context: str, chosen: bool) -> None:
        self.host = host
        self.tls = tls
        self.context = context
        self.chosen = chosen


class Config:
    """``config.json`` of one folder; a missing file is an empty configuration."""

    def __init__(self, folder: str, *, borrowed: bool, values: dict[str, Any]) -> None:
        self.folder = folder
        self.borrowed = borrowed
        self.values = values

    @property
    def file(self) -> str:
        return os.path.join(self.folder, "config.json")

    def text(self, key: str) -> str:
        """A text setting such as ``psFormat``; empty when missing or of another type."""
        found = self.values.get(key)
        return found if isinstance(found, str) else ""

    def table(self, key: str) -> dict[str, Any]:
        found = self.values.get(key)
        return found if isinstance(found, dict) else {}

    def proxy_env(self, host: str) -> dict[str, str]:
        """Proxy variables for a new container: ``proxies`` of this daemon, else ``default``.

        Both spellings are set, as Docker's client does.
        """
        proxies = self.table("proxies")
        chosen = proxies.get(host, proxies.get("default"))
        if not isinstance(chosen, dict):
            return {}
        env: dict[str, str] = {}
        for key, name in (
            ("httpProxy", "HTTP_PROXY"),
            ("httpsProxy", "HTTPS_PROXY"),
            ("noProxy", "NO_PROXY"),
            ("ftpProxy", "FTP_PROXY"),
            ("allProxy", "ALL_PROXY"),
        ):
            if chosen.get(key):
                env[name] = env[name.lower()] = str(chosen[key])
        return env


def load(folder: str, env: Mapping[str, str]) -> Config:
    """Read the configuration. Raises :class:`BadHost` when the file is not JSON."""
    home = env.get("HOME") or os.path.expanduser("~")
    chosen = folder or env.get("WHERRY_CONFIG") or env.get("DOCKER_CONFIG") or ""
    borrowed = False
    if not chosen:
        chosen = os.path.join(home, ".wherry")
        if not os.path.isdir(chosen):
            docker = os.path.join(home, ".docker")
            borrowed = os.path.isdir(docker)
            chosen = docker if borrowed else chosen
    values: dict[str, Any] = {}
    path = os.path.join(chosen, "config.json")
    try:
        with open(path, encoding="utf-8") as file:
            raw = file.read()
    except OSError:
        raw = ""
    if raw.strip():
        import json

        try:
            values = json.loads(raw)
        except ValueError as error:
            raise BadHost(f"loading config file: {path}: {error}") from None
        if not isinstance(values, dict):
            raise BadHost(f"loading config file: {path}: not a JSON object")
    return Config(chosen, borrowed=borrowed, values=values)


def endpoint(
    config: Config, env: Mapping[str, str], *, host: str = "", context: str = "", tls: Tls | None
) -> Endpoint:
    """Choose the daemon: ``-H``, ``-c``, ``WHERRY_HOST``, ``DOCKER_HOST``, context variables,
    the current context, the default socket.

    Raises :class:`BadHost` for a context that does not exist or ``-H`` together with ``-c``.
    """
    if host and context:
        raise BadHost("conflicting options: either specify --host or --context, not both")
    if host:
        return Endpoint(normal_host(host), tls, "default", True)
    if not context:
        named = env.get("WHERRY_HOST") or env.get("DOCKER_HOST")
        if named:
            return Endpoint(normal_host(named), tls or _env_tls(config, env), "default", True)
    name = context or env.get("WHERRY_CONTEXT") or env.get("DOCKER_CONTEXT") or ""
    if not name and not config.borrowed:
        name = config.text("currentContext")
    if not name or name == "default":
        return Endpoint(DEFAULT_HOST, tls, "default", False)
    from wherry.client.contexts import read_context

    found, found_tls = read_context(config.folder, name)
    return Endpoint(normal_host(found), tls or found_tls, name, True)


def _env_tls(config: Config, env: Mapping[str, str]) -> Tls | None:
    if not env.get("DOCKER_TLS_VERIFY"):
        return None
    folder = env.get("DOCKER_CERT_PATH") or config.folder
    ca, cert, key = (os.path.join(folder, name) for name in ("ca.pem", "cert.pem", "key.pem"))
    return Tls(ca, cert, key)


def normal_host(host: str) -> str:
    """A host with its scheme: a bare path is a unix socket, ``host:port`` is TCP."""
    host = host.strip()
    if "://" in host:
        return host.replace("fd://", "unix://") if host.startswith("fd:///") else host
    return f"unix://{host}" if host.startswith("/") else f"tcp://{host}"

"""The client's configuration: where the daemon is and what the user prefers. Reads files.

The folder is ``--config``, ``WHERRY_CONFIG``, ``DOCKER_CONFIG``, ``~/.wherry`` where it exists,
else ``~/.docker`` (so that formats, detach keys, credentials and contexts of Docker users apply).
The ``currentContext`` of that last one is not followed, as it names a Docker daemon: there Wherry
keeps its own in ``wherry.json``.
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

    @property
    def choice_file(self) -> str:
        """Where the current context is kept: not in a borrowed folder's ``config.json``, as that
        says which daemon Docker's client talks to."""
        return os.path.join(self.folder, "wherry.json") if self.borrowed else self.file

    def current_context(self) -> str:
        """Name of the chosen context, or ""."""
        if not self.borrowed:
            return self.text("currentContext")
        found = read_json(self.choice_file).get("currentContext")
        return found if isinstance(found, str) else ""

    def choose_context(self, name: str) -> None:
        """Make ``name`` the current context ("" for none); the file's other keys are kept."""
        import json

        from wherry.client.contexts import replace_file

        path = os.path.realpath(self.choice_file)
        values = read_json(path)
        if (values.pop("currentContext", "") or "") == name:
            return
        if name:
            values["currentContext"] = name
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            mode = os.stat(path).st_mode & 0o777 if os.path.exists(path) else 0o600
            replace_file(path, json.dumps(values, indent="\t", ensure_ascii=False).encode(), mode)
        except OSError as error:
            raise BadHost(f"cannot store the current context: {error}") from None

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
        borrowed = not os.path.isdir(chosen)
        if borrowed:
            chosen = os.path.join(home, ".docker")
    return Config(chosen, borrowed=borrowed, values=read_json(os.path.join(chosen, "config.json")))


def read_json(path: str) -> dict[str, Any]:
    """A JSON object; empty when there is no such file. Raises :class:`BadHost`."""
    try:
        with open(path, encoding="utf-8") as file:
            raw = file.read()
    except OSError:
        raw = ""
    except UnicodeDecodeError as error:
        raise BadHost(f"loading config file: {path}: {error}") from None
    if not raw.strip():
        return {}
    import json

    try:
        values = json.loads(raw)
    except ValueError as error:
        raise BadHost(f"loading config file: {path}: {error}") from None
    if not isinstance(values, dict):
        raise BadHost(f"loading config file: {path}: not a JSON object")
    return values


class Choice:
    """What flags and environment say about the daemon; the context's files are read when asked.

    In this order: ``-H``, ``-c``, ``WHERRY_HOST``, ``DOCKER_HOST``, the context variables, the
    current context, the default socket.
    """

    def __init__(
        self,
        config: Config,
        env: Mapping[str, str],
        *,
        host: str = "",
        context: str = "",
        tls: Tls | None = None,
    ) -> None:
        self._config = config
        self._env = env
        self._host = host
        self._context = context
        self._tls = tls

    @property
    def variable(self) -> str:
        """The environment variable that names a host; a context that is chosen gives way to it."""
        return next((name for name in ("WHERRY_HOST", "DOCKER_HOST") if self._env.get(name)), "")

    @property
    def name(self) -> str:
        """The context's name, ``default`` for what flags and environment say themselves.

        Raises :class:`BadHost` for ``-H`` together with ``-c``.
        """
        if self._host and self._context:
            raise BadHost("conflicting options: cannot specify both --host and --context")
        if self._context:
            return self._context
        if self._host or self.variable:
            return "default"
        named = self._env.get("WHERRY_CONTEXT") or self._env.get("DOCKER_CONTEXT")
        return named or self._config.current_context() or "default"

    def endpoint(self) -> Endpoint:
        """Raises :class:`BadHost` for a context that does not exist, and as ``name`` does."""
        name = self.name
        if name == "default":
            return self.default()
        from wherry.client.contexts import ContextStore

        host, tls = ContextStore(self._config.folder).endpoint(name)
        return Endpoint(host or DEFAULT_HOST, self._tls or tls, name, True)

    def default(self) -> Endpoint:
        """What the context ``default`` means."""
        if self._host:
            return Endpoint(normal_host(self._host), self._tls, "default", True)
        if self.variable and not self._context:
            host = normal_host(self._env[self.variable])
            return Endpoint(host, self._tls or _env_tls(self._config, self._env), "default", True)
        return Endpoint(DEFAULT_HOST, self._tls, "default", False)


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

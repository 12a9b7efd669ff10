"""Volume plugins: Docker's protocol, JSON over HTTP on a unix socket (or TCP).

A plugin ``x`` is ``x.sock`` or ``x/x.sock`` in one of the socket folders, or an address in
``x.spec`` or ``x.json`` of the description folders. Every call has a time limit, on threads of
their own, so that a plugin that hangs holds up nothing but its own volumes.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from wherry.errors import Internal, NotFound, Unavailable, WherryError
from wherry.store.volumes import VolumeRow
from wherry.wire.durations import ZERO_TIME, parse_rfc3339

SOCKET_FOLDERS = (Path("/run/docker/plugins"),)
SPEC_FOLDERS = (Path("/etc/docker/plugins"), Path("/usr/lib/docker/plugins"))
_MEDIA = "application/vnd.docker.plugins.v1.2+json"
_ANSWER_LIMIT = 16 << 20
_CONNECT_PATIENCE = 2.0
"""Seconds in which a plugin that just starts may begin to listen."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("plugin", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class PluginClient:
    """One plugin's endpoint. ``timeout``: seconds a whole call may take."""

    def __init__(
        self, name: str, address: str, pool: ThreadPoolExecutor, timeout: float = 60.0
    ) -> None:
        self.name = name
        self.address = address
        self._pool = pool
        self._timeout = timeout

    async def call(self, method: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST ``/<method>``. ``Unavailable``: nobody answers; ``Internal``: the plugin's own
        error, in its words."""
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._pool, self._post, method, json.dumps(body).encode())
        try:
            status, data = await asyncio.wait_for(work, self._timeout)
        except TimeoutError as error:
            raise Unavailable(
                f"volume driver {self.name}: no answer to {method} in {self._timeout:g} s"
            ) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            # ``ValueError``: an address that is none.
            raise Unavailable(f"volume driver {self.name}: {method}: {error}") from error
        try:
            answer = json.loads(data or b"{}")
        except (ValueError, RecursionError) as error:
            raise Internal(f"volume driver {self.name}: {method}: not JSON: {error}") from error
        if not isinstance(answer, dict):
            raise Internal(f"volume driver {self.name}: {method}: the answer is no object")
        if status != 200:
            raise Internal(f"{method}: {answer.get('Err') or f'status {status}'}")
        if answer.get("Err"):
            raise Internal(str(answer["Err"]))
        return answer

    def _post(self, method: str, body: bytes) -> tuple[int, bytes]:
        deadline = time.monotonic() + _CONNECT_PATIENCE
        while True:
            connection = self._connection()
            try:
                try:
                    connection.connect()
                except (ConnectionRefusedError, FileNotFoundError):
                    if time.monotonic() >= deadline:
                        raise
                    time.sleep(0.05)
                    continue
                headers = {"Accept": _MEDIA, "Content-Type": "application/json"}
                connection.request("POST", f"/{method}", body, headers)
                response = connection.getresponse()
                return response.status, response.read(_ANSWER_LIMIT)
            finally:
                connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        kind, _, rest = self.address.partition("://")
        if kind == "unix":
            return _UnixConnection(rest, self._timeout)
        host, _, port = rest.rpartition(":")
        return http.client.HTTPConnection(host, int(port or 0), timeout=self._timeout)


class PluginDriver:
    """``volumes.ports.Driver`` over a plugin."""

    def __init__(self, client: PluginClient) -> None:
        self.name = client.name
        self.scope = "local"
        self._client = client
        self._paths: dict[str, str] = {}
        self._active = False

    async def _call(self, method: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if not self._active:
            await self._activate()
        return await self._client.call(f"VolumeDriver.{method}", body)

    async def _activate(self) -> None:
        answer = await self._client.call("Plugin.Activate", {})
        if "VolumeDriver" not in (answer.get("Implements") or ()):
            raise NotFound(f'plugin "{self.name}" does not implement VolumeDriver')
        self._active = True
        try:
            found = await self._client.call("VolumeDriver.Capabilities", {})
        except WherryError:
            return
        scope = (found.get("Capabilities") or {}).get("Scope", "")
        self.scope = scope if scope in ("local", "global") else "local"

    async def create(self, row: VolumeRow) -> VolumeRow:
        await self._call("Create", {"Name": row.name, "Opts": dict(row.options)})
        return row

    async def remove(self, row: VolumeRow) -> None:
        await self._call("Remove", {"Name": row.name})
        self._paths.pop(row.name, None)

    def path(self, row: VolumeRow) -> str:
        return self._paths.get(row.name, "")

    async def mount(self, row: VolumeRow, holder: str) -> str:
        answer = await self._call("Mount", {"Name": row.name, "ID": holder})
        path = str(answer.get("Mountpoint") or "")
        if not path.startswith("/") or not Path(path).is_dir():
            await self._call("Unmount", {"Name": row.name, "ID": holder})
            raise Internal(
                f"volume driver {self.name}: the mount point of {row.name} is no directory: "
                f"'{path}'"
            )
        self._paths[row.name] = path
        return path

    async def unmount(self, row: VolumeRow, holder: str, *, last: bool) -> None:
        if holder:
            await self._call("Unmount", {"Name": row.name, "ID": holder})

    async def status(self, row: VolumeRow) -> Mapping[str, Any] | None:
        """``Status`` of the plugin's ``Get``; None also while the plugin does not answer."""
        try:
            found = (await self._call("Get", {"Name": row.name})).get("Volume") or {}
        except WherryError:
            return None
        self._paths[row.name] = str(found.get("Mountpoint") or "")
        status = found.get("Status")
        return status if isinstance(status, dict) else None

    async def volumes(self) -> list[VolumeRow]:
        found = (await self._call("List", {})).get("Volumes") or []
        rows = []
        for each in found:
            if isinstance(each, dict) and each.get("Name"):
                name = str(each["Name"])
                self._paths[name] = str(each.get("Mountpoint") or "")
                rows.append(VolumeRow("", name, self.name, _created(each.get("CreatedAt"))))
        return rows


def _created(text: object) -> int:
    try:
        return parse_rfc3339(str(text or ZERO_TIME))
    except WherryError:
        return parse_rfc3339(ZERO_TIME)


class PluginFolder:
    """Implements ``volumes.registry.Plugins`` over folders that are read at each question."""

    def __init__(
        self,
        sockets: Sequence[Path] = SOCKET_FOLDERS,
        specs: Sequence[Path] = SPEC_FOLDERS,
        timeout: float = 60.0,
    ) -> None:
        self._sockets = sockets
        self._specs = specs
        self._timeout = timeout
        self._pool = ThreadPoolExecutor(8, "volume-plugin")
        self._drivers: dict[str, tuple[str, PluginDriver]] = {}

    def names(self) -> list[str]:
        return sorted(self._addresses())

    def _addresses(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for folder in self._specs:
            for path in _listed(folder):
                if path.suffix in (".spec", ".json"):
                    address = _described(path)
                    if address:
                        found[path.stem] = address
        for folder in self._sockets:
            for path in _listed(folder):
                if path.is_dir():
                    path = path / f"{path.name}.sock"
                if path.suffix == ".sock" and path.exists():
                    found[path.stem] = f"unix://{path}"
        return found

    def find(self, name: str) -> PluginDriver | None:
        address = self._addresses().get(name)
        if address is None:
            self._drivers.pop(name, None)
            return None
        known = self._drivers.get(name)
        if known is None or known[0] != address:
            client = PluginClient(name, address, self._pool, self._timeout)
            known = self._drivers[name] = (address, PluginDriver(client))
        return known[1]

    async def volumes(self, name: str) -> list[VolumeRow]:
        driver = self.find(name)
        return [] if driver is None else await driver.volumes()


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _described(path: Path) -> str:
    """The address in a description file; '' when it is not usable."""
    try:
        text = path.read_text().strip()
        if path.suffix == ".json":
            text = str(json.loads(text).get("Addr") or "")
    except (OSError, ValueError, AttributeError):
        return ""
    return text if text.startswith(("unix://", "tcp://")) else ""

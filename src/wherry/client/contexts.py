"""Docker's context store, shared with its client: files below the configuration's folder.

``contexts/meta/<sha256 of name>/meta.json`` holds a name, a description and endpoints;
``contexts/tls/<same>/<endpoint>/{ca,cert,key}.pem`` the keys and certificates. What other tools put
into a context (further endpoints, further metadata) is kept.
"""

from __future__ import annotations

import json
import os

from wherry.client.config import Tls, normal_host
from wherry.client.errors import BadHost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Material = Mapping[str, Mapping[str, bytes]]
    """Endpoint -> file name -> content."""

DEFAULT = "default"
ENDPOINT = "docker"
PARTS = ("ca", "cert", "key")
_NAME = "^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$"


def context_id(name: str) -> str:
    import hashlib

    # "surrogatepass": a name that is no UTF-8 names no context, which is an answer too.
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()


def check_name(name: str) -> None:
    """Raise :class:`BadHost` for a name that cannot be a stored context's."""
    if not name:
        raise BadHost("context name cannot be empty")
    if name == DEFAULT:
        raise BadHost(f'"{DEFAULT}" is a reserved context name')
    # Imported where they are needed: ``wherry ps`` under a context needs neither of them.
    import re

    if not re.fullmatch(_NAME, name) or name.endswith("\n"):
        raise BadHost(
            f'context name "{name}" is invalid, names are validated against regexp "{_NAME}"'
        )


class ContextStore:
    """The contexts of one configuration folder. Everything raises :class:`BadHost`."""

    def __init__(self, folder: str) -> None:
        self._meta = os.path.join(folder, "contexts", "meta")
        self._tls = os.path.join(folder, "contexts", "tls")

    def meta_folder(self, name: str) -> str:
        return os.path.join(self._meta, context_id(name))

    def tls_folder(self, name: str) -> str:
        return os.path.join(self._tls, context_id(name))

    def names(self) -> list[str]:
        """Sorted; what cannot be read is left out."""
        found = []
        try:
            identities = os.listdir(self._meta)
        except OSError:
            return []
        for identity in identities:
            try:
                with open(
                    os.path.join(self._meta, identity, "meta.json"), encoding="utf-8"
                ) as file:
                    name = json.load(file)["Name"]
            except (OSError, ValueError, KeyError, TypeError):
                continue
            if isinstance(name, str) and context_id(name) == identity:
                found.append(name)
        return sorted(found)

    def exists(self, name: str) -> bool:
        return os.path.exists(os.path.join(self.meta_folder(name), "meta.json"))

    def read(self, name: str) -> dict[str, Any]:
        """``meta.json``: Name, Metadata, Endpoints."""
        path = os.path.join(self.meta_folder(name), "meta.json")
        if not name:
            raise BadHost("context name cannot be empty")
        try:
            with open(path, encoding="utf-8") as file:
                meta = json.load(file)
            if not isinstance(meta["Endpoints"], dict):
                raise TypeError("Endpoints is no object")
        except FileNotFoundError:
            raise BadHost(
                f'context "{name}": context not found: open {path}: no such file or directory'
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadHost(f'context "{name}": cannot read {path}: {error}') from None
        found: dict[str, Any] = meta
        return found

    def endpoint(self, name: str) -> tuple[str, Tls | None]:
        """The host and the TLS files of a stored context."""
        endpoint = self.read(name)["Endpoints"].get(ENDPOINT)
        if not isinstance(endpoint, dict):
            raise BadHost(f'context "{name}" has no docker endpoint')
        skip = bool(endpoint.get("SkipTLSVerify"))
        files = os.path.join(self.tls_folder(name), ENDPOINT)
        paths = {part: os.path.join(files, f"{part}.pem") for part in PARTS}
        have = {part: path for part, path in paths.items() if os.path.exists(path)}
        tls = None
        if have or skip:
            ca, cert, key = (have.get(part, "") for part in PARTS)
            tls = Tls(ca, cert, key, verify=not skip)
        host = str(endpoint.get("Host") or "")
        return normal_host(host) if host else "", tls

    def material(self, name: str) -> dict[str, dict[str, bytes]]:
        """Every TLS file: endpoint -> file name -> content."""
        found: dict[str, dict[str, bytes]] = {}
        folder = self.tls_folder(name)
        try:
            for endpoint in sorted(os.listdir(folder)):
                place = os.path.join(folder, endpoint)
                for file in sorted(os.listdir(place)):
                    with open(os.path.join(place, file), "rb") as opened:
                        found.setdefault(endpoint, {})[file] = opened.read()
        except FileNotFoundError:
            pass
        except OSError as error:
            raise BadHost(f'context "{name}": {error}') from None
        return found

    def write(self, meta: Mapping[str, Any], tls: Material | None = None) -> None:
        """Store or replace a context; ``tls`` None leaves the files that are there.

        ``meta.json`` comes last, so that a context that is there is whole.
        """
        name = str(meta["Name"])
        check_name(name)
        try:
            if tls is not None:
                self._write_tls(name, tls)
            place = self.meta_folder(name)
            os.makedirs(place, mode=0o755, exist_ok=True)
            text = json.dumps(meta, separators=(",", ":"), ensure_ascii=False)
            replace_file(os.path.join(place, "meta.json"), text.encode(), 0o644)
        except OSError as error:
            raise BadHost(f'context "{name}" cannot be stored: {error}') from None

    def _write_tls(self, name: str, tls: Material) -> None:
        import shutil

        place = self.tls_folder(name)
        if not any(tls.values()):
            shutil.rmtree(place, ignore_errors=True)
            return
        fresh, old = f"{place}.{os.getpid()}.new", f"{place}.{os.getpid()}.old"
        try:
            for endpoint, files in tls.items():
                os.makedirs(os.path.join(fresh, endpoint), mode=0o700)
                for file, content in files.items():
                    replace_file(os.path.join(fresh, endpoint, file), content, 0o600)
            if os.path.exists(place):
                os.rename(place, old)
            os.rename(fresh, place)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)

    def remove(self, name: str) -> None:
        """Idempotent; the keys go first."""
        import shutil

        for folder in (self.tls_folder(name), self.meta_folder(name)):
            try:
                shutil.rmtree(folder)
            except FileNotFoundError:
                pass
            except OSError as error:
                raise BadHost(f'context "{name}" cannot be removed: {error}') from None


def replace_file(path: str, content: bytes, mode: int) -> None:
    """Write a file that is there whole or not at all. Raises ``OSError``."""
    part = f"{path}.{os.getpid()}.part"
    try:
        with open(part, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.unlink(part)

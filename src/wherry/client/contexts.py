"""Docker's context store: ``contexts/meta/<sha256 of name>/meta.json`` and TLS files beside."""

from __future__ import annotations

import os

from wherry.client.config import Tls
from wherry.client.errors import BadHost


def context_id(name: str) -> str:
    import hashlib

    return hashlib.sha256(name.encode()).hexdigest()


def read_context(folder: str, name: str) -> tuple[str, Tls | None]:
    """The host and TLS files of a stored context. Raises :class:`BadHost` when there is none."""
    import json

    identity = context_id(name)
    path = os.path.join(folder, "contexts", "meta", identity, "meta.json")
    try:
        with open(path, encoding="utf-8") as file:
            meta = json.load(file)
        endpoint = meta["Endpoints"]["docker"]
        host = str(endpoint["Host"])
    except FileNotFoundError:
        raise BadHost(f'context "{name}": context not found: open {path}: no such file') from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadHost(f'context "{name}": cannot read {path}: {error}') from None
    files = os.path.join(folder, "contexts", "tls", identity, "docker")
    if not os.path.isdir(files):
        return host, None
    ca, cert, key = (
        path if os.path.exists(path := os.path.join(files, part)) else ""
        for part in ("ca.pem", "cert.pem", "key.pem")
    )
    return host, Tls(ca, cert, key, verify=not endpoint.get("SkipTLSVerify"))

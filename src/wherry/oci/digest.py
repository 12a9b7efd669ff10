"""Content digests (OCI image spec 1.1, "Digests"): Wherry writes ``sha256:<64 hex>`` only."""

from __future__ import annotations

import hashlib
import re

from wherry.errors import Invalid

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def of_bytes(data: bytes) -> str:
    """Digest of ``data``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def parse(text: str) -> str:
    """Return ``text`` if it is a well-formed sha256 digest, else raise ``Invalid``."""
    if not is_digest(text):
        raise Invalid(f"invalid digest: {text!r}: expected sha256: and 64 hex digits")
    return text


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def hex_of(digest: str) -> str:
    """``sha256:abc`` -> ``abc``: the name of the blob or layer on disk."""
    return digest.partition(":")[2]


def chain_id(diff_ids: list[str]) -> str:
    """ChainID of a stack of layers, base first (OCI image spec, "Layer ChainID")."""
    chain = ""
    for diff_id in diff_ids:
        chain = of_bytes(f"{chain} {diff_id}".encode()) if chain else diff_id
    return chain

"""JSON documents of foreign archives: whatever is in them, the answer is a value or ``Invalid``."""

from __future__ import annotations

import json
from typing import Any

from wherry.errors import Invalid
from wherry.images.worker.split import Piece

LIMIT = 16 << 20
"""Bytes of the largest document that is read."""


def document(data: bytes, name: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{name}: invalid JSON: {error}") from error


def of_piece(piece: Piece, name: str) -> Any:
    """The document in a file of the archive."""
    if piece.size > LIMIT:
        raise Invalid(f"{name} is too large: {piece.size} bytes")
    return document(piece.path.read_bytes(), name)


def mapping(value: Any, name: str) -> dict[str, Any]:
    """An object; nothing at all is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Invalid(f"{name}: expected an object")
    return value


def listed(value: Any, name: str) -> list[Any]:
    """A list; nothing at all is an empty one."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise Invalid(f"{name}: expected a list")
    return value


def objects(value: Any, name: str) -> list[dict[str, Any]]:
    """A list of objects."""
    found = listed(value, name)
    if not all(isinstance(each, dict) for each in found):
        raise Invalid(f"{name}: expected a list of objects")
    return found

"""Events as ``GET /events`` writes them, and its filters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wherry.wire.filters import Filters

_PREFIXED = ("health_status", "exec_create", "exec_start")
FILTERS = frozenset(
    {
        "config", "container", "daemon", "event", "image", "label", "network", "node", "plugin",
        "scope", "secret", "service", "type", "volume",
    }
)  # fmt: skip
_NAMED = ("container", "volume", "network", "daemon", "plugin", "service", "node", "secret")


@dataclass(frozen=True)
class Event:
    """Something that happened. ``time`` in nanoseconds since 1970."""

    sequence: int
    time: int
    kind: str
    """container, image, volume, network, daemon ..."""
    action: str
    """Docker's word, e.g. ``start`` or ``health_status: healthy``."""
    actor_id: str
    attributes: Mapping[str, str]


def render(event: Event) -> dict[str, Any]:
    """The API's object. ``status``, ``id`` and ``from``, which Docker dropped with API 1.52, stay:
    clients that negotiate the newest version still read them."""
    body: dict[str, Any] = {}
    if event.kind in ("container", "image"):
        body["status"] = event.action
        if event.actor_id:
            body["id"] = event.actor_id
        source = event.attributes.get("image", "") if event.kind == "container" else ""
        if source:
            body["from"] = source
    body |= {
        "Type": event.kind,
        "Action": event.action,
        "Actor": {"ID": event.actor_id, "Attributes": dict(event.attributes)},
        "scope": "local",
        "time": event.time // 1_000_000_000,
        "timeNano": event.time,
    }
    return body


def matches(event: Event, filters: Filters) -> bool:
    """Docker's rules: names and ids by prefix, images with or without their tag, labels all."""
    if not filters.exact("type", event.kind) or not filters.exact("scope", "local"):
        return False
    wanted = filters.values_of("event")
    if any(word in wanted for word in _PREFIXED):
        if not filters.prefix("event", event.action):
            return False
    elif not filters.exact("event", event.action):
        return False
    name = event.attributes.get("name", "")
    for kind in _NAMED:
        if kind in filters and not (
            filters.prefix(kind, event.actor_id) or filters.prefix(kind, name)
        ):
            return False
    return _image(event, filters) and filters.labels(event.attributes)


def _image(event: Event, filters: Filters) -> bool:
    if "image" not in filters:
        return True
    name = event.attributes.get("name" if event.kind == "image" else "image", "")
    return any(
        filters.exact("image", each)
        for each in (event.actor_id, name, _untagged(event.actor_id), _untagged(name))
    )


def _untagged(name: str) -> str:
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name

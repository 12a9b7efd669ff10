"""``sockets`` of ``daemon.json``: further sockets whose callers may do less (pure).

"sockets": [
  {"host": "unix:///run/wherry/look.sock", "scope": "read-only", "group": "monitoring"},
  {"host": "unix:///run/wherry/web.sock", "label": "team=web", "group": "web",
   "networks": ["web"], "volumes": ["web-data"]}
]
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wherry.api.scope import Label, Scope, parse_label
from wherry.errors import Invalid

_KEYS = ("host", "scope", "label", "group", "networks", "volumes")


@dataclass(frozen=True)
class LimitedSocket:
    """``group``: who may connect to a unix socket; "" for the daemon's own choice."""

    host: str
    scope: Scope
    group: str = ""


def parse(entries: Sequence[Any], hosts: Collection[str]) -> tuple[LimitedSocket, ...]:
    """The configured sockets. ``Invalid`` names the entry; ``hosts``: the unlimited ones."""
    made: list[LimitedSocket] = []
    for number, entry in enumerate(entries):
        try:
            one = _parse(entry)
            if one.host in hosts or one.host in (each.host for each in made):
                raise Invalid(f"{one.host} is there twice")
        except Invalid as error:
            raise Invalid(f"sockets[{number}]: {error.message}") from error
        made.append(one)
    return tuple(made)


def _parse(entry: Any) -> LimitedSocket:
    if not isinstance(entry, Mapping):
        raise Invalid("it is not an object")
    for key in entry:
        if key not in _KEYS:
            raise Invalid(f'the key "{key}" is not known (known are {", ".join(_KEYS)})')
    host, scope, label, group = (_text(entry, key) for key in _KEYS[:4])
    if not host.startswith(("unix:///", "tcp://")):
        raise Invalid(f'the host "{host}" does not start with unix:/// or tcp://')
    if scope not in ("", "read-only"):
        raise Invalid(f'the scope "{scope}" is not known: it is read-only, or there is a label')
    if not scope and not label:
        raise Invalid(f'{host} has neither the scope "read-only" nor a label: it has no limits')
    networks, volumes = _names(entry, "networks"), _names(entry, "volumes")
    if (networks or volumes) and not label:
        raise Invalid("networks and volumes are for sockets with a label")
    confined = Label(*parse_label(label), networks, volumes) if label else None
    return LimitedSocket(host, Scope(bool(scope), confined), group)


def _text(entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key, "")
    if not isinstance(value, str):
        raise Invalid(f'the value of "{key}" is not a text')
    return value


def _names(entry: Mapping[str, Any], key: str) -> frozenset[str]:
    value = entry.get(key, [])
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise Invalid(f'the value of "{key}" is not a list of names')
    return frozenset(value)

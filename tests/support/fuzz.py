"""Requests of any route with values that are wrong, odd or extreme, and none that does harm.

What is made here may be sent to a real daemon that runs as root: no value names the host, a device,
a real path or a registry, and containers that come of it are never started.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from hypothesis import strategies as st

from wherry.wire.container import Config, CreateRequest, HostConfig, UpdateRequest
from wherry.wire.exec import ExecBody, ExecStartBody
from wherry.wire.network import NetworkConnect, NetworkCreate, NetworkDisconnect
from wherry.wire.volume import VolumeClone, VolumeCreate, VolumeUpdate

BODIES: Mapping[str, type[msgspec.Struct]] = {
    "POST /containers/create": CreateRequest,
    "POST /containers/{id}/update": UpdateRequest,
    "POST /containers/{id}/exec": ExecBody,
    "POST /exec/{id}/start": ExecStartBody,
    "POST /commit": Config,
    "POST /networks/create": NetworkCreate,
    "POST /networks/{id}/connect": NetworkConnect,
    "POST /networks/{id}/disconnect": NetworkDisconnect,
    "POST /volumes/create": VolumeCreate,
    "POST /wherry/volumes/{name}/update": VolumeUpdate,
    "POST /wherry/volumes/{name}/clone": VolumeClone,
}
OUTSIDE = frozenset(
    {
        "POST /auth",
        "POST /build",
        "GET /images/search",
        "POST /images/{name:.+}/push",
        "GET /distribution/{name:.+}/json",
    }
)
"""Routes that may ask a registry: not from a test."""

_TEXT_TEXTS = (
    "a none 0 -1 1.5 ../.. a:b:c a=b = , container:running container:absent running stopped absent "
    "1/tcp 65536/udp CMD always on-failure tmpfs volume 10m 5s 99999999999999999999 % ["
)
TEXTS = ("", "A b", "é\n", "x" * 300, *_TEXT_TEXTS.split())
INTS = (0, 1, -1, 2, 7, 1000, 10**9, 2**31, -(2**31), 2**63 - 1, -(2**63), 2**63)
JUNK: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, "", "x"),
    *([], [1], ["x"], [None], [[]], {}, {"x": 1}, {"x": None}),
)
_TEXT_QUERY = (
    "all author changes comment condition container copyUIDGID detachKeys details dry-run follow "
    "force h limit link logs message name names noOverwriteDirNonDir noprune one-shot overwrite "
    "path pause platform ps_args quiet repo scope shared-size since size stderr stdin stdout "
    "stream tag tail timestamps type until v verbose w without"
)
QUERY = tuple(_TEXT_QUERY.split())
_TEXT_VALUES = '0 1 -1 x a/b /tmp /no/such {} [ 1.5 1h 2020-01-01 {"os":1} removed a:b :: BAD'
VALUES = ("", "A b", "\0", "é\n", "-o pid", "9" * 30, "9" * 5000, *_TEXT_VALUES.split())
_TEXT_FILTERS = (
    "ancestor before dangling driver event exited expose health id image is-task label label! "
    "name name! network publish reference scope since status type until volume x"
)
FILTERS = tuple(_TEXT_FILTERS.split())
WAYS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE")
IMAGE = "fuzzed:1"


def shaped(kind: Any) -> st.SearchStrategy[Any]:
    """JSON values that fit a field's type, now and then ones that do not."""
    return st.one_of(_fitting(kind), _fitting(kind), _fitting(kind), st.sampled_from(JUNK))


def _fitting(kind: Any) -> st.SearchStrategy[Any]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return struct(kind)
    inner, origin = typing.get_args(kind), typing.get_origin(kind)
    if origin is dict:
        return st.dictionaries(st.sampled_from(TEXTS), shaped(inner[1]), max_size=2)
    if origin is list:
        return st.lists(shaped(inner[0]), max_size=3)
    if origin in (types.UnionType, typing.Union):
        return st.one_of([_fitting(each) for each in inner])
    plain: dict[Any, tuple[Any, ...]] = {str: TEXTS, int: INTS, bool: (True, False)}
    return st.sampled_from(plain.get(kind, JUNK))


def struct(kind: type[msgspec.Struct], most: int = 3) -> st.SearchStrategy[dict[str, Any]]:
    """An object with up to ``most`` of a struct's keys, written in their case or another."""
    fields = msgspec.structs.fields(kind)
    one = st.sampled_from(fields).flatmap(
        lambda each: st.tuples(
            st.sampled_from((each.encode_name, each.encode_name, each.encode_name.lower())),
            st.deferred(lambda: shaped(each.type)),
        )
    )
    return st.lists(one, max_size=most).map(dict)


def bodies(route: str) -> st.SearchStrategy[bytes]:
    """JSON for a route: of its struct's shape, of none, or no JSON."""
    kind = BODIES.get(route, HostConfig)
    made: st.SearchStrategy[Any] = struct(kind)
    if kind is CreateRequest:
        made = st.builds(_create, struct(Config), struct(HostConfig, 4))
    return st.one_of(
        made.map(json.dumps).map(str.encode),
        made.map(json.dumps).map(str.encode),
        st.sampled_from(JUNK).map(json.dumps).map(str.encode),
        st.binary(max_size=20),
    )


def _create(config: dict[str, Any], host: dict[str, Any]) -> dict[str, Any]:
    """Right but for what was drawn; without a network of its own unless one was drawn."""
    return {
        "Image": IMAGE,
        "Cmd": ["true"],
        **config,
        "HostConfig": {"NetworkMode": "none", **host},
    }


def queries() -> st.SearchStrategy[str]:
    parameter = st.tuples(st.sampled_from(QUERY), st.sampled_from(VALUES).map(quote))
    parts = st.lists(parameter.map("=".join), max_size=3)
    named = st.dictionaries(st.sampled_from(FILTERS), shaped(list[str]), max_size=2)
    filters = st.one_of(st.just(""), named.map(lambda held: "filters=" + quote(json.dumps(held))))
    return st.builds(lambda first, rest: "?" + "&".join([*rest, first]), filters, parts)


def paths(pattern: str, names: Mapping[str, tuple[str, ...]]) -> st.SearchStrategy[str]:
    """The pattern with its parameters drawn from ``names`` (by the parameter's word) and junk."""
    found = st.just(pattern)
    for part in ("{id}", "{name:.+}", "{name}", "{label}", "{rest:.*}"):
        if part in pattern:
            values = (*names.get(part.strip("{}").partition(":")[0], ()), *_ODD)
            found = st.builds(str.replace, found, st.just(part), st.sampled_from(values))
    return st.builds(lambda prefix, path: prefix + path, st.sampled_from(_PREFIXES), found)


_TEXT_ODD = "absent %00 %ff %2e%2e a%2fb %0a %20 %"
_ODD = (*_TEXT_ODD.split(), "x" * 300, "sha256:" + "0" * 64)
_PREFIXES = (*[""] * 12, "/v1.24", "/v1.41", "/v1.55", "/v1.23", "/v9.9", "/v")


def requests(
    route: str, names: Mapping[str, tuple[str, ...]]
) -> st.SearchStrategy[tuple[str, str, bytes]]:
    """(method, path with query, body) of a route; seldom with another method."""
    method, _, pattern = route.partition(" ")
    ways = st.sampled_from((*[method] * 40, *WAYS))
    return st.tuples(ways, st.builds(str.__add__, paths(pattern, names), queries()), bodies(route))

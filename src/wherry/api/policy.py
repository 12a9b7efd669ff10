"""Who may do what on a limited socket: one table of all routes, enforced and audited here alone.

A request on such a socket passes ``Guard.admit`` between routing and its handler, with the very
objects (path parameters, query, decoded body) that the handler will use. A route that is not in
the table is refused. Foreign containers do not exist for the callers of a label's socket: every
reference is looked up here, and replaced by the full id.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Protocol

import msgspec
from aiohttp import web

from wherry.api import scope as rules
from wherry.api.replies import json_reply
from wherry.api.routing import Call, Route
from wherry.api.scope import Label, Scope, refuse
from wherry.errors import Conflict, Invalid, NotFound
from wherry.wire.container import CreateRequest, UpdateRequest
from wherry.wire.exec import ExecBody

_audit = logging.getLogger("wherry.audit")
_SHOWN = 400
"""Characters of a path and query that the log shows."""

READ, CHANGE = True, False
"""Whether a route only looks: then it is there on a read-only socket."""


class Rule(Enum):
    """What a route is on a label's socket."""

    NO = "refused"
    HIDDEN = "finds nothing: clients that look for a name in every kind go on to the next"
    OPEN = "tells nothing of containers"
    OWN = "``{id}`` is an own container"
    START = "an own container, from no directory of the host"
    OWN_EXEC = "``{id}`` is an exec of an own container"
    LIST = "its filters are narrowed to own containers"
    EVENTS = "those of own containers"
    INFO = "counts own containers"
    CREATE = "puts the label on, within what ``scope`` allows"
    UPDATE = "of an own container, within what ``scope`` allows"
    RENAME = "of an own container, to a name that is free"
    EXEC = "in an own container, within what ``scope`` allows"
    TOP = "of an own container, with columns as they are"


TABLE: Mapping[str, tuple[bool, Rule]] = {
    "GET /_ping": (READ, Rule.OPEN),
    "HEAD /_ping": (READ, Rule.OPEN),
    "GET /version": (READ, Rule.OPEN),
    "GET /info": (READ, Rule.INFO),
    "GET /system/df": (READ, Rule.NO),
    "GET /events": (READ, Rule.EVENTS),
    "GET /plugins": (READ, Rule.OPEN),
    "GET /plugins/{name:.+}/json": (READ, Rule.OPEN),
    "POST /auth": (CHANGE, Rule.NO),
    "GET /containers/json": (READ, Rule.LIST),
    "POST /containers/create": (CHANGE, Rule.CREATE),
    "POST /containers/prune": (CHANGE, Rule.LIST),
    "POST /commit": (CHANGE, Rule.NO),
    "DELETE /containers/{id}": (CHANGE, Rule.OWN),
    "GET /containers/{id}/json": (READ, Rule.OWN),
    "GET /containers/{id}/top": (READ, Rule.TOP),
    "GET /containers/{id}/changes": (READ, Rule.OWN),
    "GET /containers/{id}/logs": (READ, Rule.OWN),
    "DELETE /containers/{id}/logs": (CHANGE, Rule.OWN),
    "GET /containers/{id}/stats": (READ, Rule.OWN),
    "POST /containers/{id}/start": (CHANGE, Rule.START),
    "POST /containers/{id}/stop": (CHANGE, Rule.OWN),
    "POST /containers/{id}/restart": (CHANGE, Rule.OWN),
    "POST /containers/{id}/kill": (CHANGE, Rule.OWN),
    "POST /containers/{id}/pause": (CHANGE, Rule.OWN),
    "POST /containers/{id}/unpause": (CHANGE, Rule.OWN),
    "POST /containers/{id}/rename": (CHANGE, Rule.RENAME),
    "POST /containers/{id}/resize": (CHANGE, Rule.OWN),
    "POST /containers/{id}/update": (CHANGE, Rule.UPDATE),
    "POST /containers/{id}/wait": (READ, Rule.OWN),
    "POST /containers/{id}/attach": (CHANGE, Rule.OWN),
    "GET /containers/{id}/attach/ws": (CHANGE, Rule.OWN),
    "HEAD /containers/{id}/archive": (READ, Rule.OWN),
    "GET /containers/{id}/archive": (READ, Rule.OWN),
    "PUT /containers/{id}/archive": (CHANGE, Rule.OWN),
    "GET /containers/{id}/export": (READ, Rule.OWN),
    "GET /containers/{id}/checkpoints": (READ, Rule.NO),
    "POST /containers/{id}/checkpoints": (CHANGE, Rule.NO),
    "DELETE /containers/{id}/checkpoints/{name}": (CHANGE, Rule.NO),
    "POST /containers/{id}/exec": (CHANGE, Rule.EXEC),
    "POST /exec/{id}/start": (CHANGE, Rule.OWN_EXEC),
    "POST /exec/{id}/resize": (CHANGE, Rule.OWN_EXEC),
    "GET /exec/{id}/json": (READ, Rule.OWN_EXEC),
    "GET /images/json": (READ, Rule.OPEN),
    "GET /images/{name:.+}/json": (READ, Rule.OPEN),
    "GET /images/{name:.+}/history": (READ, Rule.OPEN),
    "GET /images/get": (READ, Rule.NO),
    "GET /images/{name:.+}/get": (READ, Rule.NO),
    "GET /images/search": (READ, Rule.NO),
    "GET /images/{name:.+}/attestations": (READ, Rule.NO),
    "GET /distribution/{name:.+}/json": (READ, Rule.NO),
    "POST /images/create": (CHANGE, Rule.NO),
    "POST /images/load": (CHANGE, Rule.NO),
    "POST /images/prune": (CHANGE, Rule.NO),
    "POST /images/{name:.+}/tag": (CHANGE, Rule.NO),
    "POST /images/{name:.+}/push": (CHANGE, Rule.NO),
    "DELETE /images/{name:.+}": (CHANGE, Rule.NO),
    "POST /build": (CHANGE, Rule.NO),
    "POST /build/prune": (CHANGE, Rule.NO),
    "POST /build/cancel": (CHANGE, Rule.NO),
    "POST /session": (CHANGE, Rule.NO),
    "POST /grpc": (CHANGE, Rule.NO),
    "GET /networks": (READ, Rule.NO),
    "GET /networks/{id}": (READ, Rule.HIDDEN),
    "POST /networks/create": (CHANGE, Rule.NO),
    "POST /networks/prune": (CHANGE, Rule.NO),
    "DELETE /networks/{id}": (CHANGE, Rule.NO),
    "POST /networks/{id}/connect": (CHANGE, Rule.NO),
    "POST /networks/{id}/disconnect": (CHANGE, Rule.NO),
    "GET /volumes": (READ, Rule.NO),
    "GET /volumes/{name}": (READ, Rule.HIDDEN),
    "POST /volumes/create": (CHANGE, Rule.NO),
    "POST /volumes/prune": (CHANGE, Rule.NO),
    "PUT /volumes/{name}": (CHANGE, Rule.NO),
    "DELETE /volumes/{name}": (CHANGE, Rule.NO),
    "POST /wherry/volumes/{name}/update": (CHANGE, Rule.NO),
    "POST /wherry/volumes/{name}/rename": (CHANGE, Rule.NO),
    "GET /wherry/volumes/{name}/export": (READ, Rule.NO),
    "POST /wherry/volumes/{name}/import": (CHANGE, Rule.NO),
    "POST /wherry/volumes/{name}/clone": (CHANGE, Rule.NO),
    "GET /wherry/volumes/{name}/snapshots": (READ, Rule.NO),
    "POST /wherry/volumes/{name}/snapshots": (CHANGE, Rule.NO),
    "DELETE /wherry/volumes/{name}/snapshots/{label}": (CHANGE, Rule.NO),
    "POST /wherry/volumes/{name}/snapshots/{label}/restore": (CHANGE, Rule.NO),
}
"""Route -> (whether it only looks, rule on a label's socket)."""


class Directory(Protocol):
    """What must be known of containers; implemented by the containers service."""

    def labels_of(self, ref: str) -> tuple[str, Mapping[str, str]]:
        """Full id and labels. ``NotFound``, or ``Invalid`` for an ambiguous prefix."""

    def holder(self, name: str) -> str | None:
        """Id of the container that has a name."""

    def exec_inspect(self, exec_id: str) -> dict[str, Any]:
        """``ID`` and ``ContainerID`` of an exec. ``NotFound``."""

    def summaries(self, filters: Mapping[str, list[str]], *, all: bool) -> list[dict[str, Any]]:
        """Rows of a list."""


class Guard:
    """The policy of one limited socket. ``name``: how the log calls it."""

    def __init__(self, name: str, scope: Scope, directory: Directory) -> None:
        self._name = name
        self._scope = scope
        self._directory = directory

    @contextlib.contextmanager
    def watching(self, request: web.BaseRequest) -> Iterator[None]:
        """One line in the log for a request: who, what, and whether it was let through."""
        what = f"{request.method} {request.raw_path[:_SHOWN]}"
        try:
            yield
        except Exception as error:
            _audit.info("%s: %s: %s: refused: %s", self._name, _peer(request), what, _line(error))
            raise
        _audit.info("%s: %s: %s: allowed", self._name, _peer(request), what)

    async def admit(self, call: Call, route: Route) -> None:
        """Let a call through, narrowed to what is its own. ``Forbidden`` or ``NotFound``."""
        reads, rule = TABLE.get(route.name, (CHANGE, Rule.NO))
        if self._scope.read_only and not reads:
            raise refuse(f"{route.name}: it is read-only")
        if self._scope.label is not None:
            await self._confined(call, route, rule, self._scope.label)

    async def _confined(self, call: Call, route: Route, rule: Rule, label: Label) -> None:
        if rule is Rule.NO:
            raise refuse(f"{route.name}: it is for containers with the label {label.text} only")
        if rule is Rule.HIDDEN:
            raise NotFound(f"No such object: {next(iter(call.path.values()))}")
        if rule is Rule.OWN_EXEC:
            call.path["id"] = self._own_exec(call.path["id"], label)
        elif "id" in call.path:
            call.path["id"] = self._own(call.path["id"], label)

        def own(ref: str) -> str:
            return self._own(ref, label)

        if rule is Rule.LIST:
            call.query = call.query.refiltered(rules.narrowed(call.query.filters(), label, own))
        elif rule is Rule.EVENTS:
            call.query = call.query.refiltered(rules.narrowed_events(call.query.filters(), label))
        elif rule is Rule.CREATE:
            self._refuse_taken(call, label)
            rules.confine_create(await call.body(CreateRequest), label, own)
        elif rule is Rule.START and call.query.text("checkpoint-dir"):
            raise refuse("checkpoint-dir")
        elif rule is Rule.RENAME:
            self._refuse_taken(call, label)
        elif rule is Rule.UPDATE:
            rules.confine_update(await call.body(UpdateRequest), label, own)
        elif rule is Rule.EXEC:
            rules.confine_exec(await call.body(ExecBody))
        elif rule is Rule.TOP:
            rules.confine_ps(call.query.text("ps_args"))

    def _own(self, ref: str, label: Label) -> str:
        """Full id of an own container. An ambiguous prefix would tell of foreign ones."""
        with contextlib.suppress(NotFound, Invalid):
            container_id, labels = self._directory.labels_of(ref)
            if label.on(labels):
                return container_id
        raise NotFound(f"No such container: {ref}")

    def _own_exec(self, exec_id: str, label: Label) -> str:
        with contextlib.suppress(NotFound):
            found = self._directory.exec_inspect(exec_id)
            self._own(found["ContainerID"], label)
            return str(found["ID"])
        raise NotFound(f"No such exec instance: {exec_id}")

    def _refuse_taken(self, call: Call, label: Label) -> None:
        """A name in use is refused without saying by whom, when it is a foreign container."""
        name = call.query.text("name")
        holder = self._directory.holder(name) if name else None
        if holder is None:
            return
        try:
            self._own(holder, label)
        except NotFound:
            raise Conflict(f'Conflict. The container name "/{name}" is already in use') from None

    def finish(self, route: Route, response: web.StreamResponse) -> web.StreamResponse:
        """The reply as the caller may see it: ``/info`` counts own containers alone."""
        label = self._scope.label
        body = getattr(response, "body", None)
        if label is None or TABLE[route.name][1] is not Rule.INFO or not isinstance(body, bytes):
            return response
        rows = self._directory.summaries({"label": [label.text]}, all=True)
        states = [row["State"] for row in rows]
        running = states.count("running") + states.count("restarting")
        paused = states.count("paused")
        info = msgspec.json.decode(body)
        info |= {
            "Containers": len(states),
            "ContainersRunning": running,
            "ContainersPaused": paused,
            "ContainersStopped": len(states) - running - paused,
        }
        return json_reply(info)


def _line(error: Exception) -> str:
    """For the log: no line breaks of the caller's."""
    return str(error)[:_SHOWN].encode("unicode_escape").decode()


def _peer(request: web.BaseRequest) -> str:
    """Who calls: process and user of a unix socket, address (and certificate) of TCP."""
    transport = request.transport
    if transport is None:
        return "a caller that is gone"
    link = transport.get_extra_info("socket")
    if link is not None and link.family == socket.AF_UNIX:
        raw = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid, uid, gid = struct.unpack("3i", raw)
        return f"pid {pid} uid {uid} gid {gid}"
    address = transport.get_extra_info("peername") or ("?", 0)
    certificate = transport.get_extra_info("peercert") or {}
    names = [value for part in certificate.get("subject", ()) for key, value in part]
    return f"{address[0]} port {address[1]}" + (f" certificate {', '.join(names)}" if names else "")

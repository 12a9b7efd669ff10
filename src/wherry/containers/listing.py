"""Rows of ``GET /containers/json``: rendering and all its filters; pure.

Filters of moby ``daemon/list.go``: ancestor, before, expose, exited, health, id, is-task, label,
name, network, publish, since, status, volume.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wherry.containers.inspect import network_settings, render_mounts
from wherry.containers.merge import normal_port
from wherry.containers.record import Record
from wherry.containers.transitions import Status, counts_as_running
from wherry.errors import Invalid
from wherry.wire.durations import human_duration
from wherry.wire.filters import Filters

_TEXT_FILTERS = (
    "ancestor before exited id isolation label name status health since volume network "
    "is-task publish expose"
)
FILTERS = frozenset(_TEXT_FILTERS.split())
_HEALTH = frozenset(("starting", "healthy", "unhealthy", "none"))


def status_text(record: Record, now_ns: int | None = None) -> str:
    """Docker's words: ``Up 5 minutes (healthy)``, ``Exited (0) 3 seconds ago`` ..."""
    state = record.state
    now = time.time_ns() if now_ns is None else now_ns
    status = state.status
    if status in (Status.RUNNING, Status.PAUSED):
        up = f"Up {human_duration(now - state.started_ns)}"
        if status is Status.PAUSED:
            return f"{up} (Paused)"
        if state.health is not None:
            word = state.health.status
            return f"{up} ({'health: starting' if word == 'starting' else word})"
        return up
    if status is Status.RESTARTING:
        since = human_duration(now - state.finished_ns)
        return f"Restarting ({state.exit_code}) {since} ago"
    if status is Status.REMOVING:
        return "Removal In Progress"
    if status is Status.DEAD:
        return "Dead"
    if not state.started_ns:
        return "Created"
    return f"Exited ({state.exit_code}) {human_duration(now - state.finished_ns)} ago"


def command_text(argv: Sequence[str]) -> str:
    return " ".join([*argv[:1], *(f"'{each}'" if " " in each else each for each in argv[1:])])


def ports(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """``NetworkSettings.Ports`` as the list's rows."""
    rows: list[dict[str, Any]] = []
    for port, bindings in (settings.get("Ports") or {}).items():
        number, _, protocol = port.partition("/")
        row = {"PrivatePort": int(number), "Type": protocol or "tcp"}
        public = [each for each in bindings or () if each.get("HostPort")]
        if not public:
            rows.append(row)
        for binding in public:
            rows.append(
                {
                    "IP": binding.get("HostIp", ""),
                    "PrivatePort": int(number),
                    "PublicPort": int(binding["HostPort"]),
                    "Type": protocol or "tcp",
                }
            )
    return rows


def summary(
    record: Record,
    *,
    image: str,
    networks: Mapping[str, Any],
    now_ns: int,
    names: Sequence[str] = (),
    size: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """One row. ``image``: the name to show; ``names``: further ones, by which others link it."""
    settings = network_settings(record, networks)
    running = counts_as_running(record.status)
    row: dict[str, Any] = {
        "Id": record.id,
        "Names": ["/" + record.name, *names],
        "Image": image,
        "ImageID": record.image.id,
        "Command": command_text(record.argv),
        "Created": record.created_ns // 1_000_000_000,
        "Ports": ports(settings) if running else [],
        "Labels": record.labels,
        "State": str(record.status),
        "Status": status_text(record, now_ns),
        "HostConfig": {"NetworkMode": record.host_config.network_mode or "default"},
        "NetworkSettings": {"Networks": settings["Networks"]},
        "Mounts": render_mounts(record.mount_points),
    }
    if record.state.health is not None:
        row["Health"] = {
            "Status": record.state.health.status,
            "FailingStreak": record.state.health.failing,
        }
    if size is not None:
        row |= {"SizeRw": size[0]} if size[0] else {}
        row["SizeRootFs"] = size[1]
    return row


class Query:
    """Filters made ready. Raises ``Invalid`` for an unknown name or value.

    ``find``: a reference to its record, for before and since. ``images``: an ancestor's name to
    the ids of the images it means, children included.
    """

    def __init__(
        self,
        filters: Mapping[str, Sequence[str]],
        find: Callable[[str], Record],
        images: Callable[[str], Sequence[str]],
        settings: Callable[[str], Mapping[str, Any]],
    ) -> None:
        self._filters = Filters(filters)
        self._filters.validate(FILTERS)
        self._settings = settings
        self.any_status = bool(self._filters.values_of("status"))
        for status in self._filters.values_of("status"):
            if status not in set(Status):
                raise Invalid(f"invalid filter 'status={status}'")
        for health in self._filters.values_of("health"):
            if health not in _HEALTH:
                raise Invalid(f"invalid filter 'health={health}'")
        self._codes = {_code(text) for text in self._filters.values_of("exited")}
        self._before = self._edge("before", find, min)
        self._since = self._edge("since", find, max)
        self._task = self._filters.boolean("is-task") if "is-task" in filters else None
        self._ancestors: frozenset[str] | None = None
        if self._filters.values_of("ancestor"):
            self._ancestors = frozenset(
                image for name in self._filters.values_of("ancestor") for image in images(name)
            )
        self._publish = self._port_sets("publish")
        self._expose = self._port_sets("expose")

    def _edge(
        self, name: str, find: Callable[[str], Record], pick: Callable[[list[int]], int]
    ) -> int | None:
        values = self._filters.values_of(name)
        return pick([find(value).created_ns for value in values]) if values else None

    def _port_sets(self, name: str) -> frozenset[str]:
        found: set[str] = set()
        for value in self._filters.values_of(name):
            numbers, _, protocol = normal_port(value).partition("/")
            first, _, last = numbers.partition("-")
            found |= {f"{n}/{protocol}" for n in range(int(first), int(last or first) + 1)}
        return frozenset(found)

    @property
    def shows_stopped(self) -> bool:
        """These filters look at containers that do not run, too."""
        return (
            self.any_status
            or bool(self._codes)
            or self._before is not None
            or (self._since is not None)
        )

    def matches(self, record: Record) -> bool:
        return (
            self._matches_identity(record)
            and self._matches_state(record)
            and self._matches_places(record)
        )

    def _matches_identity(self, record: Record) -> bool:
        filters = self._filters
        if not filters.search("id", record.id) and not filters.prefix("id", record.id):
            return False
        names = filters.values_of("name")
        if names and not (
            filters.search("name", record.name) or filters.search("name", "/" + record.name)
        ):
            return False
        if not filters.labels(record.labels):
            return False
        if self._ancestors is not None and record.image.id not in self._ancestors:
            return False
        return not self._task

    def _matches_state(self, record: Record) -> bool:
        state = record.state
        if not self._filters.exact("status", str(state.status)):
            return False
        health = state.health.status if state.health is not None else "none"
        if not self._filters.exact("health", health):
            return False
        if self._codes and (
            state.exit_code not in self._codes
            or counts_as_running(state.status)
            or not state.started_ns
        ):
            return False
        if self._before is not None and record.created_ns >= self._before:
            return False
        return self._since is None or record.created_ns > self._since

    def _matches_places(self, record: Record) -> bool:
        volumes = self._filters.values_of("volume")
        if volumes and not any(
            value in (point.name, point.destination, point.source)
            for value in volumes
            for point in record.mount_points
        ):
            return False
        if not self._filters.values_of("network") and not (self._publish or self._expose):
            return True
        settings = network_settings(record, self._settings(record.id))
        return self._matches_networks(settings) and self._matches_ports(record, settings)

    def _matches_networks(self, settings: Mapping[str, Any]) -> bool:
        wanted = self._filters.values_of("network")
        if not wanted:
            return True
        networks: Mapping[str, Any] = settings["Networks"] or {}
        for name, endpoint in networks.items():
            network_id = (endpoint or {}).get("NetworkID") or ""
            if any(
                each in (name, network_id) or (network_id and network_id.startswith(each))
                for each in wanted
            ):
                return True
        return False

    def _matches_ports(self, record: Record, settings: Mapping[str, Any]) -> bool:
        if self._publish:
            published = {port for port, bound in (settings["Ports"] or {}).items() if bound}
            bindings = record.host_config.port_bindings or {}
            published |= {normal_port(port) for port in bindings}
            if not published & self._publish:
                return False
        if self._expose:
            exposed = {normal_port(port) for port in record.config.exposed_ports or ()}
            if not exposed & self._expose:
                return False
        return True


def _code(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise Invalid(f"invalid filter 'exited={text}'") from error

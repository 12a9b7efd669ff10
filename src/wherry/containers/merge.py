"""What a container runs: the image's configuration and the request, merged by Docker's rules.

Rules: moby ``daemon/commit.go`` (``merge``) and ``daemon/create.go``; pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from wherry.containers.record import as_list
from wherry.errors import Invalid
from wherry.wire.container import Config, CreateRequest, HealthConfig


def merge_config(request: CreateRequest, image: Mapping[str, Any] | None) -> Config:
    """The container's ``Config``. ``image``: the image's ``config`` object, Pascal-case keys.

    - Entrypoint of the request drops the image's Cmd; ``[""]`` clears the image's entrypoint.
    - Cmd comes from the image only when the request has neither Cmd nor Entrypoint.
    - Env, Labels, ExposedPorts, Volumes are joined; the request wins.
    - User, WorkingDir, StopSignal, StopTimeout, Shell: the request's, else the image's.
    - Healthcheck: the fields that the request leaves open come from the image.

    Raises ``Invalid`` when there is nothing to run.
    """
    base = image_config(image)
    own = Config(**{name: getattr(request, name) for name in Config.__struct_fields__})
    entrypoint, cmd = as_list(own.entrypoint), as_list(own.cmd)
    if not entrypoint:
        if not cmd:
            cmd = as_list(base.cmd)
        if own.entrypoint is None or not as_list(own.entrypoint):
            entrypoint = as_list(base.entrypoint)
    if entrypoint == [""]:
        entrypoint = []
    merged: Config = msgspec.structs.replace(
        own,
        entrypoint=entrypoint or None,
        cmd=cmd or None,
        args_escaped=own.args_escaped or base.args_escaped,
        env=merge_env(own.env or (), base.env or ()),
        labels={**(base.labels or {}), **(own.labels or {})},
        exposed_ports=_ports(base.exposed_ports, own.exposed_ports),
        volumes={**(base.volumes or {}), **(own.volumes or {})} or None,
        user=own.user or base.user or "",
        working_dir=own.working_dir or base.working_dir or "",
        stop_signal=own.stop_signal or base.stop_signal or None,
        stop_timeout=own.stop_timeout if own.stop_timeout is not None else base.stop_timeout,
        shell=own.shell or base.shell,
        healthcheck=_health(own.healthcheck, base.healthcheck),
        hostname=own.hostname or "",
        domainname=own.domainname or "",
        attach_stdin=bool(own.attach_stdin),
        attach_stdout=bool(own.attach_stdout),
        attach_stderr=bool(own.attach_stderr),
        tty=bool(own.tty),
        open_stdin=bool(own.open_stdin),
        stdin_once=bool(own.stdin_once),
        image=own.image or "",
        on_build=own.on_build,
    )
    if not merged.entrypoint and not merged.cmd:
        raise Invalid("no command specified")
    return merged


def image_config(image: Mapping[str, Any] | None) -> Config:
    """An image's ``config`` object as a ``Config``; odd values raise ``Invalid``."""
    try:
        return msgspec.convert(dict(image or {}), Config)
    except msgspec.ValidationError as error:
        raise Invalid(f"the image's configuration cannot be used: {error}") from error


def merge_env(own: Iterable[str], base: Iterable[str]) -> list[str]:
    """The request's variables first, as Docker lists them, then the image's others.

    A name without ``=`` in the request removes the variable.
    """
    result: dict[str, str] = {}
    removed: set[str] = set()
    for each in own:
        name, equals, _ = each.partition("=")
        if equals:
            result[name] = each
            removed.discard(name)
        else:
            result.pop(name, None)
            removed.add(name)
    for each in base:
        name = each.partition("=")[0]
        if name not in removed:
            result.setdefault(name, each)
    return list(result.values())


def _ports(
    base: Mapping[str, Any] | None, own: Mapping[str, Any] | None
) -> dict[str, dict[str, Any]] | None:
    merged: dict[str, dict[str, Any]] = {}
    for each in (base or {}), (own or {}):
        for port in each:
            merged[normal_port(port)] = {}
    return merged or None


def normal_port(port: str) -> str:
    """``80`` -> ``80/tcp``; ranges ``80-82/udp`` are kept. Raises ``Invalid``."""
    number, _, protocol = port.partition("/")
    protocol = (protocol or "tcp").lower()
    first, dash, last = number.partition("-")
    ends = [first, last] if dash else [first]
    bad = Invalid(f'invalid port specification: "{port}"')
    if protocol not in ("tcp", "udp", "sctp"):
        raise bad
    for end in ends:
        if not re.fullmatch("[0-9]{1,5}", end) or int(end) > 65535:
            raise bad
    if dash and int(last) < int(first):
        raise bad
    return f"{number}/{protocol}"


def _health(own: HealthConfig | None, base: HealthConfig | None) -> HealthConfig | None:
    if own is None:
        return base
    if base is None:
        return own
    names = HealthConfig.__struct_fields__
    return HealthConfig(**{name: getattr(own, name) or getattr(base, name) for name in names})


def check_health(health: HealthConfig | None) -> None:
    """Raises ``Invalid`` for negative or too short times (API: 0, or at least 1 ms)."""
    if health is None:
        return
    if health.test and health.test[0] not in ("NONE", "CMD", "CMD-SHELL", ""):
        raise Invalid(f"Unknown healthcheck type '{health.test[0]}' (expected 'CMD')")
    for name, value in (
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
    ):
        if value and value < 1_000_000:
            raise Invalid(f"{name} in Healthcheck cannot be less than 1ms")
    if health.retries < 0:
        raise Invalid("Retries in Healthcheck cannot be negative")
    if health.on_unhealthy not in ("", "none", "restart", "stop", "kill"):
        raise Invalid(
            f"OnUnhealthy in Healthcheck is {health.on_unhealthy!r}: it must be none, restart, "
            "stop or kill"
        )

"""What an update makes of a container's record; pure.

Removals come before additions. What is to be removed and is not there is a warning: the wish is
fulfilled. What contradicts itself, or the container, raises ``Invalid`` naming the field.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from wherry.containers import merge
from wherry.containers.record import Health, Record
from wherry.containers.resources import RESOURCES, merge_resources
from wherry.errors import Conflict, Invalid
from wherry.wire.container import (
    Config,
    HealthConfig,
    HostConfig,
    Mount,
    PortBinding,
    UpdateRequest,
    pascal,
)
from wherry.wire.mounts import MountPoint


def clean(path: str) -> str:
    """The target as mount points have it: one slash in front, none at the end."""
    return "/" + posixpath.normpath(path).lstrip("/")


Bindings = Mapping[str, Sequence[PortBinding] | None]


@dataclass(frozen=True)
class Changed:
    config: Config
    host: HostConfig
    points: tuple[MountPoint, ...]
    """Mounts that stay."""
    adding: tuple[Mount, ...] = ()
    removing: tuple[MountPoint, ...] = ()
    resources: tuple[str, ...] = ()
    """API names of changed limits."""
    ports: bool = False
    health: bool = False
    plain: tuple[str, ...] = ()
    """API names of what is true as soon as it is written: labels, restart policy."""
    env: bool = False
    warnings: tuple[str, ...] = field(default=())


def changes(record: Record, asked: UpdateRequest) -> Changed:
    """The record's parts after the update. Raises ``Invalid`` or ``Conflict``."""
    old, config, warnings = record.host_config, record.config, list[str]()
    host = merge_resources(old, asked)
    resources = [name for name in RESOURCES if getattr(host, name) != getattr(old, name)]
    plain: list[str] = []
    policy = asked.restart_policy
    if policy is not None and policy.name:
        if old.auto_remove and policy.name != "no":
            raise Conflict(
                "Restart policy cannot be updated because AutoRemove is enabled for the container"
            )
        count = policy.maximum_retry_count or 0
        policy = msgspec.structs.replace(policy, maximum_retry_count=count)
        host = msgspec.structs.replace(host, restart_policy=policy)
        plain.append("RestartPolicy")
    env = merge_env(config.env or (), asked.env_add or (), asked.env_remove or (), warnings)
    labels = merge_labels(
        config.labels or {}, asked.labels_add or {}, asked.labels_remove or (), warnings
    )
    if asked.labels_add or asked.labels_remove:
        plain.append("Labels")
    bindings = merge_ports(
        old.port_bindings or {}, asked.publish_add or {}, asked.publish_remove or {}, warnings
    )
    ports = bindings != dict(old.port_bindings or {})
    if ports and asked.publish_add:
        _check_mode(old.network_mode or "")
    exposed = dict(config.exposed_ports or {})
    exposed.update({merge.normal_port(key): {} for key in asked.publish_add or {}})
    check = config.healthcheck
    if asked.healthcheck is not None:
        check = merge_health(check, asked.healthcheck)
    adding = tuple(asked.mounts_add or ())
    points, removing = without(record.mount_points, asked.mounts_remove or (), adding, warnings)
    gone = {each.destination for each in removing}
    return Changed(
        config=msgspec.structs.replace(
            config,
            env=env,
            labels=labels,
            exposed_ports=exposed if ports else config.exposed_ports,
            healthcheck=check,
        ),
        host=msgspec.structs.replace(
            _with_mounts(host, gone, adding) if gone or adding else host,
            **({"port_bindings": bindings} if ports else {}),
        ),
        points=points,
        adding=adding,
        removing=removing,
        resources=tuple(pascal(name) for name in resources),
        ports=ports,
        health=asked.healthcheck is not None and check != config.healthcheck,
        plain=tuple(plain),
        env=env != list(config.env or ()),
        warnings=tuple(warnings),
    )


def _check_mode(mode: str) -> None:
    if mode in ("host", "none") or mode.startswith("container:"):
        raise Invalid(f"PublishAdd: a container with network mode {mode} publishes no ports")


def merge_env(
    old: Iterable[str], add: Iterable[str], remove: Iterable[str], warnings: list[str]
) -> list[str]:
    """Variables keep their places; new ones come last."""
    found = {each.partition("=")[0]: each for each in old}
    added: dict[str, str] = {}
    for each in add:
        name, equals, _ = each.partition("=")
        if not name or not equals or "\0" in each:
            raise Invalid(f"EnvAdd: {each!r} is not NAME=value")
        added[name] = each
    for name in remove:
        if not name or "=" in name:
            raise Invalid(f"EnvRemove: {name!r} is not the name of a variable")
        if name in added:
            raise Invalid(f"EnvAdd and EnvRemove both name {name}")
        if found.pop(name, None) is None:
            warnings.append(f"EnvRemove: the container has no variable {name}")
    return list({**found, **added}.values())


def merge_labels(
    old: Mapping[str, str], add: Mapping[str, str], remove: Iterable[str], warnings: list[str]
) -> dict[str, str]:
    found = dict(old)
    if "" in add:
        raise Invalid("LabelsAdd: a label needs a name")
    for name in remove:
        if name in add:
            raise Invalid(f"LabelsAdd and LabelsRemove both name {name}")
        if found.pop(name, None) is None:
            warnings.append(f"LabelsRemove: the container has no label {name}")
    return {**found, **add}


def expanded(bindings: Bindings, name: str) -> dict[str, list[PortBinding]]:
    """One key a port: ``80-81/tcp`` on ``8080-8081`` becomes two."""
    found: dict[str, list[PortBinding]] = {}
    for key, entries in bindings.items():
        try:
            number, _, protocol = merge.normal_port(key).partition("/")
        except Invalid as error:
            raise Invalid(f"{name}: {error.message}") from error
        first, _, last = number.partition("-")
        ports = range(int(first), int(last or first) + 1)
        for entry in entries or [PortBinding()]:
            low, dash, high = (entry.host_port or "").partition("-")
            whole = len(ports) > 1 and low.isdigit() and high.isdigit()
            if whole and int(high) - int(low) != len(ports) - 1:
                raise Invalid(f"{name}: {key} and {entry.host_port} are ranges of unequal length")
            if len(ports) > 1 and low and not dash:
                raise Invalid(f"{name}: {key} needs a range of host ports, not {low}")
            for step, port in enumerate(ports):
                host = str(int(low) + step) if whole else entry.host_port or ""
                bound = PortBinding(host_ip=entry.host_ip or "", host_port=host)
                found.setdefault(f"{port}/{protocol}", []).append(bound)
    return found


def merge_ports(
    old: Bindings, add: Bindings, remove: Bindings, warnings: list[str]
) -> dict[str, Any]:
    """``PortBindings`` afterwards; ``old`` itself when nothing is asked."""
    if not add and not remove:
        return dict(old)
    found, added = expanded(old, "PortBindings"), expanded(add, "PublishAdd")
    for key, entries in expanded(remove, "PublishRemove").items():
        for entry in entries:
            if entry in added.get(key, ()):
                raise Invalid(f"PublishAdd and PublishRemove both name {shown(key, entry)}")
            have = found.get(key, [])
            every = not entry.host_ip and not entry.host_port
            left = [] if every else [each for each in have if not _meant(entry, each)]
            if len(left) == len(have):
                warnings.append(f"PublishRemove: {shown(key, entry)} is not published")
            found[key] = left
            if not left:
                del found[key]
    for key, entries in added.items():
        have = found.setdefault(key, [])
        have += [entry for entry in entries if entry not in have]
    return found


def _meant(entry: PortBinding, other: PortBinding) -> bool:
    """Whether a removal means this binding: an address or a port that is left open means any."""
    return entry.host_ip in ("", other.host_ip) and entry.host_port in ("", other.host_port)


def shown(key: str, entry: PortBinding) -> str:
    """``127.0.0.1:8080:80/tcp``, as ``--publish`` has it."""
    return ":".join(each for each in (entry.host_ip, entry.host_port, key) if each)


def merge_health(old: HealthConfig | None, asked: HealthConfig) -> HealthConfig:
    """The check afterwards. Raises ``Invalid`` for one that has nothing to run."""
    others = [
        pascal(name)
        for name in HealthConfig.__struct_fields__
        if name != "test" and getattr(asked, name)
    ]
    if asked.test and asked.test[0] == "NONE":
        if others:
            raise Invalid(f"Healthcheck: Test NONE contradicts {', '.join(others)}")
        return HealthConfig(test=["NONE"])
    if old is not None and old.test and old.test[0] == "NONE":
        old = None
    base = old or HealthConfig()
    merged = HealthConfig(
        **{
            name: getattr(asked, name) or getattr(base, name)
            for name in HealthConfig.__struct_fields__
        }
    )
    if not merged.test or merged.test[0] == "":
        raise Invalid("Healthcheck: Test is needed: the container has no check to change")
    merge.check_health(merged)
    return merged


def health_after(old: Health | None, before: HealthConfig | None, after: Config) -> Health | None:
    """The running container's health: what was learnt by another test says nothing."""
    check = after.healthcheck
    if check is None or not check.test or check.test[0] in ("NONE", ""):
        return None
    if old is not None and before is not None and before.test == check.test:
        return old
    return Health()


def without(
    points: Sequence[MountPoint],
    remove: Iterable[str],
    adding: Sequence[Mount],
    warnings: list[str],
) -> tuple[tuple[MountPoint, ...], tuple[MountPoint, ...]]:
    """(those that stay, those that go)."""
    targets = {clean(each.target) for each in adding if each.target}
    gone: list[MountPoint] = []
    for raw in remove:
        target = clean(raw)
        if not raw.startswith("/"):
            raise Invalid(f"MountsRemove: {raw!r} is not an absolute path in the container")
        if target in targets:
            raise Invalid(f"MountsAdd and MountsRemove both name {target}")
        found = [each for each in points if each.destination == target and each not in gone]
        if not found:
            warnings.append(f"MountsRemove: nothing is mounted at {target}")
        gone += found
    kept = tuple(each for each in points if each not in gone)
    for each in kept:
        if each.destination in targets:
            raise Invalid(
                f"MountsAdd: Duplicate mount point: {each.destination}: remove what is mounted "
                "there first"
            )
    return kept, tuple(gone)


def _with_mounts(host: HostConfig, gone: set[str], adding: Sequence[Mount]) -> HostConfig:
    """What inspect shows follows the mounts."""

    def target_of(bind: str) -> str:
        parts = bind.split(":")
        return clean(parts[0] if len(parts) == 1 else parts[1])

    return msgspec.structs.replace(
        host,
        binds=[each for each in host.binds or () if target_of(each) not in gone] or None,
        mounts=[
            *(each for each in host.mounts or () if clean(each.target or "") not in gone),
            *adding,
        ]
        or None,
        tmpfs={
            path: options for path, options in (host.tmpfs or {}).items() if clean(path) not in gone
        }
        or None,
    )

"""CPU weight of a container while it is set up and while it ends.

The runtime sets a container up from inside the container's cgroup, and a process that is to die
does so there. Beside neighbours that compute without end both would wait for their share again and
again; with the largest weight they come first. The container's own command never has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wherry.linux import cgroups

USUAL_SHARES = 1024
"""Of a container that asked for none."""


def hurried(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the spec, with the largest weight where there is a cgroup for it."""
    if not cgroups.host_layout().has("cpu") or not _path(spec):
        return dict(spec)
    linux = dict(spec["linux"])
    resources = dict(linux.get("resources") or {})
    resources["cpu"] = {**_cpu(spec), "shares": cgroups.MOST_SHARES}
    return {**spec, "linux": {**linux, "resources": resources}}


def slow_down(spec: Mapping[str, Any]) -> None:
    """The container is set up: it gets the weight that the spec, as it was, says."""
    if _path(spec):
        cgroups.set_shares(_path(spec), int(_cpu(spec).get("shares") or USUAL_SHARES))


def hurry(cgroup: str) -> None:
    """The container is to end."""
    if cgroup:
        cgroups.set_shares(cgroup, cgroups.MOST_SHARES)


def _path(spec: Mapping[str, Any]) -> str:
    return str((spec.get("linux") or {}).get("cgroupsPath", ""))


def _cpu(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    resources = (spec.get("linux") or {}).get("resources") or {}
    found: Mapping[str, Any] = resources.get("cpu") or {}
    return found

"""CPU weight of a container while it is set up and while it ends.

The runtime sets a container up from inside the container's cgroup, and a process that is to die
does so there. Beside neighbours that compute without end both would wait for their share again and
again; with the largest weight they come first. It is taken back when the command has begun; a
daemon that was killed just then leaves that to the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wherry.linux import cgroups
from wherry.runtime import bundle as files
from wherry.runtime.monitor import Note

USUAL_SHARES = 1024
"""Of a container that asked for none."""


def hurried(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the spec, with the largest weight where there is a cgroup for it."""
    linux = dict(spec.get("linux") or {})
    if not cgroups.host_layout().has("cpu") or not linux.get("cgroupsPath"):
        return dict(spec)
    resources = dict(linux.get("resources") or {})
    resources["cpu"] = {**_cpu(spec), "shares": cgroups.MOST_SHARES}
    return {**spec, "linux": {**linux, "resources": resources}}


def asked(spec: Mapping[str, Any]) -> int:
    """The weight that the container shall run with, in shares."""
    return int(_cpu(spec).get("shares") or USUAL_SHARES)


def slow_down(note: Note | None) -> None:
    """The command has begun: it gets the weight that was asked for."""
    if note is not None and note.cgroup and note.shares:
        cgroups.set_shares(note.cgroup, note.shares)


def mend(note: Note) -> None:
    """The same for one that still has the largest weight though it runs."""
    if note.cgroup and cgroups.has_most_shares(note.cgroup):
        slow_down(note)


def changed(bundle: Path | None, resources: Mapping[str, Any]) -> None:
    """An update of OCI ``resources``: a new weight in it is what is asked for from now on."""
    shares = (resources.get("cpu") or {}).get("shares")
    if shares and bundle is not None:
        files.note_shares(bundle, int(shares))


def hurry(cgroup: str) -> None:
    """The container is to end."""
    if cgroup:
        cgroups.set_shares(cgroup, cgroups.MOST_SHARES)


def _cpu(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    resources = (spec.get("linux") or {}).get("resources") or {}
    found: Mapping[str, Any] = resources.get("cpu") or {}
    return found

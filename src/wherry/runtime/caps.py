"""Capabilities of a container: Docker's defaults, ``CapAdd`` and ``CapDrop``. Pure.

Rules: moby ``oci/caps/utils.go`` (``TweakCapabilities``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wherry.errors import Invalid
from wherry.linux.capabilities import NAMES

DEFAULT: tuple[str, ...] = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)
ALL = "ALL"


def normalise(names: Iterable[str] | None, field: str, available: frozenset[str]) -> list[str]:
    """Upper case with prefix; ``ALL`` stays. ``Invalid`` for what is unknown or not to be had."""
    found = []
    for given in names or ():
        name = given.strip().upper()
        if name == ALL:
            found.append(ALL)
            continue
        if not name.startswith("CAP_"):
            name = "CAP_" + name
        if name not in NAMES:
            raise Invalid(f'invalid {field}: unknown capability: "{name}"')
        if field == "CapAdd" and name not in available:
            raise Invalid(
                f"invalid {field}: capability not supported by your kernel or not available in "
                f'the current environment: "{name}"'
            )
        found.append(name)
    return found


def effective(
    add: Sequence[str] | None,
    drop: Sequence[str] | None,
    *,
    privileged: bool,
    available: frozenset[str],
) -> list[str]:
    """The container's capabilities, in a fixed order. Raises ``Invalid``.

    Defaults that the host withholds are left out; asked-for ones are an error.
    """
    everything = [name for name in NAMES if name in available]
    added = normalise(add, "CapAdd", available)
    dropped = normalise(drop, "CapDrop", available)
    if privileged:
        return everything
    if ALL in added:
        return [name for name in everything if name not in dropped]
    if ALL in dropped:
        return list(dict.fromkeys(name for name in added if name != ALL))
    kept = [name for name in DEFAULT if name in available and name not in dropped]
    return list(dict.fromkeys([*kept, *added]))

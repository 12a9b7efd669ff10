"""``SecurityOpt``: parsing. Pure. Rules: moby ``daemon/daemon_unix.go`` (``parseSecurityOpt``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wherry.errors import Invalid
from wherry.linux.host import HostFacts
from wherry.runtime.seccomp import parse_profile

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


@dataclass(frozen=True)
class Security:
    """What the options of one container say."""

    no_new_privileges: bool = False
    seccomp: str = ""
    """Empty: the default profile; ``unconfined``; else the profile's JSON text."""
    apparmor: str = ""
    labels: tuple[str, ...] = ()
    writable_cgroups: bool = False


def parse(options: Sequence[str] | None, facts: HostFacts) -> Security:
    """Raises ``Invalid`` for an option that is malformed or that this host cannot honour."""
    no_new_privileges = writable_cgroups = False
    seccomp = apparmor = ""
    labels: list[str] = []
    for option in options or ():
        if option == "no-new-privileges":
            no_new_privileges = True
            continue
        if option == "disable":
            labels.append("disable")
            continue
        key, separator, value = option.partition("=" if "=" in option else ":")
        if not separator:
            raise Invalid(f'invalid --security-opt 1: "{option}"')
        if key == "label":
            labels.append(value)
        elif key == "apparmor":
            apparmor = value
        elif key == "seccomp":
            seccomp = "" if value == "builtin" else value
        elif key in ("no-new-privileges", "writable-cgroups"):
            if value not in _TRUE | _FALSE:
                raise Invalid(f'invalid --security-opt 2: "{option}"')
            if key == "no-new-privileges":
                no_new_privileges = value in _TRUE
            else:
                writable_cgroups = value in _TRUE
        elif key == "systempaths" and value == "unconfined":
            continue
        else:
            raise Invalid(f'invalid --security-opt 2: "{option}"')
    found = Security(no_new_privileges, seccomp, apparmor, tuple(labels), writable_cgroups)
    _check(found, facts)
    return found


def _check(security: Security, facts: HostFacts) -> None:
    if security.seccomp not in ("", "unconfined"):
        parse_profile(security.seccomp)
        if not facts.seccomp:
            raise Invalid("seccomp is not enabled in your kernel, cannot run a custom profile")
    if security.apparmor not in ("", "unconfined") and not facts.apparmor:
        raise Invalid(
            f"apparmor profile {security.apparmor} was asked for, but AppArmor is not enabled "
            "on this host"
        )
    for label in security.labels:
        if label != "disable" and label.partition(":")[0] not in (
            "user", "role", "type", "level", "filetype", "nested",
        ):  # fmt: skip
            raise Invalid(f"invalid --security-opt label: {label}")

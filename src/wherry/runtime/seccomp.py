"""System call filters: from a profile with conditions to what the OCI spec takes. Pure.

A profile has the JSON shape that Docker's users write: rules with ``includes`` and ``excludes`` by
capability, architecture and kernel. ``seccomp.json`` beside this module is the default one; it
permits what Docker's default permits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import resources
from typing import Any

from wherry.errors import Invalid
from wherry.runtime import projects

_ARCHITECTURES = {
    "x86_64": ("amd64", "SCMP_ARCH_X86_64"),
    "i686": ("x86", "SCMP_ARCH_X86"),
    "aarch64": ("arm64", "SCMP_ARCH_AARCH64"),
    "armv7l": ("arm", "SCMP_ARCH_ARM"),
    "mips64": ("mips64", "SCMP_ARCH_MIPS64"),
    "ppc64le": ("ppc64le", "SCMP_ARCH_PPC64LE"),
    "s390x": ("s390x", "SCMP_ARCH_S390X"),
    "riscv64": ("riscv64", "SCMP_ARCH_RISCV64"),
}


@lru_cache(maxsize=1)
def default_profile() -> Mapping[str, Any]:
    text = (resources.files("wherry.runtime") / "seccomp.json").read_text(encoding="utf-8")
    profile: dict[str, Any] = json.loads(text)
    return profile


def parse_profile(text: str) -> Mapping[str, Any]:
    """A profile as ``--security-opt seccomp=`` brings it. Raises ``Invalid``."""
    try:
        profile = json.loads(text)
    except ValueError as error:
        raise Invalid(f"Decoding seccomp profile failed: {error}") from error
    if not isinstance(profile, dict) or not isinstance(profile.get("defaultAction"), str):
        raise Invalid("Decoding seccomp profile failed: defaultAction is missing")
    rules = profile.get("syscalls")
    if rules is not None and not (
        isinstance(rules, list) and all(isinstance(rule, dict) for rule in rules)
    ):
        raise Invalid("Decoding seccomp profile failed: syscalls is not a list of rules")
    if profile.get("architectures") and profile.get("archMap"):
        raise Invalid("both 'architectures' and 'archMap' are specified in the seccomp profile")
    return profile


def kernel_at_least(kernel: str, minimum: str) -> bool:
    """Compare ``6.1.0-18-amd64`` with ``4.8``. Raises ``Invalid`` for a minimum of other form."""
    wanted = re.fullmatch(r"(\d+)\.(\d+)(\.\d+)?", minimum)
    if wanted is None:
        raise Invalid(f"invalid kernel version in the seccomp profile: {minimum}")
    have = re.match(r"(\d+)\.(\d+)", kernel)
    if have is None:
        return False
    return (int(have[1]), int(have[2])) >= (int(wanted[1]), int(wanted[2]))


def _applies(
    rule: Mapping[str, Any], capabilities: frozenset[str], architecture: str, kernel: str
) -> bool:
    excludes = rule.get("excludes") or {}
    if architecture in (excludes.get("arches") or ()):
        return False
    if any(name in capabilities for name in excludes.get("caps") or ()):
        return False
    if excludes.get("minKernel") and kernel_at_least(kernel, excludes["minKernel"]):
        return False
    includes = rule.get("includes") or {}
    if includes.get("arches") and architecture not in includes["arches"]:
        return False
    if any(name not in capabilities for name in includes.get("caps") or ()):
        return False
    return not includes.get("minKernel") or kernel_at_least(kernel, includes["minKernel"])


def resolve(
    profile: Mapping[str, Any],
    capabilities: Sequence[str],
    machine: str,
    kernel: str,
) -> dict[str, Any]:
    """``linux.seccomp`` for a container with these capabilities on this kind of host."""
    short, native = _ARCHITECTURES.get(machine, (machine, ""))
    resolved: dict[str, Any] = {"defaultAction": profile["defaultAction"]}
    for key in ("defaultErrnoRet", "listenerPath", "listenerMetadata", "flags"):
        if profile.get(key) is not None:
            resolved[key] = profile[key]
    if profile.get("architectures"):
        resolved["architectures"] = list(profile["architectures"])
    for entry in profile.get("archMap") or ():
        if entry.get("architecture") == native:
            resolved["architectures"] = [native, *(entry.get("subArchitectures") or ())]
    held = frozenset(capabilities)
    rules = []
    for rule in profile.get("syscalls") or ():
        if not _applies(rule, held, short, kernel):
            continue
        names = list(rule.get("names") or ())
        if rule.get("name"):
            names.append(rule["name"])
        if not names:
            continue
        made: dict[str, Any] = {"names": names, "action": rule.get("action", "")}
        if rule.get("errnoRet") is not None:
            made["errnoRet"] = rule["errnoRet"]
        if rule.get("args"):
            made["args"] = [_argument(each) for each in rule["args"]]
        rules.append(made)
    resolved["syscalls"] = _joined(rules)
    return resolved


@lru_cache(maxsize=16)
def resolved(
    text: str,
    capabilities: tuple[str, ...],
    machine: str,
    kernel: str,
    *,
    keep_projects: bool = False,
) -> Mapping[str, Any]:
    """As ``resolve``, of a profile's text (empty: the default one); kept, as most are alike.
    ``keep_projects``: see ``projects.kept``.

    Raises ``Invalid``. The result is shared: never change it.
    """
    profile = parse_profile(text) if text else default_profile()
    found = resolve(profile, capabilities, machine, kernel)
    return projects.kept(found, machine) if keep_projects else found


def _argument(given: Mapping[str, Any]) -> dict[str, Any]:
    """A masked comparison without second value would compare with what it masks: be explicit."""
    made = {"index": given.get("index", 0), "value": given.get("value", 0), "op": given["op"]}
    if given.get("valueTwo") or given["op"] == "SCMP_CMP_MASKED_EQ":
        made["valueTwo"] = given.get("valueTwo", 0)
    return made


def _joined(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rules without arguments and with the same action become one: less for the runtime."""
    joined: list[dict[str, Any]] = []
    plain: dict[tuple[str, Any], dict[str, Any]] = {}
    for rule in rules:
        key = (rule["action"], rule.get("errnoRet"))
        if "args" in rule or key not in plain:
            joined.append(rule)
            if "args" not in rule:
                plain[key] = rule
        else:
            names = plain[key]["names"]
            names += [name for name in rule["names"] if name not in names]
    return joined

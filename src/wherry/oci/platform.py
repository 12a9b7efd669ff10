"""Platforms (``linux/arm64/v8``): parse, normalise, and choose from an index.

The rules are containerd's: aliases such as ``x86_64`` and ``aarch64`` are folded, ``arm64``
has no variant unless it is above v8, ``arm`` without variant is v7, and a host runs its own
architecture, then older variants, then the 32-bit sibling.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from wherry.errors import Invalid
from wherry.oci.image import Descriptor, PlatformDoc

_COMPONENT = re.compile(r"[A-Za-z0-9_.-]+")
_OS_COMPONENT = re.compile(r"([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.%-]*)\))?")
_SYSTEMS = frozenset(
    [
        "aix",
        "android",
        "darwin",
        "dragonfly",
        "freebsd",
        "hurd",
        "illumos",
        "ios",
        "js",
        "linux",
        "nacl",
        "netbsd",
        "openbsd",
        "plan9",
        "solaris",
        "wasip1",
        "windows",
        "zos",
    ]
)
_ARCHITECTURES = frozenset(
    [
        "386",
        "amd64",
        "amd64p32",
        "arm",
        "armbe",
        "arm64",
        "arm64be",
        "ppc64",
        "ppc64le",
        "loong64",
        "mips",
        "mipsle",
        "mips64",
        "mips64le",
        "mips64p32",
        "mips64p32le",
        "ppc",
        "riscv",
        "riscv64",
        "s390",
        "s390x",
        "sparc",
        "sparc64",
        "wasm",
    ]
)
_SYSTEM_ALIASES = {"macos": "darwin"}


@dataclass(frozen=True)
class Platform:
    """A normalised platform; ``variant`` is '' where the architecture's default is meant."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return format(self)


def parse(text: str) -> Platform:
    """``os``, ``arch``, ``os/arch`` or ``os/arch/variant``; the host fills what is left out.

    Raises ``Invalid`` with containerd's words.
    """
    parts = text.split("/")
    if "*" in text:
        raise Invalid(f'"{text}": wildcards not yet supported: invalid argument')
    for number, part in enumerate(parts):
        pattern = _COMPONENT if number else _OS_COMPONENT
        if not pattern.fullmatch(part):
            raise Invalid(
                f'"{part}" is an invalid component of "{text}": platform specifier component '
                f'must match "{pattern.pattern}": invalid argument'
            )
    if len(parts) == 1:
        return _parse_one(text)
    if len(parts) > 3:
        raise Invalid(f'"{text}": cannot parse platform specifier: invalid argument')
    system = parts[0].partition("(")[0]
    return normalise(system, parts[1], parts[2] if len(parts) == 3 else "")


def _parse_one(text: str) -> Platform:
    system = _normal_os(text.partition("(")[0])
    if system in _SYSTEMS:
        here = host()
        return Platform(system, here.architecture, here.variant)
    platform = normalise(host().os, text, "")
    if platform.architecture in _ARCHITECTURES:
        return platform
    raise Invalid(f'"{text}": unknown operating system or architecture: invalid argument')


def format(platform: Platform) -> str:
    """``linux/arm64`` or ``linux/arm/v7``; ``unknown`` for an empty one."""
    if not platform.os:
        return "unknown"
    parts = (platform.os, platform.architecture, platform.variant)
    return "/".join(part for part in parts if part)


def _normal_os(text: str) -> str:
    lower = text.lower()
    return _SYSTEM_ALIASES.get(lower, lower)


def normalise(system: str, architecture: str, variant: str = "") -> Platform:
    """Fold aliases and default variants."""
    arch, variant = architecture.lower(), variant.lower()
    if arch in ("i386", "i686"):
        arch, variant = "386", ""
    elif arch in ("x86_64", "x86-64", "amd64"):
        arch = "amd64"
        variant = "" if variant == "v1" else variant
    elif arch in ("aarch64", "arm64"):
        arch = "arm64"
        variant = "" if variant in ("8", "v8", "v8.0") else variant
    elif arch == "armhf":
        arch, variant = "arm", "v7"
    elif arch == "armel":
        arch, variant = "arm", "v6"
    elif arch == "arm":
        variant = {"": "v7", "5": "v5", "6": "v6", "7": "v7", "8": "v8"}.get(variant, variant)
    return Platform(_normal_os(system), arch, variant)


def of_document(document: PlatformDoc) -> Platform:
    """The platform that a descriptor or a configuration names."""
    return normalise(document.os, document.architecture, document.variant)


@lru_cache(maxsize=1)
def host() -> Platform:
    """What this machine runs."""
    name = os.uname()
    machine, variant = name.machine.lower(), ""
    if machine.startswith("armv"):
        machine, variant = "arm", machine[3:5]
    return normalise(name.sysname, machine, variant)


def acceptable(wanted: Platform) -> list[Platform]:
    """What a host of platform ``wanted`` runs, best first (containerd's platform vector)."""
    order = [wanted]
    system = wanted.os
    if wanted.architecture == "amd64":
        level = _variant_number(wanted.variant)
        order += [Platform(system, "amd64", f"v{each}") for each in range(level - 1, 1, -1)]
        if level > 1:
            order.append(Platform(system, "amd64"))
        order.append(Platform(system, "386"))
    elif wanted.architecture == "arm":
        level = _variant_number(wanted.variant)
        order += [Platform(system, "arm", f"v{each}") for each in range(level - 1, 4, -1)]
    elif wanted.architecture == "arm64":
        if wanted.variant:
            order.append(Platform(system, "arm64"))
        order += [Platform(system, "arm", f"v{each}") for each in (8, 7, 6, 5)]
    return order


def _variant_number(variant: str) -> int:
    digits = variant.removeprefix("v").partition(".")[0]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 4 else 1


def rank(candidate: Platform, wanted: Platform) -> int | None:
    """Place of ``candidate`` in what ``wanted`` accepts (0 is best); None when it is not."""
    order = acceptable(wanted)
    return order.index(candidate) if candidate in order else None


def matches(candidate: Platform, wanted: Platform) -> bool:
    return rank(candidate, wanted) is not None


def choose(manifests: Sequence[Descriptor], wanted: Platform) -> Descriptor | None:
    """The best manifest of an index for ``wanted``; the first of equals; None without a match.

    A descriptor that names no platform is taken only when nothing better exists, because its
    configuration may still fit; attestations (``unknown/unknown``) are never chosen.
    """
    best: tuple[int, Descriptor] | None = None
    for each in manifests:
        if each.platform is None:
            place: int | None = 1000
        else:
            place = rank(of_document(each.platform), wanted)
        if place is not None and (best is None or place < best[0]):
            best = (place, each)
    return best[1] if best else None

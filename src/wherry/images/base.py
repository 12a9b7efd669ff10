"""The built-in base image: a small root file system around the host's static busybox.

Its bytes depend on the busybox binary alone, so that it is made once and has the same id as long
as the host's package stays the same. Nothing is fetched.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from wherry.errors import Internal, NotFound
from wherry.images.service import Image
from wherry.oci import platform as platforms
from wherry.trees import tarfmt, tarwrite
from wherry.wire.durations import rfc3339

NAMES = ("wherry/busybox:latest", "busybox:latest")
CANDIDATES = ("/bin/busybox", "/usr/bin/busybox", "/sbin/busybox")
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PATIENCE = 10.0
"""Seconds for the binary to say what it can be called as."""
CREATED_BY = "busybox of the host's package, with links for its applets"

_FOLDERS = (
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("sys", 0o755),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/bin", 0o755),
    ("usr/sbin", 0o755),
    ("usr/local", 0o755),
    ("usr/local/bin", 0o755),
    ("usr/share", 0o755),
    ("var", 0o755),
    ("var/log", 0o755),
    ("var/spool", 0o755),
    ("var/spool/cron", 0o755),
    ("var/spool/cron/crontabs", 0o755),
    ("var/tmp", 0o1777),
    ("var/www", 0o755),
    ("lib", 0o755),
    ("run", 0o755),
    ("mnt", 0o755),
    ("sbin", 0o755),
)
_FILES = {
    "etc/passwd": (
        "root:x:0:0:root:/root:/bin/sh\n"
        "daemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
        "bin:x:2:2:bin:/bin:/bin/false\n"
        "sys:x:3:3:sys:/dev:/bin/false\n"
        "mail:x:8:8:mail:/var/spool/mail:/bin/false\n"
        "www-data:x:33:33:www-data:/var/www:/bin/false\n"
        "operator:x:37:37:Operator:/var:/bin/false\n"
        "nobody:x:65534:65534:nobody:/home:/bin/false\n"
    ),
    "etc/group": (
        "root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\nadm:x:4:\ntty:x:5:\ndisk:x:6:\n"
        "lp:x:7:\nmail:x:8:\nkmem:x:9:\nwheel:x:10:root\ncdrom:x:11:\ndialout:x:18:\n"
        "floppy:x:19:\nvideo:x:28:\naudio:x:29:\ntape:x:32:\nwww-data:x:33:\noperator:x:37:\n"
        "utmp:x:43:\nplugdev:x:46:\nstaff:x:50:\nlock:x:54:\nnetdev:x:82:\nusers:x:100:\n"
        "nogroup:x:65534:\n"
    ),
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "etc/profile": "export PS1='\\u@\\h:\\w\\$ '\n",
    "etc/hostname": "busybox\n",
}
_PRIVATE = {"etc/shadow": "root:*:::::::\nnobody:*:::::::\n"}


def find_busybox() -> Path:
    """``NotFound`` when the host has none."""
    for name in CANDIDATES:
        path = Path(name)
        if path.is_file():
            return path
    raise NotFound(
        "the built-in base image needs a static busybox on this host: install busybox-static"
    )


async def applets(busybox: Path) -> list[str]:
    """What the binary can be called as."""
    try:
        done = await asyncio.to_thread(
            subprocess.run,
            [str(busybox), "--list"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Internal(f"cannot ask {busybox} for its applets: {error}") from error
    words = done.stdout.decode(errors="replace").split()
    names = sorted({line for line in words if "/" not in line})
    if "sh" not in names:
        raise Internal(f"{busybox} has no shell")
    return names


def build_tar(binary: bytes, names: list[str], when: int) -> bytes:
    """The layer: ``when`` (seconds) is the time of every member."""
    parts: list[bytes] = []

    def add(name: str, mode: int, kind: bytes, data: bytes = b"", link: str = "") -> None:
        own = tarwrite.Attributes(mode=mode, mtime_ns=when * 1_000_000_000)
        parts.append(tarwrite.member(name.encode(), kind, own, size=len(data), link=link.encode()))
        parts.extend((data, tarwrite.padding(len(data))))

    for name, mode in sorted(_FOLDERS):
        add(name + "/", mode, tarfmt.DIRECTORY)
    add("bin/busybox", 0o755, tarfmt.REGULAR, binary)
    for name in names:
        if name != "busybox":
            add(f"bin/{name}", 0o755, tarfmt.LINK, link="bin/busybox")
    for name, text in sorted(_FILES.items()):
        add(name, 0o644, tarfmt.REGULAR, text.encode())
    for name, text in sorted(_PRIVATE.items()):
        add(name, 0o640, tarfmt.REGULAR, text.encode())
    add("usr/bin/env", 0o777, tarfmt.SYMLINK, link="/bin/env")
    return b"".join([*parts, tarwrite.END])


async def layer_stream(busybox: Path) -> tuple[int, bytes]:
    """(time of the binary in seconds, the layer's tar)."""
    names = await applets(busybox)
    when = int(os.stat(busybox).st_mtime)
    binary = await asyncio.to_thread(busybox.read_bytes)
    return when, await asyncio.to_thread(build_tar, binary, names, when)


def configuration(diff_id: str, when: int) -> bytes:
    """The image's configuration, the same bytes every time."""
    created = rfc3339(when * 1_000_000_000)
    host = platforms.host()
    document: dict[str, Any] = {
        "architecture": host.architecture,
        "os": host.os,
        "created": created,
        "config": {"Env": [PATH], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [
            {"created": created, "created_by": CREATED_BY},
            {"created": created, "created_by": 'CMD ["sh"]', "empty_layer": True},
        ],
    }
    if host.variant:
        document["variant"] = host.variant
    return msgspec.json.encode(document)


def is_base(image: Image) -> bool:
    """Whether the image was made here, and not loaded by the user under the same name."""
    history = image.config.history
    return history is not None and [each.created_by for each in history[:1]] == [CREATED_BY]


async def one_chunk(data: bytes) -> AsyncIterator[bytes]:
    yield data

"""Images made by the tests from the machine's own busybox."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

BASE = "wherry/busybox"
"""There in every daemon of Wherry; tests give it to the reference engine."""


def tar_of(entries: dict[str, bytes | str], *, mode: int = 0o755) -> bytes:
    """A tar of files (bytes) and symbolic links (str); a name ending in ``/`` is a folder.

    Files below ``etc`` are never executable.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in entries.items():
            info = tarfile.TarInfo(name.rstrip("/"))
            info.mode, info.mtime = 0o644 if name.startswith("etc/") else mode, 1_700_000_000
            if name.endswith("/"):
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@functools.cache
def busybox_root() -> bytes:
    """A root file system tar: busybox with a link for each of its commands."""
    binary = Path("/bin/busybox")
    listed = subprocess.run([binary, "--list"], capture_output=True, text=True, check=True)
    entries: dict[str, bytes | str] = {f"{name}/": b"" for name in ("bin", "etc", "tmp", "root")}
    entries["bin/busybox"] = binary.read_bytes()
    for applet in listed.stdout.split():
        if applet != "busybox":
            entries[f"bin/{applet}"] = "busybox"
    entries["etc/passwd"] = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
    entries["etc/group"] = b"root:x:0:\nnogroup:x:65534:\n"
    return tar_of(entries)


def docker_archive(reference: str, layer: bytes, **config: object) -> bytes:
    """A one-layer image as ``docker save`` writes it. ``config`` is the image's ``config``."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    content = json.dumps(
        {
            "architecture": machine,
            "os": "linux",
            "created": "2024-01-01T00:00:00Z",
            "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"], **config},
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"],
            },
            "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "test"}],
        }
    ).encode()
    name = f"{hashlib.sha256(content).hexdigest()}.json"
    row = {"Config": name, "RepoTags": [reference], "Layers": ["layer.tar"]}
    return tar_of(
        {name: content, "layer.tar": layer, "manifest.json": json.dumps([row]).encode()},
        mode=0o644,
    )

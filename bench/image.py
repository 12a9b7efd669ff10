"""The images that both engines are given: a small one, and one of 1 GB in 60,000 files.

Both are made here from nothing but the machine's busybox and a fixed pseudo-random stream, so
every machine measures the same bytes.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import random
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

IMAGE = "bench/busybox:1"
LARGE = "bench/large:1"
FILES = 60_000
AVERAGE = 17_000
"""Bytes of a file: sizes go from nothing to twice this."""
_APPLETS = ("sh", "true", "sleep", "cat", "echo", "ls")
_CHUNK = 1 << 20


def _entry(
    name: str, *, kind: bytes = tarfile.REGTYPE, size: int = 0, mode: int = 0o755
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode, info.mtime = kind, size, mode, 1_700_000_000
    return info


def _member(name: str, data: bytes) -> bytes:
    """One file of a tar, header and padding included."""
    padding = b"\0" * (-len(data) % tarfile.BLOCKSIZE)
    return _entry(name, size=len(data), mode=0o644).tobuf(tarfile.GNU_FORMAT) + data + padding


def _config(diff_id: str) -> bytes:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    return json.dumps(
        {
            "architecture": machine,
            "os": "linux",
            "created": "2024-01-01T00:00:00Z",
            "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "bench"}],
        }
    ).encode()


def _before_layer(reference: str, diff_id: str, size: int) -> bytes:
    """A docker-archive up to the first byte of its one layer."""
    config = _config(diff_id)
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": name, "RepoTags": [reference], "Layers": ["1/layer.tar"]}])
    layer = _entry("1/layer.tar", size=size, mode=0o644).tobuf(tarfile.GNU_FORMAT)
    return _member(name, config) + _member("manifest.json", manifest.encode()) + layer


def _after_layer(size: int) -> bytes:
    return b"\0" * (-size % tarfile.BLOCKSIZE) + b"\0" * (2 * tarfile.BLOCKSIZE)


def big_file(name: str, size: int) -> tuple[Iterator[bytes], int]:
    """A tar of one file of ``size`` bytes, a multiple of a MiB: its pieces, and its length."""
    pool = noise(random.Random(size))[:_CHUNK]
    head = _entry(name, size=size, mode=0o644).tobuf(tarfile.GNU_FORMAT)
    end = bytes(2 * tarfile.BLOCKSIZE)

    def parts() -> Iterator[bytes]:
        yield head
        for _ in range(size // _CHUNK):
            yield pool
        yield end

    return parts(), len(head) + size + len(end)


@functools.cache
def small_image() -> bytes:
    """A docker-archive of ``IMAGE``: busybox and the few commands that the cases use."""
    busybox = Path("/bin/busybox").read_bytes()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for folder in ("bin", "dev", "etc", "proc", "sys", "tmp"):
            tar.addfile(_entry(folder, kind=tarfile.DIRTYPE))
        tar.addfile(_entry("bin/busybox", size=len(busybox)), io.BytesIO(busybox))
        for applet in _APPLETS:
            link = _entry(f"bin/{applet}", kind=tarfile.SYMTYPE)
            link.linkname = "busybox"
            tar.addfile(link)
    layer = buffer.getvalue()
    diff_id = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    return _before_layer(IMAGE, diff_id, len(layer)) + layer + _after_layer(len(layer))


@dataclass(frozen=True)
class LargeTar:
    """A root file system tar kept on disk between runs."""

    path: Path
    size: int
    diff_id: str

    def plain(self) -> Iterator[bytes]:
        """The tar itself, for import."""
        with self.path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk

    def archive(self) -> tuple[Iterator[bytes], int]:
        """A docker-archive of ``LARGE`` around the tar, for load; and its length."""
        before, after = _before_layer(LARGE, self.diff_id, self.size), _after_layer(self.size)

        def parts() -> Iterator[bytes]:
            yield before
            yield from self.plain()
            yield after

        return parts(), len(before) + self.size + len(after)


def large_tar(folder: Path, *, files: int = FILES) -> LargeTar:
    """Make the large tar in ``folder``, or find it there. Takes some 10 s the first time."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"rootfs-{files}.tar"
    note = folder / f"rootfs-{files}.sha256"
    if not (path.exists() and note.exists()):
        partial = path.with_suffix(".partial")
        _write_large(partial, files)
        with partial.open("rb") as file:
            note.write_text(hashlib.file_digest(file, "sha256").hexdigest())
        partial.rename(path)
    return LargeTar(path, path.stat().st_size, f"sha256:{note.read_text()}")


def noise(source: random.Random) -> bytes:
    """4 MB, half noise, half text: compresses to about half, as real layers do."""
    return b"".join(
        source.randbytes(64) + b"the same words again and again, as programs have them, every day"
        for _ in range(1 << 15)
    )


def many_files(folder: str, *, files: int, average: int) -> bytes:
    """A tar of ``folder`` with so many small files, a hundred in each of its folders."""
    source = random.Random(files)
    pool = noise(source)
    parts = [_entry(folder, kind=tarfile.DIRTYPE).tobuf(tarfile.GNU_FORMAT)]
    for number in range(files):
        below = f"{folder}/{number // 100:03d}"
        if number % 100 == 0:
            parts.append(_entry(below, kind=tarfile.DIRTYPE).tobuf(tarfile.GNU_FORMAT))
        size = source.randrange(2 * average)
        start = source.randrange(len(pool) - size)
        parts.append(_member(f"{below}/file-{number:05d}", pool[start : start + size]))
    return b"".join([*parts, bytes(2 * tarfile.BLOCKSIZE)])


def _write_large(path: Path, files: int) -> None:
    source = random.Random(60_000)
    pool = noise(source)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for number in range(files):
            folder = f"usr/share/{number // 1000:03d}/{number // 50 % 20:02d}"
            if number % 1000 == 0:
                tar.addfile(_entry(f"usr/share/{number // 1000:03d}", kind=tarfile.DIRTYPE))
            if number % 50 == 0:
                tar.addfile(_entry(folder, kind=tarfile.DIRTYPE))
            size = source.randrange(2 * AVERAGE)
            start = source.randrange(len(pool) - size)
            info = _entry(f"{folder}/file-{number:05d}", size=size, mode=0o644)
            tar.addfile(info, io.BytesIO(pool[start : start + size]))

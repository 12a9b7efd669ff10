"""Where another takes its time, or the same thing is wanted twice at once."""

from __future__ import annotations

import asyncio
import struct
import threading
import time
from pathlib import Path

import pytest

from wherry.errors import Internal
from wherry.images import adopt as module
from wherry.images import base
from wherry.images.adopt import adopt
from wherry.images.catalogue import Catalogue
from wherry.images.content import ContentStore
from wherry.images.layers.directory import DirectoryBackend
from wherry.images.layers.store import LayerStore
from wherry.images.worker.inflate import inflated
from wherry.store.database import Database
from wherry.store.images import ImageTables
from wherry.store.paths import Paths


async def test_a_busybox_that_does_not_answer_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busybox = tmp_path / "busybox"
    busybox.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 600\n")
    busybox.chmod(0o755)
    monkeypatch.setattr(base, "_PATIENCE", 0.5)
    started = time.monotonic()
    with pytest.raises(Internal):
        await base.applets(busybox)
    assert time.monotonic() - started < 60
    pid = (tmp_path / "pid").read_text().strip()
    assert not Path(f"/proc/{pid}").exists()


async def test_a_layer_that_two_bring_at_once_is_never_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = Paths(tmp_path / "data", tmp_path / "run")
    paths.data.mkdir()
    database = Database(paths.database)
    tables = ImageTables(database)
    layers = LayerStore(paths, tables, [DirectoryBackend()])
    content = ContentStore(paths, layers.tar)
    catalogue = Catalogue(tables, content, layers)
    diff_id = "sha256:" + "1" * 64

    def result(name: str) -> dict[str, object]:
        folder = tmp_path / name
        (folder / "fs").mkdir(parents=True)
        made = {"diff_id": diff_id, "kind": "directory", "size": 0, "folder": str(folder)}
        return {"blobs": [], "layers": [made], "inflated": {}}

    renamed, go = threading.Event(), threading.Event()

    def sync(path: Path) -> None:
        renamed.set()
        go.wait(10)

    monkeypatch.setattr(module, "sync_folder", sync)
    with content.lease() as lease:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(adopt(catalogue, lease, result("first")))
            await asyncio.to_thread(renamed.wait, 10)
            inode = layers.folder(diff_id).stat().st_ino
            tasks.create_task(adopt(catalogue, lease, result("second")))
            await asyncio.sleep(0.2)
            assert layers.folder(diff_id).stat().st_ino == inode
            go.set()
    assert layers.has(diff_id)
    assert layers.folder(diff_id).stat().st_ino == inode
    database.close()


def test_a_little_zstd_is_not_much_at_once() -> None:
    """Four bytes stand for 128 KiB here."""
    blocks = 3000
    head = b"\x28\xb5\x2f\xfd\0\x38"
    block = struct.pack("<I", (1 << 17) << 3 | 1 << 1)[:3] + b"\0"
    last = struct.pack("<I", (1 << 17) << 3 | 1 << 1 | 1)[:3] + b"\0"
    parts = iter([head + block * (blocks - 1) + last])
    name, chunks = inflated(lambda size: next(parts, b""))
    sizes = [len(each) for each in chunks]
    assert name == "zstd"
    assert sum(sizes) == blocks << 17
    assert max(sizes) <= 256 << 20

"""The jobs of the helper process, by name. Each returns what the daemon adopts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wherry.errors import Invalid
from wherry.images import diff
from wherry.images.worker import layer
from wherry.images.worker.confine import confined, syncfs
from wherry.images.worker.inflate import Ahead, Read, inflated
from wherry.images.worker.load import Loader, Say
from wherry.images.worker.pack import Packer
from wherry.images.worker.sink import Sink


def _sync(result: dict[str, Any], folder: Path) -> None:
    """Everything the daemon will rename is on the disk before it learns of it."""
    if any(each["kind"] == layer.FOLDER for each in result["layers"]):
        syncfs(str(folder))
        return
    paths = [path for _, path, _ in result["blobs"]]
    for each in result["layers"]:
        paths += [entry.path for entry in os.scandir(each["folder"])]
        paths.append(each["folder"])
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def load(
    *,
    read: Read,
    say: Say,
    folder: Path,
    known: list[str],
    known_blobs: dict[str, str],
    platform: list[str],
    backend: str,
) -> dict[str, Any]:
    """docker-archive or OCI layout on standard input."""
    os_name, architecture, variant = platform
    loader = Loader(folder, set(known), known_blobs, (os_name, architecture, variant), backend, say)
    _, chunks = inflated(read)
    result = loader.run(iter(Ahead(chunks)))
    _sync(result, folder)
    return result


def import_(
    *, read: Read, say: Say, folder: Path, known: list[str], backend: str
) -> dict[str, Any]:
    """A root file system's tar on standard input -> one layer."""
    tar = folder / "layer.tar"
    _, chunks = inflated(read)
    diff_id = layer.write_stream(chunks, tar)
    return _one_layer(folder, tar, diff_id, known, backend)


def _one_layer(
    folder: Path, tar: Path, diff_id: str, known: list[str], backend: str
) -> dict[str, Any]:
    size = tar.stat().st_size
    out = folder / "layer"
    made = [] if diff_id in known else [layer.make(tar, diff_id, out, backend, marked=True)]
    result: dict[str, Any] = {
        "diff_id": diff_id,
        "tar_size": size,
        "layers": [vars(each) for each in made],
        "blobs": [[diff_id, str(tar), size]] if tar.exists() else [],
        "inflated": {},
    }
    _sync(result, folder)
    return result


def commit(
    *,
    read: Read,
    say: Say,
    folder: Path,
    known: list[str],
    backend: str,
    lower: list[str],
    upper: str,
) -> dict[str, Any]:
    """An upper folder -> one layer; ``diff_id`` is "" when nothing was changed."""
    changes = diff.changes(lower, upper)
    if not changes:
        return {"diff_id": "", "tar_size": 0, "layers": [], "blobs": [], "inflated": {}}
    tar = folder / "layer.tar"
    sink = Sink(tar)
    try:
        confined(upper, lambda: Packer(sink).run(changes))
    finally:
        diff_id = sink.close(sync=False)
    return _one_layer(folder, tar, diff_id, known, backend)


def prepare(
    *, read: Read, say: Say, folder: Path, wanted: list[list[str]], backend: str
) -> dict[str, Any]:
    """Stored layers, (diff id, blob, path), made usable. The blobs stay where they are."""
    made = []
    inflated_blobs = {}
    for index, (diff_id, blob, path) in enumerate(wanted):
        tar, digest = layer.plain_tar(Path(path), folder / f"{index}.tar")
        if not digest:
            # The layer may take its tar over, and the blob must stay: a second name for it.
            tar, digest = folder / f"{index}.tar", blob
            os.link(path, tar)
        if digest != diff_id:
            raise Invalid(f'invalid diffID: expected "{diff_id}", got "{digest}"')
        made.append(layer.make(tar, diff_id, folder / f"layer-{index}", backend))
        tar.unlink(missing_ok=True)
        inflated_blobs[blob] = diff_id
    result: dict[str, Any] = {
        "layers": [vars(each) for each in made],
        "blobs": [],
        "inflated": inflated_blobs,
    }
    _sync(result, folder)
    return result


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    "load": load,
    "import": import_,
    "commit": commit,
    "prepare": prepare,
}

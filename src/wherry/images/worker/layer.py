"""One layer made usable, inside the job's folder: the daemon then renames it into the store."""

from __future__ import annotations

import mmap
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wherry.errors import Invalid
from wherry.images.worker import erofs, layertree
from wherry.images.worker.confine import confined
from wherry.images.worker.inflate import Ahead, compression, inflated
from wherry.images.worker.sink import CHUNK, Sink, check_space
from wherry.images.worker.unpack import Unpacker
from wherry.trees.tarfmt import Entry, MappedSource, cut_short, entries

FOLDER = "directory"
INDEXED = "erofs"


@dataclass(frozen=True)
class Made:
    """A usable layer: ``folder`` is what the store keeps as ``layers/<hex>``."""

    diff_id: str
    size: int
    """Bytes of its regular files."""
    kind: str
    folder: str


@contextmanager
def mapped(path: Path) -> Iterator[memoryview]:
    """The file's bytes, read-only."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            yield memoryview(b"")
            return
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as area:
            area.madvise(mmap.MADV_SEQUENTIAL)
            view = memoryview(area)
            try:
                yield view
            finally:
                view.release()


def plain_tar(path: Path, out: Path) -> tuple[Path, str]:
    """``path`` itself with "" if it is not compressed, else inflated into ``out``: (file, digest).

    Raises ``Invalid`` for damaged data and ``Exhausted`` when it does not fit.
    """
    with path.open("rb") as file:
        if not compression(file.read(8)):
            return path, ""
        file.seek(0)
        _, chunks = inflated(lambda size: file.read(size))
        return out, write_stream(chunks, out)


def write_stream(chunks: Iterator[bytes], out: Path) -> str:
    """Write the stream to ``out``; returns its digest."""
    sink = Sink(out)
    try:
        for chunk in Ahead(chunks):
            for start in range(0, len(chunk), CHUNK):
                sink.write(memoryview(chunk)[start : start + CHUNK])
    finally:
        digest = sink.close(sync=False)
    return digest


def make(tar: Path, diff_id: str, out: Path, backend: str, *, marked: bool = False) -> Made:
    """Make the layer of the plain ``tar`` in ``out``, a folder that does not exist yet.

    ``tar`` may be moved into ``out``: its bytes are then part of the layer. ``marked``: the end
    must be marked as the standard says, because nothing else tells whether all of it came.
    """
    try:
        if backend == INDEXED:
            try:
                return _make_index(tar, diff_id, out, marked)
            except layertree.NotIndexable:
                shutil.rmtree(out, ignore_errors=True)
        return _make_folder(tar, diff_id, out, marked)
    except Invalid as error:
        raise Invalid(f"Error processing tar file: {error.message}") from error


def _make_index(tar: Path, diff_id: str, out: Path, marked: bool) -> Made:
    """The layer stays a tar; an EROFS image beside it holds the names."""
    out.mkdir()
    with mapped(tar) as view:
        check_tar(view)
        tree = layertree.build(_whole(view, marked))
        with (out / "index.erofs").open("wb") as index:
            erofs.write(tree, index, len(view))
    tar.rename(out / "layer.tar")
    return Made(diff_id, tree.size, INDEXED, str(out))


def _whole(view: memoryview, marked: bool) -> Iterator[Entry]:
    """The members, each with all its bytes there."""
    for entry in entries(MappedSource(view), marked=marked):
        if entry.data + entry.stored > len(view):
            raise cut_short()
        yield entry


def _make_folder(tar: Path, diff_id: str, out: Path, marked: bool) -> Made:
    root = out / "fs"
    root.mkdir(parents=True)
    root.chmod(0o755)
    gate = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with mapped(tar) as view:
            check_tar(view)
            unpacker = Unpacker(_whole(view, marked), view, lambda: check_space(gate))
            size = confined(str(root), unpacker.run)
    finally:
        os.close(gate)
    return Made(diff_id, size, FOLDER, str(out))


def check_tar(view: memoryview) -> None:
    """Nothing at all is an empty layer, as for Docker; anything else must have a header."""
    if 0 < len(view) < 512 and bytes(view).strip(b"\0"):
        raise Invalid("unexpected EOF")

"""What an engine holds, so that a test can say that nothing of it has changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.leftovers import mounts_below
from tests.support.engine import Engine, eventually


def traces(engine: Engine) -> dict[str, Any]:
    """What must be as it was after a refused request."""
    folders = {}
    for name in ("containers", "layers", "blobs/sha256", "tmp"):
        folder = engine.data / name
        folders[name] = sorted(each.name for each in folder.iterdir()) if folder.exists() else []
    return {
        "containers": [engine.inspect(each["Id"]) for each in engine.containers()],
        "volumes": engine.get("/volumes").json,
        "networks": engine.get("/networks").json,
        "images": engine.get("/images/json?all=1").json,
        "mounts": mounts_below(engine.root),
        "folders": folders if engine.is_wherry else {},
    }


@contextmanager
def untouched(engine: Engine) -> Iterator[None]:
    """What happens inside leaves no trace."""
    if engine.is_wherry:
        eventually(lambda: not list((engine.data / "tmp").iterdir()))
    before = traces(engine)
    yield
    # Temporary files of a refused image go right after the answer; and when nobody waited for one,
    # they may come and go only now.
    try:
        eventually(lambda: traces(engine) == before)
    except TimeoutError:
        assert traces(engine) == before

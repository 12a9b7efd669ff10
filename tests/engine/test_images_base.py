from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from tests.engine.images_host import Host

pytestmark = pytest.mark.root
MakeHost = Callable[[Path], Host]


@pytest.fixture
def make_host() -> Iterator[MakeHost]:
    """Hosts that are closed at the end: their layers are mounts."""
    with ExitStack() as stack:
        yield lambda root: stack.enter_context(closing(Host(root)))


async def test_the_base_is_made_once_and_can_be_stacked(
    make_host: MakeHost, tmp_path: Path
) -> None:
    host = make_host(tmp_path)
    image = await host.engine.ensure_base()
    again = await host.engine.ensure_base()

    assert image == again
    assert image.config.config is not None
    assert image.config.config["Cmd"] == ["sh"]
    (lower,) = host.engine.lower_dirs(image.layers)
    root = Path(lower)
    assert os.access(root / "bin/sh", os.X_OK)
    assert (root / "bin/sh").stat().st_ino == (root / "bin/busybox").stat().st_ino
    assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777
    assert stat.S_IMODE((root / "root").stat().st_mode) == 0o700
    assert "nobody" in (root / "etc/passwd").read_text()
    assert host.engine.get("busybox").id == host.engine.get("wherry/busybox").id == image.id
    assert [row["RepoTags"] for row in host.engine.summaries({}, all=False)] == [
        ["busybox:latest", "wherry/busybox:latest"]
    ]


async def test_the_base_has_the_same_id_everywhere(make_host: MakeHost, tmp_path: Path) -> None:
    ids = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        ids.add((await make_host(tmp_path / name).engine.ensure_base()).id)
    assert len(ids) == 1

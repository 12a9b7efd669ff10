"""Names, removal, prune, commit and diff on the real stores."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.engine import archives
from tests.engine.images_host import Host, chunks

from wherry.errors import Conflict, Invalid, NotFound, NotImplementedYet
from wherry.oci.digest import chain_id

pytestmark = pytest.mark.root

ONE = archives.files({"etc/": b"", "etc/one": b"first", "etc/keep": b"keep", "data": b"x" * 500})
TWO = archives.files({"etc/two": b"second"})
THREE = archives.files({"three": b"third"})


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.close()


async def load(host: Host, layers: list[bytes], *names: str, **more: Any) -> str:
    data = archives.docker_archive(layers, names, **more)
    await host.engine.load(chunks(data), lambda item: None)
    return archives.sha(archives.config(layers, **more))


def remove(host: Host, name: str, *, force: bool = False) -> list[dict[str, str]]:
    return host.engine.remove(name, force=force, prune_parents=True)


# ---- names


async def test_an_image_is_found_in_every_way(host: Host) -> None:
    image_id = await load(host, [ONE], "user/app:1", "app:latest")
    other = await load(host, [TWO], "app:2")
    for name in ("user/app:1", "docker.io/user/app:1", "app", "app:latest", "library/app",
                 image_id, image_id[7:], image_id[:20], image_id[7:20]):  # fmt: skip
        assert host.engine.get(name).id == image_id
    assert host.engine.get("app:2").id == other
    for name, shown in (("none", "none:latest"), ("app:9", "app:9"), ("sha256:" + "0" * 64,) * 2):
        with pytest.raises(NotFound, match=f"No such image: {shown}$"):
            host.engine.get(name)
    with pytest.raises(Invalid, match="invalid reference format"):
        host.engine.get("UPPER:Case:x")


async def test_tag(host: Host) -> None:
    image_id = await load(host, [ONE], "app:1")
    host.engine.tag("app:1", "host:5000/other", "v2")
    host.engine.tag(image_id, "third", "")
    assert host.engine.inspect("app:1")["RepoTags"] == [
        "app:1",
        "third:latest",
        "host:5000/other:v2",
    ]
    assert host.engine.inspect("app:1")["Metadata"]["LastTagTime"] > "2026"
    assert [event[0] for event in host.recorder.events] == ["load", "tag", "tag"]
    assert host.recorder.events[1][2] == {"kind": "test", "name": "host:5000/other:v2"}
    with pytest.raises(Invalid, match="invalid tag format"):
        host.engine.tag("app:1", "x", "not a tag")
    with pytest.raises(Invalid, match="digest reference"):
        host.engine.tag("app:1", f"x@sha256:{'0' * 64}", "")


# ---- list, inspect, history


async def test_the_list_and_its_filters(host: Host) -> None:
    old = await load(host, [ONE], "old:1", created="2020-01-01T00:00:00Z")
    new = await load(host, [TWO], "new:1", "new:2", created="2024-01-01T00:00:00Z")
    bare = await load(host, [THREE], created="2022-01-01T00:00:00Z")

    def ids(**filters: list[str]) -> list[str]:
        return [row["Id"] for row in host.engine.summaries(filters, all=False)]

    assert ids() == [new, bare, old]
    assert ids(dangling=["true"]) == [bare]
    assert ids(dangling=["false"]) == [new, old]
    assert ids(reference=["n*"]) == [new]
    assert ids(before=["new:1"]) == [bare, old]
    assert ids(since=["old:1"]) == [new, bare]
    assert ids(since=["old:1"], before=["new:2"]) == [bare]
    assert ids(until=["2023-01-01T00:00:00Z"]) == [bare, old]
    assert ids(label=["kind=test"]) == [new, bare, old]
    assert ids(label=["kind=other"]) == []
    (row,) = host.engine.summaries({"reference": ["new:2"]}, all=False)
    assert row["RepoTags"] == ["new:2"]
    with pytest.raises(Invalid, match="invalid filter 'colour'"):
        ids(colour=["red"])
    with pytest.raises(NotFound, match="No such image: gone:latest"):
        ids(before=["gone"])


async def test_inspect_and_history(host: Host) -> None:
    history = [
        {"created": "2024-05-01T10:00:00Z", "created_by": "ADD one"},
        {"created": "2024-05-01T10:00:01Z", "created_by": "ENV x", "empty_layer": True},
        {"created": "2024-05-01T10:00:02Z", "created_by": "ADD two", "comment": "last"},
    ]
    image_id = await load(host, [ONE, TWO], "app:1", history=history, author="me")
    shown = host.engine.inspect("app:1")
    assert shown["Created"] == "2024-05-01T10:00:00.5Z"
    assert (shown["Author"], shown["Comment"], shown["Parent"]) == ("me", "last", "")
    assert shown["Config"]["Cmd"] == ["sh"]
    assert shown["Config"]["Env"] is None
    assert (shown["Os"], shown["Architecture"]) == ("linux", "amd64")
    rows = host.engine.history("app:1")
    assert [(row["Id"], row["CreatedBy"], row["Size"]) for row in rows] == [
        (image_id, "ADD two", 6),
        ("<missing>", "ENV x", 0),
        ("<missing>", "ADD one", 509),
    ]
    assert rows[0]["Tags"] == ["app:1"]
    assert rows[0]["Created"] == 1714557602


# ---- removal


async def test_removal_takes_everything(host: Host) -> None:
    image_id = await load(host, [ONE, TWO], "app:1")
    diff_ids = [archives.sha(ONE), archives.sha(TWO)]
    host.engine.lower_dirs(host.engine.get("app:1").layers)
    assert remove(host, "app:1") == [
        {"Untagged": "app:1"},
        {"Deleted": image_id},
        {"Deleted": chain_id(diff_ids)},
        {"Deleted": chain_id(diff_ids[:1])},
    ]
    assert host.stored() == ([], [])
    assert await host.leftovers() == []
    assert [event[:2] for event in host.recorder.events] == [
        ("load", image_id),
        ("untag", image_id),
        ("delete", image_id),
    ]


async def test_shared_layers_stay(host: Host) -> None:
    await load(host, [ONE], "a:1")
    image_id = await load(host, [ONE, TWO], "b:1")
    rows = remove(host, image_id[:19])
    assert rows[-1] == {"Deleted": chain_id([archives.sha(ONE), archives.sha(TWO)])}
    (lower,) = host.engine.lower_dirs(host.engine.get("a:1").layers)
    assert (Path(lower) / "etc/one").read_bytes() == b"first"


async def test_several_names(host: Host) -> None:
    image_id = await load(host, [ONE], "a:1", "a:2", "b:1")
    assert remove(host, "a:2") == [{"Untagged": "a:2"}]
    short = image_id[7:19]
    with pytest.raises(Conflict) as caught:
        remove(host, image_id)
    assert caught.value.message == (
        f"conflict: unable to delete {short} (must be forced) - "
        "image is referenced in multiple repositories"
    )
    rows = remove(host, image_id, force=True)
    assert rows[:3] == [{"Untagged": "a:1"}, {"Untagged": "b:1"}, {"Deleted": image_id}]


@pytest.mark.parametrize("running", [False, True])
async def test_an_image_in_use(host: Host, running: bool) -> None:
    image_id = await load(host, [ONE], "app:1")
    image = host.engine.get("app:1")
    host.recorder.users[image_id] = [("c" * 64, running)]
    short, container = image_id[7:19], "c" * 12
    with pytest.raises(Conflict) as caught:
        remove(host, "app:1")
    assert caught.value.message == (
        'conflict: unable to remove repository reference "app:1" (must force) - '
        f"container {container} is using its referenced image {short}"
    )
    with pytest.raises(Conflict) as caught:
        remove(host, image_id)
    how, state = ("cannot be forced", "running") if running else ("must be forced", "stopped")
    assert caught.value.message == (
        f"conflict: unable to delete {short} ({how}) - "
        f"image is being used by {state} container {container}"
    )
    if running:
        with pytest.raises(Conflict):
            remove(host, image_id, force=True)
        assert remove(host, "app:1", force=True) == [{"Untagged": "app:1"}]
        assert host.engine.get(image_id).id == image_id
        return
    assert remove(host, "app:1", force=True) == [{"Untagged": "app:1"}, {"Deleted": image_id}]
    with pytest.raises(NotFound):
        host.engine.get(image_id)
    # The stopped container can still be started: its layers are there until it is gone.
    (lower,) = host.engine.lower_dirs(image.layers)
    assert (Path(lower) / "etc/one").read_bytes() == b"first"
    host.reopen()
    await host.engine.reconcile()
    assert len(host.engine.lower_dirs(image.layers)) == 1
    host.recorder.users.clear()
    await host.engine.prune({})
    assert host.stored() == ([], [])


async def test_prune(host: Host) -> None:
    bare = await load(host, [THREE])
    used = await load(host, [TWO], "used:1")
    named = await load(host, [ONE], "named:1", "named:2")
    host.recorder.users[used] = [("c" * 64, False)]

    done = await host.engine.prune({"label": ["kind=other"]})
    assert done == {"ImagesDeleted": None, "SpaceReclaimed": 0}
    done = await host.engine.prune({})
    assert done["ImagesDeleted"][0] == {"Deleted": bare}
    assert done["SpaceReclaimed"] == len(b"third")
    assert host.recorder.events[-1] == ("prune", "", {"reclaimed": "5"})
    done = await host.engine.prune({"dangling": ["false"], "until": ["2000-01-01T00:00:00Z"]})
    assert done["ImagesDeleted"] is None
    done = await host.engine.prune({"dangling": ["false"]})
    assert [row for row in done["ImagesDeleted"] if "Untagged" in row or named in row.values()] == [
        {"Untagged": "named:1"},
        {"Untagged": "named:2"},
        {"Deleted": named},
    ]
    assert [row["Id"] for row in host.engine.summaries({}, all=True)] == [used]


SHOP = (
    ([ONE], ("shop/front:1", "shop/front:2", "mirror:1")),
    ([ONE, TWO], ("shop/back:1",)),
    ([ONE, TWO, THREE], ()),
    ([TWO, THREE], ()),
    ([THREE], ("mirror:2",)),
)
PRUNES: tuple[dict[str, list[str]], ...] = (
    {},
    {"dangling": ["false"]},
    {"dangling": ["false"], "name": ["shop/*"]},
    {"dangling": ["false"], "name": ["mirror"], "name!": ["*:2"]},
    {"dangling": ["false"], "name!": ["shop/*", "docker.io/library/*"]},
    {"dangling": ["false"], "label": ["kind=none"]},
    {"dangling": ["false"], "until": ["1h"]},
)


@pytest.mark.parametrize("filters", PRUNES, ids=str)
async def test_a_dry_run_tells_what_the_prune_does(
    host: Host, filters: dict[str, list[str]]
) -> None:
    ids = [await load(host, layers, *names) for layers, names in SHOP]
    base = host.engine.get(ids[0])
    (host.paths.data / "upper").mkdir()
    child = await host.engine.commit(
        base,
        str(host.paths.data / "upper"),
        reference=None,
        config={},
        author="",
        comment="",
        created_by="",
        container_id="c" * 64,
    )
    host.recorder.users[ids[1]] = [("a" * 64, False)]
    host.recorder.users[ids[4]] = [("b" * 64, False)]
    before = host.stored(), host.engine.summaries({}, all=True), len(host.recorder.events)

    told = await host.engine.prune(filters, dry_run=True, without={"a" * 64})
    assert (host.stored(), host.engine.summaries({}, all=True), len(host.recorder.events)) == before
    del host.recorder.users[ids[1]]
    done = await host.engine.prune(filters)
    assert told == done
    if not filters:
        assert {"Deleted": child} in done["ImagesDeleted"]


async def test_disk_usage_counts_layers_once(host: Host) -> None:
    await load(host, [ONE], "a:1")
    used = await load(host, [ONE, TWO], "b:1")
    host.recorder.users[used] = [("c" * 64, False)]
    usage = host.engine.disk_usage()
    assert usage["LayersSize"] == 509 + 6
    rows = {row["RepoTags"][0]: row for row in usage["Images"]}
    assert [rows[name]["Containers"] for name in ("a:1", "b:1")] == [0, 1]
    assert [rows[name]["SharedSize"] for name in ("a:1", "b:1")] == [509, 509]


# ---- commit and diff


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    """A writable layer as overlayfs leaves it on top of ONE."""
    folder = tmp_path / "upper"
    (folder / "etc").mkdir(parents=True)
    (folder / "etc/new").write_bytes(b"added")
    (folder / "etc/keep").write_bytes(b"changed")
    os.mknod(folder / "etc/one", stat.S_IFCHR, 0)
    (folder / "opt/deep").mkdir(parents=True)
    os.setxattr(folder / "opt", "trusted.overlay.opaque", b"y")
    tool = folder / "opt/deep/tool"
    tool.write_bytes(b"#!")
    os.link(tool, folder / "opt/deep/twin")
    os.chown(tool, 7, 8)
    tool.chmod(0o4755)
    os.utime(tool, ns=(1, 1_600_000_000_123_456_789))
    os.setxattr(tool, "user.note", b"n")
    os.symlink("/etc/new", folder / "link")
    os.mkfifo(folder / "pipe")
    (folder / "dev").mkdir()
    (folder / "dev/console").touch()
    return folder


async def commit(host: Host, parent: str, upper: Path, name: str | None) -> str:
    return await host.engine.commit(
        host.engine.get(parent),
        str(upper),
        reference=name,
        config={"Cmd": ["run"], "Env": None, "Tty": False},
        author="me",
        comment="a note",
        created_by="sh -c work",
        container_id="c" * 64,
    )


CHANGES = [
    ("/etc", 0),
    ("/etc/keep", 0),
    ("/etc/new", 1),
    ("/etc/one", 2),
    ("/link", 1),
    ("/opt", 1),
    ("/opt/deep", 1),
    ("/opt/deep/tool", 1),
    ("/opt/deep/twin", 1),
    ("/pipe", 1),
]


async def test_diff_and_commit(host: Host, upper: Path) -> None:
    parent = await load(host, [ONE], "base:1")
    lower = host.engine.lower_dirs(host.engine.get("base:1").layers)
    assert host.engine.diff(lower, str(upper)) == CHANGES

    image_id = await commit(host, "base:1", upper, "made:1")
    image = host.engine.get("made:1")
    assert image.id == image_id
    assert image.layers[:-1] == (archives.sha(ONE),)
    shown = host.engine.inspect("made:1")
    assert (shown["Parent"], shown["Author"], shown["Comment"]) == (parent, "me", "a note")
    assert shown["Config"]["Cmd"] == ["run"]
    rows = host.engine.history("made:1")
    assert [(row["Id"], row["CreatedBy"]) for row in rows] == [
        (image_id, "sh -c work"),
        (parent, "layer 0"),
    ]

    top = Path(host.engine.lower_dirs(image.layers)[0])
    names = sorted(str(each.relative_to(top)) for each in top.rglob("*"))
    assert names == sorted(path[1:] for path, _ in CHANGES)
    assert (top / "etc/keep").read_bytes() == b"changed"
    assert (top / "etc/one").lstat().st_rdev == 0
    tool = (top / "opt/deep/tool").stat()
    assert (tool.st_uid, tool.st_gid, tool.st_nlink) == (7, 8, 2)
    assert tool.st_mode == stat.S_IFREG | 0o4755
    assert tool.st_mtime_ns == 1_600_000_000_123_456_789
    assert os.getxattr(top / "opt/deep/tool", "user.note") == b"n"
    assert os.readlink(top / "link") == "/etc/new"
    assert stat.S_ISFIFO((top / "pipe").lstat().st_mode)

    short = parent[7:19]
    with pytest.raises(Conflict) as caught:
        remove(host, parent, force=True)
    assert caught.value.message == (
        f"conflict: unable to delete {short} (cannot be forced) - image has dependent child images"
    )


async def test_nothing_changed_gives_no_layer(host: Host, tmp_path: Path) -> None:
    await load(host, [ONE], "base:1")
    (tmp_path / "upper/etc").mkdir(parents=True)
    await commit(host, "base:1", tmp_path / "upper", "same:1")
    assert host.engine.get("same:1").layers == host.engine.get("base:1").layers
    assert host.engine.history("same:1")[0]["Size"] == 0


async def test_an_unnamed_parent_goes_with_its_last_child(host: Host, upper: Path) -> None:
    parent = await load(host, [ONE], "base:1")
    child = await commit(host, "base:1", upper, "made:1")
    assert remove(host, "base:1") == [{"Untagged": "base:1"}]
    assert [row["Id"] for row in host.engine.summaries({}, all=False)] == [child]
    rows = remove(host, "made:1")
    assert [row["Deleted"] for row in rows if row.get("Deleted") in (parent, child)] == [
        child,
        parent,
    ]
    assert host.stored() == ([], [])


def test_an_opaque_folder_hides_what_was_there(host: Host, tmp_path: Path) -> None:
    for name in ("top/d", "base/d/sub", "base/e", "up/d", "up/e"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "base/d/old").touch()
    (tmp_path / "base/d/gone").touch()
    (tmp_path / "base/d/both").mkdir()
    (tmp_path / "base/d/both/hidden").touch()
    (tmp_path / "up/d/both").mkdir()
    (tmp_path / "up/d/old").touch()
    os.mknod(tmp_path / "top/d/gone", stat.S_IFCHR, 0)
    os.setxattr(tmp_path / "up/d", "trusted.overlay.opaque", b"y")
    lower = [str(tmp_path / "top"), str(tmp_path / "base")]
    assert host.engine.diff(lower, str(tmp_path / "up")) == [
        ("/d", 0),
        ("/d/both", 0),
        ("/d/both/hidden", 2),
        ("/d/old", 0),
        ("/d/sub", 2),
    ]


async def test_a_link_put_in_place_of_a_folder_leads_nowhere(host: Host, tmp_path: Path) -> None:
    """A container that swaps a folder for a link meanwhile shows nothing of the host."""
    await load(host, [ONE], "base:1")
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_bytes(b"secret")
    folder = tmp_path / "upper"
    folder.mkdir()
    os.symlink(secret, folder / "d")
    await commit(host, "base:1", folder, "made:1")
    top = Path(host.engine.lower_dirs(host.engine.get("made:1").layers)[0])
    assert [each.name for each in top.iterdir()] == ["d"]
    assert os.readlink(top / "d") == str(secret)


# ---- the built-in base


async def test_pull_knows_only_the_base(host: Host) -> None:
    said: list[dict[str, Any]] = []

    async def pull(name: str, tag: str = "") -> None:
        await host.engine.pull(name, tag, lambda item: said.append(dict(item)))

    with pytest.raises(NotImplementedYet, match="not available yet: cannot pull alpine:latest"):
        await pull("alpine")
    await pull("busybox", "latest")
    assert said[-1] == {"status": "Status: Image is up to date for busybox:latest"}
    base = host.engine.get("busybox")
    remove(host, "busybox")
    await host.engine.ensure_base()
    with pytest.raises(NotFound):
        host.engine.get("busybox")
    await pull("busybox")
    assert host.engine.get("busybox") == base
    await load(host, [ONE], "busybox:latest")
    with pytest.raises(NotImplementedYet):
        await pull("busybox")

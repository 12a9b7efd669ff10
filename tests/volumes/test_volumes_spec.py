from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import Invalid
from wherry.volumes import spec
from wherry.wire.container import Mount


@pytest.mark.parametrize(
    ("raw", "kind", "source", "target", "read_only"),
    [
        ("/a:/b", "bind", "/a", "/b", False),
        ("/a/../c:/b/:ro", "bind", "/c", "/b", True),
        ("data:/b", "volume", "data", "/b", False),
        ("data:/b:ro,z,nocopy", "volume", "data", "/b", True),
        ("/b", "volume", "", "/b", False),
        ("/a:/b:ro,rslave,Z,cached", "bind", "/a", "/b", True),
        ("//a:///b", "bind", "/a", "/b", False),
    ],
)
def test_binds(raw: str, kind: str, source: str, target: str, read_only: bool) -> None:
    wanted = spec.parse_bind(raw)
    assert (wanted.kind, wanted.source, wanted.target) == (kind, source, target)
    assert wanted.read_only is read_only


def test_bind_details() -> None:
    assert spec.parse_bind("/a:/b:rshared").propagation == "rshared"
    assert spec.parse_bind("/a:/b").propagation == "rprivate"
    assert spec.parse_bind("/a:/b").create_source
    assert spec.parse_bind("v1:/b:nocopy").no_copy
    assert spec.parse_bind("v1:/b", "nfs").driver == "nfs"
    assert spec.parse_bind("/a:/b", "nfs").driver == ""


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("", "invalid volume specification: ''"),
        (":/b", "invalid volume specification: ':/b'"),
        ("/b:ro", "invalid volume specification: '/b:ro'"),
        ("/a:/b:ro:x", "invalid volume specification: '/a:/b:ro:x'"),
        ("/a:/b:nope", "invalid mode: nope"),
        ("/a:/b:ro,rw", "invalid mode: ro,rw"),
        ("/a:/b:,", "invalid mode: ,"),
        (
            "/a:/",
            "invalid volume specification: '/a:/': invalid mount config for type \"bind\": "
            "invalid specification: destination can't be '/'",
        ),
        (
            "/a:b",
            "invalid volume specification: '/a:b': invalid mount config for type \"bind\": "
            "invalid mount path: 'b' mount path must be absolute",
        ),
        (
            "v1:/b:shared",
            "invalid volume specification: 'v1:/b:shared': invalid mount config for type "
            '"volume": field BindOptions must not be specified',
        ),
    ],
)
def test_bad_binds(raw: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        spec.parse_bind(raw)
    assert caught.value.message == message


def _mount(**values: Any) -> spec.Wanted:
    return spec.parse_mount(msgspec.convert(values, Mount))


def test_mounts() -> None:
    bind = _mount(
        Type="bind",
        Source="/a",
        Target="/b",
        ReadOnly=True,
        BindOptions={"NonRecursive": True, "CreateMountpoint": True, "Propagation": "rslave"},
        Consistency="cached",
    )
    assert (bind.non_recursive, bind.create_source, bind.propagation) == (True, True, "rslave")
    volume = _mount(
        Type="volume",
        Source="v1",
        Target="/b",
        VolumeOptions={
            "NoCopy": True,
            "Subpath": "x/y",
            "Labels": {"a": "b"},
            "DriverConfig": {"Name": "local", "Options": {"type": "tmpfs"}},
        },
    )
    assert (volume.no_copy, volume.subpath, volume.driver) == (True, "x/y", "local")
    assert (volume.labels, volume.driver_options) == ({"a": "b"}, {"type": "tmpfs"})
    tmpfs = _mount(
        Type="tmpfs", Target="/t", ReadOnly=True, TmpfsOptions={"SizeBytes": 4096, "Mode": 0o1770}
    )
    assert tmpfs.tmpfs_options == ("noexec", "nosuid", "nodev", "ro", "mode=1770", "size=4096")
    image = _mount(Type="image", Source="busybox", Target="/i", ImageOptions={"Subpath": "bin"})
    assert (image.read_only, image.subpath) == (True, "bin")
    force = _mount(
        Type="bind",
        Source="/a",
        Target="/b",
        ReadOnly=True,
        BindOptions={"ReadOnlyForceRecursive": True},
    )
    assert force.read_only_recursion == "force"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"Type": "what", "Target": "/b"}, "mount type unknown"),
        ({"Type": "bind", "Source": "/a"}, "field Target must not be empty"),
        ({"Type": "bind", "Target": "/b"}, "field Source must not be empty"),
        (
            {"Type": "bind", "Source": "a", "Target": "/b"},
            "invalid mount path: 'a' mount path must be absolute",
        ),
        (
            {
                "Type": "bind",
                "Source": "/a",
                "Target": "/b",
                "BindOptions": {"Propagation": "x"},
            },
            "invalid propagation mode: x",
        ),
        (
            {"Type": "volume", "Target": "/b", "ReadOnly": True},
            "must not set ReadOnly mode when using anonymous volumes",
        ),
        (
            {"Type": "volume", "Target": "/b", "VolumeOptions": {"Subpath": "a"}},
            "must not set Subpath when using anonymous volumes",
        ),
        (
            {"Type": "volume", "Source": "v", "Target": "/b", "VolumeOptions": {"Subpath": "../a"}},
            "subpath must be a relative path within the volume",
        ),
        (
            {"Type": "tmpfs", "Source": "x", "Target": "/b"},
            "field Source must not be specified",
        ),
        ({"Type": "image", "Target": "/b"}, "field Source must not be empty"),
        (
            {
                "Type": "tmpfs",
                "Target": "/b",
                "TmpfsOptions": {"Options": [["huge"]]},
            },
            'invalid tmpfs option ["huge" ""]',
        ),
        ({"Type": "tmpfs", "Target": "/b", "TmpfsOptions": {"Mode": -8}}, "invalid mode: -10"),
    ],
)
def test_bad_mounts(values: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid) as caught:
        _mount(**values)
    assert caught.value.message == f'invalid mount config for type "{values["Type"]}": {message}'


def test_options_of_another_type() -> None:
    with pytest.raises(Invalid, match='VolumeOptions must not be specified on mount type "bind"'):
        _mount(Type="bind", Source="/a", Target="/b", VolumeOptions={})


def test_tmpfs() -> None:
    found = spec.parse_tmpfs({"/t/": "size=64m,exec", "/u": ""})
    assert [each.target for each in found] == ["/t", "/u"]
    assert found[0].tmpfs_options == ("nosuid", "nodev", "size=64m", "exec")
    assert not found[0].listed
    with pytest.raises(Invalid, match='invalid tmpfs option \\["bad" ""\\]'):
        spec.parse_tmpfs({"/t": "bad"})


def test_volumes_from() -> None:
    assert spec.parse_volumes_from("c1") == ("c1", "rw")
    assert spec.parse_volumes_from("c1:ro") == ("c1", "ro")
    for raw in ("", ":ro", "c1:nope", "c1:shared", "c1:nocopy"):
        with pytest.raises(Invalid):
            spec.parse_volumes_from(raw)


def test_names() -> None:
    assert spec.volume_name("my_vol-1.x") == "my_vol-1.x"
    for bad in ("", "a", "-ab", "a/b", "ä1", "a" * 300, "a b"):
        with pytest.raises(Invalid):
            spec.volume_name(bad)


def test_duplicates_and_depth() -> None:
    with pytest.raises(Invalid, match="Duplicate mount point: /b"):
        spec.check_unique([spec.parse_bind("/a:/b"), spec.parse_bind("v1:/b/")])
    assert [spec.depth(path) for path in ("/a", "/a/b", "/a/b/c")] == [1, 2, 3]


@given(st.text(alphabet="/ab:.,roz", max_size=20))
def test_bind_value_or_invalid(raw: str) -> None:
    try:
        wanted = spec.parse_bind(raw)
    except Invalid:
        return
    assert wanted.target.startswith("/")
    assert wanted.target != "/"
    assert ".." not in wanted.target.split("/")
    assert spec.parse_bind(f"{wanted.source}:{wanted.target}" if wanted.source else wanted.target)


@given(st.text(alphabet="/ab.", max_size=14))
def test_local_paths_stay_inside(path: str) -> None:
    if spec.is_local(path):
        position = 0
        for part in path.split("/"):
            position += {"..": -1, ".": 0, "": 0}.get(part, 1)

        assert position >= 0


@given(st.lists(st.sampled_from(["ro", "rw", "exec", "noexec", "size=1", "mode=7", "x", "size="])))
def test_tmpfs_options_value_or_invalid(words: list[str]) -> None:
    try:
        merged = spec.merge_tmpfs(words)
    except Invalid:
        return
    assert len({each.partition("=")[0].removeprefix("no") for each in merged}) == len(merged)

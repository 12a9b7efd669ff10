"""Archives from elsewhere: whatever their documents say, the answer is images or ``Invalid``."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wherry.errors import Invalid
from wherry.images.worker import layertree
from wherry.images.worker.archive import contents
from wherry.images.worker.load import Loader
from wherry.images.worker.split import Piece, Pieces
from wherry.oci import digest as digests
from wherry.trees import tarfmt, tarwrite

JUNK = [5, "text", True, [], [5], ["x"], {}, {"a": 5}, [{}], [{"digest": []}], [[]]]
DEEP = b"[" * 100_000
PLATFORM = ("linux", "amd64", "")


def sha(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Archive:
    """Files of an archive, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pieces = Pieces()

    def add(self, name: str, data: bytes | object) -> str:
        data = data if isinstance(data, bytes) else json.dumps(data).encode()
        path = self.folder / f"piece-{len(self.pieces.files)}"
        path.write_bytes(data)
        self.pieces.files[name] = Piece(path, sha(data), len(data))
        return sha(data)

    def blob(self, data: bytes | object) -> str:
        whole = data if isinstance(data, bytes) else json.dumps(data).encode()
        return self.add(f"blobs/sha256/{sha(whole)[7:]}", whole)

    def read(self) -> None:
        """As ``load`` does, but for the layers."""
        found = contents(self.pieces)
        loader = Loader(self.folder, set(), {}, PLATFORM, "erofs", lambda _: None)
        for root in found.roots:
            loader._usable_root(root.digest, found)


def layout(archive: Archive, index: object) -> Archive:
    archive.add("oci-layout", {"imageLayoutVersion": "1.0.0"})
    archive.add("index.json", index)
    return archive


def damaged(archive: Archive, place: str, value: Any) -> Archive:
    """An archive that is whole but for one value."""
    layer = archive.blob(b"")
    config: Any = {"rootfs": {"type": "layers", "diff_ids": [layer]}}
    manifest: Any = {
        "config": {"digest": archive.blob(value if place == "config document" else config)},
        "layers": [{"digest": layer}],
    }
    if place in manifest:
        manifest[place] = value
    nested = {"manifests": [{"digest": archive.blob(manifest)}]}
    if place == "manifests":
        nested["manifests"] = value
    descriptor: Any = {"digest": archive.blob(value if place == "manifest" else nested)}
    if place == "annotations":
        descriptor["annotations"] = value
    index: Any = {"manifests": value if place == "index" else [descriptor]}
    docker: Any = {"Config": "oci-layout", "Layers": [], "RepoTags": []}
    if place in docker:
        docker[place] = value
    archive.add("manifest.json", value if place == "manifest.json" else [docker])
    return layout(archive, index)


PLACES = [
    "annotations",
    "Config",
    "Layers",
    "RepoTags",
    "index",
    "config",
    "layers",
    "manifest",
    "manifests",
    "manifest.json",
]


@pytest.mark.parametrize("place", [*PLACES, "config document"])
def test_a_damaged_document_is_invalid_and_nothing_worse(tmp_path: Path, place: str) -> None:
    for number, value in enumerate([*JUNK, DEEP] if "document" in place else JUNK):
        folder = tmp_path / str(number)
        folder.mkdir()
        archive = damaged(Archive(folder), place, value)
        try:
            archive.read()
        except Invalid:
            continue


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["digest", "manifests", "config", "layers", "parent"]), inner
            )
        ),
    ),
    st.sampled_from(PLACES),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_document_does_worse(
    tmp_path_factory: pytest.TempPathFactory, value: Any, place: str
) -> None:
    try:
        damaged(Archive(tmp_path_factory.mktemp("a")), place, value).read()
    except Invalid:
        return


@pytest.mark.parametrize("value", [*JUNK, DEEP])
@pytest.mark.parametrize("place", ["whole", "parent", "container_config", "Cmd"])
def test_a_damaged_old_document_is_invalid_and_nothing_worse(
    tmp_path: Path, place: str, value: Any
) -> None:
    if value == DEEP and place != "whole":
        return
    archive = Archive(tmp_path)
    archive.add("a/layer.tar", b"")
    old: Any = {"container_config": {"Cmd": value}} if place == "Cmd" else {place: value}
    archive.add("a/json", value if place == "whole" else old)
    try:
        archive.read()
    except Invalid:
        return


def test_old_images_with_one_layer_in_common_keep_their_own_documents(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.add("a/layer.tar", b"")
    archive.pieces.links["b/layer.tar"] = "a/layer.tar"
    archive.add("a/json", {"author": "one"})
    archive.add("b/json", {"author": "other"})
    configs = [each.config for each in contents(archive.pieces).images]
    assert len(configs) == 2
    for each in configs:
        assert sha(each.path.read_bytes()) == each.digest


def test_indexes_that_repeat_themselves_are_read_once(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    layer = archive.blob(b"")
    config = archive.blob({"rootfs": {"type": "layers", "diff_ids": [layer]}})
    digest = archive.blob({"config": {"digest": config}, "layers": [{"digest": layer}]})
    for _ in range(4):
        digest = archive.blob({"manifests": [{"digest": digest}] * 1000})
    layout(archive, {"manifests": [{"digest": digest}]}).read()


def test_a_digest_ends_with_its_last_digit() -> None:
    good = "sha256:" + "0" * 64
    assert digests.is_digest(good)
    assert not digests.is_digest(good + "\n")
    with pytest.raises(Invalid):
        digests.parse(good + "\n")


def test_a_whiteout_of_a_name_that_no_file_can_have() -> None:
    member = tarwrite.member(b".wh." + b"n" * 300, tarfmt.REGULAR, tarwrite.Attributes())
    with pytest.raises(Invalid, match="too long"):
        layertree.build(tarfmt.entries(tarfmt.MappedSource(member + tarwrite.END)))

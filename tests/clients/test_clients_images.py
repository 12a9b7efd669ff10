"""Images by every command line client: from files, to files, names, commits."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.clients import Cli
from tests.support.engine import Engine
from tests.support.images import BASE, busybox_root, docker_archive, tar_of

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def _only_the_base(engine: Engine) -> Iterator[None]:
    """Images that a test leaves are removed."""
    yield
    engine.remove_containers()
    for row in engine.get("/images/json?all=1").json:
        tags = [tag for tag in row["RepoTags"] or [] if not tag.split(":")[0].endswith("busybox")]
        for name in tags:
            assert engine.delete(f"/images/{name}?force=1").status == 200
        if not row["RepoTags"]:
            engine.delete(f"/images/{row['Id']}?force=1")


def tags(engine: Engine) -> set[str]:
    return {tag for row in engine.get("/images/json").json for tag in row["RepoTags"] or []}


def test_the_base_is_listed(cli: Cli) -> None:
    table = cli("images", BASE).ok().splitlines()
    assert table[0].split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    assert table[1].split()[:2] == [BASE, "latest"]
    assert cli("images", "--format", "{{.Repository}}:{{.Tag}}", BASE).ok() == f"{BASE}:latest"
    full = cli("images", "-q", "--no-trunc", BASE).ok()
    assert full.startswith("sha256:")
    assert len(full) == 71


def test_tag_save_load(cli: Cli, engine: Engine, tmp_path: Path) -> None:
    cli("tag", BASE, "kept:one").ok()
    identity = cli("image", "inspect", "-f", "{{.Id}}", BASE).ok()
    file = tmp_path / "kept.tar"
    cli("save", "-o", str(file), "kept:one").ok()
    assert file.stat().st_mode & 0o077 == 0
    cli("rmi", "kept:one").ok()
    assert "kept:one" not in tags(engine)
    assert "kept:one" in cli("load", "-i", str(file)).ok()
    assert cli("image", "inspect", "-f", "{{.Id}}", "kept:one").ok() == identity
    with tarfile.open(file) as tar:
        assert "manifest.json" in tar.getnames()


def test_load_what_docker_saved(cli: Cli, engine: Engine) -> None:
    tar = docker_archive("foreign:1", busybox_root(), Env=["PATH=/bin", "WORD=foreign"])
    file = engine.root / "foreign.tar"
    file.write_bytes(tar)
    assert "Loaded image: foreign:1" in cli("load", "-q", "-i", str(file)).ok()
    done = cli("run", "--rm", "--network", "none", "foreign:1", "sh", "-c", "echo $WORD")
    assert done.ok() == "foreign"


def test_import(cli: Cli, engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "root.tar"
    file.write_bytes(busybox_root())
    change = ("--change", 'CMD ["echo", "by default"]', "--change", "ENV PATH=/bin", "-m", "note")
    identity = cli("import", *change, str(file), "made:up").ok()
    assert identity.startswith("sha256:")
    assert cli("run", "--rm", "--network", "none", "made:up").ok() == "by default"
    assert cli("history", "--format", "{{.Comment}}", "made:up").ok() == "note"


def test_import_from_stdin(cli: Cli) -> None:
    plain = tar_of({"file": b"content"})
    for tool in ("cat", "gzip", "xz"):
        packed = subprocess.run([tool], input=plain, capture_output=True, check=True).stdout
        done = subprocess.run(
            [*cli.program.command, "import", "-", f"piped:{tool}"],
            input=packed,
            capture_output=True,
            env=cli.environment,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(b"sha256:")


def test_commit(cli: Cli, engine: Engine) -> None:
    name = engine.run("sh", "-c", "echo new >/added; rm /etc/group")
    engine.wait(name)
    message = ("-a", "me", "-m", "why", "-c", "ENV ADDED=yes", "-c", 'CMD ["cat", "/added"]')
    identity = cli("commit", *message, name, "grown:1").ok()
    assert identity.startswith("sha256:")
    described = json.loads(cli("image", "inspect", "grown:1").ok())[0]
    assert described["Author"] == "me"
    assert described["Comment"] == "why"
    assert "ADDED=yes" in described["Config"]["Env"]
    base = json.loads(cli("image", "inspect", BASE).ok())[0]
    layers, below = described["RootFS"]["Layers"], base["RootFS"]["Layers"]
    assert layers[:-1] == below
    run = ("run", "--rm", "--network", "none", "grown:1")
    assert cli(*run).ok() == "new"
    assert cli(*run, "test", "-e", "/etc/group").code == 1


def test_commit_keeps_only_the_difference(cli: Cli, engine: Engine, tmp_path: Path) -> None:
    name = engine.run("sh", "-c", "mkdir /d; echo x >/d/f")
    engine.wait(name)
    cli("commit", name, "slim:1").ok()
    file = tmp_path / "slim.tar"
    cli("save", "-o", str(file), "slim:1").ok()
    with tarfile.open(file) as tar:
        member = tar.extractfile("manifest.json")
        assert member is not None
        top = json.loads(member.read())[0]["Layers"][-1]
        inside = tar.extractfile(top)
        assert inside is not None
        with tarfile.open(fileobj=io.BytesIO(inside.read())) as layer:
            names = {each.name.strip("./") for each in layer.getmembers() if each.name.strip("./")}
    assert names == {"d", "d/f"}


def test_rmi(cli: Cli, engine: Engine) -> None:
    engine.upload("/images/load", docker_archive("short:1", tar_of({"f": b"1"})))
    cli("tag", "short:1", "short:2").ok()
    assert cli("rmi", "short:2").ok() == "Untagged: short:2"
    lines = cli("rmi", "short:1").ok().splitlines()
    assert lines[0] == "Untagged: short:1"
    assert all(line.startswith("Deleted: sha256:") for line in lines[1:])
    assert len(lines) > 1
    unknown = cli("rmi", "short:1")
    assert unknown.code == 1
    assert "No such image: short:1" in unknown.err


def test_rmi_of_what_is_used(cli: Cli, engine: Engine) -> None:
    engine.upload("/images/load", docker_archive("used:1", busybox_root()))
    engine.run("sleep", "1000", image="used:1", name="user")
    identity = cli("image", "inspect", "-f", "{{.Id}}", "used:1").ok()
    refused = cli("rmi", identity)
    assert refused.code == 1
    assert "conflict" in refused.err.lower()
    assert "used:1" in tags(engine)


def test_history_and_inspect(cli: Cli) -> None:
    assert len(cli("history", "-q", BASE).ok().splitlines()) >= 1
    described = json.loads(cli("image", "inspect", BASE).ok())[0]
    assert described["Os"] == "linux"
    assert f"{BASE}:latest" in described["RepoTags"]
    assert described["RootFS"]["Type"] == "layers"
    missing = cli("image", "inspect", "no/such:image")
    assert missing.code == 1
    assert "no such image" in missing.err.lower()


def test_prune_of_dangling(cli: Cli, engine: Engine) -> None:
    engine.upload("/images/load", docker_archive("loose:1", tar_of({"f": b"one"})))
    engine.upload("/images/load", docker_archive("loose:1", tar_of({"f": b"two"})))
    assert len(cli("images", "-q", "-f", "dangling=true").ok().splitlines()) == 1
    cli("image", "prune", "-f").ok()
    assert cli("images", "-q", "-f", "dangling=true").ok() == ""
    assert "loose:1" in tags(engine)

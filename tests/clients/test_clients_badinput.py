"""What a user gets wrong: the status and message Docker gives, and nothing left behind."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.leftovers import mounts_below
from tests.support.badcreate import container
from tests.support.clients import Cli
from tests.support.engine import Engine
from tests.support.images import BASE, busybox_root, docker_archive, tar_of
from tests.support.traces import untouched

pytestmark = pytest.mark.root


@pytest.fixture
def nothing_changes(engine: Engine) -> Iterator[None]:
    with untouched(engine):
        yield


START = [
    pytest.param(container(Cmd=["no-such"]), "no-such", 127, id="missing"),
    pytest.param(container(Cmd=["/etc/passwd"]), "permission denied", 126, id="not-executable"),
    pytest.param(container(User="no-such-user"), "no-such-user", None, id="user"),
    pytest.param(container(User="root:no-such-group"), "no-such-group", None, id="group"),
]


@pytest.mark.parametrize(("request_body", "message", "code"), START)
def test_start(engine: Engine, request_body: Any, message: str, code: int | None) -> None:
    try:
        created = engine.post("/containers/create", request_body).json["Id"]
        answer = engine.post(f"/containers/{created}/start")
        assert answer.status in (400, 404, 500), answer.body
        assert answer.status == 400 or not engine.is_wherry or code is None
        assert message in answer.message.lower()
        state = engine.inspect(created)["State"]
        assert (state["Running"], state["Pid"]) == (False, 0)
        assert state["Status"] in ("created", "exited")
        if code is not None:
            assert state["ExitCode"] == code
            assert message in state["Error"].lower()
        assert not [each for each in mounts_below(engine.root) if created in each]
    finally:
        engine.remove_containers()


GOOD = docker_archive("good:1", busybox_root())
TARS = [
    pytest.param("/images/load", GOOD[: len(GOOD) // 2], id="load-cut"),
    pytest.param("/images/load", b"not a tar at all" * 100, id="load-garbage"),
    pytest.param("/images/load", gzip.compress(GOOD)[:-2000], id="load-cut-gzip"),
    pytest.param("/images/load", tar_of({"x": b"y"}), id="load-no-manifest"),
    pytest.param("/images/load", tar_of({"manifest.json": b"{"}), id="load-bad-manifest"),
    pytest.param(
        "/images/load",
        tar_of({"manifest.json": b'[{"Config":"../../etc/passwd","Layers":[]}]'}),
        id="load-escape",
    ),
    pytest.param("/images/create?fromSrc=-&repo=bad", b"garbage" * 1000, id="import-garbage"),
    pytest.param("/images/create?fromSrc=-&repo=bad", busybox_root()[:300_000], id="import-cut"),
    pytest.param("/images/create?fromSrc=-&repo=BAD", busybox_root(), id="import-bad-name"),
    pytest.param(
        "/images/create?fromSrc=-&repo=bad&changes=NONSENSE%20x", busybox_root(), id="import-change"
    ),
]


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize(("path", "tar"), TARS)
def test_bad_tars(engine: Engine, path: str, tar: bytes) -> None:
    answer = engine.upload(path, tar)
    # An error after the first byte of progress comes inside the stream, as Docker sends it.
    assert answer.status in (400, 404, 500) or b'"error"' in answer.body, answer.body
    if engine.is_wherry:
        assert answer.status in (200, 400), answer.body


def test_an_empty_import_is_refused_or_empty(engine: Engine) -> None:
    answer = engine.upload("/images/create?fromSrc=-&repo=empty", b"")
    if answer.status == 200 and b'"error"' not in answer.body:
        engine.delete("/images/empty")
    assert answer.status in (200, 400, 500)


@pytest.mark.usefixtures("nothing_changes")
def test_command_line(cli: Cli, tmp_path: Path) -> None:
    none = ("--network", "none")
    for arguments, code, text in (
        (("no-such-command",), 1, "no-such-command"),
        (("run",), 1, "requires at least 1 argument"),
        (("rm",), 1, "requires at least 1 argument"),
        (("start", "nobody"), 1, "No such container: nobody"),
        (("stop", "nobody"), 1, "No such container: nobody"),
        (("rm", "nobody"), 1, "No such container: nobody"),
        (("logs", "nobody"), 1, "No such container: nobody"),
        (("kill", "nobody"), 1, "No such container: nobody"),
        (("inspect", "nobody"), 1, "nobody"),
        (("rmi", "nobody"), 1, "No such image: nobody"),
        (("tag", "nobody", "x"), 1, "No such image: nobody"),
        (("save", "-o", str(tmp_path / "x"), "nobody"), 1, "nobody"),
        (("load", "-i", str(tmp_path / "missing")), 1, "no such file"),
        (("import", str(tmp_path / "missing")), 1, "no such file"),
        (("run", *none, "-m", "lots", BASE), 125, "lots"),
        (("run", *none, "-m", "1k", BASE), 125, "Minimum memory limit"),
        (("run", *none, "--name", "a/b", BASE), 125, "Invalid container name (a/b)"),
        (("run", *none, "--runtime", "nothing", BASE), 125, "nothing"),
        (("run", *none, "-w", "relative", BASE), 125, "relative"),
        (("run", *none, "--restart", "perhaps", BASE), 125, "perhaps"),
        (("run", *none, "-d", "-a", "stdout", BASE), 1, "onflicting options"),
        (("run", *none, "--rm", "--restart", "always", BASE), 125, "--restart"),
        (("ps", "--format", "{{.Nothing"), 1, ""),
        (("ps", "--filter", "nonsense=1"), 1, "nonsense"),
        (("inspect", "--format", "{{", BASE), 64, "template"),
    ):
        done = cli(*arguments)
        wanted = {code, 125} if code == 1 else {code, 1, 125} if code == 64 else {code}
        shown = f"{arguments}: {done}"
        assert done.code in wanted, shown
        assert text.lower() in (done.err + done.out).lower(), shown

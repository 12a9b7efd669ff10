"""``wherry context``: Docker's store, words and files; a context of one is the other's."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tests.support.certificates import certificates
from tests.support.clients import LIKE_DOCKER, like_docker

from wherry.cli.main import main
from wherry.client.contextfile import pack, unpack
from wherry.client.contexts import context_id
from wherry.client.errors import BadHost

ENDPOINT = {"Host": "tcp://h:2376", "SkipTLSVerify": False}
META = {"Name": "x", "Metadata": {}, "Endpoints": {"docker": ENDPOINT}}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates."""
    folder = tmp_path_factory.mktemp("certificates")
    certificates(folder)
    return folder


@pytest.fixture
def home(tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty configuration folder, and no word about a daemon in the environment."""
    folder = tmp_path / "config"
    for name in ("HOST", "CONTEXT", "TLS_VERIFY", "CERT_PATH", "CONFIG"):
        for prefix in ("WHERRY", "DOCKER"):
            monkeypatch.delenv(f"{prefix}_{name}", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    monkeypatch.chdir(tmp_path)
    for part, file in (("ca", "ca.pem"), ("cert", "client.pem"), ("key", "client.key")):
        shutil.copy(made / file, tmp_path / part)
    (tmp_path / "junk").write_text("no certificate")
    return folder


Capture = pytest.CaptureFixture[str]
TLS = "host=tcp://far:2376,ca=ca,cert=cert,key=key"


def run(capsys: Capture, *words: str) -> tuple[int, str, str]:
    code = main(["context", *words])
    done = capsys.readouterr()
    return code, done.out, done.err


def test_the_whole_life(home: Path, capsys: Capture) -> None:
    done = run(capsys, "create", "far", "--docker", TLS, "--description", "Far away")
    assert done == (0, "far\n", 'Successfully created context "far"\n')
    identity = context_id("far")
    meta = json.loads((home / "contexts/meta" / identity / "meta.json").read_text())
    assert meta == {
        "Name": "far",
        "Metadata": {"Description": "Far away"},
        "Endpoints": {"docker": {"Host": "tcp://far:2376", "SkipTLSVerify": False}},
    }
    keys = home / "contexts/tls" / identity / "docker"
    assert sorted(os.listdir(keys)) == ["ca.pem", "cert.pem", "key.pem"]
    assert stat.S_IMODE((keys / "key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700

    assert run(capsys, "show")[1] == "default\n"
    assert run(capsys, "use", "far") == (0, "far\n", 'Current context is now "far"\n')
    assert run(capsys, "show")[1] == "far\n"
    lines = run(capsys, "ls")[1].splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "default", "far"]
    assert lines[2].startswith("far *")
    assert "tcp://far:2376" in lines[2]

    whole = json.loads(run(capsys, "inspect")[1])
    assert whole[0]["TLSMaterial"] == {"docker": ["ca.pem", "cert.pem", "key.pem"]}
    assert whole[0]["Storage"]["TLSPath"] == str(home / "contexts/tls" / identity)
    assert run(capsys, "inspect", "-f", "{{.Endpoints.docker.Host}}")[1] == "tcp://far:2376\n"

    code, _, error = run(capsys, "rm", "far")
    assert (code, error) == (1, 'context "far" is in use, set -f flag to force remove\n')
    assert run(capsys, "rm", "-f", "far") == (0, "far\n", "")
    assert run(capsys, "show")[1] == "default\n"
    assert list((home / "contexts/meta").iterdir()) == []
    assert list((home / "contexts/tls").iterdir()) == []


def test_update(home: Path, capsys: Capture) -> None:
    run(capsys, "create", "far", "--docker", TLS, "--description", "old")
    assert run(capsys, "update", "far", "--description", "new")[0] == 0
    (whole,) = json.loads(run(capsys, "inspect", "far")[1])
    assert whole["Metadata"] == {"Description": "new"}
    assert whole["TLSMaterial"]["docker"]
    run(capsys, "update", "far", "--docker", "host=ssh://me@far")
    (whole,) = json.loads(run(capsys, "inspect", "far")[1])
    assert whole["Endpoints"]["docker"]["Host"] == "ssh://me@far"
    assert whole["TLSMaterial"] == {}


def test_a_copy(home: Path, capsys: Capture) -> None:
    run(capsys, "create", "far", "--docker", TLS)
    run(capsys, "create", "near", "--from", "far", "--description", "copy")
    run(capsys, "create", "other", "--docker", "from=far")
    for name in ("near", "other"):
        (whole,) = json.loads(run(capsys, "inspect", name)[1])
        assert whole["Endpoints"]["docker"]["Host"] == "tcp://far:2376"
        assert len(whole["TLSMaterial"]["docker"]) == 3


def test_what_others_put_into_a_context_stays(home: Path, capsys: Capture) -> None:
    run(capsys, "create", "far", "--docker", TLS)
    path = home / "contexts/meta" / context_id("far") / "meta.json"
    meta = json.loads(path.read_text())
    meta["Endpoints"]["kubernetes"] = {"Host": "k"}
    meta["Metadata"]["Extra"] = 1
    path.write_text(json.dumps(meta))
    run(capsys, "update", "far", "--description", "d", "--docker", "host=tcp://new:1")
    kept = json.loads(path.read_text())
    assert kept["Endpoints"]["kubernetes"] == {"Host": "k"}
    assert kept["Metadata"] == {"Extra": 1, "Description": "d"}


def test_export_and_import(home: Path, tmp_path: Path, capsys: Capture) -> None:
    run(capsys, "create", "far", "--docker", TLS)
    assert run(capsys, "export", "far") == (0, "", 'Written file "far.dockercontext"\n')
    target = tmp_path / "far.dockercontext"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    code, _, error = run(capsys, "export", "far")
    assert (code, error) == (1, "open far.dockercontext: file exists\n")
    assert run(capsys, "import", "again", str(target))[0] == 0
    first, second = json.loads(run(capsys, "inspect", "far", "again")[1])
    assert second["Endpoints"] == first["Endpoints"]
    assert second["TLSMaterial"] == first["TLSMaterial"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("create", "requires 1 argument"),
        ("create far", 'context "far" already exists'),
        ("create default", '"default" is a reserved context name'),
        ("create x", 'context name "x" is invalid'),
        ("create a/../b", "is invalid"),
        ("create xx --docker foo=bar", "unrecognized config key: foo"),
        ("create xx --docker bad", "bad must be formatted as key=value"),
        ("create xx --docker host=ftp://x", "unknown scheme 'ftp'"),
        ("create xx --docker host=tcp://h:port", "bad port 'port'"),
        ("create xx --docker host=ssh://", "names no machine"),
        ("create xx --docker host=tcp://h,ca=nowhere", "open nowhere: no such file"),
        ("create xx --docker host=tcp://h,cert=cert", "needs both cert and key"),
        ("create xx --docker host=tcp://h,skip-tls-verify=maybe", "skip-tls-verify"),
        ("create xx --docker from=nope", 'context "nope": context not found'),
        ("create xx --from nope", 'context "nope": context not found'),
        ("create xx --from far --docker host=x", "cannot use --docker flag when --from is set"),
        ("use nope", 'context "nope": context not found'),
        ("rm nope", 'context "nope" does not exist'),
        ("rm default", 'context "default" cannot be removed'),
        ("inspect nope", 'context "nope": context not found'),
        ("update default", "reserved"),
        ("update nope", "context not found"),
        ("export nope -", "context not found"),
        ("import far far", 'context "far" already exists'),
        ("import xx nowhere", "open nowhere: no such file"),
        ("import xx ca", "neither a tar nor a zip"),
        ("create xx --docker host=tcp://h,ca=junk", "authority junk cannot be used"),
        ("create xx --docker host=tcp://h,cert=cert,key=junk", "certificate cert with its key"),
    ],
)
def test_refused_and_nothing_is_changed(
    home: Path, capsys: Capture, words: str, message: str
) -> None:
    run(capsys, "create", "far", "--docker", TLS)

    def state() -> list[tuple[str, bytes]]:
        files = sorted(path for path in home.rglob("*") if path.is_file())
        return [(str(path), path.read_bytes()) for path in files]

    before = state()
    code, out, error = run(capsys, *words.split())
    assert code != 0
    assert message in error
    assert out in ("", "[]\n")
    assert state() == before


def test_docker_s_files_lack_their_end() -> None:
    tls = {"docker": {"key.pem": b"k" * 700}}
    whole = pack(META, tls).rstrip(b"\0")
    assert unpack(whole, "x") == (META, tls)


def tar_of(*files: tuple[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            member.size = len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def zip_of(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as box:
        for name, content in files.items():
            box.writestr(name, content)
    return out.getvalue()


TEXT = json.dumps(META).encode()


def test_a_context_survives_its_file() -> None:
    tls = {"docker": {"ca.pem": b"ca", "key.pem": b"key"}}
    assert unpack(pack(META, tls), "other") == ({**META, "Name": "other"}, tls)
    assert unpack(zip_of(**{"meta.json": TEXT, "tls/docker/ca.pem": b"c"}), "x") == (
        META,
        {"docker": {"ca.pem": b"c"}},
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no metadata found"),
        (b"junk" * 300, "neither a tar nor a zip"),
        (tar_of(("other", b"")), "unexpected file 'other'"),
        (tar_of(("tls/docker/../../../x", b"")), "unexpected file"),
        (tar_of(("tls/docker/.hidden/x", b"")), "unexpected file"),
        (tar_of(("/etc/passwd", b"")), "unexpected file"),
        (tar_of(("meta.json", b""), kind=tarfile.SYMTYPE), "is no regular file"),
        (tar_of(("meta.json", b""), kind=tarfile.LNKTYPE), "is no regular file"),
        (tar_of(("meta.json", b"{nope")), "meta.json"),
        (tar_of(("meta.json", b"[]")), "names no endpoints"),
        (zip_of(**{"meta.json": bytes(11 << 20)}), "larger than"),
        (bytes(11 << 20), "larger than"),
    ],
)
def test_files_of_others_are_not_trusted(data: bytes, message: str) -> None:
    with pytest.raises(BadHost, match=message):
        unpack(data, "x")


def test_a_borrowed_folder_keeps_docker_s_choice(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """In ``~/.docker`` the contexts are shared, but each client has a current one of its own."""
    monkeypatch.delenv("DOCKER_CONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text('{"currentContext": "desktop"}')
    run(capsys, "create", "far", "--docker", "host=tcp://far:1")
    assert run(capsys, "show")[1] == "default\n"
    run(capsys, "use", "far")
    assert run(capsys, "show")[1] == "far\n"
    assert json.loads((tmp_path / ".docker/config.json").read_text()) == {
        "currentContext": "desktop"
    }
    run(capsys, "use", "default")
    assert run(capsys, "show")[1] == "default\n"


def test_a_choice_keeps_the_other_keys(home: Path, capsys: Capture) -> None:
    home.mkdir()
    (home / "config.json").write_text('{"psFormat": "x", "auths": {"r": {"auth": "YTpi"}}}')
    (home / "config.json").chmod(0o640)
    run(capsys, "create", "far", "--docker", "host=tcp://far:1")
    run(capsys, "use", "far")
    values = json.loads((home / "config.json").read_text())
    assert values == {
        "psFormat": "x",
        "auths": {"r": {"auth": "YTpi"}},
        "currentContext": "far",
    }
    assert stat.S_IMODE((home / "config.json").stat().st_mode) == 0o640


def test_a_missing_context_can_be_left(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("WHERRY_CONTEXT", "gone")
    assert run(capsys, "show")[1] == "gone\n"
    assert 'context "gone": context not found' in run(capsys, "ls")[1]
    assert main(["ps"]) == 1
    assert 'context "gone": context not found' in capsys.readouterr().err
    assert run(capsys, "use", "default")[0] == 0


def test_a_host_variable_wins(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    run(capsys, "create", "far", "--docker", "host=tcp://far:1")
    monkeypatch.setenv("DOCKER_HOST", "tcp://other:1")
    code, _, error = run(capsys, "use", "far")
    assert code == 0
    assert "Warning: DOCKER_HOST environment variable overrides the active context" in error
    assert run(capsys, "show")[1] == "default\n"
    code, out, error = run(capsys, "ls")
    assert "tcp://other:1" in out
    assert "Warning: DOCKER_HOST" in error


COMPARED = (
    "ls|ls -q|ls --format json|ls --format {{.Name}}-{{.Current}}-{{.DockerEndpoint}}|show|use two|"
    "use default|use nope|inspect two|inspect -f {{.Name}} one two|inspect nope|rm nope|rm default|"
    "rm two|rm one two|update two --description x|update two --docker host=tcp://z|update nope|"
    "create three|create three --docker host=tcp://h,ca=ca|"
    "create three --docker host=x,ca=junk|create one|create default|create x|"
    "create three --docker foo=bar|create three --from two|create three --docker from=two|"
    "create three --from nope|create three --from one --docker host=x|export one out|"
    "import three packed|import one packed|import default packed|import three nowhere|"
    "create|rm|use|show x|update|import x|nope"
)


@like_docker
@pytest.mark.parametrize("words", COMPARED.split("|"))
def test_like_docker(
    home: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    found: list[Any] = []
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "")
    for turn in ("docker", "wherry"):
        shutil.rmtree(home, ignore_errors=True)
        (tmp_path / "out").unlink(missing_ok=True)
        (tmp_path / "packed").write_bytes(pack(META, {"docker": {"ca.pem": b"c"}}))
        # The context is never the default one: its socket is not the same for both.
        main(["context", "create", "one", "--description", "D", "--docker", "host=tcp://one:1"])
        main(["context", "create", "two", "--docker", "host=unix:///two.sock"])
        main(["context", "use", "one"])
        capsys.readouterr()
        if turn == "docker":
            done = subprocess.run(
                [LIKE_DOCKER, "context", *words.split()], capture_output=True, text=True
            )
            code, out, error = done.returncode, done.stdout, done.stderr
        else:
            code, out, error = run(capsys, *words.split())
        out = out.replace("unix:///var/run/docker.sock", "unix:///run/wherry/wherry.sock")
        store = {
            str(path.relative_to(home)): json.loads(path.read_text())
            if path.name == "meta.json"
            else path.read_bytes()
            for path in sorted((home / "contexts").rglob("*"))
            if path.is_file()
        }
        chosen = json.loads((home / "config.json").read_text()).get("currentContext")
        found.append((code, _squeezed(out), _squeezed(error), store, chosen))
    theirs, ours = found
    assert ours[0] == theirs[0]
    assert ours[3:] == theirs[3:]
    if words not in UNLIKE:
        assert ours[1:3] == theirs[1:3]


UNLIKE = {
    "create",
    "create three --docker host=x,ca=junk",
    "rm",
    "use",
    "update",
    "import x",
    "show x",
    "nope",
    "import three nowhere",
}
"""Only what is done is compared: usage lines, and words about files, are our own."""


def _squeezed(text: str) -> list[str]:
    """Lines without the widths of columns, which follow the default socket's length."""
    return [" ".join(line.split()) for line in text.splitlines()]

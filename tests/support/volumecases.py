"""What is asked of an engine about volumes and mounts, and how its answers are made comparable.

``record_volumes.py`` keeps what Docker answers to all of this; the tests compare with it.
``<root>`` stands for the engine's own root, below which the sources of binds are.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tests.support.engine import Answer, Engine
from tests.support.images import BASE

Step = tuple[str, str, Any]
"""Method, path, body (JSON value, ``str`` to be sent as it is, None)."""


@dataclass(frozen=True)
class Case:
    name: str
    steps: tuple[Step, ...] = ()
    container: tuple[dict[str, Any], ...] = ()
    """Bodies of containers to create, look at, and start, one after the other."""
    start: bool = True
    version: str = "v1.45"
    """Of the API, where a path does not say it."""


def make(body: Any, *more: Step) -> tuple[Step, ...]:
    return (("POST", "/volumes/create", body), *more)


def _filters(value: Any) -> str:
    return quote(value if isinstance(value, str) else json.dumps(value))


SET: tuple[Step, ...] = (
    *make({"Name": "one", "Labels": {"a": "1", "b": ""}}),
    *make({"Name": "two", "Labels": {"a": "2"}}),
    *make({"Name": "three", "DriverOpts": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}}),
)

NAMES = ("ab", "a", "", ".x", "-x", "_x", "a b", "a/b", "/abs", "../x", "ä1", "A.b-c_9", "x\n")
OPTIONS: tuple[dict[str, str], ...] = (
    {},
    {"foo": "bar"},
    {"type": "tmpfs"},
    {"device": "tmpfs"},
    {"o": "size=1m"},
    {"type": "tmpfs", "device": "tmpfs"},
    {"type": "tmpfs", "o": "size=1m"},
    {"device": "tmpfs", "o": "size=1m"},
    {"type": "", "device": "", "o": ""},
    {"type": "none", "device": "relative", "o": "bind"},
    {"type": "none", "device": "<root>/binds/no", "o": "bind"},
    {"type": "nfs", "device": ":/x", "o": "addr=127.0.0.1"},
    {"size": "x"},
    {"size": ""},
    {"Type": "tmpfs"},
)
BODIES: tuple[Any, ...] = (
    {},
    {"Name": 5},
    {"Name": ["x"]},
    {"Labels": {"a": 5}, "Name": "lab"},
    {"Labels": ["a"], "Name": "lab"},
    {"Labels": {}, "Name": "lab"},
    {"Labels": None, "Name": "lab"},
    {"DriverOpts": {"o": 5}, "Name": "opt"},
    {"DriverOpts": "x", "Name": "opt"},
    {"Driver": "nope", "Name": "drv"},
    {"Driver": "", "Name": "drv"},
    {"Driver": 5, "Name": "drv"},
    {"Name": "extra", "Unknown": 1},
    {"name": "lower"},
    [],
    "",
    "{",
    "5",
    "null",
    '{"Name":"ab"} {"Name":"cd"}',
)
FILTERS: tuple[Any, ...] = (
    {"dangling": ["true"]},
    {"dangling": ["false"]},
    {"dangling": ["1"]},
    {"dangling": ["maybe"]},
    {"name": ["t"]},
    {"name": ["^t"]},
    {"name": ["one", "two"]},
    {"name": ["["]},
    {"label": ["a"]},
    {"label": ["a=1"]},
    {"label": ["a", "b"]},
    {"label": ["b="]},
    {"label!": ["a"]},
    {"driver": ["local"]},
    {"driver": ["loc"]},
    {"nope": ["x"]},
    {"label": {"a": True}},
    "{",
    "[]",
    "5",
)
PRUNES: tuple[Any, ...] = (
    {},
    {"all": ["true"]},
    {"all": ["false"]},
    {"all": ["maybe"]},
    {"all": ["true"], "label": ["a=1"]},
    {"all": ["true"], "label!": ["a=1"]},
    {"label": ["com.docker.volume.anonymous"]},
    {"dangling": ["true"]},
    {"until": ["1h"]},
    "{",
)
BINDS: tuple[list[str], ...] = (
    ["named:/d"],
    ["named:/d:ro"],
    ["named:/d:rw"],
    ["named:/d:z"],
    ["named:/d:Z,ro"],
    ["named:/d:nocopy"],
    ["named:/d:nocopy,ro"],
    ["named:/d:ro,rw"],
    ["named:/d:cached"],
    ["named:/d:delegated,ro"],
    ["named:/d:consistent"],
    ["named:/d:rshared"],
    ["named:/d:nope"],
    ["named:/d:"],
    ["named:d"],
    ["named:/"],
    ["named:."],
    ["named:"],
    ["named"],
    ["/only"],
    ["/"],
    [""],
    [":"],
    [":/d"],
    ["a:/d"],
    ["a b:/d"],
    ["a/b:/d"],
    ["./rel:/d"],
    ["named:/d:ro:x"],
    ["named://d//e/"],
    ["<root>/binds/dir:/d"],
    ["<root>/binds/dir:/d:ro"],
    ["<root>/binds/dir:/d:rprivate"],
    ["<root>/binds/dir:/d:ro,z"],
    ["<root>/binds/dir:/d:nocopy"],
    ["<root>/binds/dir:d"],
    ["<root>/binds/dir:/"],
    ["<root>/binds/dir:/../"],
    ["<root>/binds/dir/../dir/:/d"],
    ["<root>/binds/file:/f"],
    ["<root>/binds/file:/etc/passwd:ro"],
    ["<root>/binds/link:/d"],
    ["<root>/binds/dangling:/d"],
    ["<root>/binds/made/here:/d"],
    ["<root>/binds/file/under:/d"],
    ["named:/d", "other:/d"],
    ["named:/d", "other:/d/"],
    ["named:/d", "named:/e"],
    ["named:/d/e", "other:/d"],
)


def bind(**more: Any) -> dict[str, Any]:
    return {"Type": "bind", "Source": "<root>/binds/dir", "Target": "/d", **more}


def volume(**more: Any) -> dict[str, Any]:
    return {"Type": "volume", "Source": "named", "Target": "/d", **more}


def tmpfs(**more: Any) -> dict[str, Any]:
    return {"Type": "tmpfs", "Target": "/d", **more}


MOUNTS: tuple[Any, ...] = (
    bind(),
    bind(ReadOnly=True),
    bind(Source=""),
    bind(Source="relative"),
    bind(Source="<root>/binds/no"),
    bind(Source="<root>/binds/no", BindOptions={"CreateMountpoint": True}),
    bind(Source="<root>/binds/file", Target="/f"),
    bind(Source="<root>/binds/dangling"),
    bind(Target=""),
    bind(Target="d"),
    bind(Target="/"),
    bind(Target="//"),
    bind(Target="/d/../.."),
    bind(Target="/d//e/"),
    bind(BindOptions={"Propagation": "rprivate"}),
    bind(BindOptions={"Propagation": "nope"}),
    bind(BindOptions={"NonRecursive": True}),
    bind(ReadOnly=True, BindOptions={"ReadOnlyNonRecursive": True}),
    bind(BindOptions={"ReadOnlyNonRecursive": True}),
    bind(BindOptions={"ReadOnlyForceRecursive": True}),
    bind(ReadOnly=True, BindOptions={"ReadOnlyForceRecursive": True, "ReadOnlyNonRecursive": True}),
    bind(ReadOnly=True, BindOptions={"ReadOnlyForceRecursive": True}),
    bind(BindOptions={}),
    bind(VolumeOptions={}),
    bind(VolumeOptions={"NoCopy": True}),
    bind(TmpfsOptions={"SizeBytes": 1}),
    bind(Consistency="cached"),
    bind(Consistency="nope"),
    volume(),
    volume(ReadOnly=True),
    volume(Source=""),
    volume(Source="", ReadOnly=True),
    volume(Source="a"),
    volume(Source="a/b"),
    volume(Source="/abs"),
    volume(Target=""),
    volume(Target="d"),
    volume(Target="/"),
    volume(VolumeOptions={}),
    volume(VolumeOptions={"NoCopy": True}),
    volume(VolumeOptions={"Labels": {"a": "b"}}),
    volume(VolumeOptions={"DriverConfig": {"Name": "local"}}),
    volume(VolumeOptions={"DriverConfig": {"Name": "nope"}}),
    volume(VolumeOptions={"DriverConfig": {"Options": {"foo": "bar"}}}),
    volume(VolumeOptions={"DriverConfig": {"Name": "local", "Options": {"foo": "bar"}}}),
    volume(VolumeOptions={"Subpath": "sub"}),
    volume(VolumeOptions={"Subpath": "../sub"}),
    volume(VolumeOptions={"Subpath": "/sub"}),
    volume(VolumeOptions={"Subpath": "."}),
    volume(Source="", VolumeOptions={"Subpath": "sub"}),
    volume(BindOptions={}),
    volume(TmpfsOptions={}),
    tmpfs(),
    tmpfs(ReadOnly=True),
    tmpfs(Source="x"),
    tmpfs(Target=""),
    tmpfs(Target="/"),
    tmpfs(Target="d"),
    tmpfs(TmpfsOptions={"SizeBytes": 1 << 20, "Mode": 0o700}),
    tmpfs(TmpfsOptions={"SizeBytes": -1}),
    tmpfs(TmpfsOptions={"SizeBytes": "1m"}),
    tmpfs(TmpfsOptions={"Mode": "700"}),
    tmpfs(BindOptions={}),
    {"Target": "/d"},
    {"Type": "nope", "Target": "/d"},
    {"Type": "npipe", "Source": "x", "Target": "/d"},
    {"Type": "cluster", "Source": "x", "Target": "/d"},
    {"Type": 5, "Target": "/d"},
    {"Type": "bind", "Source": 5, "Target": "/d"},
    {"Type": "volume", "Target": "/d", "ReadOnly": "yes"},
    {},
    {"Target": "/d", "ReadOnly": False, "Consistency": "", "Source": ""},
    "text",
)
VERSIONED: tuple[Any, ...] = (
    bind(ReadOnly=True),
    bind(Source="<root>/binds/no", BindOptions={"CreateMountpoint": True}),
    bind(BindOptions={"NonRecursive": True}),
    bind(ReadOnly=True, BindOptions={"ReadOnlyNonRecursive": True}),
    bind(ReadOnly=True, BindOptions={"ReadOnlyForceRecursive": True}),
    volume(VolumeOptions={"Subpath": "sub"}),
)
TMPFS: tuple[Any, ...] = (
    {"/t": ""},
    {"/t": "size=1m,mode=700"},
    {"/t": "nope"},
    {"/t": "size=x"},
    {"t": ""},
    {"/": ""},
    {"": ""},
    {"/t": "ro"},
    {"/t": "exec,noexec"},
    {"/t": 5},
    [],
)
TOGETHER: tuple[dict[str, Any], ...] = (
    {"Binds": ["named:/d"], "Mounts": [volume()]},
    {"Binds": ["named:/d"], "Tmpfs": {"/d": ""}},
    {"Mounts": [volume(), bind()]},
    {"Mounts": [tmpfs()], "Tmpfs": {"/d": ""}},
    {"Binds": ["named:/d"], "VolumeDriver": "nope"},
    {"Binds": ["named:/d"], "VolumeDriver": "local"},
    {"Binds": "named:/d"},
    {"Binds": [5]},
    {"Mounts": "x"},
    {"Mounts": None, "Binds": None},
    {"VolumesFrom": ["nobody"]},
    {"VolumesFrom": [""]},
    {"VolumesFrom": ["peer:nope"]},
    {"VolumesFrom": [":ro"]},
    {"VolumesFrom": "peer"},
    {"ReadonlyRootfs": True, "Tmpfs": {"/t": ""}},
)
FROM = ("peer", "peer:ro", "peer:rw", "peer:z", "peer:shared", "peer:nocopy", "peer:ro,z")
VOLUMES: tuple[Any, ...] = ({"/a": {}}, {"/": {}}, {"rel": {}}, {"": {}}, {"/a/": {}}, [], "x")


def container(host: Any = None, **config: Any) -> dict[str, Any]:
    host = {"NetworkMode": "none", **(host or {})}
    return {"Image": BASE, "Cmd": ["true"], "HostConfig": host, **config}


def _peer(word: str) -> tuple[dict[str, Any], ...]:
    peer = container({"Binds": ["named:/n", "<root>/binds/dir:/b:ro"]}, Volumes={"/a": {}})
    return {**peer, "Name": "peer"}, container({"VolumesFrom": [word], "Tmpfs": {"/t": ""}})


def cases() -> list[Case]:
    found = [Case(f"create name {each!r}", make({"Name": each})) for each in NAMES]
    found += [
        Case(f"create options {each}", make({"Name": "vol", "DriverOpts": each}))
        for each in OPTIONS
    ]
    found += [Case(f"create body {each!r}", make(each)) for each in BODIES]
    found += [
        Case(
            "create again",
            make({"Name": "vol", "Labels": {"a": "b"}}, *make({"Name": "vol", "Labels": {}})),
        ),
        Case(
            "create again elsewhere",
            (*make({"Name": "vol"}), *make({"Name": "vol", "Driver": "n"})),
        ),
        Case("inspect none", (("GET", "/volumes/none", None),)),
        Case("inspect one", (*SET, ("GET", "/volumes/one", None), ("GET", "/volumes/three", None))),
        Case("remove none", (("DELETE", "/volumes/none", None),)),
        Case("remove none by force", (("DELETE", "/volumes/none?force=1", None),)),
        Case("remove", (*SET, ("DELETE", "/volumes/one", None), ("GET", "/volumes/one", None))),
        Case("update none", (("PUT", "/volumes/none", {}),)),
        Case("update", (*SET, ("PUT", "/volumes/one?version=1", {}))),
        Case("list nothing", (("GET", "/volumes", None),)),
        Case("list", (*SET, ("GET", "/volumes", None))),
    ]
    found += [
        Case(f"list by {each}", (*SET, ("GET", f"/volumes?filters={_filters(each)}", None)))
        for each in FILTERS
    ]
    for version in ("v1.41", "v1.43", "v1.44", "v1.45"):
        found += [
            Case(
                f"{version} mount {each}",
                container=(container({"Mounts": [each]}),),
                version=version,
            )
            for each in VERSIONED
        ]
    for version in ("v1.41", "v1.42"):
        found += [
            Case(
                f"prune {version} {each}",
                (
                    *SET,
                    *make({}),
                    ("POST", f"/{version}/volumes/prune?filters={_filters(each)}", None),
                ),
            )
            for each in PRUNES
        ]
    found += [
        Case(f"usage {version}", (*SET, ("GET", f"/{version}/system/df?type=volume", None)))
        for version in ("v1.42", "v1.44", "v1.45")
    ]
    found += [
        Case("usage of nothing", (("GET", "/v1.45/system/df?type=volume", None),)),
        Case("usage of nonsense", (("GET", "/v1.45/system/df?type=nonsense", None),)),
    ]
    found += [Case(f"binds {each}", container=(container({"Binds": each}),)) for each in BINDS]
    found += [Case(f"mount {each}", container=(container({"Mounts": [each]}),)) for each in MOUNTS]
    found += [Case(f"tmpfs {each}", container=(container({"Tmpfs": each}),)) for each in TMPFS]
    found += [Case(f"host {each}", container=(container(each),)) for each in TOGETHER]
    found += [Case(f"volumes from {each}", container=_peer(each)) for each in FROM]
    found += [
        Case(f"volumes {each}", container=(container(Volumes=each),), start=False)
        for each in VOLUMES
    ]
    return found


def prepare(engine: Engine) -> None:
    """The sources of binds, as they are before each case."""
    folder = engine.root / "binds"
    for name in ("no", "made"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "dir").mkdir(parents=True, exist_ok=True)
    (folder / "file").touch()
    for name, target in (("link", folder / "dir"), ("dangling", folder / "nowhere")):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(target)


def _send(engine: Engine, method: str, path: str, body: Any, version: str) -> Answer:
    if not re.match(r"/v\d", path):
        path = f"/{version}{path}"
    given = "" if body is None else body
    text = given if isinstance(given, str) else json.dumps(given)
    return engine.request(method, path, text.replace("<root>", str(engine.root)).encode())


_SEEN = ("Binds", "Mounts", "Tmpfs", "VolumesFrom", "VolumeDriver")


def run(engine: Engine, case: Case) -> list[Any]:
    """All answers to one case, comparable; afterwards nothing of it is left."""
    prepare(engine)
    answers: list[Any] = []
    try:
        for method, path, body in case.steps:
            answer = _send(engine, method, path, body, case.version)
            answers.append([answer.status, _value(answer)])
        answers += [_container(engine, body, case) for body in case.container]
        if case.container:
            engine.remove_containers()
            answers.append(_names(engine))
    finally:
        _clean(engine)
    return [Comparable(engine).of(each) for each in answers]


def _value(answer: Answer) -> Any:
    try:
        return answer.json
    except ValueError:
        return answer.body.decode(errors="replace")


def _container(engine: Engine, body: dict[str, Any], case: Case) -> dict[str, Any]:
    body = dict(body)
    name = body.pop("Name", "")
    made = _send(engine, "POST", f"/containers/create?name={name}", body, case.version)
    if made.status != 201:
        return {"create": [made.status, _value(made)]}
    found = engine.inspect(made.json["Id"])
    engine.seen.add(made.json["Id"])
    shown = {
        "create": 201,
        "Mounts": sorted(found["Mounts"], key=lambda each: str(each["Destination"])),
        "HostConfig": {each: found["HostConfig"].get(each) for each in _SEEN},
        "Volumes": found["Config"]["Volumes"],
    }
    if case.start and not name:
        begun = engine.post(f"/containers/{made.json['Id']}/start")
        shown["start"] = [begun.status, _value(begun)]
        if begun.status == 204:
            engine.wait(made.json["Id"])
    return shown


def _names(engine: Engine) -> list[str]:
    return sorted(each["Name"] for each in engine.get("/volumes").json["Volumes"] or ())


def _clean(engine: Engine) -> None:
    engine.remove_containers()
    for each in _names(engine):
        answer = engine.delete(f"/volumes/{quote(each)}")
        assert answer.status == 204, answer.body


class Comparable:
    """Replaces what no two engines have in common, in other words for the same mistake too."""

    def __init__(self, engine: Engine) -> None:
        self._root = str(engine.root)

    def of(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self._text(key): self._entry(key, each) for key, each in value.items()}
        if isinstance(value, list):
            every = [self.of(each) for each in value]
            named = all(isinstance(each, dict) and "Name" in each for each in every)
            return sorted(every, key=lambda each: str(each["Name"])) if named else every
        return self._text(value) if isinstance(value, str) else value

    def _entry(self, key: str, value: Any) -> Any:
        if key == "CreatedAt":
            return "<time>"
        if key == "VolumesDeleted" and value:
            return sorted(self.of(value))
        return self.of(value)

    def _text(self, text: str) -> str:
        for begin in (
            "invalid JSON",
            "unexpected content after JSON",
            "failed to create task",
            "error reading volume filters",
            "invalid filter: ",
            "invalid filter 'all",
        ):
            if text.startswith(begin):
                return "invalid JSON" if "JSON" in begin else begin.rstrip(": ")
        text = re.sub(r"[0-9a-f]{64}", "<id>", text.replace(self._root, "<root>"))
        return re.sub(r"\b[0-9a-f]{12}\b", "<id>", text)

"""Bad input of the volumes' routes, Docker's and those beyond. See ``badinput``.

The engine of the test has the volumes ``vol`` (with the snapshot ``first`` and a file), ``lim``
(a size of 4 MiB), ``mem`` (a tmpfs) and ``used``, which a running container has mounted.
"""

from __future__ import annotations

from typing import Any

from tests.support.badrows import HUGE, Bad, bad_filters, bad_json, filters, not_this, query

OWN = "/wherry/volumes"


def create(says: str, status: int = 400, **body: Any) -> Bad:
    return Bad("/volumes/create", status, says, body={"Name": "new", **body})


def options(says: str, **given: Any) -> Bad:
    return create(says, DriverOpts=given)


def update(says: str, status: int = 400, *, of: str = "lim", **body: Any) -> Bad:
    return Bad(f"{OWN}/{of}/update", status, says, body=body)


def clone(says: str, status: int = 400, *, of: str = "vol", **body: Any) -> Bad:
    return Bad(f"{OWN}/{of}/clone", status, says, body=body)


def none(path: str, body: Any = None) -> Bad:
    return Bad(path.replace("{name}", "nope"), 404, "get nope: no such volume", body=body)


IN_USE = "volume is in use"
TABLE: dict[str, tuple[Bad, ...]] = {
    "GET /volumes": (
        *bad_filters("/volumes"),
        Bad(filters("/volumes", {"dangling": ["x"]}), 400, "dangling"),
    ),
    "POST /volumes/create": (
        *bad_json("/volumes/create"),
        create("Name", Name=7),
        create("Labels", Labels=["a"]),
        create("Labels", Labels={"a": 1}),
        create("DriverOpts", DriverOpts="size=1m"),
        create("DriverOpts", DriverOpts={"size": 1}),
        create("Driver", Driver=[]),
        create("nope", 404, Driver="nope"),
        create("too short", Name="a"),
        create("invalid characters", Name="../up"),
        create("invalid characters", Name="a/b"),
        create("255", Name="n" * 256),
        create("nope", 404, Name="vol", Driver="nope"),
        options("invalid option: ", foo="bar"),
        options("missing required option: ", type="tmpfs"),
        options("missing required option: ", device="tmpfs"),
        options("invalid size: 'much'", size="much"),
        options("invalid size: '-1'", size="-1"),
        options("the least is 1MiB", size="4k"),
        options("size cannot be enforced", size="1g", type="tmpfs", device="tmpfs"),
        options("too large", size="900p"),
        options("must be absolute", type="none", o="bind", device="here"),
        Bad("/volumes/create", 501, "cluster", body={"Name": "new", "ClusterVolumeSpec": {}}),
        not_this("PATCH", "/volumes/create"),
    ),
    "POST /volumes/prune": (
        *bad_filters("/volumes/prune"),
        Bad(filters("/v1.42/volumes/prune", {"all": ["x"]}), 400, "all"),
    ),
    "GET /volumes/{name}": (none("/volumes/{name}"), Bad("/volumes/..%2fup", 404)),
    "DELETE /volumes/{name}": (
        none("/volumes/{name}"),
        Bad("/volumes/used", 409, IN_USE),
        Bad("/volumes/used?force=1", 409, IN_USE),
    ),
    "PUT /volumes/{name}": (Bad("/volumes/vol?version=1", 503, "cluster volumes", body={}),),
    f"POST {OWN}/{{name}}/update": (
        none(f"{OWN}/{{name}}/update", {"Size": 1 << 30}),
        *bad_json(f"{OWN}/vol/update"),
        Bad(f"{OWN}/vol/update", 400, "EOF"),
        update("nothing to update"),
        update("Size", Size="1g"),
        update("the least is 1MiB", Size=-1),
        update("the least is 1MiB", Size=0),
        update("the least is 1MiB", Size=1000),
        update("Size", Size=HUGE),
        update("large", Size=1 << 59),
        update("made without a size", of="vol", Size=1 << 30),
        update("made without a size", of="mem", Size=1 << 30),
        update("Labels", of="vol", Labels=["a"]),
        update("RemoveLabels", of="vol", RemoveLabels="a"),
    ),
    f"POST {OWN}/{{name}}/rename": (
        none(f"{OWN}/{{name}}/rename?name=new"),
        Bad(f"{OWN}/vol/rename", 400, "name"),
        Bad(f"{OWN}/vol/rename?name=a", 400, "too short"),
        Bad(query(f"{OWN}/vol/rename", name="../up"), 400, "invalid characters"),
        Bad(f"{OWN}/vol/rename?name=lim", 409, "must be unique: lim"),
        Bad(f"{OWN}/vol/rename?name=vol", 409, "must be unique: vol"),
        Bad(f"{OWN}/used/rename?name=new", 409, IN_USE),
    ),
    f"GET {OWN}/{{name}}/export": (none(f"{OWN}/{{name}}/export"),),
    f"POST {OWN}/{{name}}/import": (
        Bad(f"{OWN}/nope/import", 400, "import nope", body=b"x"),
        Bad(f"{OWN}/vol/import", 409, "not empty", body=b"no tar"),
        Bad(f"{OWN}/vol/import?overwrite=1", 400, "import vol", body=b"no tar at all" * 100),
        Bad(f"{OWN}/lim/import?overwrite=1", 400, "import lim", body=b"no tar at all" * 100),
        Bad(f"{OWN}/lim/import", 400, "empty"),
        Bad(f"{OWN}/used/import?overwrite=1", 409, IN_USE, body=b"x"),
        Bad(f"{OWN}/mem/import?overwrite=1", 400, "file system of the host", body=b"x"),
    ),
    f"POST {OWN}/{{name}}/clone": (
        none(f"{OWN}/{{name}}/clone", {"Name": "new"}),
        *bad_json(f"{OWN}/vol/clone"),
        clone("name"),
        clone("Name", Name=7),
        clone("too short", Name="a"),
        clone("invalid characters", Name="../up"),
        clone("must be unique: lim", 409, Name="lim"),
        clone("must be unique: vol", 409, Name="vol"),
        clone("invalid option: ", Name="new", DriverOpts={"foo": "bar"}),
        clone("Labels", Name="new", Labels=[]),
        clone(IN_USE, 409, of="used", Name="new"),
    ),
    f"GET {OWN}/{{name}}/snapshots": (none(f"{OWN}/{{name}}/snapshots"),),
    f"POST {OWN}/{{name}}/snapshots": (
        none(f"{OWN}/{{name}}/snapshots?name=x"),
        Bad(f"{OWN}/vol/snapshots", 400, "invalid snapshot name"),
        Bad(query(f"{OWN}/vol/snapshots", name="../up"), 400, "invalid snapshot name"),
        Bad(query(f"{OWN}/vol/snapshots", name="x.partial"), 400, "invalid snapshot name"),
        Bad(f"{OWN}/vol/snapshots?name=first", 409, "must be unique: first"),
        Bad(f"{OWN}/used/snapshots?name=x", 409, IN_USE),
        Bad(f"{OWN}/mem/snapshots?name=x", 400, "file system of the host"),
    ),
    f"DELETE {OWN}/{{name}}/snapshots/{{label}}": (
        none(f"{OWN}/{{name}}/snapshots/first"),
        Bad(f"{OWN}/vol/snapshots/nope", 404, "no snapshot nope"),
        Bad(f"{OWN}/vol/snapshots/..%2f_data", 404),
    ),
    f"POST {OWN}/{{name}}/snapshots/{{label}}/restore": (
        none(f"{OWN}/{{name}}/snapshots/first/restore"),
        Bad(f"{OWN}/vol/snapshots/nope/restore", 404, "no snapshot nope"),
        Bad(f"{OWN}/used/snapshots/nope/restore", 409, IN_USE),
    ),
}

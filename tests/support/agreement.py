"""Whether all that a daemon says, stores and has made on the machine fits together.

The daemon is at rest. Its API, its database, processes, cgroups, mounts, folders, network
namespaces, interfaces, firewall and address leases are looked at each by itself, and every
contradiction and every leftover is told in words. ``settled`` waits until there is none.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.leftovers import cgroups_of, mounts_below
from bench.processes import of_root
from tests.support.engine import Engine
from tests.support.machine import command_line

DEADLINE = 60.0
"""Seconds for a daemon to finish or undo what was under way."""
_ID = re.compile(r"[0-9a-f]{64}")
_AHEAD = 8
"""Network namespaces that a daemon may keep ready for containers to come."""


@dataclass
class Seen:
    """What ever existed, so that what stayed of it can be found."""

    containers: set[str] = field(default_factory=set)
    interfaces: set[str] = field(default_factory=set)

    def note(self, engine: Engine) -> None:
        """Take in what the database has now; also for a daemon that has been killed."""
        stored = Stored.read(engine)
        self.containers |= set(stored.containers)
        self.interfaces |= {each["host_interface"] for each in stored.endpoints}


@dataclass(frozen=True)
class Stored:
    """The database's rows, bodies decoded."""

    containers: Mapping[str, Mapping[str, Any]]
    sandboxes: Mapping[str, Mapping[str, Any]]
    endpoints: list[Mapping[str, Any]]
    networks: Mapping[str, Mapping[str, Any]]
    volumes: Mapping[str, Mapping[str, Any]]
    uses: list[tuple[str, str, bool]]
    """(volume id, container id, made for it alone)."""
    mounts: list[tuple[str, str]]
    """(volume id, holder)."""
    blobs: set[str]
    layers: set[str]

    @classmethod
    def read(cls, engine: Engine) -> Stored:
        path = f"file:{engine.data}/state.db?mode=ro"
        with closing(sqlite3.connect(path, uri=True, timeout=10)) as database:
            database.row_factory = sqlite3.Row

            def rows(sql: str) -> Iterator[sqlite3.Row]:
                yield from database.execute(sql)

            database.execute("BEGIN")
            sandboxes = [json.loads(row["body"]) for row in rows("SELECT body FROM sandboxes")]
            networks = [json.loads(row["body"]) for row in rows("SELECT body FROM networks")]
            return cls(
                containers={
                    row["id"]: json.loads(row["record"])
                    for row in rows("SELECT id, record FROM containers")
                },
                sandboxes={each["container_id"]: each for each in sandboxes},
                endpoints=[
                    {"host_interface": "", **json.loads(row["body"])}
                    for row in rows("SELECT body FROM endpoints")
                ],
                networks={each["id"]: each for each in networks},
                volumes={row["id"]: dict(row) for row in rows("SELECT * FROM volumes")},
                uses=[
                    (row["volume_id"], row["container_id"], bool(row["anonymous"]))
                    for row in rows("SELECT * FROM volume_uses")
                ],
                mounts=[
                    (row["volume_id"], row["holder"]) for row in rows("SELECT * FROM volume_mounts")
                ],
                blobs={row["digest"] for row in rows("SELECT digest FROM image_blobs")},
                layers={row["diff_id"] for row in rows("SELECT diff_id FROM image_layers")},
            )


@dataclass(frozen=True)
class World:
    """One look: the database, and the API's word on every container."""

    engine: Engine
    seen: Seen
    stored: Stored
    states: Mapping[str, Mapping[str, Any]]
    """Container id -> ``State`` of inspect."""

    @property
    def running(self) -> dict[str, int]:
        """Containers with a process, and its number."""
        return {
            each: int(state["Pid"])
            for each, state in self.states.items()
            if state["Status"] in ("running", "paused")
        }


def disagreements(engine: Engine, seen: Seen) -> list[str]:
    """Everything that does not fit; none when all is well."""
    states = {}
    wrong = []
    for row in engine.containers():
        answer = engine.get(f"/containers/{row['Id']}/json")
        if answer.status != 200:
            wrong.append(f"listed, but inspect answers {answer.status}: {row['Id']}")
            continue
        states[row["Id"]] = answer.json["State"]
        if answer.json["State"]["Status"] != row["State"]:
            wrong.append(f"list says {row['State']}, inspect {answer.json['State']}")
    seen.note(engine)
    seen.containers |= set(states)
    world = World(engine, seen, Stored.read(engine), states)
    for check in (_records, _processes, _folders, _mounts, _volumes, _networks, _firewall, _images):
        wrong += check(world)
    return wrong


def settled(engine: Engine, seen: Seen, *, seconds: float = DEADLINE) -> None:
    """Wait until everything agrees; ``AssertionError`` with what does not."""
    deadline = time.monotonic() + seconds
    while wrong := disagreements(engine, seen):
        if time.monotonic() > deadline:
            raise AssertionError("no agreement:\n" + "\n".join(wrong))
        time.sleep(0.1)


def _records(world: World) -> Iterator[str]:
    stored = world.stored
    if set(stored.containers) != set(world.states):
        yield f"listed and stored containers differ: {set(stored.containers) ^ set(world.states)}"
    for identity, state in world.states.items():
        record = stored.containers.get(identity)
        if record is not None and record["state"]["status"] != state["Status"]:
            yield f"stored as {record['state']['status']}, said to be {state['Status']}: {identity}"
        if state["Status"] in ("removing", "dead"):
            yield f"half removed: {identity}"
        if state["Status"] == "restarting":
            yield f"about to run again: {identity}"


def _processes(world: World) -> Iterator[str]:
    engine, running = world.engine, world.running
    assert engine.process is not None
    monitors: dict[str, list[int]] = {}
    for pid in of_root(engine.root):
        if pid == engine.process.pid:
            continue
        for identity in set(_ID.findall(command_line(pid))):
            if identity in world.seen.containers:
                monitors.setdefault(identity, []).append(pid)
    for identity, pids in monitors.items():
        if identity not in running:
            shown = [command_line(pid)[:150] for pid in pids]
            yield f"does not run, but has processes: {identity} {shown}"
    for identity, pid in running.items():
        if identity not in monitors:
            yield f"runs without a monitor: {identity}"
        groups = _read(f"/proc/{pid}/cgroup")
        if not groups:
            yield f"said to run, but its process is gone: {identity} {pid}"
        elif identity not in groups:
            yield f"process {pid} is not in the cgroup of {identity}: {groups}"
    for path in cgroups_of(world.seen.containers - set(running)):
        yield f"cgroup of a container that does not run: {path}"


def _folders(world: World) -> Iterator[str]:
    data, run = world.engine.data, world.engine.root / "run"
    for identity in _names(data / "containers") ^ set(world.states):
        yield f"folder without a container, or the reverse: {identity}"
    for place in ("mnt", "bundles", "runtime"):
        found = {each for each in _names(run / place) if _ID.fullmatch(each)}
        for identity in found ^ set(world.running):
            yield f"{place}: entry without a running container, or the reverse: {identity}"
    # One that was disconnected from every network keeps its namespace.
    spaces = {each for each in _names(run / "netns") if each != "default"}
    if missing := {each["container_id"][:32] for each in world.stored.endpoints} - spaces:
        yield f"containers without a link to their network namespace: {missing}"
    if left := spaces - {each[:32] for each in world.running}:
        yield f"links to network namespaces of what does not run: {left}"
    if left := _names(data / "tmp"):
        yield f"left in the temporary folder: {left}"


def _mounts(world: World) -> Iterator[str]:
    run, data = world.engine.root / "run", world.engine.data
    held = {world.stored.volumes[each]["name"] for each, _ in world.stored.mounts}
    for point in mounts_below(world.engine.root):
        path = Path(point)
        if path in (run / "mnt", run / "layers", data):
            continue
        if path.parent == run / "layers" and f"sha256:{path.name}" in world.stored.layers:
            continue
        if path.name == "_data" and path.parent.name in held:
            continue
        yield f"a mount that nothing accounts for: {point}"


def _volumes(world: World) -> Iterator[str]:
    stored = world.stored
    names = {each["name"] for each in stored.volumes.values() if each["driver"] == "local"}
    if differing := names ^ _names(world.engine.data / "volumes"):
        yield f"volumes and their folders differ: {differing}"
    for row in stored.volumes.values():
        if row["state"] != "ready":
            yield f"volume {row['name']} is {row['state']}"
    for volume, container, _ in stored.uses:
        if container not in world.states:
            yield f"volume {volume} is used by a container that is gone: {container}"
    for volume, holder in stored.mounts:
        if holder not in world.running:
            yield f"volume {volume} is held by what does not run: {holder}"
    used = {volume for volume, _, _ in stored.uses}
    for row in stored.volumes.values():
        if "com.docker.volume.anonymous" in row["labels"] and row["id"] not in used:
            yield f"anonymous volume without a container: {row['name']}"


def _networks(world: World) -> Iterator[str]:
    engine, stored = world.engine, world.stored
    for identity in set(stored.sandboxes) ^ set(world.states):
        yield f"container without a network record, or the reverse: {identity}"
    leases: dict[tuple[str, str], str] = {}
    for endpoint in stored.endpoints:
        owner = endpoint["container_id"]
        if owner not in world.running:
            yield f"address {endpoint.get('ipv4')} is leased to what does not run: {owner}"
        for address in (endpoint.get("ipv4"), endpoint.get("ipv6")):
            lease = (endpoint["network_id"], address or "")
            if address and lease in leases:
                yield f"address {address} is leased to {owner} and {leases[lease]}"
            leases[lease] = owner
    links = _links()
    tag = f"wherry:{engine.network_tag}:"
    bridges = {name: link for name, link in links.items() if link["alias"].startswith(tag)}
    wanted = {f"{tag}{each['id']}" for each in _bridged(stored)}
    if differing := {link["alias"] for link in bridges.values()} ^ wanted:
        yield f"bridges and networks differ: {differing}"
    ends = {each["host_interface"] for each in stored.endpoints if each["host_interface"]}
    ports = {name for name, link in links.items() if link["master"] in bridges}
    if differing := ports ^ ends:
        yield f"ports of bridges and endpoints differ: {differing}"
    for name in (world.seen.interfaces & set(links)) - ends:
        yield f"interface of an endpoint that is gone: {name}"
    yield from _insides(world)
    assert engine.process is not None
    own = os.readlink(f"/proc/{engine.process.pid}/ns/net")
    kept = _descriptors(engine.process.pid, "net:") - {own}
    lived_in = {_link_of(f"/proc/{pid}/ns/net") for pid in world.running.values()}
    if len(kept - lived_in) > _AHEAD:
        yield f"the daemon keeps network namespaces that nobody lives in: {kept - lived_in}"


def _insides(world: World) -> Iterator[str]:
    """What is in the namespace of each running container."""
    for identity, pid in world.running.items():
        wanted = {
            (each["interface"], each.get("ipv4", ""))
            for each in world.stored.endpoints
            if each["container_id"] == identity
        }
        if not wanted:
            continue
        done = subprocess.run(
            ["nsenter", "-t", str(pid), "-n", "ip", "-j", "-4", "addr"],
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            yield f"the network namespace of {identity} cannot be entered: {done.stderr!r}"
            continue
        found = {
            (link["ifname"], address["local"])
            for link in json.loads(done.stdout or b"[]")
            for address in link.get("addr_info", ())
            if link["ifname"] != "lo"
        }
        if found != wanted:
            yield f"interfaces inside {identity}: {found}, recorded: {wanted}"


def _firewall(world: World) -> Iterator[str]:
    engine, stored = world.engine, world.stored
    bridges = {each["device"] for each in _bridged(stored)}
    if not engine.has_table():
        if bridges:
            yield "the firewall's table is missing"
        return
    known = _elements(engine.network_tag, "set", "bridges")
    if known != bridges:
        yield f"bridges known to the firewall differ: {known ^ bridges}"
    wanted: set[Any] = set()
    for sandbox in stored.sandboxes.values():
        for run in sandbox.get("ports", ()):
            if sandbox["container_id"] not in world.running:
                yield f"ports are published for what does not run: {sandbox['container_id']}"
            if ":" not in run["host_ip"]:
                address = _gateway_address(stored, sandbox)
                # Without an endpoint that they lead to, they are kept for a later connect.
                steps = range(run.get("count", 1)) if address else ()
                wanted |= {(run["first"] + n, address, run["target"] + n) for n in steps}
    found = set()
    for name in ("same4", "moved4"):
        found |= _elements(engine.network_tag, "map", name)
    if found != wanted:
        yield f"published ports: {found}, recorded: {wanted}"


def _gateway_address(stored: Stored, sandbox: Mapping[str, Any]) -> str:
    place = (sandbox["container_id"], sandbox.get("gateway4"))
    for each in stored.endpoints:
        if (each["container_id"], each["network_id"]) == place:
            return str(each["ipv4"])
    return ""


def _elements(table: str, kind: str, name: str) -> set[Any]:
    """Elements of a set (their text) or of a map of ports ((port, address, inner port))."""
    done = subprocess.run(
        ["nft", "-j", "list", kind, "inet", table, name], capture_output=True, check=False
    )
    if done.returncode != 0:
        return {f"nft: {done.stderr!r}"}
    found: set[Any] = set()
    for entry in json.loads(done.stdout)["nftables"]:
        for element in entry.get(kind, {}).get("elem", ()):
            if kind == "set":
                found.add(element)
                continue
            key, value = element
            port = key["concat"][-1]
            if isinstance(value, dict):
                found.add((port, value["concat"][0], value["concat"][1]))
            else:
                found.add((port, value, port))
    return found


def _images(world: World) -> Iterator[str]:
    data, stored = world.engine.data, world.stored
    blobs = {f"sha256:{name}" for name in _names(data / "blobs" / "sha256")}
    if blobs != stored.blobs:
        yield f"blobs and their rows differ: {blobs ^ stored.blobs}"
    layers = {f"sha256:{name}" for name in _names(data / "layers")}
    if layers != stored.layers:
        yield f"layers and their rows differ: {layers ^ stored.layers}"


def _bridged(stored: Stored) -> list[Mapping[str, Any]]:
    return [
        each
        for each in stored.networks.values()
        if each["driver"] == "bridge" and not each.get("config_only")
    ]


def _links() -> dict[str, dict[str, str]]:
    """Interfaces of the host: name -> alias and master."""
    found = {}
    for entry in Path("/sys/class/net").iterdir():
        master = _link_of(str(entry / "master")).rpartition("/")[2]
        found[entry.name] = {"alias": _read(str(entry / "ifalias")).strip(), "master": master}
    return found


def _descriptors(pid: int, prefix: str) -> set[str]:
    found = set()
    for entry in os.listdir(f"/proc/{pid}/fd"):
        target = _link_of(f"/proc/{pid}/fd/{entry}")
        if target.startswith(prefix):
            found.add(target)
    return found


def _names(folder: Path) -> set[str]:
    with suppress(OSError):
        return set(os.listdir(folder))
    return set()


def _link_of(path: str) -> str:
    with suppress(OSError):
        return os.readlink(path)
    return ""


def _read(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text(errors="replace")
    return ""

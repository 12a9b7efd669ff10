"""Networks as clients use them: made, looked at, joined, left, removed; good and bad requests."""

from __future__ import annotations

from typing import Any

from tests.support.images import BASE
from tests.support.recording import Step, Volatile

VOLATILE = Volatile(
    keys={
        "Created": "time",
        "EndpointID": "endpoint",
        "SandboxID": "sandbox",
        "SandboxKey": "path",
    },
    patterns=(
        (r"br-[0-9a-f]{12}", "bridge name"),
        (r"(?<=on endpoint taken \()[^)]*", "endpoint"),
        (r"[0-9a-f]{64}", "id"),
    ),
)
SUBNET = "10.201.0.0/24"
_INSPECT = (
    "NetworkSettings",
    "HostConfig.NetworkMode",
    "HostConfig.PortBindings",
    "Config.Hostname",
    "Config.ExposedPorts",
)
_ROW = ("Names", "NetworkSettings", "HostConfig", "Ports")


def _inspect(name: str, container: str) -> Step:
    return Step(name, "GET", f"/containers/{container}/json", only=_INSPECT)


def _list(name: str, filters: str) -> Step:
    return Step(name, "GET", f"/containers/json?filters={filters}", only=_ROW)


def _create(name: str, **fields: Any) -> dict[str, Any]:
    return {"Name": name, **fields}


def _pool(*pools: dict[str, Any]) -> dict[str, Any]:
    return {"IPAM": {"Driver": "default", "Config": list(pools)}}


def _container(mode: str, **fields: Any) -> dict[str, Any]:
    host = {"NetworkMode": mode, **fields.pop("HostConfig", {})}
    return {"Image": BASE, "Cmd": ["sleep", "100000"], "HostConfig": host, **fields}


def _networking(name: str, **fields: Any) -> dict[str, Any]:
    return {"NetworkingConfig": {"EndpointsConfig": {name: fields}}}


def _life() -> list[Step]:
    """Networks and the containers in them."""
    wide = _create(
        "wide",
        Labels={"a": "b"},
        Options={"com.docker.network.driver.mtu": "1400"},
        Internal=True,
        Attachable=True,
        IPAM={
            "Driver": "default",
            "Options": {},
            "Config": [
                {
                    "Subnet": SUBNET,
                    "IPRange": "10.201.0.128/25",
                    "Gateway": "10.201.0.1",
                    "AuxiliaryAddresses": {"printer": "10.201.0.130"},
                }
            ],
        },
    )
    plain = _create("plain", **_pool({"Subnet": "10.202.0.0/24"}))
    six = _create(
        "six", EnableIPv6=True, **_pool({"Subnet": "10.203.0.0/24"}, {"Subnet": "fd00:203::/64"})
    )
    settings = {
        "IPAMConfig": {"IPv4Address": "10.201.0.150"},
        "Aliases": ["web", "www"],
        "MacAddress": "02:42:0a:c9:00:96",
    }
    return [
        Step("predefined host", "GET", "/networks/host"),
        Step("predefined none", "GET", "/networks/none"),
        Step("create wide", "POST", "/networks/create", wide, save="wide"),
        Step("create plain", "POST", "/networks/create", plain, save="plain"),
        Step("create six", "POST", "/networks/create", six, save="six"),
        Step("inspect wide", "GET", "/networks/wide"),
        Step("inspect by id", "GET", "/networks/{wide}"),
        Step("inspect six", "GET", "/networks/six"),
        Step("inspect by scope", "GET", "/networks/wide?scope=local"),
        Step("inspect by wrong scope", "GET", "/networks/wide?scope=swarm"),
        Step("inspect verbose", "GET", "/networks/plain?verbose=true"),
        Step("list by name", "GET", '/networks?filters={"name":["wide"]}'),
        Step("list by part of a name", "GET", '/networks?filters={"name":["wid"]}'),
        Step("list by label", "GET", '/networks?filters={"label":["a=b"]}'),
        Step("list dangling", "GET", '/networks?filters={"dangling":["true"],"name":["plain"]}'),
        Step("list by id", "GET", '/networks?filters={"id":["{six}"]}'),
        Step("list by driver", "GET", '/networks?filters={"driver":["host"]}'),
        Step("list builtin", "GET", '/networks?filters={"type":["builtin"],"driver":["null"]}'),
        Step(
            "create a container",
            "POST",
            "/containers/create?name=first",
            _container("wide", Hostname="inside", **_networking("wide", **settings)),
            save="first",
        ),
        _inspect("inspect before its start", "first"),
        Step("start it", "POST", "/containers/first/start"),
        _inspect("inspect it running", "first"),
        Step("wide with a container", "GET", "/networks/wide"),
        Step(
            "wide is not dangling", "GET", '/networks?filters={"dangling":["true"],"id":["{wide}"]}'
        ),
        Step(
            "connect live",
            "POST",
            "/networks/plain/connect",
            {
                "Container": "first",
                "EndpointConfig": {
                    "Aliases": ["other"],
                    "IPAMConfig": {"IPv4Address": "10.202.0.9"},
                    "DriverOpts": {"a": "b"},
                },
            },
        ),
        Step(
            "connect to six",
            "POST",
            "/networks/six/connect",
            {
                "Container": "first",
                "EndpointConfig": {"MacAddress": "02:42:0a:cb:00:02"},
            },
        ),
        _inspect("inspect with three", "first"),
        _list("list with three", '{"name":["first"]}'),
        _list("list by network", '{"network":["plain"]}'),
        Step("six with a container", "GET", "/networks/six"),
        Step("connect again", "POST", "/networks/plain/connect", {"Container": "first"}),
        Step("remove in use", "DELETE", "/networks/plain"),
        Step("disconnect", "POST", "/networks/plain/disconnect", {"Container": "first"}),
        Step("disconnect again", "POST", "/networks/plain/disconnect", {"Container": "first"}),
        _inspect("inspect with two", "first"),
        Step("stop it", "POST", "/containers/first/stop?t=0"),
        _inspect("inspect it stopped", "first"),
        Step("wide without", "GET", "/networks/wide"),
        Step("connect stopped", "POST", "/networks/plain/connect", {"Container": "first"}),
        _inspect("inspect connected while stopped", "first"),
        Step(
            "force disconnect",
            "POST",
            "/networks/plain/disconnect",
            {
                "Container": "first",
                "Force": True,
            },
        ),
        Step(
            "create on the host",
            "POST",
            "/containers/create?name=onhost",
            _container("host"),
            save="onhost",
        ),
        Step("start on the host", "POST", "/containers/onhost/start"),
        _inspect("inspect on the host", "onhost"),
        Step("connect on the host", "POST", "/networks/plain/connect", {"Container": "onhost"}),
        Step("disconnect from host", "POST", "/networks/host/disconnect", {"Container": "onhost"}),
        Step(
            "create alone",
            "POST",
            "/containers/create?name=alone",
            _container("none"),
            save="alone",
        ),
        Step("start alone", "POST", "/containers/alone/start"),
        _inspect("inspect alone", "alone"),
        Step("connect alone", "POST", "/networks/plain/connect", {"Container": "alone"}),
        Step(
            "create joined",
            "POST",
            "/containers/create?name=joined",
            _container("container:alone"),
            save="joined",
        ),
        Step("start joined", "POST", "/containers/joined/start"),
        _inspect("inspect joined", "joined"),
        Step("connect joined", "POST", "/networks/plain/connect", {"Container": "joined"}),
        Step(
            "create with ports",
            "POST",
            "/containers/create?name=ports",
            _container(
                "plain",
                ExposedPorts={"80/tcp": {}, "53/udp": {}, "9000/tcp": {}},
                HostConfig={
                    "PortBindings": {
                        "80/tcp": [
                            {"HostPort": "28080"},
                            {"HostIp": "127.0.0.1", "HostPort": "28081"},
                        ],
                        "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "28053"}],
                    }
                },
            ),
            save="ports",
        ),
        _inspect("inspect ports before the start", "ports"),
        Step("start with ports", "POST", "/containers/ports/start"),
        _inspect("inspect with ports", "ports"),
        _list("list with ports", '{"name":["ports"]}'),
        Step(
            "create with a taken port",
            "POST",
            "/containers/create?name=taken",
            _container(
                "plain",
                ExposedPorts={"80/tcp": {}},
                HostConfig={"PortBindings": {"80/tcp": [{"HostPort": "28080"}]}},
            ),
            save="taken",
        ),
        Step("start with a taken port", "POST", "/containers/taken/start"),
        Step(
            "create two networks",
            "POST",
            "/containers/create?name=two",
            {
                **_container("plain"),
                "NetworkingConfig": {
                    "EndpointsConfig": {"plain": {"Aliases": ["p"]}, "wide": {"Aliases": ["w"]}}
                },
            },
            save="two",
        ),
        _inspect("inspect two before the start", "two"),
        Step("remove taken", "DELETE", "/containers/taken"),
        Step("remove ports", "DELETE", "/containers/ports?force=1"),
        Step("remove joined", "DELETE", "/containers/joined?force=1"),
        Step("remove alone", "DELETE", "/containers/alone?force=1"),
        Step("remove onhost", "DELETE", "/containers/onhost?force=1"),
        Step("remove two", "DELETE", "/containers/two?force=1"),
        Step("prune one", "POST", '/networks/prune?filters={"label":["a=b"]}'),
        Step("remove first", "DELETE", "/containers/first?force=1"),
        Step("prune by label", "POST", '/networks/prune?filters={"label":["a=b"]}'),
        Step("remove six", "DELETE", "/networks/six"),
        Step("remove six again", "DELETE", "/networks/six"),
    ]


def _bad() -> list[Step]:
    """Requests that must be refused; ``plain`` (10.202.0.0/24) is still there."""
    create = {
        "no name": {},
        "empty name": _create(""),
        "space as name": _create(" "),
        "slash in name": _create("a/b"),
        "name twice": _create("plain"),
        "name of a predefined one": _create("bridge"),
        "second host": _create("h2", Driver="host"),
        "second none": _create("n2", Driver="null"),
        "unknown driver": _create("x", Driver="nosuch"),
        "unknown IPAM driver": _create("x", IPAM={"Driver": "nosuch"}),
        "malformed subnet": _create("x", **_pool({"Subnet": "10.0.0.0"})),
        "subnet without sense": _create("x", **_pool({"Subnet": "hello"})),
        "prefix too long": _create("x", **_pool({"Subnet": "10.9.0.0/33"})),
        "host bits": _create("x", **_pool({"Subnet": "10.202.5.9/16"})),
        "overlap": _create("x", **_pool({"Subnet": "10.202.0.0/16"})),
        "same subnet twice": _create(
            "x", **_pool({"Subnet": "10.88.0.0/24"}, {"Subnet": "10.88.0.0/24"})
        ),
        "gateway outside": _create(
            "x", **_pool({"Subnet": "10.88.0.0/24", "Gateway": "10.89.0.1"})
        ),
        "gateway malformed": _create("x", **_pool({"Subnet": "10.88.0.0/24", "Gateway": "gw"})),
        "gateway alone": _create("x", **_pool({"Gateway": "10.88.0.1"})),
        "range outside": _create(
            "x", **_pool({"Subnet": "10.88.0.0/24", "IPRange": "10.89.0.0/25"})
        ),
        "range alone": _create("x", **_pool({"IPRange": "10.88.0.0/25"})),
        "range malformed": _create("x", **_pool({"Subnet": "10.88.0.0/24", "IPRange": "x"})),
        "range larger": _create(
            "x", **_pool({"Subnet": "10.88.0.0/24", "IPRange": "10.88.0.0/16"})
        ),
        "aux outside": _create(
            "x", **_pool({"Subnet": "10.88.0.0/24", "AuxiliaryAddresses": {"a": "10.89.0.1"}})
        ),
        "aux malformed": _create(
            "x", **_pool({"Subnet": "10.88.0.0/24", "AuxiliaryAddresses": {"a": "x"}})
        ),
        "IPv6 subnet without IPv6": _create("x", **_pool({"Subnet": "fd00:88::/64"})),
        "wrong type of name": {"Name": 5},
        "wrong type of labels": _create("x", Labels=["a"]),
        "wrong type of internal": _create("x", Internal="yes"),
        "bad MTU": _create("x", Options={"com.docker.network.driver.mtu": "big"}),
        "bad ICC": _create("x", Options={"com.docker.network.bridge.enable_icc": "maybe"}),
        "bad host address": _create(
            "x", Options={"com.docker.network.bridge.host_binding_ipv4": "x"}
        ),
        "config only and from": _create("x", ConfigOnly=True, ConfigFrom={"Network": "plain"}),
        "config from nothing": _create("x", ConfigFrom={"Network": "nosuch"}),
        "ingress without swarm": _create("x", Ingress=True),
        "overlay without swarm": _create("x", Driver="overlay"),
    }
    steps = []
    for number, (name, body) in enumerate(create.items()):
        if body.get("Name") == "x":
            body["Name"] = f"bad{number}"
        steps.append(Step(f"create: {name}", "POST", "/networks/create", body))
    nosuch = {"Container": "nosuch"}
    steps += [
        Step("create: no body", "POST", "/networks/create"),
        Step("create: broken JSON", "POST", "/networks/create", b"{"),
        Step("inspect: unknown", "GET", "/networks/nosuch"),
        Step("remove: unknown", "DELETE", "/networks/nosuch"),
        Step("remove: bridge", "DELETE", "/networks/bridge"),
        Step("remove: host", "DELETE", "/networks/host"),
        Step("list: unknown filter", "GET", '/networks?filters={"nosuch":["a"]}'),
        Step("list: broken filter", "GET", "/networks?filters={"),
        Step("list: bad dangling", "GET", '/networks?filters={"dangling":["maybe"]}'),
        Step("list: bad type", "GET", '/networks?filters={"type":["strange"]}'),
        Step("list: bad scope", "GET", '/networks?filters={"scope":["strange"]}'),
        Step("prune: unknown filter", "POST", '/networks/prune?filters={"nosuch":["a"]}'),
        Step("prune: bad until", "POST", '/networks/prune?filters={"until":["strange"]}'),
        Step("connect: unknown network", "POST", "/networks/nosuch/connect", nosuch),
        Step("connect: unknown container", "POST", "/networks/plain/connect", nosuch),
        Step("connect: no container", "POST", "/networks/plain/connect", {}),
        Step("connect: no body", "POST", "/networks/plain/connect"),
        Step("disconnect: unknown network", "POST", "/networks/nosuch/disconnect", nosuch),
        Step("disconnect: unknown container", "POST", "/networks/plain/disconnect", nosuch),
        Step("a container", "POST", "/containers/create?name=bad", _container("plain"), save="bad"),
        Step("start it for bad requests", "POST", "/containers/bad/start"),
    ]
    endpoints = {
        "address outside": {"IPAMConfig": {"IPv4Address": "10.99.0.5"}},
        "address malformed": {"IPAMConfig": {"IPv4Address": "x"}},
        "address of the gateway": {"IPAMConfig": {"IPv4Address": "10.204.0.1"}},
        "IPv6 address malformed": {"IPAMConfig": {"IPv6Address": "x"}},
        "IPv6 address without IPv6": {"IPAMConfig": {"IPv6Address": "fd00::5"}},
        "malformed MAC": {"MacAddress": "xx"},
        "link-local malformed": {"IPAMConfig": {"LinkLocalIPs": ["x"]}},
    }
    pool = _pool({"Subnet": "10.204.0.0/24"})
    steps.append(
        Step("another network", "POST", "/networks/create", _create("more", **pool), save="more")
    )
    steps += [
        Step(
            f"connect: {name}",
            "POST",
            "/networks/more/connect",
            {"Container": "bad", "EndpointConfig": body},
        )
        for name, body in endpoints.items()
    ]
    containers = {
        "unknown network": _container("nosuch"),
        "address on the default bridge": _container(
            "bridge", **_networking("bridge", IPAMConfig={"IPv4Address": "172.17.0.9"})
        ),
        "alias on the default bridge": _container("bridge", **_networking("bridge", Aliases=["a"])),
        "address malformed": _container(
            "more", **_networking("more", IPAMConfig={"IPv4Address": "x"})
        ),
        "address outside": _container(
            "more", **_networking("more", IPAMConfig={"IPv4Address": "10.99.0.5"})
        ),
        "ports on a joined network": _container(
            "container:bad", HostConfig={"PortBindings": {"80/tcp": [{"HostPort": "1"}]}}
        ),
        "exposed on a joined network": _container("container:bad", ExposedPorts={"80/tcp": {}}),
        "host name on a joined network": _container("container:bad", Hostname="x"),
        "host name on the host": _container("host", Hostname="x"),
        "links on the host": _container("host", HostConfig={"Links": ["bad:x"]}),
        "DNS on a joined network": _container("container:bad", HostConfig={"Dns": ["1.2.3.4"]}),
        "extra hosts on a joined network": _container(
            "container:bad", HostConfig={"ExtraHosts": ["a:1.2.3.4"]}
        ),
        "MAC on a joined network": _container("container:bad", MacAddress="02:42:00:00:00:01"),
        "joined to nothing": _container("container:"),
        "joined to an unknown one": _container("container:nosuch"),
        "malformed extra host": _container("more", HostConfig={"ExtraHosts": ["x"]}),
        "malformed DNS": _container("more", HostConfig={"Dns": ["x"]}),
        "malformed port": _container(
            "more", HostConfig={"PortBindings": {"x/tcp": [{"HostPort": "1"}]}}
        ),
        "malformed host port": _container(
            "more", HostConfig={"PortBindings": {"80/tcp": [{"HostPort": "x"}]}}
        ),
        "host port too large": _container(
            "more", HostConfig={"PortBindings": {"80/tcp": [{"HostPort": "70000"}]}}
        ),
        "malformed host address": _container(
            "more", HostConfig={"PortBindings": {"80/tcp": [{"HostIp": "x", "HostPort": "1"}]}}
        ),
        "unknown protocol": _container("more", ExposedPorts={"80/xyz": {}}),
        "malformed MAC": _container("more", MacAddress="xx"),
        "unknown link": _container("more", HostConfig={"Links": ["nosuch:x"]}),
    }
    for name, body in containers.items():
        steps.append(Step(f"container: {name}", "POST", "/containers/create?name=probe", body))
        steps.append(Step(f"start: {name}", "POST", "/containers/probe/start"))
        steps.append(Step(f"remove: {name}", "DELETE", "/containers/probe?force=1"))
    steps += [
        Step("remove bad", "DELETE", "/containers/bad?force=1"),
        Step("remove more", "DELETE", "/networks/more"),
        Step("remove plain", "DELETE", "/networks/plain"),
        Step("made in all", "GET", '/networks?filters={"type":["custom"]}', only=("Name",)),
    ]
    return steps


STEPS = [*_life(), *_bad()]

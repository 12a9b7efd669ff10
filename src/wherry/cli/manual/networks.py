"""Pages of ``wherry network ...``."""

from __future__ import annotations

from wherry.cli.manual import Page

PAGES = {
    "network connect": Page(
        """
Join a container to a further network, running or not. It gets an address there (one may be
asked for) and is found by its name and its aliases.""",
        [
            ("Let two services meet", "network connect backend web"),
            ("With a name and an address", "network connect --alias db --ip 172.30.0.9 backend pg"),
        ],
    ),
    "network create": Page(
        """
Make a network. Containers in it reach each other by name, and those in others not at all.
Drivers: bridge (the default), macvlan and ipvlan. Addresses are taken from the daemon's pools
unless --subnet says otherwise; --internal has no way out. The id is printed.""",
        [
            ("A network of one's own", "network create backend"),
            (
                "With addresses",
                "network create --subnet 172.30.0.0/16 --ip-range 172.30.5.0/24 backend",
            ),
            (
                "On a VLAN of the host's card",
                "network create -d macvlan -o parent=eth0.10 --subnet 10.0.10.0/24 floor",
            ),
            ("Without a way out, with IPv6", "network create --internal --ipv6 vault"),
        ],
    ),
    "network disconnect": Page(
        """
Take a container out of a network, running or not. -f also forgets one that is no longer
there.""",
        [("Leave it", "network disconnect backend web")],
    ),
    "network inspect": Page(
        """
Show everything the daemon knows of networks as a JSON array, with the containers that are in
them now; -f picks from it with a Go template.""",
        [
            (
                "Who is in it?",
                "network inspect -f '{{range .Containers}}{{.Name}} {{end}}' lan",
            ),
        ],
    ),
    "network ls": Page(
        """
List networks. Filters: dangling, driver, id, label, name, scope, type (custom or builtin).
Fields for --format: .ID .Name .Driver .Scope .IPv4 .IPv6 .Internal .Labels .CreatedAt.
networksFormat in config.json is the default.""",
        [
            ("All of them", "network ls"),
            ("Those made by users", "network ls -f type=custom"),
        ],
    ),
    "network prune": Page(
        """
Remove all networks that users made and no container belongs to. It asks first, unless -f is
given. Filters: until, label=, label!=, name=PATTERN, name!=PATTERN. --dry-run changes
nothing.""",
        [
            ("What would go?", "network prune --dry-run"),
            ("Those of tests", "network prune -f --filter 'name=test-*'"),
        ],
    ),
    "network rm": Page(
        """
Remove networks. One that a running container uses is refused. With -f it is no error that a
network is not there.""",
        [("Remove two", "network rm backend frontend")],
    ),
}

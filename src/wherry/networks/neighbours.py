"""Other firewalls on the same host.

A packet that any base chain of the forward hook drops is lost, whatever our own table says. A
host whose iptables FORWARD policy is drop (Docker beside us, ufw) would so cut off all our
containers, and with br_netfilter even from each other. Nothing of such a firewall is changed or
removed; where, and only where, the policy is drop, two rules are appended behind all of its own:
packets from and to our bridges (an interface group) are left to our table. Whatever its rules
say comes first. The configuration can forbid it, and then nothing is ever put there.
firewalld, which has no place behind its rules, is asked for a zone (``zones``).
``docs/guide/networks.md`` has the whole of it, ``docs/design/networks.md`` what else was weighed.
"""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import threading
from collections.abc import Iterable

from wherry.errors import WherryError
from wherry.linux import nft
from wherry.networks.zones import Zones

_log = logging.getLogger(__name__)
_TABLE = re.compile(r"^table (\S+) (\S+) \{", re.MULTILINE)
_POLICY = re.compile(r"type filter hook forward .*policy drop;")
_TABLES = {
    "ip filter": ("iptables", ("iptables-nft", "iptables")),
    "ip6 filter": ("ip6tables", ("ip6tables-nft", "ip6tables")),
    "ip filter (legacy)": ("iptables", ("iptables-legacy",)),
    "ip6 filter (legacy)": ("ip6tables", ("ip6tables-legacy",)),
}
"""Table -> the setting that allows changing it, and programs that do (the first there is)."""
_LEGACY = {"ip filter (legacy)": "ip_tables_names", "ip6 filter (legacy)": "ip6_tables_names"}
"""Tables that nftables does not show -> the file below /proc/net that names those in use."""
_COMMENT = "wherry: left to its own table"


def dropping(chains: str) -> list[str]:
    """From ``nft list chains``: tables (``ip filter``) that drop what no rule accepts."""
    found = []
    starts = list(_TABLE.finditer(chains))
    for number, match in enumerate(starts):
        end = starts[number + 1].start() if number + 1 < len(starts) else len(chains)
        if _POLICY.search(chains, match.end(), end):
            found.append(f"{match[1]} {match[2]}")
    return found


class Neighbours:
    """What was appended, and what is in the way. Blocking; called in threads."""

    def __init__(
        self, group: int, zones: Zones, allowed: Iterable[str] = ("iptables", "ip6tables")
    ) -> None:
        """``group``: the bridges' interface group; ``allowed``: settings that are on."""
        self._group = group
        self._zones = zones
        self._allowed = frozenset(allowed)
        self._appended: set[str] = set()
        self._looked = False
        self._turn = threading.Lock()
        self._parted = False

    def come_to_terms(self) -> list[str]:
        """See that packets from and to our bridges pass.

        Our rules are appended where a policy drops, and taken away where it does no more.

        Returns warnings about what is in the way still. Nothing is done after ``part``: a change
        of the firewall that was seen before it may be told only now.
        """
        with self._turn:
            return [] if self._parted else self._come_to_terms()

    def _come_to_terms(self) -> list[str]:
        try:
            chains = nft.run("list chains")
        except WherryError as error:
            return [f"WARNING: bridge networks do not work: {error.message}"]
        there = {f"{each[1]} {each[2]}" for each in _TABLE.finditer(chains)} | _legacy_tables()
        tables = dropping(chains) + [each for each in _LEGACY if each in there and _drops(each)]
        left = [each for each in tables if not self._append(each)]
        for table in _TABLES:
            # An earlier daemon may have left some.
            ours = table in self._appended or not self._looked
            if table in there and ours and (table not in tables or table in left):
                self._take_away(table)
        self._looked = True
        return [
            f"WARNING: the firewall table {table!r} of this host drops forwarded packets: "
            "containers reach other hosts, and are reached, only where it has a rule for them"
            for table in left
        ] + self._zones.look(chains)

    def part(self) -> None:
        """Take our rules away again, for good."""
        with self._turn:
            self._parted = True
            self._zones.part()
            for table in sorted(self._appended):
                self._take_away(table)

    def _append(self, table: str) -> bool:
        if table not in _TABLES or _TABLES[table][0] not in self._allowed:
            return False
        self._appended.add(table)
        return all(_run(table, "-C", rule) or _run(table, "-A", rule) for rule in self._rules())

    def _take_away(self, table: str) -> None:
        for rule in self._rules():
            while _run(table, "-C", rule) and _run(table, "-D", rule):
                pass
        self._appended.discard(table)

    def _rules(self) -> list[list[str]]:
        comment = ["-m", "comment", "--comment", _COMMENT, "-j", "ACCEPT"]
        return [
            ["FORWARD", "-m", "devgroup", side, hex(self._group), *comment]
            for side in ("--src-group", "--dst-group")
        ]


def _legacy_tables() -> set[str]:
    found = set()
    for table, name in _LEGACY.items():
        try:
            with open(f"/proc/thread-self/net/{name}") as file:
                if "filter" in file.read().split():
                    found.add(table)
        except OSError:
            continue
    return found


def _drops(table: str) -> bool:
    return "-P FORWARD DROP" in _output(table, ["-S", "FORWARD"])[1].splitlines()


def _run(table: str, verb: str, rule: list[str]) -> bool:
    return _output(table, [verb, *rule])[0]


def _output(table: str, words: list[str]) -> tuple[bool, str]:
    """Whether it went well, and what it says; (False, "") without a program for the table."""
    program = next((each for each in _TABLES[table][1] if shutil.which(each)), None)
    if program is None:
        return False, ""
    command = [program, "-w", "5", *words]
    try:
        done = subprocess.run(command, capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        _log.warning("%s: %s", program, error)
        return False, ""
    # Comments of rules may be in any encoding.
    return done.returncode == 0, done.stdout.decode(errors="replace")

"""Other firewalls on the same host.

A packet that any base chain of the forward hook drops is lost, whatever our own table says. A
host whose iptables FORWARD policy is drop (Docker beside us, ufw) would so cut off all our
containers, and with br_netfilter even from each other. Nothing of such a firewall is changed or
removed; where, and only where, the policy is drop, two rules are appended behind all of its own:
packets from and to our bridges (an interface group) are left to our table. Whatever its rules
say comes first. The configuration can forbid it, and then nothing is ever put there.
``docs/guide/networks.md`` has the whole of it, ``docs/design/networks.md`` what else was weighed.
"""

from __future__ import annotations

import logging
import re
import subprocess
from collections.abc import Iterable, Iterator

from wherry.errors import WherryError
from wherry.linux import nft

_log = logging.getLogger(__name__)
_TABLE = re.compile(r"^table (\S+) (\S+) \{", re.MULTILINE)
_POLICY = re.compile(r"type filter hook forward .*policy drop;")
_PROGRAMS = {"ip filter": "iptables", "ip6 filter": "ip6tables"}
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
    """What was appended, and what is in the way. Blocking; called in threads, one at a time."""

    def __init__(self, group: int, programs: Iterable[str] = ("iptables", "ip6tables")) -> None:
        """``group``: the bridges' interface group; ``programs`` that may be used at all."""
        self._group = group
        self._allowed = frozenset(programs)
        self._appended: set[str] = set()
        self._looked = False

    def come_to_terms(self) -> list[str]:
        """Append our rules where a policy drops, take them away where it does not any more.

        Returns warnings about what is in the way still.
        """
        try:
            chains = nft.run("list chains")
        except WherryError as error:
            return [f"WARNING: bridge networks do not work: {error.message}"]
        tables = dropping(chains)
        left = [each for each in tables if not self._append(_PROGRAMS.get(each, ""))]
        there = {f"{each[1]} {each[2]}" for each in _TABLE.finditer(chains)}
        for table, program in _PROGRAMS.items():
            # An earlier daemon may have left some.
            ours = program in self._appended or not self._looked
            if table in there and ours and (table not in tables or table in left):
                self._take_away(program)
        self._looked = True
        return [
            f"WARNING: the firewall table {table!r} of this host drops forwarded packets: "
            "containers reach other hosts, and are reached, only where it has a rule for them"
            for table in left
        ]

    def part(self) -> None:
        """Take our rules away again."""
        for program in sorted(self._appended):
            self._take_away(program)

    def _append(self, program: str) -> bool:
        if program not in self._allowed:
            return False
        self._appended.add(program)
        return all(
            _run(program, "-C", rule) or _run(program, "-A", rule) for rule in _rules(self._group)
        )

    def _take_away(self, program: str) -> None:
        for rule in _rules(self._group):
            while _run(program, "-C", rule) and _run(program, "-D", rule):
                pass
        self._appended.discard(program)


def _rules(group: int) -> Iterator[list[str]]:
    for side in ("--src-group", "--dst-group"):
        match = ["-m", "devgroup", side, hex(group)]
        yield ["FORWARD", *match, "-m", "comment", "--comment", _COMMENT, "-j", "ACCEPT"]


def _run(program: str, verb: str, rule: list[str]) -> bool:
    try:
        done = subprocess.run(
            [program, "-w", "5", verb, *rule], capture_output=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        _log.warning("%s: %s", program, error)
        return False
    return done.returncode == 0

"""Other firewalls on the same host.

A packet that any base chain of the forward hook drops is lost, whatever our own table says. A
host whose iptables FORWARD policy is drop (Docker beside us, ufw) would so cut off all our
containers, and with br_netfilter even from each other. Nothing of such a firewall is changed or
removed; where, and only where, the policy is drop, two rules are appended behind all of its own:
packets from and to our bridges (an interface group) are left to our table. Whatever its rules
say comes first. ``docs/guide/networks.md`` has the whole of it.
"""

from __future__ import annotations

import logging
import re
import subprocess
from collections.abc import Iterator

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


def come_to_terms(group: int) -> list[str]:
    """Append our rules where a policy drops; returns warnings about what is in the way still."""
    try:
        tables = dropping(nft.run("list chains"))
    except WherryError as error:
        return [f"WARNING: bridge networks do not work: {error.message}"]
    left = []
    for table in tables:
        program = _PROGRAMS.get(table)
        if program is None or not all(_append(program, rule) for rule in _rules(group)):
            left.append(table)
    return [
        f"WARNING: the firewall table {table!r} of this host drops forwarded packets: "
        "containers reach other hosts, and are reached, only where it has a rule for them"
        for table in left
    ]


def part(group: int) -> None:
    """Take our rules away again."""
    for program in _PROGRAMS.values():
        for rule in _rules(group):
            if _run(program, "-C", rule):
                _run(program, "-D", rule)


def _rules(group: int) -> Iterator[list[str]]:
    for side in ("--src-group", "--dst-group"):
        match = ["-m", "devgroup", side, hex(group)]
        yield ["FORWARD", *match, "-m", "comment", "--comment", _COMMENT, "-j", "ACCEPT"]


def _append(program: str, rule: list[str]) -> bool:
    return _run(program, "-C", rule) or _run(program, "-A", rule)


def _run(program: str, verb: str, rule: list[str]) -> bool:
    try:
        done = subprocess.run(
            [program, "-w", "5", verb, *rule], capture_output=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        _log.warning("%s: %s", program, error)
        return False
    return done.returncode == 0

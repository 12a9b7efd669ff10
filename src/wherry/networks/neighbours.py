"""Other firewalls on the same host: seen and told of, never touched.

A packet that any base chain of the forward hook drops is lost, whatever our own table says. A
host whose FORWARD policy is drop (Docker beside us, ufw, firewalld) therefore needs one rule of
its own for our bridges; ``docs/networks.md`` says which for each of them.
"""

from __future__ import annotations

import re

from wherry.errors import WherryError
from wherry.linux import nft

_TABLE = re.compile(r"^table (\S+) (\S+) \{", re.MULTILINE)
_POLICY = re.compile(r"type filter hook forward .*policy drop;")


def dropping(ruleset: str) -> list[str]:
    """Names of tables (``ip filter``) that drop forwarded packets unless a rule accepts them."""
    found = []
    starts = list(_TABLE.finditer(ruleset))
    for number, match in enumerate(starts):
        end = starts[number + 1].start() if number + 1 < len(starts) else len(ruleset)
        if _POLICY.search(ruleset, match.end(), end):
            found.append(f"{match[1]} {match[2]}")
    return found


def warnings() -> list[str]:
    """For ``/info`` and the log."""
    try:
        tables = dropping(nft.run("list ruleset"))
    except WherryError as error:
        return [f"WARNING: bridge networks do not work: {error.message}"]
    return [
        f"WARNING: the firewall table {table!r} of this host drops forwarded packets: "
        "containers reach other hosts, and are reached, only where it has a rule for them"
        for table in tables
    ]

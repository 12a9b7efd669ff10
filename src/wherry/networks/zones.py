"""firewalld on the same host: our bridges belong to a zone that lets their packets pass.

firewalld ends its forwarding with a reject, and what another chain has refused no rule of ours
brings back. Its own way to let an interface through is a zone. Where firewalld runs, bridges of
ours without a zone are put into its zone ``wherry`` if the host's owner has made one, else into
``trusted``: in the running firewalld only, nothing is written to its configuration. A bridge that
has a zone already stays there. The configuration can forbid all of it.
"""

from __future__ import annotations

import logging
import re
import subprocess
import threading
from collections.abc import Callable, Iterable

_log = logging.getLogger(__name__)

TABLE = "firewalld"
"""firewalld's nftables table."""
_SIGN = re.compile(rf"^table inet {TABLE} \{{|^\s*chain FORWARD_POLICIES_pre \{{", re.MULTILINE)
"""firewalld with nftables, or with iptables, in ``nft list chains``."""
_OWN, _OPEN = "wherry", "trusted"
_SECONDS = 60.0
"""For an answer of firewalld, which may be starting."""


def seen(chains: str) -> bool:
    """Whether firewalld's rules are among the chains of the host."""
    return _SIGN.search(chains) is not None


def parse(text: str) -> dict[str, str]:
    """From ``firewall-cmd --get-active-zones``: interface -> zone."""
    found: dict[str, str] = {}
    zone = ""
    for line in text.splitlines():
        if line and not line[0].isspace():
            zone = line.split()[0]
        elif line.strip().startswith("interfaces:"):
            found |= dict.fromkeys(line.split()[1:], zone)
    return found


class Zones:
    """Which bridges firewalld lets pass. Blocking; called in threads."""

    def __init__(self, bridges: Callable[[], Iterable[str]], *, allowed: bool = True) -> None:
        """``bridges``: ours at this moment."""
        self._bridges = bridges
        self._allowed = allowed
        self._zone = ""
        """Where bridges go; empty while firewalld does not run, or is not to be asked."""
        self._inside: set[str] = set()
        """Bridges of ours in that zone."""
        self._turn = threading.Lock()

    def look(self, chains: str) -> list[str]:
        """firewalld has come, gone or changed: see that it lets the bridges pass.

        Returns warnings about those that it does not know.
        """
        with self._turn:
            if not seen(chains):
                self._zone = ""
                return []
            wanted = set(self._bridges())
            placed = parse(_ask("--get-active-zones") or "")
            missing = wanted - placed.keys()
            if self._allowed:
                self._zone = _OWN if _OWN in (_ask("--get-zones") or "").split() else _OPEN
                self._inside = {each for each in wanted if placed.get(each) == self._zone}
                if self._put("--add-interface", missing):
                    self._inside |= missing
                    missing = set()
            return [
                f"WARNING: firewalld of this host has no zone for the bridge {each}: containers "
                "reach other hosts only where it has a rule for them"
                for each in sorted(missing)
            ]

    @property
    def active(self) -> bool:
        """Whether firewalld runs and ``settle`` has something to do."""
        return bool(self._zone)

    def settle(self) -> None:
        """There are other bridges now."""
        with self._turn:
            if not self._zone:
                return
            wanted = set(self._bridges())
            for each in sorted(wanted - self._inside):
                # One that has a zone of the user's choice stays there: firewalld says so.
                self._put("--add-interface", {each})
            self._put("--remove-interface", self._inside - wanted)
            self._inside = wanted

    def part(self) -> None:
        """Take all of them out again, for good."""
        with self._turn:
            if self._zone:
                self._put("--remove-interface", self._inside)
            self._zone = ""
            self._allowed = False

    def _put(self, verb: str, names: set[str]) -> bool:
        words = [f"{verb}={each}" for each in sorted(names)]
        return not words or _ask(f"--zone={self._zone}", *words) is not None


def _ask(*words: str) -> str | None:
    """What ``firewall-cmd`` says; None when it fails."""
    command = ["firewall-cmd", *words]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=_SECONDS, check=False, text=True
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        _log.warning("firewalld: %s", error)
        return None
    if done.returncode:
        _log.warning("firewalld: %s: %s", " ".join(words), done.stderr.strip())
        return None
    return done.stdout

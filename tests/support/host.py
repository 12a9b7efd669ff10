"""What only some hosts have, for tests that need it. ``scripts/vm`` has all of it."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from wherry.networks.drivers import available

needs_systemd = pytest.mark.skipif(
    not Path("/run/systemd/system").is_dir(), reason="systemd is not the init of this machine"
)
needs_journald = pytest.mark.skipif(
    not Path("/run/systemd/journal/socket").exists() or shutil.which("journalctl") is None,
    reason="no journald on this machine",
)


def needs_interfaces(kind: str) -> pytest.MarkDecorator:
    """For tests with interfaces of a kind: macvlan, ipvlan, vlan."""
    return pytest.mark.skipif(not available(kind), reason=f"this kernel has no {kind} interfaces")


def needs_sctp() -> pytest.MarkDecorator:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError:
        return pytest.mark.skipif(True, reason="this kernel has no SCTP")
    return pytest.mark.skipif(False, reason="")


def needs_machine(*programs: str) -> pytest.MarkDecorator:
    """For tests that start services of the host and change its firewall: only in a machine of
    ``scripts/vm``, which forgets everything at its end."""
    missing = [each for each in programs if shutil.which(each) is None]
    reason = f"this machine has no {missing[0]}" if missing else "only in a machine of scripts/vm"
    throwaway = "wherry.tree=" in Path("/proc/cmdline").read_text()
    return pytest.mark.skipif(bool(missing) or not throwaway, reason=reason)

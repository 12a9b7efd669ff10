"""What only some hosts have, for tests that need it. ``scripts/vm`` has all of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

needs_systemd = pytest.mark.skipif(
    not Path("/run/systemd/system").is_dir(), reason="systemd is not the init of this machine"
)
needs_journald = pytest.mark.skipif(
    not Path("/run/systemd/journal/socket").exists() or shutil.which("journalctl") is None,
    reason="no journald on this machine",
)

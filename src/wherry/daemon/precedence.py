"""The daemon's place among all that wants the processors.

A request needs a few milliseconds of processor time, spread over a dozen short steps of the daemon,
the monitor and the runtime. Beside containers that compute without end each of the steps would wait
for its turn. So the daemon, and with it what it starts, has a cgroup with a larger weight; the
monitors leave it when their container runs (``runtime.weight``).
"""

from __future__ import annotations

import os
from contextlib import suppress

from wherry.linux import cgroups

SHARES = 8 * 1024
"""Eight times the usual weight: enough to come first, and others still get their share beside a
pull or a build."""


def take() -> bool:
    """Move to the cgroup; False where a service manager has given us a place, which is its to weigh
    (``CPUWeight=``), or where nothing weighs processor time."""
    own = os.getpid()
    return cgroups.path_of(own) == "/" and cgroups.place(cgroups.ENGINE, own, shares=SHARES)


def leave() -> None:
    """Go back, and remove the cgroup unless another daemon or a monitor is in it."""
    directory = cgroups.host_layout().directory(cgroups.ENGINE, "cpu")
    if cgroups.leave_engine(os.getpid()) and directory is not None:
        with suppress(OSError):
            directory.rmdir()

"""Places where a test may have the daemon killed, to see that it recovers.

``WHERRY_FAILPOINT=name`` in the daemon's environment: it ends by SIGKILL when it gets there.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "WHERRY_FAILPOINT"


def reach(name: str) -> None:
    """Die here, if this place was asked for."""
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)

"""Ends what the bench started when the bench itself cannot (it was killed).

``python -m bench.janitor ROOT`` waits for the end of its standard input, which is the bench's, and
cleans up what is still there then.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import leftovers


@contextmanager
def janitor(root: Path) -> Iterator[None]:
    """Somebody who cleans ``root`` up at the end of the block, or of this process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.janitor", str(root)],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield
    finally:
        process.communicate()


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    root = Path(sys.argv[1])
    sys.stdin.read()
    if root.exists():
        for engine in root.iterdir():
            leftovers.wipe(engine)
    shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()

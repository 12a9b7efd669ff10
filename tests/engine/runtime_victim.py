"""Creates and starts a container as a daemon would, to be killed at any moment.

Arguments: base directory, container id. Writes a line before each step.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.engine.runtime_host import RealWorld

from wherry.runtime.probe import open_runtime


async def main() -> None:
    base = Path(sys.argv[1])
    runtime, facts = await open_runtime(base)
    world = RealWorld(base, runtime, facts, parent=sys.argv[3])
    launch = world.launch(sys.argv[2], "sleep", "100")
    print("create", flush=True)
    await runtime.create(launch)
    print("start", flush=True)
    await runtime.start(sys.argv[2])
    print("started", flush=True)
    await asyncio.sleep(100)


asyncio.run(main())

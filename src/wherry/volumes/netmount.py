"""Mounts whose server may never answer (nfs, cifs, ...): made, looked at and taken away by a child.

The kernel waits for such a server in the system call. A thread that waits cannot be stopped, a
process can: it is killed, and the call is over. So nothing of ours hangs, and no mount appears
after its time.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress

NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "afs"})
_LAST_WORDS = 10.0
"""Seconds for a child that was killed to be gone."""
_CHILD = """
import ctypes, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
name, *words = json.load(sys.stdin)
text = lambda each: None if each is None else os.fsencode(each)
done = 0
if name == "mount":
    source, target, fstype, flags, data = words
    target = text(target)
    done = libc.mount(text(source), target, text(fstype), ctypes.c_ulong(flags), text(data))
elif name == "detach":
    done = libc.umount2(text(words[0]), 2)
else:
    try:
        os.statvfs(words[0])
    except OSError:
        pass
sys.exit(ctypes.get_errno() if done else 0)
"""


async def mount(
    source: str, target: str, fstype: str, flags: int, data: str | None, *, seconds: float
) -> None:
    """mount(2). Raises ``OSError``; ``TimeoutError`` when there is no answer in time, and then
    nothing is mounted later. What was mounted at the last moment is the caller's to take away."""
    await _call("mount", source, target, fstype, flags, data, seconds=seconds)


async def detach(target: str, *, seconds: float) -> None:
    """umount2(2) that takes it out of the tree at once; see ``mount`` for what it raises."""
    await _call("detach", target, seconds=seconds)


async def look(target: str, *, seconds: float) -> None:
    """Have the server asked about its file system: ``TimeoutError`` when it does not answer."""
    await _call("look", target, seconds=seconds)


async def _call(*words: object, seconds: float) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", _CHILD),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    # Not as arguments, which everybody on the host can read: there may be a password.
    given = json.dumps(words).encode()
    try:
        await asyncio.wait_for(process.communicate(given), seconds)
    except BaseException:
        with suppress(ProcessLookupError):
            process.kill()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _LAST_WORDS)
        raise
    if process.returncode:
        raise OSError(process.returncode, os.strerror(process.returncode))

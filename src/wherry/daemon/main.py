"""``wherryd``: the daemon's command."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

from wherry.daemon import lean
from wherry.errors import WherryError

_LEAVE = 5.0
"""Seconds for threads that are still at work after the end."""


def main() -> NoReturn:
    """The command: exits with 0 after an orderly end, 1 when the start fails."""
    sys.exit(serve(sys.argv[1:]))


def _leave_soon() -> None:
    """All is written and closed. What the interpreter still waits for are its threads, and one of
    them may hang for as long as a volume plugin does, or the server of a mount."""

    def leave() -> None:
        logging.getLogger("wherryd").warning("leaving threads that hang")
        os._exit(0)

    timer = threading.Timer(_LEAVE, leave)
    timer.daemon = True
    timer.start()


def _watched_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """A loop that says what holds it, where the environment asks for that."""
    if not os.environ.get("WHERRYD_LOOP_WATCH"):
        return None
    from wherry.daemon.loopwatch import loop_factory

    return loop_factory()


def serve(arguments: Sequence[str]) -> int:
    """Run until told to end. A failing start is one line on standard error and exit code 1."""
    lean.postpone()
    from wherry.daemon.config import parse

    try:
        config = parse(arguments)
        from wherry.daemon.systemd import log_formatter

        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(log_formatter())
        logging.basicConfig(level=config.level, handlers=[handler])
        for note in config.notes:
            logging.getLogger("wherryd").warning("%s", note)
        from wherry.daemon.process import run
        from wherry.daemon.root import build, check

        check(config)
        if config.flag("validate"):
            print("configuration OK")
            return 0
        with asyncio.Runner(loop_factory=_watched_loop()) as runner:
            runner.run(run(config, build))
            _leave_soon()
    except WherryError as error:
        print(f"wherryd: {' '.join(error.message.split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        logging.getLogger("wherryd").debug("failure", exc_info=error)
        print(f"wherryd: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    main()

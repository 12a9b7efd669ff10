"""What a command is, and what it gets to work with.

A group's file holds functions ``(ctx, options, args) -> exit code`` and one :class:`Command` for
each; ``registry.py`` names them. Nothing is imported before its command runs.
"""

from __future__ import annotations

import os
import sys

from wherry.cli.errors import UsageError
from wherry.cli.flags import Flag, Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import BinaryIO, TextIO

    from wherry.client.config import Choice, Config, Endpoint
    from wherry.client.engine import Client

PROGRAM = "wherry"


class Context:
    """What a command may use: the streams, the configuration and, when asked, the client."""

    def __init__(self, config: Config, choice: Choice, path: str, *, debug: bool = False):
        self.config = config
        self.choice = choice
        self.path = path
        self.debug = debug
        self.out: TextIO = sys.stdout
        self.err: TextIO = sys.stderr
        self._endpoint: Endpoint | None = None
        self._client: Client | None = None

    @property
    def endpoint(self) -> Endpoint:
        """Where the daemon is; commands that need none never read the context."""
        if self._endpoint is None:
            self._endpoint = self.choice.endpoint()
        return self._endpoint

    @property
    def client(self) -> Client:
        """The client, connected on first use; the daemon is started first where that is ours."""
        if self._client is None:
            from wherry.cli.autostart import ensure_daemon
            from wherry.client.engine import Client

            ensure_daemon(self.endpoint)
            headers = {str(k): str(v) for k, v in self.config.table("HttpHeaders").items()}
            pinned = os.environ.get("WHERRY_API_VERSION") or os.environ.get("DOCKER_API_VERSION")
            self._client = Client(self.endpoint, version=pinned or "", headers=headers)
        return self._client

    def another_client(self) -> Client:
        """A second client with the same settings, for use beside a busy one."""
        from wherry.client.engine import Client

        first = self.client
        return Client(self.endpoint, version=first.version, headers=first.headers)

    @property
    def stdin(self) -> BinaryIO:
        return sys.stdin.buffer

    @property
    def raw_out(self) -> BinaryIO:
        """Standard output for bytes; what was printed as text before is written first."""
        self.out.flush()
        return sys.stdout.buffer

    def say(self, text: str) -> None:
        print(text, file=self.out)

    def warn(self, text: str) -> None:
        print(text, file=self.err)


if TYPE_CHECKING:
    Run = Callable[[Context, Options, list[str]], int | None]


class Command:
    """One command.

    ``usage``: what follows the command's name in the usage line (several lines allowed).
    ``args``: least and most number of words, None for no limit. ``complete``: what its words are
    (``containers``, ``running``, ``stopped``, ``images``, ``files`` ...), for completion: one for
    each place, the last for all that follow.
    ``interspersed=False``: flags end at the first word. ``failure``: exit code of a daemon error.
    """

    def __init__(
        self,
        run: Run,
        usage: str = "",
        flags: Sequence[Flag] = (),
        args: tuple[int, int | None] = (0, 0),
        *,
        long: str = "",
        complete: str = "",
        interspersed: bool = True,
        failure: int = 1,
    ) -> None:
        self.run = run
        self.usage = usage
        self.flags = tuple(flags)
        self.args = args
        self.long = long
        self.complete = complete
        self.interspersed = interspersed
        self.failure = failure

    def check_count(self, path: str, args: Sequence[str]) -> None:
        """Raise :class:`UsageError` in Docker's words when there are too few or many words."""
        least, most = self.args
        if len(args) >= least and (most is None or len(args) <= most):
            return
        if most == 0:
            raise UsageError(f"'{path}' accepts no arguments")
        if least == most:
            raise UsageError(f"'{path}' requires {_arguments(least)}")
        if least and most is not None:
            raise UsageError(f"'{path}' requires at least {least} and at most {_arguments(most)}")
        if len(args) < least:
            raise UsageError(f"'{path}' requires at least {_arguments(least)}")
        raise UsageError(f"'{path}' requires at most {_arguments(most or 0)}")

    def usage_lines(self, path: str) -> str:
        tails = self.usage.split("\n") if self.usage else [""]
        return "\n\t".join(f"{path} {tail}".rstrip() for tail in tails)


def _arguments(count: int) -> str:
    return f"{count} argument" + ("s" if count != 1 else "")

"""The ``wherry`` command: global flags, finding the command, and how it all ends."""

from __future__ import annotations

import io
import os
import sys

from wherry.cli import registry
from wherry.cli.command import PROGRAM, Command, Context
from wherry.cli.errors import CliError, Exit, FlagError, UsageError
from wherry.cli.flags import Flag, Options, many, parse, switch, text
from wherry.client.errors import ApiError, ClientError
from wherry.errors import WherryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wherry.client.config import Tls

GLOBAL_FLAGS: tuple[Flag, ...] = (
    text("config", "Location of client config files"),
    text(
        "context",
        "Name of the context to use to connect to the daemon (overrides WHERRY_HOST and "
        "DOCKER_HOST)",
        short="c",
    ),
    switch("debug", "Enable debug mode", short="D"),
    many("host", "Daemon socket to connect to", short="H", shown="string"),
    text(
        "log-level",
        'Set the logging level ("debug", "info", "warn", "error", "fatal")',
        short="l",
        default="info",
    ),
    switch("tls", "Use TLS; implied by --tlsverify"),
    text("tlscacert", "Trust certs signed only by this CA"),
    text("tlscert", "Path to TLS certificate file"),
    text("tlskey", "Path to TLS key file"),
    switch("tlsverify", "Use TLS and verify the remote"),
    switch("version", "Print version information and quit", short="v"),
)


_LEVELS = ("panic", "fatal", "error", "warn", "warning", "info", "debug", "trace")


def main(argv: Sequence[str] | None = None) -> int:
    """The whole command; returns the exit code. Without ``argv`` the process ends here.

    It ends by ``os._exit``: taking the interpreter down in order costs 3 ms, and nothing that
    is left open outlives the process anyway.
    """
    if argv is not None:
        return _guarded(list(argv))
    _prepare_streams()
    code = _guarded(sys.argv[1:])
    try:
        sys.stderr.flush()
    finally:
        os._exit(code)


def _prepare_streams() -> None:
    """A standard stream that is closed becomes ``/dev/null``, else a socket would take its number.
    Text is UTF-8 whatever the locale, and names that are no UTF-8 come out as they came in."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")


def _guarded(words: list[str]) -> int:
    try:
        try:
            code = _run(words)
        except Exit as end:
            code = end.code
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader of our output went away (``wherry logs x | head``): nobody to tell.
        _silence_stdout()
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 1


def _silence_stdout() -> None:
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass


def _run(words: list[str]) -> int:
    try:
        options, rest = parse(GLOBAL_FLAGS, words, interspersed=False)
    except FlagError as error:
        return _usage(error, f"{PROGRAM} [OPTIONS] COMMAND [ARG...]", PROGRAM)
    if options.on("version"):
        from wherry import __version__

        print(f"Wherry version {__version__}")
        return 0
    level = options.text("log-level")
    if level not in _LEVELS:
        print(f"Unable to parse logging level: {level}", file=sys.stderr)
        return 1
    topic = rest[:1] == ["help"]
    if topic:
        rest = [*rest[1:], "--help"]
    if not rest or rest[0] == "--help":
        from wherry.cli.help import program_help

        _help(lambda: program_help(GLOBAL_FLAGS), asked=bool(rest) or options.on("help"))
        return 0
    path, entry = registry.find(rest)
    if entry is None and topic and not path:
        print(f"unknown help topic: {rest[0]}", file=sys.stderr)
        return 1
    if entry is None:
        return _group_or_unknown(path, rest)
    name = " ".join([PROGRAM, *path])
    return _command(registry.load(entry), entry, name, rest[len(path) :], options)


def _help(text: Callable[[], str], *, asked: bool) -> None:
    """What nobody asked for goes to standard error: it is not the output of a command. Bold and
    width are those of the stream it goes to."""
    if asked:
        print(text())
        return
    from contextlib import redirect_stdout

    with redirect_stdout(sys.stderr):
        print(text())


def _group_or_unknown(path: list[str], words: list[str]) -> int:
    rest = words[len(path) :]
    if path and (not rest or rest[0].startswith("-")):
        from wherry.cli.help import group_help

        _help(lambda: group_help(path[0]), asked=bool(rest))
        return 0
    from wherry.cli.help import suggestions

    whole = " ".join([PROGRAM, *path])
    near = suggestions(path[0] if path else "", rest[0])
    print(f"{PROGRAM}: unknown command: {whole} {rest[0]}", file=sys.stderr)
    if near:
        lines = "".join(f"\n\t{whole} {name}" for name in near)
        print(
            f"\nDid you mean {'this' if len(near) == 1 else 'one of these'}?{lines}",
            file=sys.stderr,
        )
    if path:
        print(f"\nUsage:  {whole} COMMAND", file=sys.stderr)
    print(f"\nRun '{whole} --help' for more information", file=sys.stderr)
    return 1


def _command(
    command: Command, entry: registry.Entry, path: str, words: list[str], options: Options
) -> int:
    try:
        own, args = parse(command.flags, words, interspersed=command.interspersed)
        if own.on("help"):
            from wherry.cli.help import command_help

            print(command_help(command, entry, path))
            return 0
        command.check_count(path, args)
        return command.run(context_of(options, path), own, args) or 0
    except UsageError as error:
        return _usage(error, command.usage_lines(path), path)
    except CliError as error:
        print(error.message, file=sys.stderr)
        return error.code
    except ClientError as error:
        return _failed(error, command, path)
    except WherryError as error:
        # What came from the daemon does not parse: the pure rooms say what of it.
        print(error.message, file=sys.stderr)
        return command.failure


def _failed(error: ClientError, command: Command, path: str) -> int:
    message = error.message
    if isinstance(error, ApiError) and error.status == 501:
        message += "\n(the daemon does not do this yet)" if not error.daemon_message else ""
    if command.failure == 125:
        print(f"{PROGRAM}: {message}\n\nRun '{path} --help' for more information", file=sys.stderr)
    else:
        print(message, file=sys.stderr)
    return command.failure


def _usage(error: UsageError, usage: str, path: str) -> int:
    message = error.message
    if not isinstance(error, FlagError):
        message = f"{PROGRAM}: {message}"
    hint = "See" if "at least" in message and "at most" not in message else "Run"
    print(
        f"{message}\n\nUsage:  {usage}\n\n{hint} '{path} --help' for more information",
        file=sys.stderr,
    )
    return error.code


def context_of(options: Options, path: str) -> Context:
    from wherry.client.config import Choice, load

    config = load(options.text("config"), os.environ)
    hosts = options.many("host")
    if len(hosts) > 1:
        raise CliError("Specify only one -H")
    choice = Choice(
        config,
        os.environ,
        host=hosts[0] if hosts else "",
        context=options.text("context"),
        tls=_tls(options, config.folder),
    )
    return Context(config, choice, path, debug=options.on("debug"))


def _tls(options: Options, folder: str) -> Tls | None:
    verify = options.on("tlsverify")
    if not (verify or options.on("tls")):
        return None
    from wherry.client.config import Tls

    folder = os.environ.get("DOCKER_CERT_PATH") or folder
    ca, cert, key = (
        options.text(flag) or os.path.join(folder, name)
        for flag, name in (("tlscacert", "ca.pem"), ("tlscert", "cert.pem"), ("tlskey", "key.pem"))
    )
    return Tls(ca, cert, key, verify=verify)


if __name__ == "__main__":
    sys.exit(main())

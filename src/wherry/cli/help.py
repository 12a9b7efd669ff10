"""The help texts: of the program, a group, a command; and the names near a mistyped one."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap

from wherry.cli import registry
from wherry.cli.command import PROGRAM, Command
from wherry.cli.flags import Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def program_help(flags: Sequence[Flag]) -> str:
    """``wherry --help``."""
    common = [(name, _short_help(name)) for name in registry.COMMON if name in _top_names()]
    groups = [(name, about) for name, (about, _) in sorted(registry.GROUPS.items())]
    rest = [
        (name, _short_help(name))
        for name in sorted(_top_names())
        if name not in registry.COMMON and _short_help(name)
    ]
    parts = [
        f"{heading('Usage')}  {PROGRAM} [OPTIONS] COMMAND",
        "Containers, images, networks and volumes, with Docker's commands",
        _listing("Common Commands", common),
        _listing("Management Commands", groups),
        _listing("Commands", rest),
        flag_help("Global Options", flags),
        f"Run '{PROGRAM} COMMAND --help' for more information on a command.",
    ]
    return "\n\n".join(parts)


def _top_names() -> list[str]:
    return [*registry.TOP, *registry.OWN]


def _short_help(name: str) -> str:
    if name in registry.OWN:
        return registry.OWN[name][1]
    group, command = registry.TOP[name]
    return registry.GROUPS[group][1][command][1]


def group_help(group: str) -> str:
    """``wherry container --help``."""
    about, table = registry.GROUPS[group]
    rows = [(name, entry[1]) for name, entry in sorted(table.items()) if entry[1]]
    return "\n\n".join(
        [
            f"{heading('Usage')}  {PROGRAM} {group} COMMAND",
            about,
            _listing("Commands", rows),
            f"Run '{PROGRAM} {group} COMMAND --help' for more information on a command.",
        ]
    )


def command_help(command: Command, entry: registry.Entry, path: str) -> str:
    """``wherry ps --help``: usage, what it does, other names, options, examples, exit codes."""
    from wherry.cli.manual import USUAL, Page, page

    found = page(registry.canonical(entry)) or Page("")
    parts = [f"{heading('Usage')}  {command.usage_lines(path)}", entry[1]]
    parts += [_filled(paragraph) for paragraph in found.about.split("\n\n") if paragraph]
    parts += [command.long] if command.long else []
    names = registry.other_names(entry)
    if len(names) > 1:
        listed = ", ".join(f"{PROGRAM} {name}" for name in names)
        parts.append(f"{heading('Aliases')}\n  {listed}")
    if any(not flag.hidden for flag in command.flags):
        parts.append(flag_help("Options", command.flags))
    if found.examples:
        shown = [f"  {what}:\n    $ {command_line(line)}" for what, line in found.examples]
        parts.append("\n".join([heading("Examples"), *shown]))
    codes = {**USUAL, **found.codes}
    parts.append("\n".join([heading("Exit codes"), *_table(codes.items())]))
    return "\n\n".join(parts)


def command_line(example: str) -> str:
    """An example as typed: those that begin with one of our commands leave out the program."""
    first = example.split(None, 1)[0]
    known = first in registry.GROUPS or first in registry.TOP or first in registry.OWN
    return f"{PROGRAM} {example}" if known else example


def heading(text: str) -> str:
    """The title of a section; bold on a terminal."""
    return f"{text}:" if no_color() else f"\x1b[1m{text}:\x1b[0m"


def _columns() -> int:
    # Without a terminal the text is wrapped as for 80 columns: piped help reads the same.
    return shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else 80


def _filled(paragraph: str) -> str:
    width = max(min(_columns(), 100), 40)
    return textwrap.fill(
        " ".join(paragraph.split()), width, break_on_hyphens=False, break_long_words=False
    )


def _table(rows: Iterable[tuple[str, str]]) -> list[str]:
    listed = list(rows)
    left = max(len(name) for name, _ in listed) + 5
    room = max(_columns() - left, 24)
    lines = []
    for name, about in listed:
        first, *rest = textwrap.wrap(about, room)
        lines.append(f"  {name:<{left - 2}}{first}")
        lines += [f"{'':<{left}}{piece}" for piece in rest]
    return lines


def _listing(title: str, rows: Iterable[tuple[str, str]]) -> str:
    listed = list(rows)
    width = max(len(name) for name, _ in listed)
    lines = [f"  {name:<{width}}  {about}" for name, about in listed]
    return "\n".join([heading(title), *lines])


def flag_help(title: str, flags: Sequence[Flag]) -> str:
    """The flags as a table, sorted by name, descriptions wrapped to the terminal."""
    rows = []
    for flag in sorted(flags, key=lambda flag: flag.name):
        if flag.hidden:
            continue
        short = f"-{flag.short}, " if flag.short else "    "
        rows.append((f"  {short}--{flag.name} {flag.shown}".rstrip(), flag.help + _default(flag)))
    left = max(len(row[0]) for row in rows) + 3
    room = max(_columns() - left, 24)
    lines = [heading(title)]
    for head, about in rows:
        wrapped = [
            piece for line in about.split("\n") for piece in textwrap.wrap(line, room) or [""]
        ]
        lines.append(f"{head:<{left}}{wrapped[0]}")
        lines += [f"{'':<{left}}{piece}" for piece in wrapped[1:]]
    return "\n".join(lines)


def _default(flag: Flag) -> str:
    if flag.kind == "bool":
        return " (default true)" if flag.default else ""
    if flag.kind == "list" or not flag.default:
        return ""
    shown = f'"{flag.default}"' if flag.shown == "string" else str(flag.default)
    return f" (default {shown})"


def suggestions(group: str, word: str) -> list[str]:
    """Known names that look like ``word``, best first."""
    import difflib

    if group:
        table = registry.GROUPS[group][1]
        names = [name for name, entry in table.items() if entry[1]]
    else:
        names = [*(name for name in _top_names() if _short_help(name)), *registry.GROUPS]
    return difflib.get_close_matches(word, names, n=3, cutoff=0.6)


def no_color() -> bool:
    """Did the user ask for plain text (https://no-color.org), or can the output not show more?"""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return bool(plain) or not sys.stdout.isatty()

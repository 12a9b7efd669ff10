"""Lists and single objects as Docker's client prints them: tables, Go templates, JSON lines.

A row is a dict from field name to value, with the names Docker documents for ``--format``
(``{{.ID}}``, ``{{.Names}}`` ...). A value that can be called is a method with one argument
(``{{.Label "x"}}``).
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, TextIO

    Row = dict[str, Any]

PLAIN = ("", "table")
"""The formats that ``--quiet`` takes the place of."""

LIST_HELP = """Format output using a custom template:
'table':            Print output in table format with column headers (default)
'table TEMPLATE':   Print output in table format using the given Go template
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template."""

ONE_HELP = """Format output using a custom template:
'json':             Print in JSON format
'TEMPLATE':         Print output using the given Go template."""


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key that counts: v2 before v10."""
    import re  # costs a list of containers more than it is worth

    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part), part) if part.isdigit() else (1, 0, part) for part in parts]


def tabulate(lines: Sequence[Sequence[str]], padding: int = 3, least: int = 10) -> str:
    """Align cells as Go's ``tabwriter`` does: a column is a run of lines that have a cell there
    which is not their last; the last cell of a line is never padded."""
    texts = [list(line) for line in lines]
    column = 0
    while any(len(line) > column + 1 for line in texts):
        start = 0
        while start < len(texts):
            end = start
            while end < len(texts) and len(texts[end]) > column + 1:
                end += 1
            block = texts[start:end]
            width = max((len(line[column]) + padding for line in block), default=0)
            for line in block:
                line[column] = line[column].ljust(max(width, least))
            start = max(end, start + 1)
        column += 1
    return "".join("".join(line) + "\n" for line in texts)


def write_list(
    out: TextIO,
    rows: Sequence[Row],
    headers: Mapping[str, str],
    columns: Sequence[str],
    format: str = "",
) -> None:
    """Print rows. ``headers``: field -> heading; ``columns``: the fields of the plain table;
    ``format``: empty or ``table``, ``table TEMPLATE``, ``json`` or a template."""
    word = format.strip()
    if word in ("", "table"):
        lines = [[headers[name] for name in columns]]
        lines += [[plain(row[name]) for name in columns] for row in rows]
        out.write(tabulate(lines))
    elif word == "json":
        for row in rows:
            out.write(json_line(fields(row)) + "\n")
    elif word.startswith("table"):
        from wherry.cli.templates import render

        template = unescape(word[len("table") :].strip())
        heading: Row = {**{name: "" for row in rows[:1] for name in row}, **headers}
        heading["Label"] = lambda name: name.rpartition(".")[2] or name
        table = [render(template, heading, header=True).split("\t")]
        table += [line.split("\t") for row in rows for line in render(template, row).split("\n")]
        out.write(tabulate(table))
    else:
        from wherry.cli.templates import check, render

        template = unescape(format)
        check(template)
        for row in rows:
            out.write(render(template, row) + "\n")


def write_one(out: TextIO, value: Any, format: str) -> None:
    """One object through ``json`` or a template."""
    if format.strip() == "json":
        out.write(json_line(value) + "\n")
        return
    from wherry.cli.templates import render

    out.write(render(unescape(format), value) + "\n")


def fields(row: Row) -> Row:
    """What of a row is data."""
    return {name: value for name, value in sorted(row.items()) if not callable(value)}


def plain(value: Any) -> str:
    """A field in the plain table."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def json_line(value: Any) -> str:
    """Compact JSON with Go's escaping of HTML characters, keys as they are."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return html_safe(text)


def html_safe(text: str) -> str:
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def unescape(template: str) -> str:
    """``\\t`` and ``\\n`` typed in a shell's quotes mean tab and new line."""
    return template.replace("\\t", "\t").replace("\\n", "\n")


def short_id(identity: str) -> str:
    """``sha256:0123456789abcdef`` -> ``0123456789ab``."""
    return identity.partition(":")[2][:12] if ":" in identity else identity[:12]


def ellipsis(text: str, width: int) -> str:
    """At most ``width`` characters, the last a dot-dot-dot when cut."""
    if len(text) <= width:
        return text
    return text[: width - 1] + "…" if width > 1 else text[:width]


def label_text(labels: Mapping[str, str] | None) -> str:
    """``a=1,b=2`` in the order of keys."""
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items()))


def filters(words: Sequence[str]) -> dict[str, dict[str, bool]]:
    """``-f key=value`` as the API takes them: ``{"key": {"value": true}}``."""
    found: dict[str, dict[str, bool]] = {}
    for word in words:
        if not word:
            continue
        key, _, value = word.partition("=")
        found.setdefault(key.strip().lower(), {})[value.strip()] = True
    return found

"""One wrong request as a value, and the rows that many routes share. See ``badinput``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

HUGE = 1 << 70


@dataclass(frozen=True)
class Bad:
    """One wrong request and its answer."""

    path: str
    status: int
    says: str = ""
    body: Any = None
    """A value is sent as JSON, bytes as they are."""
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = ""
    """Another method than the route's."""

    def target(self, names: Mapping[str, str]) -> str:
        """The path with its ids."""
        return _filled(self.path, names)

    def sent(self, names: Mapping[str, str]) -> bytes:
        """The bytes of the body, with its ids."""
        if self.body is None or isinstance(self.body, bytes):
            return self.body or b""
        return _filled(json.dumps(self.body), names).encode()


def _filled(text: str, names: Mapping[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def query(path: str, **values: object) -> str:
    return f"{path}?{urlencode(values, doseq=True)}"


def filters(path: str, text: object, **more: object) -> str:
    """``path`` with a ``filters`` query of any JSON value, or of a text that is none."""
    return query(path, filters=text if isinstance(text, str) else json.dumps(text), **more)


def bad_filters(path: str, **more: object) -> tuple[Bad, ...]:
    """What is no filter, for a call that has filters."""
    return (
        Bad(filters(path, "{broken", **more), 400, "invalid filter"),
        Bad(filters(path, ["label"], **more), 400, "invalid filter"),
        Bad(filters(path, {"label": 7}, **more), 400, "invalid filter"),
        Bad(filters(path, {"label": [7]}, **more), 400, "invalid filter"),
        Bad(filters(path, {"nonsense": ["x"]}, **more), 400, "invalid filter 'nonsense'"),
    )


def bad_json(path: str) -> tuple[Bad, ...]:
    """What is no JSON object, or not said to be one."""
    return (
        Bad(path, 400, "invalid JSON", body=b'{"Image": '),
        Bad(path, 400, "invalid JSON", body=b"not json"),
        Bad(path, 400, "invalid JSON", body=b"[]"),
        Bad(path, 400, "invalid JSON", body=b'"text"'),
        Bad(path, 400, "JSON", body=b"{} {}"),
        Bad(path, 400, "invalid JSON", body=b'{"a": \xff}'),
        Bad(path, 400, "invalid JSON", body=b"[" * 100_000),
        Bad(path, 400, "Content-Type", body=b"{}", headers={"Content-Type": "text/plain"}),
    )


def no_container(path: str, body: Any = None) -> Bad:
    return Bad(path.replace("{id}", "nobody"), 404, "No such container: nobody", body=body)


def no_image(path: str) -> Bad:
    return Bad(path.replace("{name}", "no/such"), 404, "no such image: no/such")


def not_this(method: str, path: str) -> Bad:
    """A method that the path does not have (Docker says 404 to it)."""
    return Bad(path, 405, f"method {method} is not allowed", method=method)


def below(path: str, rows: tuple[Bad, ...]) -> Iterator[Bad]:
    """Rows whose paths go on behind ``path``."""
    for row in rows:
        yield Bad(path + row.path, row.status, row.says, row.body, row.headers, row.method)

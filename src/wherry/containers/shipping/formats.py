"""Lines as the servers want them: syslog, GELF, fluentd's forward protocol, journald. Pure.

Specifications: RFC 3164, 5424 and 5425; docs.graylog.org "GELF"; the Fluentd Forward Protocol
Specification v1; systemd's "Native Journal Protocol". Which fields are sent, and how syslog's
differ from the RFCs, is as in Docker's drivers.
"""

from __future__ import annotations

import gzip
import math
import os
import re
import zlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from wherry.containers.joiner import Piece, Pieces
from wherry.containers.shipping.options import Fluentd, Gelf, Syslog
from wherry.containers.shipping.origin import Origin
from wherry.runtime.logline import Entry, time_of

_INFO, _ERROR = 6, 3
_CHUNK = 1420 - 12
"""Bytes of a message in one GELF chunk, as Docker's library sends them."""
_MOST_CHUNKS = 128
_MAGIC = b"\x1e\x0f"
_NOT_OF_A_FIELD = re.compile(r"[^A-Z0-9_]")


def _severity(entry: Entry) -> int:
    return _ERROR if entry.stream == 2 else _INFO


def _text(entry: Entry) -> bytes:
    return entry.data.removesuffix(b"\n")


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _moment(entry: Entry) -> datetime:
    seconds, nanoseconds = _nanoseconds(entry)
    moment = datetime.fromtimestamp(seconds, UTC).astimezone()
    return moment.replace(microsecond=nanoseconds // 1000)


def _nanoseconds(entry: Entry) -> tuple[int, int]:
    """Seconds and nanoseconds since 1970."""
    at, text = time_of(entry.stamp)
    part = text[20:29]
    return math.floor(at), int(part) if part.isdigit() else 0


# --- syslog


def syslog(entry: Entry, origin: Origin, target: Syslog, pid: int) -> bytes:
    """One message, with its frame."""
    priority = target.facility << 3 | _severity(entry)
    moment = _moment(entry)
    text = _text(entry)
    if target.format.startswith("rfc5424"):
        precision = "microseconds" if target.format == "rfc5424micro" else "seconds"
        stamp = moment.isoformat(timespec=precision).replace("+00:00", "Z")
        tag = origin.tag
        head = f"<{priority}>1 {stamp} {origin.hostname} {tag} {pid} {tag} - "
    else:
        stamp = f"{moment:%b} {moment.day:2d} {moment:%H:%M:%S}"
        host = f"{origin.hostname} " if target.format == "rfc3164" else ""
        head = f"<{priority}>{stamp} {host}{origin.tag}[{pid}]: "
    message = head.encode() + text + b"\n"
    framed = target.address is not None and target.address.scheme == "tcp+tls"
    if framed and target.format.startswith("rfc5424"):
        return b"%d %s" % (len(message), message)
    return message


# --- GELF


def gelf(entry: Entry, origin: Origin) -> bytes:
    """One message, neither compressed nor framed. Empty lines are not sent."""
    text = _text(entry)
    if not text:
        return b""
    seconds, nanoseconds = _nanoseconds(entry)
    message: dict[str, Any] = {
        "version": "1.1",
        "host": origin.hostname,
        "short_message": text.decode("utf-8", "replace"),
        "timestamp": seconds + nanoseconds // 1_000_000 / 1000,
        "level": _severity(entry),
        "_command": " ".join(origin.command),
        "_container_id": origin.id,
        "_container_name": origin.name,
        "_created": origin.created,
        "_image_id": origin.image_id,
        "_image_name": origin.image_name,
        "_tag": origin.tag,
    }
    message.update({f"_{key}": value for key, value in origin.extra.items() if key != "id"})
    return msgspec.json.encode(message)


def gelf_packets(message: bytes, target: Gelf) -> list[bytes]:
    """Datagrams of a message; none where it is too large for 128 chunks."""
    if target.compression == "gzip":
        # -1 is the library's own choice, which gzip calls 6.
        message = gzip.compress(message, 6 if target.level < 0 else target.level, mtime=0)
    elif target.compression == "zlib":
        message = zlib.compress(message, target.level)
    if len(message) <= _CHUNK + 12:
        return [message]
    parts = [message[at : at + _CHUNK] for at in range(0, len(message), _CHUNK)]
    if len(parts) > _MOST_CHUNKS:
        return []
    head = _MAGIC + os.urandom(8)
    return [head + bytes((number, len(parts))) + part for number, part in enumerate(parts)]


# --- fluentd


def fluentd(
    entries: Iterable[Entry], origin: Origin, target: Fluentd, pieces: Pieces, chunk: str = ""
) -> bytes:
    """A batch in the forward mode; ``chunk`` asks for an answer."""
    events: list[tuple[Any, dict[str, str]]] = []
    for entry in entries:
        seconds, nanoseconds = _nanoseconds(entry)
        time: Any = seconds
        if target.precise:
            data = seconds.to_bytes(4, "big") + nanoseconds.to_bytes(4, "big")
            time = msgspec.msgpack.Ext(0, data)
        record = {
            "container_id": origin.id,
            "container_name": f"/{origin.name}",
            "source": "stderr" if entry.stream == 2 else "stdout",
            "log": _text(entry).decode("utf-8", "replace"),
        }
        record.update(origin.extra)
        if (piece := pieces.of(entry)) is not None:
            record |= {
                "partial_message": "true",
                "partial_id": piece.line,
                "partial_ordinal": str(piece.ordinal),
                "partial_last": _truth(piece.last),
            }
        events.append((time, record))
    option: dict[str, Any] = {"size": len(events)}
    if chunk:
        option["chunk"] = chunk
    return msgspec.msgpack.encode((origin.tag, events, option))


def fluentd_answer(data: bytes) -> str | None:
    """The chunk that an answer confirms; None while it is not complete."""
    try:
        answer = msgspec.msgpack.decode(data)
    except msgspec.DecodeError:
        return None
    return str(answer.get("ack", "")) if isinstance(answer, dict) else ""


# --- journald


def journald(entry: Entry, origin: Origin, piece: Piece | None = None) -> bytes:
    """One datagram of the native protocol. Empty lines are not sent."""
    text = _text(entry)
    if not text:
        return b""
    fields: list[tuple[str, bytes]] = [
        ("PRIORITY", str(_severity(entry)).encode()),
        ("CONTAINER_ID", origin.id[:12].encode()),
        ("CONTAINER_ID_FULL", origin.id.encode()),
        ("CONTAINER_NAME", origin.name.encode()),
        ("CONTAINER_TAG", origin.tag.encode()),
        ("IMAGE_NAME", origin.image_name.encode()),
        ("SYSLOG_IDENTIFIER", origin.tag.encode()),
        ("SYSLOG_TIMESTAMP", entry.timestamp.encode()),
        *((journal_name(key), value.encode()) for key, value in origin.extra.items()),
        *(() if piece is None else _partial(piece)),
        ("MESSAGE", text),
    ]
    return b"".join(_field(name, value) for name, value in fields if name)


def _partial(piece: Piece) -> list[tuple[str, bytes]]:
    fields = [
        ("CONTAINER_PARTIAL_ID", piece.line.encode()),
        ("CONTAINER_PARTIAL_ORDINAL", str(piece.ordinal).encode()),
        ("CONTAINER_PARTIAL_LAST", _truth(piece.last).encode()),
    ]
    return fields if piece.last else [("CONTAINER_PARTIAL_MESSAGE", b"true"), *fields]


def journal_name(key: str) -> str:
    """A label's or variable's name as journald allows it; empty where nothing of it is left."""
    return _NOT_OF_A_FIELD.sub("_", key.upper()).lstrip("_")


def _field(name: str, value: bytes) -> bytes:
    if b"\n" in value:
        return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
    return name.encode() + b"=" + value + b"\n"


def joined(messages: Sequence[bytes]) -> bytes:
    """GELF messages over a stream: each ended by a zero byte."""
    return b"".join(message + b"\0" for message in messages if message)

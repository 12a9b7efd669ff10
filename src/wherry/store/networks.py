"""Rows of networks, sandboxes and endpoints; bodies are JSON that the networks room writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from wherry.errors import Conflict, Forbidden
from wherry.store.database import Database


@dataclass(frozen=True)
class EndpointRow:
    id: str
    network_id: str
    container_id: str
    ipv4: str
    ipv6: str
    body: bytes


class NetworkTable:
    """All tables of migration 0040."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def networks(self) -> list[bytes]:
        """Bodies, in order of creation."""
        return [row["body"] for row in self._run("SELECT body FROM networks ORDER BY rowid")]

    def add_network(self, network_id: str, name: str, body: bytes) -> None:
        """``Conflict`` when the name is in use."""
        try:
            self._run(
                "INSERT INTO networks (id, name, body) VALUES (?, ?, ?)", network_id, name, body
            )
        except sqlite3.IntegrityError as error:
            raise Conflict(f"network with name {name} already exists") from error

    def update_network(self, network_id: str, body: bytes) -> None:
        self._run("UPDATE networks SET body = ? WHERE id = ?", body, network_id)

    def remove_network(self, network_id: str) -> None:
        self._run("DELETE FROM networks WHERE id = ?", network_id)

    def sandboxes(self) -> list[bytes]:
        return [row["body"] for row in self._run("SELECT body FROM sandboxes")]

    def put_sandbox(self, container_id: str, body: bytes) -> None:
        self._run(
            "INSERT INTO sandboxes (container_id, body) VALUES (?, ?) "
            "ON CONFLICT (container_id) DO UPDATE SET body = excluded.body",
            container_id,
            body,
        )

    def remove_sandbox(self, container_id: str) -> None:
        self._run("DELETE FROM sandboxes WHERE container_id = ?", container_id)

    def endpoints(self) -> list[bytes]:
        return [row["body"] for row in self._run("SELECT body FROM endpoints ORDER BY rowid")]

    def start(self, container_id: str, sandbox: bytes, endpoints: Iterable[EndpointRow]) -> None:
        """A container's sandbox and its endpoints, all or nothing.

        ``Forbidden`` when an address is in use after all.
        """
        with self._database.transaction():
            self.put_sandbox(container_id, sandbox)
            for each in endpoints:
                self.add_endpoint(each)

    def add_endpoint(self, row: EndpointRow) -> None:
        try:
            self._run(
                "INSERT INTO endpoints (id, network_id, container_id, ipv4, ipv6, body) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                row.id,
                row.network_id,
                row.container_id,
                row.ipv4 or None,
                row.ipv6 or None,
                row.body,
            )
        except sqlite3.IntegrityError as error:
            raise Forbidden(f"Address already in use: {row.ipv4 or row.ipv6}") from error

    def update_endpoint(self, endpoint_id: str, body: bytes) -> None:
        self._run("UPDATE endpoints SET body = ? WHERE id = ?", body, endpoint_id)

    def remove_endpoint(self, endpoint_id: str) -> None:
        self._run("DELETE FROM endpoints WHERE id = ?", endpoint_id)

    def stop(self, container_id: str, sandbox: bytes | None) -> None:
        """The container's endpoints are gone; its sandbox stays unless None."""
        with self._database.transaction():
            self._run("DELETE FROM endpoints WHERE container_id = ?", container_id)
            if sandbox is None:
                self.remove_sandbox(container_id)
            else:
                self.put_sandbox(container_id, sandbox)

    def _run(self, sql: str, *parameters: object) -> list[sqlite3.Row]:
        return self._database.execute(sql, parameters)

"""Which driver serves a name: the local one, or a plugin found on the host."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from wherry.errors import NotFound, WherryError
from wherry.store.volumes import VolumeRow
from wherry.volumes.local import LocalDriver
from wherry.volumes.ports import LOCAL, Driver


class Plugins(Protocol):
    """Third-party drivers. See ``volumes.plugins``."""

    def find(self, name: str) -> Driver | None: ...

    def names(self) -> list[str]: ...

    async def volumes(self, name: str) -> list[VolumeRow]:
        """What the plugin itself lists."""


class Absent:
    """Stands for a plugin that is not there: its volumes can be listed, nothing else."""

    scope = "local"

    def __init__(self, name: str) -> None:
        self.name = name

    def _gone(self) -> NotFound:
        return NotFound(
            f'error looking up volume plugin {self.name}: plugin "{self.name}" not found'
        )

    async def create(self, row: VolumeRow) -> VolumeRow:
        raise self._gone()

    async def remove(self, row: VolumeRow) -> None:
        raise self._gone()

    def path(self, row: VolumeRow) -> str:
        return ""

    async def mount(self, row: VolumeRow, holder: str) -> str:
        raise self._gone()

    async def unmount(self, row: VolumeRow, holder: str, *, last: bool) -> None:
        raise self._gone()

    async def status(self, row: VolumeRow) -> Mapping[str, Any] | None:
        return None


class Drivers:
    def __init__(self, local: LocalDriver, plugins: Plugins | None = None) -> None:
        self.local = local
        self._plugins = plugins

    def get(self, name: str, *, may_lack: bool = False) -> Driver:
        """``NotFound``: 'error looking up volume plugin x: plugin "x" not found'.

        ``may_lack``: a plugin that is gone is stood in for, to show its volumes.
        """
        if name == LOCAL:
            return self.local
        found = self._plugins.find(name) if self._plugins is not None else None
        if found is None and may_lack:
            return Absent(name)
        if found is None:
            raise NotFound(f'error looking up volume plugin {name}: plugin "{name}" not found')
        return found

    def names(self) -> list[str]:
        """For ``Plugins.Volume`` of ``/info``."""
        return [LOCAL, *(self._plugins.names() if self._plugins is not None else ())]

    async def foreign(self, known: Collection[str]) -> tuple[list[VolumeRow], dict[str, str]]:
        """Volumes that plugins list and we did not make; and what those say that do not answer,
        by their names. All are asked at once."""
        rows: list[VolumeRow] = []
        silent: dict[str, str] = {}
        if self._plugins is None:
            return rows, silent
        names = self._plugins.names()
        answers = await asyncio.gather(
            *(self._plugins.volumes(name) for name in names), return_exceptions=True
        )
        seen = set(known)
        for name, found in zip(names, answers, strict=True):
            if isinstance(found, WherryError):
                silent[name] = found.message
            elif isinstance(found, Exception):
                silent[name] = f"volume driver {name}: the answer makes no sense: {found}"
            elif isinstance(found, BaseException):
                raise found
            else:
                for row in found:
                    if row.name not in seen:
                        seen.add(row.name)
                        rows.append(row)
        return rows, silent

    async def find(self, name: str) -> VolumeRow | None:
        """A volume that only a plugin knows."""
        rows, _ = await self.foreign(())
        return next((row for row in rows if row.name == name), None)

"""The OCI runtimes that are configured: by name, by what they have launched, and called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from wherry.errors import NotFound
from wherry.linux.sealed import SealedPrograms
from wherry.runtime import bundle as files
from wherry.runtime import monitor
from wherry.runtime.commands import ENVIRONMENT, Commands, Finished


class Runtimes:
    """Paths of the runtimes' binaries, and short calls of them."""

    def __init__(
        self, configured: Mapping[str, str], default: str, tools: monitor.Tools, commands: Commands
    ) -> None:
        self._configured = dict(configured)
        self._default = default
        self._tools = tools
        self._commands = commands
        self._programs = SealedPrograms()

    def all(self) -> dict[str, str]:
        """Name -> path; the default one is under ``""`` too."""
        return {**self._configured, "": self._configured[self._default]}

    def named(self, name: str) -> tuple[str, str]:
        """Name and path; an empty name stands for the default one. Raises ``NotFound``."""
        chosen = name or self._default
        path = self._configured.get(chosen)
        if path is None:
            raise NotFound(f"unknown or invalid runtime name: {chosen}")
        return chosen, path

    def of_bundle(self, bundle: Path, name: str) -> str:
        """Path of the runtime that launched what is in this bundle, else of the named one."""
        note = files.read_note(bundle)
        for candidate in ([note.runtime] if note else []) + [name]:
            if candidate in self._configured:
                return self._configured[candidate]
        return self.named(name)[1]

    def of_container(self, container_id: str, name: str) -> str:
        """Path of the runtime that launched this container, else of the named one."""
        bundle = files.find_note(self._tools.state_root, container_id)
        return self.named(name)[1] if bundle is None else self.of_bundle(bundle, name)

    def program(self, path: str) -> str:
        """What to execute for the binary at ``path``: a sealed copy, where one can be made."""
        return self._programs.path(path)

    async def call(
        self,
        path: str,
        *words: str,
        limit: float = 30.0,
        environment: Mapping[str, str] = ENVIRONMENT,
    ) -> Finished:
        """Run the runtime at ``path`` to its end. Raises ``Unavailable`` when it takes too long."""
        return await self._commands.run(
            monitor.runtime_arguments(self.program(path), self._tools, words),
            limit=limit,
            environment=environment,
        )

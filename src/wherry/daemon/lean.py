"""aiohttp's server without its client, until somebody asks for the client.

``import aiohttp.web`` runs the package's ``__init__``, which imports the whole client: 4 MB that an
idle daemon does not need. A module put in the package's place before the first import loads
submodules by name, and runs the real ``__init__`` the first time that anything else is asked for.
Nothing is lost: ``aiohttp.ClientSession`` works as ever.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

_VERSION = re.compile(r'^__version__ = "([^"]+)"', re.MULTILINE)


class _Package(ModuleType):
    """Stands for ``aiohttp`` until the real ``__init__`` has run in it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        full = f"{self.__name__}.{name}"
        if full in sys.modules or importlib.util.find_spec(full) is not None:
            return importlib.import_module(full)
        spec = self.__spec__
        assert spec is not None
        assert spec.loader is not None
        self.__class__ = ModuleType  # type: ignore[assignment]  # once is enough
        spec.loader.exec_module(self)
        return getattr(self, name)


def postpone(package: str = "aiohttp") -> None:
    """Call before the first import of the package; does nothing when it is loaded already."""
    if package in sys.modules:
        return
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        return
    module = _Package(package)
    module.__spec__ = spec
    module.__file__ = spec.origin
    module.__loader__ = spec.loader
    module.__path__ = list(spec.submodule_search_locations)
    module.__package__ = package
    found = _VERSION.search(Path(spec.origin or "").read_text())
    if found is None:
        return
    module.__dict__["__version__"] = found[1]
    sys.modules[package] = module

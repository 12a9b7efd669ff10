"""aiohttp's server without its client, until somebody asks for the client.

``import aiohttp.web`` runs the package's ``__init__``, which imports the whole client: 4 MB that an
idle daemon does not need. A module put in the package's place before the first import loads
submodules by name, and runs the real ``__init__`` the first time that anything else is asked for.
``aiohttp.web`` is treated alike: of it the daemon uses the protocol, requests and responses, not
the application, router and file server. Nothing is lost: ``aiohttp.ClientSession`` and
``aiohttp.web.Application`` work as ever.
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


_WEB = {
    "BaseRequest": "web_request",
    "RequestHandler": "web_protocol",
    "Response": "web_response",
    "Server": "web_server",
    "StreamResponse": "web_response",
    "WebSocketResponse": "web_ws",
}


class _Web(ModuleType):
    """Stands for ``aiohttp.web`` until a name is asked for that is not in ``_WEB``."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in _WEB:
            found = getattr(importlib.import_module(f"aiohttp.{_WEB[name]}"), name)
            self.__dict__[name] = found
            return found
        return _really(self, name)


def _really(module: ModuleType, name: str) -> Any:
    """Run the module's own code in it, once, and take ``name`` from it."""
    spec = module.__spec__
    assert spec is not None
    assert spec.loader is not None
    module.__class__ = ModuleType
    spec.loader.exec_module(module)
    return getattr(module, name)


class _Package(ModuleType):
    """Stands for ``aiohttp`` until the real ``__init__`` has run in it."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        full = f"{self.__name__}.{name}"
        if full in sys.modules or importlib.util.find_spec(full) is not None:
            return importlib.import_module(full)
        return _really(self, name)


def _stand_in(kind: type[ModuleType], name: str) -> ModuleType | None:
    spec = importlib.util.find_spec(name)
    if spec is None:
        return None
    module = kind(name)
    module.__spec__ = spec
    module.__file__ = spec.origin
    module.__loader__ = spec.loader
    module.__package__ = spec.parent
    if spec.submodule_search_locations is not None:
        module.__path__ = list(spec.submodule_search_locations)
    return module


def _without_extensions() -> None:
    """msgspec prefers ``typing_extensions`` (0.5 MB), which has nothing for it that the ``typing``
    of Python 3.11 has not; it does without where that cannot be imported."""
    if "msgspec" in sys.modules or "typing_extensions" in sys.modules:
        return
    hidden: dict[str, Any] = sys.modules
    hidden["typing_extensions"] = None
    try:
        importlib.import_module("msgspec")
    finally:
        del hidden["typing_extensions"]


def postpone() -> None:
    """Call before the first import of msgspec and aiohttp; what is loaded already stays."""
    _without_extensions()
    if "aiohttp" in sys.modules:
        return
    package = _stand_in(_Package, "aiohttp")
    if package is None or package.__file__ is None:
        return
    found = _VERSION.search(Path(package.__file__).read_text())
    if found is None:
        return
    package.__dict__["__version__"] = found[1]
    sys.modules["aiohttp"] = package
    web = _stand_in(_Web, "aiohttp.web")
    if web is not None:
        sys.modules["aiohttp.web"] = web
        package.__dict__["web"] = web

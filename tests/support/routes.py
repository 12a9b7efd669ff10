"""Every route of the API, from the groups that register them; their services are never asked."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

import wherry.api
from wherry.api import missing
from wherry.api.routing import Router


def router() -> Router:
    """A router with all that ``wherry.api`` has to register."""
    made = Router()
    for module in pkgutil.iter_modules(wherry.api.__path__):
        found = importlib.import_module(f"wherry.api.{module.name}")
        for name, kind in inspect.getmembers(found, inspect.isclass):
            if name.endswith("Routes") and kind.__module__ == found.__name__:
                group: Any = kind(*[None] * len(inspect.signature(kind).parameters))
                group.register(made)
    missing.register(made)
    return made

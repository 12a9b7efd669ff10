"""Wherry: a container platform. See ``docs/design/`` for the map of the house."""

__version__ = "0.1.0"

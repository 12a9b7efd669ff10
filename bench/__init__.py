"""Measurements against Docker on the same machine."""

"""The ``wherry`` command: renders only."""

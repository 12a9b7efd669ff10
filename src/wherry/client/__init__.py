"""Python client of the Engine API."""

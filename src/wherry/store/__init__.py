"""SQLite metadata and the one module that knows every on-disk path."""

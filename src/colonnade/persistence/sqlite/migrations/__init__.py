"""Colonnade's own migrations of a SQLite store, in files like those of a service; none since its first release."""

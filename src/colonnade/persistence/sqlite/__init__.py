"""The store in one SQLite file a service."""

from colonnade.persistence.sqlite.store import NewerStore, NotAStore, SqliteStore, open_sqlite_store

__all__ = ["NewerStore", "NotAStore", "SqliteStore", "open_sqlite_store"]

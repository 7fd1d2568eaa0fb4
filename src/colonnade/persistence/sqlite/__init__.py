"""The store in one SQLite file a service."""

from colonnade.persistence.sqlite.opening import NewerStore, NotAStore
from colonnade.persistence.sqlite.store import ReadOnlyStore, SqliteStore, open_sqlite_store

__all__ = ["NewerStore", "NotAStore", "ReadOnlyStore", "SqliteStore", "open_sqlite_store"]

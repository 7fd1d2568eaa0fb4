"""The store on PostgreSQL."""

from colonnade.persistence.postgres.instance import PostgresInstance
from colonnade.persistence.postgres.store import PostgresStore, open_postgres_store

__all__ = ["PostgresInstance", "PostgresStore", "open_postgres_store"]

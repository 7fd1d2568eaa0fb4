"""The store on PostgreSQL."""

from colonnade.persistence.postgres.store import PostgresStore, open_postgres_store

__all__ = ["PostgresStore", "open_postgres_store"]

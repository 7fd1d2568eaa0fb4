"""SQLAlchemy's tables and statements as this store's SQL."""

from typing import Any

from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg, PGIdentifierPreparer_asyncpg
from sqlalchemy.engine.interfaces import Dialect

from colonnade.persistence.tables.marking import mark

__all__ = ["PostgresTablesDialect", "postgres_dialect"]


class _Names(PGIdentifierPreparer_asyncpg):
    """Marks the tables that statements write and definitions make."""

    def format_table(self, table: Any, use_schema: bool = True, name: str | None = None) -> str:
        return mark(table.name if name is None else name)


class PostgresTablesDialect(PGDialect_asyncpg):
    """The dialect of the store's tables."""

    preparer = _Names


def postgres_dialect(schema: str | None = None) -> Dialect:
    """A dialect for the tables of one schema."""
    make: Any = PostgresTablesDialect
    dialect: Dialect = make()
    return dialect

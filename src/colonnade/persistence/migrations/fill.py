"""`fill`, the one operation of migrations that Alembic does not have."""

from collections.abc import Callable
from contextvars import ContextVar

__all__ = ["fill", "filling"]

filling: ContextVar[Callable[[str, str, str], None]] = ContextVar("filling")
"""Takes the fillings of the migration that is being read."""


def fill(table: str, values: str, *, where: str) -> None:
    """In a migration: give the rows that are there values, like `fill("seats", "hall = 'A'", where="hall IS NULL")`.

    It goes page by page while others work, and may go over a page twice: a row that has its values must not be one
    `where` it holds. Rows that code of the version before adds later are not seen; fill again in `contract` for these.
    """
    filling.get()(table, values, where)

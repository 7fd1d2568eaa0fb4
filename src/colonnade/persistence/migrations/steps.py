"""What a part of a migration comes to: statements for one engine, and what they change."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Added", "Change", "Dropped", "Fill", "Loosened", "Made", "Rebuild", "Statement", "Step", "Steps"]


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement, in a transaction of its own.

    Where it makes an `index`, or drops one, while others write, it stands outside of any transaction.
    """

    sql: str
    index: str | None = None
    """The physical index that it makes."""
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Fill:
    """Give columns of rows that are there their values, a page of rows by primary key a transaction."""

    table: str
    """The physical table, quoted and with its schema."""
    values: str
    where: str

    @property
    def sql(self) -> str:
        """All pages as one statement."""
        return f"UPDATE {self.table} SET {self.values} WHERE {self.where}"


@dataclass(frozen=True, slots=True)
class Rebuild:
    """Copy a table into its declared form: what SQLite has instead of changing columns and constraints."""

    table: str
    """The declared table."""

    @property
    def sql(self) -> str:
        """What it does, in words."""
        return f"-- copy {self.table} into its declared form"


Step = Statement | Fill | Rebuild


@dataclass(frozen=True, slots=True)
class Made:
    """A table is there, with these columns, or an index of a table."""

    table: str
    columns: tuple[str, ...] = ()
    index: str | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """A column is there, of a type as the engine writes it."""

    table: str
    column: str
    type: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """A column, or a whole table, is gone."""

    table: str
    column: str | None = None


@dataclass(frozen=True, slots=True)
class Loosened:
    """A column may be left out of a new row."""

    table: str
    column: str


Change = Made | Added | Dropped | Loosened


@dataclass(frozen=True, slots=True)
class Steps:
    """One part of one migration, compiled."""

    steps: Sequence[Step]
    changes: Sequence[Change]

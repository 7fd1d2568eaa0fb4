"""Writes on read models as small values: a table, a kind of write, columns."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sqlalchemy import Table

__all__ = [
    "KeyMissing",
    "RowWrite",
    "UnknownColumn",
    "Write",
    "WriteKind",
    "change",
    "delete",
    "increment",
    "insert",
    "upsert",
]


class UnknownColumn(TypeError):
    """A write names columns that its table does not have."""

    def __init__(self, table: str, columns: tuple[str, ...], known: tuple[str, ...]) -> None:
        super().__init__(table, columns, known)
        self.table, self.columns, self.known = table, columns, known

    def __str__(self) -> str:
        return f"Table {self.table} has no column {', '.join(self.columns)}; it has {', '.join(self.known)}."


class KeyMissing(TypeError):
    """A write does not say which row it is about."""

    def __init__(self, table: str, columns: tuple[str, ...]) -> None:
        super().__init__(table, columns)
        self.table, self.columns = table, columns

    def __str__(self) -> str:
        return f"A write on {self.table} lacks {', '.join(self.columns)}; name every column of the primary key."


class WriteKind(Enum):
    """What a write does to its row."""

    INSERT = "insert"
    """A new row; that it exists already is an error."""
    UPSERT = "upsert"
    """A new row, or the named columns of the one that exists."""
    CHANGE = "change"
    """The named columns of a row that must exist."""
    INCREMENT = "increment"
    """Adds to the named columns of a row that must exist."""
    DELETE = "delete"
    """The row goes, if it is there."""


@dataclass(frozen=True, slots=True)
class RowWrite:
    """One write on one row, which its primary key names."""

    kind: WriteKind
    table: Table
    key: tuple[Any, ...]
    values: Mapping[str, Any]


Write = RowWrite
"""What a projection may answer an event with."""


def insert(table: Table, /, **columns: Any) -> Write:
    """Put a new row into `table`; raises `UnknownColumn` or `KeyMissing`."""
    return _write(WriteKind.INSERT, table, columns)


def upsert(table: Table, /, **columns: Any) -> Write:
    """Put a row into `table`, or change the named columns of the row with its key."""
    return _write(WriteKind.UPSERT, table, columns)


def change(table: Table, /, **columns: Any) -> Write:
    """Change the named columns of the row with the key among them; that there is none is an error."""
    return _write(WriteKind.CHANGE, table, columns)


def increment(table: Table, /, **columns: Any) -> Write:
    """Add to the named columns of the row with the key among them; that there is none is an error."""
    return _write(WriteKind.INCREMENT, table, columns)


def delete(table: Table, /, **columns: Any) -> Write:
    """Remove the row with this key, if it is there."""
    return _write(WriteKind.DELETE, table, columns)


_shapes: dict[Table, tuple[frozenset[str], tuple[str, ...]]] = {}


def _write(kind: WriteKind, table: Table, columns: dict[str, Any]) -> RowWrite:
    shape = _shapes.get(table)
    if shape is None:
        shape = _shapes[table] = (
            frozenset(table.columns.keys()),
            tuple(column.name for column in table.primary_key.columns),
        )
    known, key_names = shape
    if not columns.keys() <= known:
        unknown = tuple(sorted(columns.keys() - known))
        raise UnknownColumn(table.name, unknown, tuple(table.columns.keys()))
    try:
        key = tuple([columns.pop(name) for name in key_names])
    except KeyError:
        raise KeyMissing(table.name, tuple(name for name in key_names if name not in columns)) from None
    return RowWrite(kind, table, key, columns)

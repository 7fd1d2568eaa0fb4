"""Writes on read models as small values: a table, a kind of write, columns."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec
from sqlalchemy import Delete, Float, Insert, Integer, Numeric, Table, Update

__all__ = [
    "ColumnsMissing",
    "NotANumber",
    "NotPartOfKey",
    "NothingToWrite",
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


class ColumnsMissing(TypeError):
    """A write leaves out, or sets to None, columns without which there is no such row."""

    def __init__(self, table: str, kind: str, columns: tuple[str, ...]) -> None:
        super().__init__(table, kind, columns)
        self.table, self.kind, self.columns = table, kind, columns

    def __str__(self) -> str:
        return (
            f"The {self.kind} on {self.table} lacks {', '.join(self.columns)}; every write names the primary key, and "
            "one that may make a row names each column that is neither nullable nor has a server_default."
        )


class NothingToWrite(TypeError):
    """A change names no column beside the key."""

    def __init__(self, table: str, kind: str) -> None:
        super().__init__(table, kind)
        self.table, self.kind = table, kind

    def __str__(self) -> str:
        return f"The {self.kind} on {self.table} names no column beside the primary key; name what it sets."


class NotANumber(TypeError):
    """An increment names columns that hold no numbers."""

    def __init__(self, table: str, columns: tuple[str, ...]) -> None:
        super().__init__(table, columns)
        self.table, self.columns = table, columns

    def __str__(self) -> str:
        return f"Nothing can be added to {', '.join(self.columns)} of {self.table}; use change."


class NotPartOfKey(TypeError):
    """A deletion names columns that do not tell which row goes."""

    def __init__(self, table: str, columns: tuple[str, ...]) -> None:
        super().__init__(table, columns)
        self.table, self.columns = table, columns

    def __str__(self) -> str:
        return f"The delete on {self.table} names {', '.join(self.columns)}; name the primary key alone."


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


class RowWrite(msgspec.Struct, frozen=True, gc=False):
    """One write on one row, which its primary key names."""

    kind: WriteKind
    table: Table
    key: tuple[Any, ...]
    values: Mapping[str, Any]


Write = RowWrite | Insert | Update | Delete
"""What a projection may answer an event with: a write on one row, or a SQLAlchemy Core statement."""


def insert(table: Table, /, **columns: Any) -> RowWrite:
    """Put a new row into `table`; that there is one with its key already is an error."""
    return _write(WriteKind.INSERT, table, columns)


def upsert(table: Table, /, **columns: Any) -> RowWrite:
    """Put a row into `table`, or change the named columns of the row with its key."""
    return _write(WriteKind.UPSERT, table, columns)


def change(table: Table, /, **columns: Any) -> RowWrite:
    """Change the named columns of the row with the key among them; that there is none is an error."""
    return _write(WriteKind.CHANGE, table, columns)


def increment(table: Table, /, **columns: Any) -> RowWrite:
    """Add to the named columns of the row with the key among them; that there is none is an error."""
    return _write(WriteKind.INCREMENT, table, columns)


def delete(table: Table, /, **columns: Any) -> RowWrite:
    """Remove the row with this key, if it is there."""
    return _write(WriteKind.DELETE, table, columns)


@dataclass(frozen=True, slots=True)
class _Shape:
    columns: frozenset[str]
    key: tuple[str, ...]
    required: tuple[str, ...]
    """Without these, key aside, there is no row."""
    summable: frozenset[str]


_SHAPE = "colonnade.shape"


def _shape_of(table: Table) -> _Shape:
    shape: _Shape | None = table.info.get(_SHAPE)
    if shape is None:
        columns = list(table.columns)
        shape = table.info[_SHAPE] = _Shape(
            frozenset(column.key for column in columns),
            tuple(column.key for column in table.primary_key.columns),
            tuple(
                column.key
                for column in columns
                if not (column.nullable or column.primary_key or column.server_default or column.computed)
            ),
            frozenset(column.key for column in columns if isinstance(column.type, Integer | Numeric | Float)),
        )
    return shape


def _write(kind: WriteKind, table: Table, columns: dict[str, Any]) -> RowWrite:
    # All that can be said without the database is said here, where the stack still shows who wrote it
    shape = _shape_of(table)
    if not columns.keys() <= shape.columns:
        raise UnknownColumn(table.name, tuple(sorted(columns.keys() - shape.columns)), tuple(table.columns.keys()))
    key = tuple([columns.pop(name, None) for name in shape.key])
    if None in key or not key:
        lacking = tuple(name for name, value in zip(shape.key, key, strict=True) if value is None)
        raise ColumnsMissing(table.name, kind.value, lacking)
    if kind is WriteKind.UPSERT or kind is WriteKind.INSERT:
        for name in shape.required:
            if columns.get(name) is None:
                raise ColumnsMissing(
                    table.name, kind.value, tuple(name for name in shape.required if columns.get(name) is None)
                )
    elif kind is WriteKind.DELETE:
        if columns:
            raise NotPartOfKey(table.name, tuple(sorted(columns)))
    elif not columns:
        raise NothingToWrite(table.name, kind.value)
    elif None in columns.values() and (emptied := [name for name in shape.required if columns.get(name, name) is None]):
        raise ColumnsMissing(table.name, kind.value, tuple(emptied))
    elif kind is WriteKind.INCREMENT and not columns.keys() <= shape.summable:
        raise NotANumber(table.name, tuple(sorted(columns.keys() - shape.summable)))
    return RowWrite(kind, table, key, columns)
